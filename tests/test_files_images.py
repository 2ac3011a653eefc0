"""Still pictures: every kind that comes in, exactly; every kind of bad input, in one line."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
import torch
from PIL import Image, ImageCms

from unrender.errors import UserError
from unrender.files.images import read_image, write_image
from unrender.scene.color import srgb_to_linear

RNG = np.random.default_rng(7)


def write_oiio(path: Path, pixels: np.ndarray, **attributes: object) -> Path:
    spec = oiio.ImageSpec(
        pixels.shape[1], pixels.shape[0], pixels.shape[2], oiio.TypeDesc(pixels.dtype.name.replace("float32", "float"))
    )
    for name, value in attributes.items():
        spec.attribute(name.replace("__", ":"), value)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec)
    assert output.write_image(pixels)
    output.close()
    return path


def integers(channels: int, dtype: type) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, (9, 11, channels), dtype=dtype, endpoint=True)


def expected_linear(values: np.ndarray) -> torch.Tensor:
    coded = torch.from_numpy(values.astype(np.float64) / np.iinfo(values.dtype).max)
    return srgb_to_linear(coded).float().permute(2, 0, 1)[None]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_integer_pictures_are_exact(tmp_path: Path, suffix: str, dtype: type, channels: int) -> None:
    values = integers(channels, dtype)
    frames = read_image(write_oiio(tmp_path / f"a.{suffix}", values))
    assert torch.allclose(frames.rgb, expected_linear(values).expand(1, 3, 9, 11), atol=1e-7)
    assert frames.mask is None
    assert not frames.hdr
    assert frames.name == "a"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_png_alpha_is_straight(tmp_path: Path, dtype: type, channels: int) -> None:
    values = integers(channels, dtype)
    frames = read_image(write_oiio(tmp_path / "a.png", values, oiio__UnassociatedAlpha=1))
    seen = torch.from_numpy(values[..., -1] > 0)  # what nobody sees is black
    assert torch.allclose(frames.rgb, expected_linear(values[..., :-1]).expand(1, 3, 9, 11) * seen, atol=1e-7)
    assert frames.mask is not None
    levels = np.iinfo(dtype).max
    assert torch.allclose(frames.mask[0, 0], torch.from_numpy(values[..., -1] / np.float32(levels)))


def test_premultiplied_tiff_is_made_straight_before_decoding(tmp_path: Path) -> None:
    # Half-transparent mid grey: stored 0.25, meant 0.5, sRGB-encoded.
    values = np.full((4, 4, 4), 16384, np.uint16)
    values[..., 3] = 32768
    frames = read_image(write_oiio(tmp_path / "a.tif", values))
    assert torch.allclose(frames.rgb, srgb_to_linear(torch.full((1, 3, 4, 4), 0.5)), atol=1e-4)


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    picture.save(tmp_path / "a.png", transparency=1)
    frames = read_image(tmp_path / "a.png")
    assert frames.rgb[0, :, 0, 0].tolist() == [1, 0, 0]
    assert frames.mask is not None
    assert frames.mask.flatten().tolist() == [1, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "png16", "tif16"])
def test_exif_rotation(tmp_path: Path, orientation: int, suffix: str) -> None:
    # A bright block in the corner that each orientation brings to the top left.
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255
    undo = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7}[orientation]
    stored = [
        upright,
        upright[:, ::-1],
        upright[::-1, ::-1],
        upright[::-1],
        upright.T,
        np.rot90(upright, 1),
        np.rot90(upright, 2).T,
        np.rot90(upright, -1),
    ][undo]
    if suffix.endswith("16"):
        path = tmp_path / f"a.{suffix[:3]}"
        deep = np.repeat((stored.astype(np.uint16) * 257)[..., None], 3, axis=2)
        write_oiio(path, np.ascontiguousarray(deep), Orientation=orientation)
    else:
        path = tmp_path / f"a.{suffix}"
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).convert("RGB").save(path, exif=exif, quality=95)
    frames = read_image(path)
    assert frames.size == (16, 24)
    assert frames.rgb[0, :, :6, :6].min() > 0.9
    assert frames.rgb[0, :, 10:].max() < 0.1


def test_webp_cmyk_and_one_bit(tmp_path: Path) -> None:
    write_image(tmp_path / "a.webp", torch.full((3, 5, 4), 0.5))
    assert torch.allclose(read_image(tmp_path / "a.webp").rgb, torch.tensor(0.5), atol=3e-3)
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "b.jpg")
    assert read_image(tmp_path / "b.jpg").rgb.min() > 0.99
    Image.new("1", (4, 4), 1).save(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png").rgb.min() == 1


def test_icc_profile_is_converted(tmp_path: Path) -> None:
    lab_white = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "a.png", icc_profile=lab_white.tobytes())
    frames = read_image(tmp_path / "a.png")
    assert "srgb" in frames.metadata["icc_profile"].lower()
    assert torch.allclose(frames.rgb[0, :, 0, 0], srgb_to_linear(torch.tensor([200.0, 100, 50]) / 255))


@pytest.mark.parametrize("suffix", ["tif", "exr", "hdr"])
def test_float_pictures_are_linear(tmp_path: Path, suffix: str) -> None:
    values = (RNG.random((9, 11, 3)) * 30 + 1).astype(np.float32)
    frames = read_image(write_oiio(tmp_path / f"a.{suffix}", values))
    tolerance = 1 / 128 if suffix == "hdr" else 0
    brightest = float(values.max())
    assert frames.hdr
    assert (frames.rgb[0] - torch.from_numpy(values).permute(2, 0, 1)).abs().max() <= tolerance * brightest


def test_float_pictures_are_cleaned(tmp_path: Path) -> None:
    values = np.ones((2, 2, 3), np.float32)
    values[0, 0, 0], values[0, 1, 1], values[1, 0, 2], values[1, 1, 0] = np.nan, np.inf, -3, -np.inf
    rgb = read_image(write_oiio(tmp_path / "a.exr", values)).rgb[0]
    assert rgb[0, 0, 0] == 0
    assert rgb[1, 0, 1] == 65504
    assert rgb[2, 1, 0] == 0
    assert rgb[0, 1, 1] == 0


def test_exr_alpha_is_premultiplied(tmp_path: Path) -> None:
    planes = {name: np.full((4, 4), 0.25, np.float32) for name in "RGB"} | {"A": np.full((4, 4), 0.5, np.float32)}
    planes["A"][0], planes["R"][0] = 0, 2
    OpenEXR.File({}, planes).write(str(tmp_path / "a.exr"))
    frames = read_image(tmp_path / "a.exr")
    assert torch.allclose(frames.rgb[0, :, 1:], torch.tensor(0.5))
    assert torch.all(frames.rgb[0, 0, 0] == 2), "a glow without a surface stays"


def test_exr_windows_keep_everything(tmp_path: Path) -> None:
    plane = np.ones((4, 6), np.float32)
    header = {
        "dataWindow": (np.array([2, 1], np.int32), np.array([7, 4], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([9, 5], np.int32)),
    }
    OpenEXR.File(header, dict.fromkeys("RGB", plane)).write(str(tmp_path / "a.exr"))
    frames = read_image(tmp_path / "a.exr")
    assert frames.size == (6, 10)
    assert torch.equal(frames.rgb[0, 0, 1:5, 2:8], torch.ones(4, 6))
    assert frames.rgb.sum() == 3 * 24


def test_exr_primaries_are_converted(tmp_path: Path) -> None:
    # ACEScg (AP1, D60): its white is our white; its green lies outside Rec.709.
    header = {"chromaticities": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)}
    planes = {name: np.array([[1.0, float(name == "G")]], np.float32) for name in "RGB"}
    OpenEXR.File(header, planes).write(str(tmp_path / "a.exr"))
    rgb = read_image(tmp_path / "a.exr").rgb[0]
    assert torch.allclose(rgb[:, 0, 0], torch.ones(3), atol=1e-3)
    # Published ACEScg to linear sRGB (Bradford), second column.
    assert rgb[1, 0, 1] == pytest.approx(1.1408, abs=2e-3)
    assert rgb[0, 0, 1] == 0


@pytest.mark.parametrize(("suffix", "bits", "error"), [("png", 8, 5e-3), ("png", 16, 2e-5), ("exr", 8, 1e-3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_written_pictures_come_back(tmp_path: Path, suffix: str, bits: int, error: float, channels: int) -> None:
    rgb, alpha = torch.rand(channels, 9, 7), torch.rand(1, 9, 7) * 0.9 + 0.1
    write_image(tmp_path / f"a.{suffix}", rgb, alpha=alpha, bits=bits)
    frames = read_image(tmp_path / f"a.{suffix}")
    assert (frames.rgb[0] - rgb).abs().max() < error
    assert frames.mask is not None
    assert (frames.mask[0] - alpha).abs().max() < error
    write_image(tmp_path / f"b.{suffix}", rgb, bits=bits)
    assert read_image(tmp_path / f"b.{suffix}").mask is None


def test_16_bit_png_is_read_the_same_by_others(tmp_path: Path) -> None:
    values = integers(3, np.uint16)
    write_image(tmp_path / "a.png", torch.from_numpy(values / 65535).permute(2, 0, 1), bits=16, transfer="linear")
    assert np.array_equal(oiio.ImageBuf(str(tmp_path / "a.png")).get_pixels(oiio.UINT16), values)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 20000), (3, 1)])
def test_odd_shapes_are_read(tmp_path: Path, height: int, width: int) -> None:
    Image.new("RGB", (width, height), (255, 255, 255)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (height, width)


def damaged(tmp_path: Path, kind: str) -> Path:
    noise = integers(3, np.uint8).repeat(20, 0).repeat(20, 1)
    path = tmp_path / f"bad.{kind.split()[-1]}"
    if kind == "missing png":
        return path
    if kind.startswith("empty"):
        path.write_bytes(b"")
    elif kind.startswith("text"):
        path.write_text("this is not a picture\n" * 20)
    elif kind == "folder png":
        path.mkdir()
    elif kind.startswith("truncated"):
        source = noise.astype(np.float32) if path.suffix in (".exr", ".hdr") else noise
        source = noise.astype(np.uint16) * 257 if kind == "truncated deep png" else source
        write_oiio(path, source)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    elif kind == "two-channel tif":
        write_oiio(path, integers(2, np.uint16))
    elif kind == "32-bit-integer tif":
        Image.fromarray(integers(1, np.int32)[..., 0]).save(path)
    elif kind == "two-channel exr":
        plane = np.ones((4, 4), np.float32)
        OpenEXR.File({}, {"R": plane, "G": plane}).write(str(path))
    elif kind == "zero-size png":
        write_oiio(path, noise)
        data = bytearray(path.read_bytes())
        data[16:24] = bytes(8)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *("missing png", "folder png", "empty png", "empty exr", "empty hdr", "text png", "text exr", "text hdr"),
        *("text tif", "truncated png", "truncated deep png", "truncated jpg", "truncated exr", "truncated hdr"),
        *("truncated tif", "truncated webp", "two-channel tif", "two-channel exr", "zero-size png"),
        "32-bit-integer tif",
    ],
)
def test_bad_pictures_are_one_line(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = damaged(tmp_path, kind)
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "".join(capfd.readouterr()) == "", "libraries keep quiet"


def test_unwritable_outputs_leave_nothing(tmp_path: Path) -> None:
    rgb = torch.rand(3, 4, 4)
    for path in (tmp_path / "no/such/a.png", tmp_path / "a.xyz", tmp_path / "a.jpg"):
        with pytest.raises(UserError):
            write_image(path, rgb, alpha=torch.ones(1, 4, 4))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file, not a folder"):
        write_image(tmp_path / "file/a.png", rgb)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_threads_may_read_together_and_the_terminal_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [damaged(tmp_path, "truncated tif"), tmp_path / "good.tif"] * 8
    write_oiio(paths[1], integers(3, np.uint8))

    def read(path: Path) -> str:
        try:
            return str(read_image(path).size)
        except UserError:
            return "bad"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, paths)) == ["bad", "(9, 11)"] * 8
    os.write(2, b"heard")
    assert capfd.readouterr() == ("", "heard")


def test_one_frame_of_a_clip_is_a_picture(tmp_path: Path) -> None:
    still = torch.rand(1, 3, 4, 5)
    write_image(tmp_path / "a.png", still, alpha=torch.ones(1, 1, 4, 5))
    write_image(tmp_path / "b.png", still[0], alpha=torch.ones(1, 4, 5))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(UserError, match="2 frames"):
        write_image(tmp_path / "c.png", torch.rand(2, 3, 4, 5))
