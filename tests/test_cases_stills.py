"""Stills that people hand in: the shared cases with their right values, and sisters of each kind, made here."""

import json
import logging
import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
import torch
from hypothesis import given, settings, strategies
from PIL import Image, ImageCms
from torch import Tensor

from unrender import cli
from unrender.errors import UserError
from unrender.files.colour_statements import of_matrix_profile, srgb
from unrender.files.environments import read_environment
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image, write_image
from unrender.files.normal_axes import find_axes
from unrender.files.radiance import rec709_matrix
from unrender.files.sequences import open_frames
from unrender.files.transfer import decoding_table
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.holes import fill_holes
from unrender.scene.normals import normal_from_depth

CASES = next((p / "shared/cases" for p in Path(__file__).parents if (p / "shared/cases").is_dir()), None)
P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329)
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.329)


def case(name: str) -> Path:
    """A shared case; where the folder is not beside this checkout, the test says so and is skipped."""
    if CASES is None:
        pytest.skip("the shared cases are not beside this checkout")
    return CASES / name


def codes(frames: Frames) -> Tensor:
    """Pictures as 8-bit sRGB codes, not rounded."""
    return linear_to_srgb(frames.rgb.clamp(0, 1)) * 255


def error(frames: Frames, right: Frames) -> float:
    """The mean error in 8-bit codes."""
    assert frames.size == right.size
    return float((codes(frames) - codes(right)).abs().mean())


def right(name: str) -> Frames:
    return read_image(case(f"right/{name}"))


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels))


def smooth(height: int, width: int) -> np.ndarray:
    """A colour picture that no two orientations share."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack((x / width, y / height, (x + 2 * y) / (width + 2 * height)), -1)


# Kinds by content


@pytest.mark.parametrize(
    ("name", "picture", "most"),
    [
        ("stills-by-ending/tiles.heic", "ball-192x256.png", 2),
        ("stills-by-ending/tiles-turned.heic", "ball-192x256.png", 2),
        ("stills-by-ending/patches.jfif", "patches-64x96.png", 2),
        ("stills-by-ending/photo.jxl", "ball-96x128.png", 2),
        ("stills-by-ending/clip.webp", "ball-96x128.png", 2),
        ("deep-stills/deep-tiles.tif", "ball-64x96.png", 0.5),
        ("deep-stills/float-tiles.tif", "ball-64x96.png", 0.5),
        ("deep-stills/adobe-16.tif", "patches-64x96.png", 2),
        ("deep-stills/p3-16.png", "patches-64x96.png", 2),
    ],
)
def test_shared_stills_are_read_right(name: str, picture: str, most: float) -> None:
    reader = open_frames(case(name))
    assert len(reader) == 1
    assert error(next(iter(reader)), right(picture)) < most


def test_an_animation_says_that_it_is_one(caplog: pytest.LogCaptureFixture) -> None:
    read_image(case("stills-by-ending/clip.webp"))
    assert "3 frames" in caplog.text


@pytest.mark.parametrize("ending", [".png", ".exr", ".hdr", ".tif", ".jpg", ".null", ".mp4", ".eps", ""])
@pytest.mark.parametrize("kind", [".png", ".exr", ".hdr", ".tif", ".jxl", ".jp2", ".bmp", ".tga", ".ppm", ".pfm"])
def test_the_content_chooses_the_reader(tmp_path: Path, kind: str, ending: str) -> None:
    values = (smooth(16, 24) * 0.8 + 0.1).astype(np.float32)
    whole = tmp_path / f"whole{kind}"
    eight_bits = (values * 255).round().astype(np.uint8)
    if kind == ".jp2":
        Image.fromarray(eight_bits).save(whole)
    else:
        write_oiio(whole, values if kind in (".exr", ".hdr", ".pfm") else eight_bits)
    named = tmp_path / f"named{ending}"
    named.write_bytes(whole.read_bytes())
    assert torch.equal(read_image(named).rgb, read_image(whole).rgb)
    assert torch.equal(next(iter(open_frames(named))).rgb, read_image(whole).rgb)


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        b"\xc5\xd0\xd3\xc6" + bytes(40),
        b"%PDF-1.4\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"/* XPM */\nstatic char * a[] = {",
    ],
)
def test_what_is_no_picture_is_opened_by_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="not a picture") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_a_picture_larger_than_its_file_is_refused_unread(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))))
    header = {"dataWindow": box(0, 0, 3, 3), "displayWindow": box(0, 0, 99_999, 99_999)}
    OpenEXR.File(header, {"R": np.ones((4, 4), np.float32)}).write(str(tmp_path / "a.exr"))
    for name in ("a.png", "a.exr"):
        with pytest.raises(UserError):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kind", [".avif", ".gif", ".webp"])
def test_kinds_that_pillow_reads(tmp_path: Path, kind: str) -> None:
    picture = Image.fromarray((smooth(32, 48) * 255).astype(np.uint8))
    picture.save(tmp_path / f"a{kind}", **({"quality": 95} if kind == ".avif" else {}))
    picture.save(tmp_path / "a.png")
    assert error(read_image(tmp_path / f"a{kind}"), read_image(tmp_path / "a.png")) < 4


# Layouts


def write_oiio(path: Path, pixels: np.ndarray, tile: int = 0, **attributes: object) -> Path:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], str(pixels.dtype).replace("16", "16"))
    if pixels.dtype.kind == "f":
        spec.set_format({2: "half", 4: "float", 8: "double"}[pixels.dtype.itemsize])
    if tile:
        spec.tile_width = spec.tile_height = tile
    for name, value in attributes.items():
        if isinstance(value, bytes):
            spec.attribute(name, oiio.TypeDesc(f"uint8[{len(value)}]"), np.frombuffer(value, np.uint8))
        else:
            spec.attribute(name.replace("__", ":"), value)
    target = oiio.ImageOutput.create(str(path))
    assert target, oiio.geterror()
    assert target.open(str(path), spec), target.geterror()
    assert target.write_image(np.ascontiguousarray(pixels)), target.geterror()
    assert target.close()
    return path


@pytest.mark.parametrize("tile", [0, 16, 48])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("compression", ["none", "zip", "lzw"])
def test_tiff_of_every_layout(tmp_path: Path, tile: int, planar: str, dtype: type, compression: str) -> None:
    values = smooth(37, 53)
    is_float = np.dtype(dtype).kind == "f"
    stored = values.astype(dtype) if is_float else (values * np.iinfo(dtype).max).round().astype(dtype)
    path = write_oiio(tmp_path / "a.tif", stored, tile, planarconfig=planar, compression=compression)
    if dtype is np.float64 and tile and planar == "contig":  # which OpenImageIO reads wrongly
        with pytest.raises(UserError, match="64-bit"):
            read_image(path)
        return
    expected = values if is_float else srgb(stored / np.iinfo(dtype).max)
    frames = read_image(path)
    assert frames.hdr == is_float
    assert np.abs(frames.rgb[0].permute(1, 2, 0).numpy() - expected).max() < 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_of_other_colours(tmp_path: Path, dtype: type) -> None:
    most = np.iinfo(dtype).max
    write_oiio(tmp_path / "inks.tif", np.full((8, 9, 4), (0, most // 2, most, 0), dtype), **{"tiff:ColorSpace": "CMYK"})
    white = np.zeros((8, 9, 1), dtype)
    write_oiio(tmp_path / "white.tif", white, **{"tiff:PhotometricInterpretation": 0})
    assert codes(read_image(tmp_path / "inks.tif"))[0, :, 2, 2].tolist() == pytest.approx([255, 128, 0], abs=2)
    Image.new("YCbCr", (8, 8), (81, 104, 212)).save(tmp_path / "video.tif")
    assert codes(read_image(tmp_path / "video.tif"))[0, :, 2, 2].tolist() == pytest.approx([200, 30, 40], abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_tiff_is_turned(tmp_path: Path, orientation: int) -> None:
    upright = (smooth(8, 12) * 65535).astype(np.uint16)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    turned = read_image(write_oiio(tmp_path / "a.tif", stored, Orientation=orientation))
    assert torch.equal(turned.rgb, read_image(write_oiio(tmp_path / "b.tif", upright)).rgb)


# Lights


@pytest.mark.parametrize("name", ["rgbe-magic.hdr", "bottom-up.hdr", "right-to-left.hdr", "layer.exr"])
def test_shared_lights(name: str) -> None:
    light = read_environment(case("lights") / name)
    assert torch.allclose(light.radiance, read_environment(case("right/light.hdr")).radiance, rtol=2e-3, atol=1e-2)
    assert float(light.radiance.amax()) == pytest.approx(40, rel=0.01)
    assert float(light.radiance[0, :, 19, 96].amax()) == pytest.approx(40, rel=0.01)
    assert light.radiance[..., :8, :].mean() > light.radiance[..., -8:, :].mean()  # sky above, ground below


def hdr_bytes(values: np.ndarray, order: str, magic: bytes = b"#?RADIANCE", more: bytes = b"") -> bytes:
    """A Radiance file, not packed, of (H, W, 3) values in the given order of rows and columns."""
    height, width, _ = values.shape
    first, second = order[:2], order[2:]
    stored = values if first[1] == "Y" else values.transpose(1, 0, 2)
    if first in ("+Y", "-X"):
        stored = stored[::-1]
    if second in ("-X", "+Y"):
        stored = stored[:, ::-1]
    exponent = np.ceil(np.log2(stored.max(-1, keepdims=True) + 1e-9))
    rgbe = np.concatenate((stored / 2**exponent * 255, exponent + 128), -1).astype(np.uint8)
    sizes = {"X": width, "Y": height}
    resolution = f"{first} {sizes[first[1]]} {second} {sizes[second[1]]}\n".encode()
    return magic + b"\n" + more + b"FORMAT=32-bit_rle_rgbe\n\n" + resolution + rgbe.tobytes()


@pytest.mark.parametrize("order", ["-Y+X", "+Y+X", "-Y-X", "+Y-X", "+X-Y", "+X+Y", "-X-Y", "-X+Y"])
@pytest.mark.parametrize("magic", [b"#?RADIANCE", b"#?RGBE"])
def test_radiance_of_every_orientation(tmp_path: Path, order: str, magic: bytes) -> None:
    values = smooth(5, 7) * 3 + 0.3
    (tmp_path / "a.hdr").write_bytes(hdr_bytes(values, order, magic))
    read = read_image(tmp_path / "a.hdr").rgb[0].permute(1, 2, 0).numpy()
    assert np.abs(read - values).max() < 0.03


def test_radiance_primaries_and_xyz(tmp_path: Path) -> None:
    values = np.full((4, 5, 3), (0.5, 0.4, 0.3))
    said = " ".join(map(str, P3)).encode()
    (tmp_path / "a.hdr").write_bytes(hdr_bytes(values, "-Y+X", more=b"PRIMARIES= " + said + b"\n"))
    assert np.allclose(read_image(tmp_path / "a.hdr").rgb[0, :, 0, 0], rec709_matrix(P3) @ values[0, 0], atol=0.01)
    white = hdr_bytes(np.ones((4, 5, 3)), "-Y+X").replace(b"rgbe\n", b"xyze\n")
    (tmp_path / "b.hdr").write_bytes(white)
    assert np.allclose(read_image(tmp_path / "b.hdr").rgb[0, :, 0, 0], 1, atol=0.01)


# Colour statements


def profile(primaries: tuple[float, ...], gamma: float | None, space: bytes = b"RGB ") -> bytes:
    """A matrix profile with a power (`curv`), or the parametric curve of sRGB where gamma is None."""
    xyz_d50 = np.linalg.inv(_xyz_d50_to_rec709()) @ rec709_matrix(primaries)
    if gamma is None:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        curve = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(v * 65536) for v in numbers))
    else:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = [(b"desc", b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79))]
    tags += [(b"wtpt", b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061))]
    if space == b"GRAY":
        tags += [(b"kTRC", curve)]
    else:
        for column, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ")):
            numbers = [round(float(v) * 65536) for v in xyz_d50[:, column]]
            tags.append((name, b"XYZ " + bytes(4) + struct.pack(">3i", *numbers)))
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", space, b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz_d50_to_rec709() -> np.ndarray:
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50, d65 = np.array([0.9642, 1, 0.8249]), np.array([0.3127 / 0.329, 1, 0.3583 / 0.329])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d65) / (bradford @ d50)) @ bradford
    to_rgb = np.array(
        [[3.2409699, -1.5373832, -0.4986108], [-0.9692436, 1.8759675, 0.0415551], [0.0556301, -0.2039770, 1.0569715]]
    )
    return to_rgb @ adapt


LINEAR = np.array([0.6, 0.1, 0.2])


def coded(primaries: tuple[float, ...], encode, levels: int) -> np.ndarray:
    """`LINEAR` (Rec.709) in other primaries and another curve, as codes."""
    return np.round(encode(np.linalg.inv(rec709_matrix(primaries)) @ LINEAR) * levels)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jxl"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("primaries", "gamma"), [(P3, None), (ADOBE, 2.19921875), (P3, 1.0)])
def test_profiles_count_at_every_depth(tmp_path, suffix, dtype, primaries, gamma) -> None:
    levels = np.iinfo(dtype).max

    def encode(linear: np.ndarray) -> np.ndarray:
        return linear_to_srgb(torch.tensor(linear)).numpy() if gamma is None else linear ** (1 / gamma)

    stored = np.broadcast_to(coded(primaries, encode, levels), (8, 9, 3)).astype(dtype)
    if suffix == ".jxl" and gamma == 1.0:
        pytest.skip("the encoder here writes sRGB for a linear profile")
    path = write_oiio(tmp_path / f"a{suffix}", stored, ICCProfile=profile(primaries, gamma))
    read = codes(read_image(path))[0, :, 4, 4].double()
    assert (read - linear_to_srgb(torch.tensor(LINEAR)) * 255).abs().max() < (2 if gamma == 1.0 else 1)


def test_grey_profile(tmp_path: Path) -> None:
    stored = np.full((4, 5, 1), 32768, np.uint16)
    path = write_oiio(tmp_path / "a.tif", stored, ICCProfile=profile(P3, 1.8, b"GRAY"))
    assert read_image(path).rgb[0, :, 0, 0].tolist() == pytest.approx([0.5**1.8] * 3, rel=1e-3)


def test_matrix_profiles_agree_with_little_cms() -> None:
    for made in (profile(P3, None), profile(ADOBE, 2.2)):
        values = (noise(8, 8, seed=3) * 0.4 + 0.3) * 255
        picture = Image.fromarray(values.astype(np.uint8))
        source = ImageCms.ImageCmsProfile(__import__("io").BytesIO(made))
        theirs = np.asarray(ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB")), np.float32)
        statement = of_matrix_profile(made)
        assert statement is not None
        ours = linear_to_srgb(torch.from_numpy(statement.planes(np.asarray(picture))).clamp(0, 1)) * 255
        assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() < 1.6


def png_with(path: Path, stored: np.ndarray, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of 8 or 16 bits with chunks of its own before the pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, count = stored.shape
    head = struct.pack(">IIBBBBB", width, height, 8 * stored.dtype.itemsize, {1: 0, 3: 2}[count], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(stored.dtype.newbyteorder(">")).tobytes() for row in stored)
    body = b"".join(chunk(name, data) for name, data in chunks)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("said", ["gAMA", "cHRM", "cICP", "sRGB"])
def test_png_says_its_colour_in_chunks(tmp_path: Path, dtype: type, said: str) -> None:
    levels = np.iinfo(dtype).max
    p3 = (b"cHRM", struct.pack(">8I", *(round(v * 1e5) for v in (*P3[6:], *P3[:6]))))
    chunks, primaries, gamma = {
        "gAMA": ([(b"gAMA", struct.pack(">I", 100000))], None, 1.0),
        "cHRM": ([(b"gAMA", struct.pack(">I", 45455)), p3], P3, None),
        "cICP": ([(b"cICP", bytes((12, 13, 0, 1)))], P3, None),
        "sRGB": ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))], None, None),
    }[said]

    def encode(linear: np.ndarray) -> np.ndarray:
        return linear_to_srgb(torch.tensor(linear)).numpy() if gamma is None else linear ** (1 / gamma)

    srgb_primaries = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
    stored = np.broadcast_to(coded(primaries or srgb_primaries, encode, levels), (6, 7, 3)).astype(dtype)
    frames = read_image(png_with(tmp_path / "a.png", stored, *chunks))
    assert (codes(frames)[0, :, 3, 3].double() - linear_to_srgb(torch.tensor(LINEAR)) * 255).abs().max() < 2


def test_png_in_pq_is_scene_light(tmp_path: Path) -> None:
    stored = np.full((4, 5, 3), 40000, np.uint16)
    frames = read_image(png_with(tmp_path / "a.png", stored, (b"cICP", bytes((9, 16, 0, 1)))))
    assert frames.hdr
    assert frames.rgb[0, :, 0, 0].tolist() == pytest.approx([float(decoding_table(16)[40000])] * 3, rel=1e-3)


def test_camera_jpeg_in_adobe_rgb(tmp_path: Path) -> None:
    stored = np.broadcast_to(coded(ADOBE, lambda v: v ** (256 / 563), 255), (16, 16, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.fromarray(stored).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif)
    assert (
        codes(read_image(tmp_path / "a.jpg"))[0, :, 4, 4] - linear_to_srgb(torch.tensor(LINEAR)) * 255
    ).abs().max() < 2


# Cut-outs


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def assert_same_inside(first: Path, second: Path) -> None:
    one, other = read_gbuffer(first), read_gbuffer(second)
    assert one.mask is not None
    inside = one.mask > 0
    assert one.maps.keys() == other.maps.keys()
    for name, value in one.maps.items():
        assert torch.equal((value * inside).nan_to_num(), (other.maps[name] * inside).nan_to_num()), name


def test_hidden_colour_has_no_influence(tmp_path: Path) -> None:
    for name in ("black", "white", "noise"):
        assert run("inverse", case(f"cut-outs/cutout-{name}.png"), "-o", tmp_path) == 0
    for name in ("white", "noise"):
        assert_same_inside(tmp_path / "cutout-black.exr", tmp_path / f"cutout-{name}.exr")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_hidden_colour_of_other_cut_outs(tmp_path: Path, suffix: str) -> None:
    y, x = np.mgrid[0:48, 0:64]
    alpha = np.clip((18 - np.hypot(y - 24, x - 30)) / 6, 0, 1)[..., None]  # a soft edge
    for index in range(2):
        colour = np.where(alpha > 0, smooth(48, 64), noise(48, 64, seed=index) if index else 0.0)
        stored = (np.concatenate((colour, alpha), -1) * 255).round().astype(np.uint8)
        path = tmp_path / f"cut{index}{suffix}"
        if suffix == ".webp":
            Image.fromarray(stored).save(path, lossless=True, exact=True)
        else:
            write_oiio(path, stored, oiio__UnassociatedAlpha=1)
        assert run("relight", path, "-o", tmp_path, "--light", "sunset", "--background", "none") == 0
    assert_same_inside(tmp_path / "cut0.gbuffer.exr", tmp_path / "cut1.gbuffer.exr")
    first, second = (read_image(tmp_path / f"cut{index}.relit.exr") for index in range(2))
    assert torch.equal(first.rgb, second.rgb)


@pytest.mark.parametrize("background", ["none", "photo", "light"])
def test_alpha_comes_back(tmp_path: Path, background: str) -> None:
    source = case("cut-outs/cutout-black.png")
    assert run("relight", source, "-o", tmp_path, "--light", "sunset", "--background", background) == 0
    mask = read_image(source).mask
    for suffix in (".png", ".exr"):
        frames = read_image(tmp_path / f"cutout-black.relit{suffix}")
        if background == "light":
            assert frames.mask is None
        else:
            assert frames.mask is not None
            assert mask is not None
            assert torch.allclose(frames.mask, mask, atol=1e-2)
    file = OpenEXR.File(str(tmp_path / "cutout-black.relit.exr"), separate_channels=True)
    layers = {name: channel.pixels for name, channel in file.channels().items()}
    for c in "RGB":
        total = layers[f"diffuse.{c}"] + layers[f"specular.{c}"] + layers[f"background.{c}"]
        assert np.allclose(total, layers[c], atol=1e-5)


def test_holes_are_filled_from_around() -> None:
    colour = torch.rand(1, 3, 21, 30)
    weight = torch.zeros(1, 1, 21, 30)
    weight[..., 5:12, 3:20] = 1
    filled = fill_holes(colour, weight)
    assert torch.equal(filled[..., 5:12, 3:20], colour[..., 5:12, 3:20])
    assert torch.equal(filled, fill_holes(torch.where(weight > 0, colour, torch.full_like(colour, 9e9)), weight))
    assert float(filled.min()) >= float(colour.min())
    assert torch.allclose(fill_holes(torch.full_like(colour, 0.3), weight), torch.full_like(colour, 0.3), atol=1e-4)


# EXR: parts, layers, views


@pytest.mark.parametrize("name", ["parts-with-view", "parts-data-first", "albedo-first", "view-layer-bg"])
def test_shared_parts(name: str) -> None:
    path = case(f"exr-layers/{name}.exr")
    gbuffer = read_gbuffer(path)
    assert gbuffer.rgb is not None
    assert gbuffer.base_color is not None
    assert float(gbuffer.rgb.mean()) == pytest.approx(0.199, abs=2e-3)
    assert float(read_image(path).rgb.mean()) == pytest.approx(0.199, abs=2e-3)
    assert float(gbuffer.base_color.mean()) == pytest.approx(0.4, abs=1e-3)
    if name.startswith("parts"):
        assert {"rgb", "depth", "normal", "base_color"} <= set(gbuffer.maps)


def test_shared_overscan_of_one_part() -> None:
    gbuffer = read_gbuffer(case("exr-layers/beauty-overscan.exr"))
    assert gbuffer.size == (56, 72)
    assert gbuffer.normal is not None
    assert not gbuffer.normal[..., :4, :].any()
    assert not gbuffer.normal[..., :, :4].any()
    part = OpenEXR.File(str(case("exr-layers/beauty-overscan.exr")), separate_channels=True).parts[1]
    assert torch.equal(gbuffer.normal[0, 2, 4:52, 4:68], torch.from_numpy(part.channels["normal.Z"].pixels.copy()))


def test_diffuse_colour_renders_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("forward", case("exr-layers/view-layer-bg.exr"), "-o", tmp_path, "--light", "sunset") == 0
    assert "diffuse colour" in capsys.readouterr().err
    assert any("diffuse colour" in said for said in json.loads((tmp_path / "run.json").read_text())["notes"])


def box(left: int, top: int, right: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
    return np.array([left, top], np.int32), np.array([right, bottom], np.int32)


def part(name: str, value: float, channels: str = "RGB", size: tuple[int, int] = (6, 8), **header: object):
    planes = {c: np.full(size, value, np.float32) for c in (channels.split(",") if "," in channels else channels)}
    return OpenEXR.Part({"name": name} | header, planes, name)


@pytest.mark.parametrize("picture", ["rgba", "beauty", "combined", "RGB", "Beauty"])
@pytest.mark.parametrize("first", [True, False])
def test_the_picture_is_the_part_that_is_called_so(tmp_path: Path, picture: str, first: bool) -> None:
    parts = [part(picture, 0.25, "RGBAZ"), part("albedo", 0.5), part("specular_direct", 0.75), part("N", 1.0, "XYZ")]
    OpenEXR.File(parts if first else parts[::-1]).write(str(tmp_path / "a.exr"))
    gbuffer = read_gbuffer(tmp_path / "a.exr", "camera")
    assert gbuffer.base_color is not None
    assert float(gbuffer.base_color.mean()) == 0.5
    assert float(read_image(tmp_path / "a.exr").rgb.mean()) == pytest.approx(1.0)  # 0.25 under an alpha of 0.25
    assert {"rgb", "normal", "base_color", "depth"} <= set(gbuffer.maps)


@pytest.mark.parametrize("name", ["rgba.{view}", "{view}.rgba", "rgba_{view}", "rgba"])
def test_of_several_views_one_is_read(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = []
    for value, view in ((0.25, "left"), (0.75, "right")):
        called = name.format(view=view)
        parts.append(part(called if "{" in name else f"{called}{len(parts)}", value, view=view))
        parts.append(part(f"albedo.{view}", value / 2, view=view))
    OpenEXR.File(parts).write(str(tmp_path / "a.exr"))
    if "{" in name:
        gbuffer = read_gbuffer(tmp_path / "a.exr")
        assert gbuffer.rgb is not None
        assert gbuffer.base_color is not None
        assert float(gbuffer.rgb.mean()) == 0.25
        assert float(gbuffer.base_color.mean()) == 0.125
    else:
        read_gbuffer(tmp_path / "a.exr")
    assert "views left, right" in caplog.text


def test_views_of_one_part(tmp_path: Path) -> None:
    planes = {c: np.full((4, 5), 0.25, np.float32) for c in "RGB"}
    planes |= {f"right.{c}": np.full((4, 5), 0.75, np.float32) for c in "RGB"}
    planes |= {f"albedo.right.{c}": np.full((4, 5), 0.9, np.float32) for c in "RGB"}
    planes |= {f"albedo.left.{c}": np.full((4, 5), 0.1, np.float32) for c in "RGB"}
    OpenEXR.File({"multiView": ["left", "right"]}, planes).write(str(tmp_path / "a.exr"))
    gbuffer = read_gbuffer(tmp_path / "a.exr")
    assert gbuffer.rgb is not None
    assert gbuffer.base_color is not None
    assert float(gbuffer.rgb.mean()) == 0.25
    assert float(gbuffer.base_color.mean()) == pytest.approx(0.1)


@pytest.mark.parametrize("layer", ["Layer", "RenderLayer.pass_7", "albedo", "my layer"])
def test_one_colour_layer_is_the_picture(tmp_path: Path, layer: str, caplog: pytest.LogCaptureFixture) -> None:
    planes = {f"{layer}.{c}": np.full((4, 8), 0.5, np.float32) for c in "RGBA"}
    OpenEXR.File({}, planes).write(str(tmp_path / "a.exr"))
    assert float(read_image(tmp_path / "a.exr").rgb.mean()) == pytest.approx(1.0)
    assert layer in caplog.text
    planes |= {f"other.{c}": np.full((4, 8), 0.5, np.float32) for c in "RGB"}
    OpenEXR.File({}, planes).write(str(tmp_path / "b.exr"))
    with pytest.raises(UserError, match="no picture"):
        read_image(tmp_path / "b.exr")


# EXR: axes


def test_shared_walls_are_one_wall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for name in ("arnold-wall", "arnold-wall-camera-axes"):
        assert run("forward", case(f"exr-layers/{name}.exr"), "-o", tmp_path, "--light", "sunset") == 0
        assert f"in {'camera' if 'camera' in name else 'world'} axes" in capsys.readouterr().err
        shown.append(read_image(tmp_path / f"{name}.forward.exr").rgb.mean((0, 2, 3)).tolist())
    assert shown[0] == pytest.approx(shown[1], abs=2e-3)
    assert (
        run("forward", case("exr-layers/arnold-wall.exr"), "-o", tmp_path, "--light", "sunset", "--normals", "camera")
        == 0
    )
    wrong = read_image(tmp_path / "arnold-wall.forward.exr").rgb.mean((0, 2, 3)).tolist()
    assert wrong != pytest.approx(shown[0], abs=0.05)


def room(field: float, size: tuple[int, int] = (72, 96)) -> tuple[Tensor, Tensor]:
    """Depth and normals in camera axes of a ball before the corner of a room."""
    camera = Camera.perspective(size, field)
    rays = pixel_rays(camera)[0].double()
    depth = torch.full(size, torch.inf, dtype=torch.float64)
    normal = torch.zeros(3, *size, dtype=torch.float64)
    for plane, distance in (((0.0, 1.0, 0.1), 1.2), ((0.9, 0.0, 0.4), 2.5), ((-0.6, 0.0, 0.8), 4.0)):
        n = torch.tensor(plane, dtype=torch.float64) / torch.tensor(plane, dtype=torch.float64).norm()
        t = -distance / torch.einsum("i,ihw->hw", n, rays)
        nearer = (t > 0) & (t < depth)
        depth, normal = torch.where(nearer, t, depth), torch.where(nearer, n[:, None, None], normal)
    centre = torch.tensor([0.1, -0.2, -2.5], dtype=torch.float64)
    a, b = rays.square().sum(0), torch.einsum("i,ihw->hw", centre, rays)
    inside = b**2 - a * (centre.square().sum() - 0.5)
    t = (b - inside.clamp(min=0).sqrt()) / a
    hit = (inside > 0) & (t < depth)
    ball = torch.nn.functional.normalize(rays * t - centre[:, None, None], dim=0)
    return torch.where(hit, t, depth)[None, None].float(), torch.where(hit, ball, normal)[None].float()


def rotation(seed: int) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q).sign()


@pytest.mark.parametrize("field", [25.0, 39.6, 70.0])
@pytest.mark.parametrize("seed", range(4))
def test_world_normals_are_turned_by_their_depth(field: float, seed: int) -> None:
    depth, normal = room(field)
    depth[..., :8, :8] = torch.inf
    assert find_axes(normal, depth).axes == "camera"
    turned = torch.einsum("ij,tjhw->tihw", rotation(seed), normal)
    finding = find_axes(turned, depth)
    assert finding.axes == "world"
    back = torch.einsum("ij,tjhw->tihw", finding.turn, turned)
    angle = (back * normal).sum(1).clamp(-1, 1).acos().rad2deg().median()
    assert float(angle) < 8
    assert find_axes(turned, depth, "camera").axes == "camera"
    assert find_axes(turned, None, "world").axes == "unknown"


def test_axes_without_depth() -> None:
    _, normal = room(45)
    assert find_axes(normal, None).axes == "camera"
    assert find_axes(-normal, None).axes == "unknown"


def test_a_blender_render_in_world_axes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    depth, normal = room(39.6)
    z_up = torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # a camera that looks along +Y in Blender's world
    for name, stored in (("camera", normal), ("world", torch.einsum("ij,tjhw->tihw", z_up, normal))):
        planes = {f"ViewLayer.Normal.{c}": stored[0, i].numpy() for i, c in enumerate("XYZ")}
        planes |= {f"ViewLayer.DiffCol.{c}": np.full(depth.shape[2:], 0.5, np.float32) for c in "RGB"}
        planes |= {"ViewLayer.Depth.Z": depth[0, 0].numpy()}
        OpenEXR.File({}, planes).write(str(tmp_path / f"{name}.exr"))
        assert run("forward", tmp_path / f"{name}.exr", "-o", tmp_path / f"{name}.png", "--light", "sunset") == 0
        assert f"in {name} axes" in capsys.readouterr().err
    assert error(read_image(tmp_path / "camera.png"), read_image(tmp_path / "world.png")) < 8
    told = ("--light", "sunset", "--normals", "camera")
    assert run("forward", tmp_path / "world.exr", "-o", tmp_path / "told.png", *told) == 0
    assert error(read_image(tmp_path / "camera.png"), read_image(tmp_path / "told.png")) > 8


def test_normals_that_nothing_explains_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, normal = room(45)
    planes = {f"N.{c}": -normal[0, i].numpy() for i, c in enumerate("XYZ")}
    planes |= {f"albedo.{c}": np.full(normal.shape[2:], 0.5, np.float32) for c in "RGB"}
    OpenEXR.File({}, planes).write(str(tmp_path / "a.exr"))
    assert run("forward", tmp_path / "a.exr", "-o", tmp_path / "a.png", "--light", "sunset") == 2
    assert "--normals" in capsys.readouterr().err


def test_our_own_files_are_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    depth, normal = room(45)
    from unrender.files.gbuffers import write_gbuffer
    from unrender.scene.gbuffer import GBuffer

    write_gbuffer(tmp_path / "a.exr", GBuffer(normal=-normal, depth=depth))
    assert torch.equal(read_gbuffer(tmp_path / "a.exr").maps["normal"], -normal)
    assert not caplog.records


def test_depth_normals_of_the_room_are_its_own() -> None:
    depth, normal = room(45)
    angle = (normal_from_depth(depth, Camera.perspective((72, 96), 45)) * normal).sum(1).clamp(-1, 1).acos()
    assert float(angle.rad2deg().median()) < 2


# EXR: plates


def windows(path: Path) -> dict[str, object]:
    header = OpenEXR.File(str(path), header_only=True).parts[0].header
    said = {name: tuple(int(v) for corner in header[name] for v in corner) for name in ("displayWindow", "dataWindow")}
    if "framesPerSecond" in header:
        said["fps"] = header["framesPerSecond"]
    if "timeCode" in header:
        said["time"] = tuple(getattr(header["timeCode"], name) for name in ("hours", "minutes", "seconds", "frame"))
    return said | {"aspect": float(header["pixelAspectRatio"])}


def test_shared_overscan_comes_back(tmp_path: Path) -> None:
    source = case("exr-windows/overscan.exr")
    assert run("inverse", source, "-o", tmp_path) == 0
    assert run("relight", source, "-o", tmp_path, "--light", "sunset", "--gbuffer") == 0
    assert run("forward", tmp_path / "overscan.exr", "-o", tmp_path, "--light", "sunset") == 0
    for name in ("overscan", "overscan.relit", "overscan.gbuffer", "overscan.forward"):
        assert windows(tmp_path / f"{name}.exr") == windows(source), name


def test_shared_plates_keep_numbers_and_aspect(tmp_path: Path) -> None:
    source = case("exr-windows/plate.####.exr")
    assert run("inverse", source, "-o", tmp_path) == 0
    assert run("relight", source, "-o", tmp_path, "--light", "sunset", "--gbuffer") == 0
    assert run("forward", tmp_path / "plate.####.exr", "-o", tmp_path, "--light", "sunset") == 0
    for number in (1001, 1002):
        for name in ("plate", "plate.relit", "plate.gbuffer", "plate.forward"):
            assert windows(tmp_path / f"{name}.{number}.exr")["aspect"] == 2
    assert not list(tmp_path.glob("*0001*"))


@pytest.mark.parametrize("data", [(4, 6, 35, 29), (-5, 2, 50, 40), (10, 10, 57, 41)])
def test_a_plate_with_all_of_it(tmp_path: Path, data: tuple[int, int, int, int]) -> None:
    size = (data[3] - data[1] + 1, data[2] - data[0] + 1)
    for number in (1001, 1002, 1003):
        header = {
            "displayWindow": box(0, 0, 47, 31),
            "dataWindow": box(*data),
            "pixelAspectRatio": 1.5,
            "framesPerSecond": Fraction(24000, 1001),
            "timeCode": OpenEXR.TimeCode(1, 2, 3, number - 1000, *[0] * 6, *range(1, 9)),
        }
        values = smooth(*size).astype(np.float16) + np.float16(0.1)
        OpenEXR.File(header, {c: values[..., i].copy() for i, c in enumerate("RGB")}).write(
            str(tmp_path / f"shot.{number}.exr")
        )
    out = tmp_path / "out"
    assert run("inverse", tmp_path / "shot.####.exr", "-o", out) == 0
    assert run("relight", tmp_path / "shot.####.exr", "-o", out, "--light", "sunset", "--turn", "30", "--gbuffer") == 0
    assert run("forward", out / "shot.####.exr", "-o", out, "--light", "sunset") == 0
    for number in (1001, 1002, 1003):
        source = windows(tmp_path / f"shot.{number}.exr")
        assert source["fps"] == Fraction(24000, 1001)
        for name in ("shot", "shot.relit", "shot.gbuffer", "shot.forward"):
            assert windows(out / f"{name}.{number}.exr") == source, name
    assert open_frames(out / "shot.relit.mp4").fps == pytest.approx(24000 / 1001, rel=1e-4)


def test_pictures_written_again_keep_their_plate(tmp_path: Path) -> None:
    frames = read_image(case("exr-windows/overscan.exr"))
    write_image(tmp_path / "a.exr", frames.rgb, plate=frames.plate)
    assert windows(tmp_path / "a.exr") == windows(case("exr-windows/overscan.exr"))


# Damaged files


def damaged(kind: str, tmp_path: Path) -> bytes:
    values = smooth(12, 16)
    codes = (values * 255).astype(np.uint8)
    path = tmp_path / f"whole.{kind}"
    if kind in ("jpg", "webp", "gif", "bmp", "avif", "jp2"):
        Image.fromarray(codes).save(path)
    elif kind == "hdr":
        path.write_bytes(hdr_bytes(values, "-Y+X"))
    elif kind in ("exr", "pfm"):
        write_oiio(path, values.astype(np.float32))
    else:
        deep = codes if kind in ("ppm", "tga", "jxl") else (values * 65535).astype(np.uint16)
        write_oiio(path, deep, ICCProfile=profile(P3, None)) if kind in ("png", "tif") else write_oiio(path, deep)
    return path.read_bytes()


KINDS = ("png", "tif", "exr", "hdr", "jxl", "dpx", "ppm", "pfm", "tga", "jpg", "webp", "gif", "bmp", "avif", "jp2")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_one_line_or_a_finite_picture(tmp_path: Path, kind: str) -> None:
    whole = damaged(kind, tmp_path)

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(strategies.data())
    def reads(data: strategies.DataObject) -> None:
        broken = bytearray(whole)
        for _ in range(data.draw(strategies.integers(1, 3))):
            at = data.draw(strategies.integers(0, len(broken) - 1))
            put = data.draw(strategies.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x01"]))
            broken[at : at + len(put)] = put
        broken = broken[: data.draw(strategies.sampled_from([len(broken), len(broken) // 2, 40]))]
        (tmp_path / "broken").write_bytes(broken)
        try:
            frames, said = read_image(tmp_path / "broken"), "broken"
        except UserError as mistake:
            frames, said = None, str(mistake)
        assert "broken" in said
        assert len(said.splitlines()) == 1
        if frames is not None:
            assert bool(frames.rgb.isfinite().all())
            assert float(frames.rgb.min()) >= 0

    reads()


@pytest.mark.parametrize(
    "header",
    [
        {"unrender:camera": text}
        for text in ("[]", "null", '{"size": [4, 5]}', '{"size": [1e400, 5], "intrinsics": [], "pose": []}', "[" * 9999)
    ]
    + [{"unrender:fps": "fast"}, {"unrender:fps": "nan"}, {"unrender:fps": "-24"}, {"unrender:depth_kind": "deep"}],
)
def test_damaged_attributes_are_one_line(tmp_path: Path, header: dict[str, str]) -> None:
    planes = {f"base_color.{c}": np.full((4, 5), 0.5, np.float32) for c in "RGB"}
    OpenEXR.File(header, planes).write(str(tmp_path / "a.exr"))
    with pytest.raises(UserError, match=r"a\.exr"):
        read_gbuffer(tmp_path / "a.exr")


def test_pipes_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for read in (read_image, read_gbuffer, open_frames):
        with pytest.raises(UserError, match="expected a regular file"):
            read(tmp_path / "a.png")


def test_notes_are_for_people_by_default() -> None:
    assert logging.getLogger("unrender.files").handlers == []
