"""Colour spaces by name: camera curves against their makers' numbers, ACEScg there and back, what headers say."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import OpenEXR
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import unrender as ur
from unrender.cli import main
from unrender.conventions import REC709_CHROMATICITIES
from unrender.files.exr import read_channels, write_channels
from unrender.files.images import read_image, write_image
from unrender.files.linear_spaces import STANDARD, space_of_matrix
from unrender.files.ocio import BUILT_IN, output_space
from unrender.files.radiance import rec709_matrix
from unrender.files.sequences import open_frames

AP1 = (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)


@pytest.fixture(autouse=True)
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCIO", raising=False)


def colours(seed: int = 1, most: float = 8.0) -> torch.Tensor:
    return torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(seed)) * most


def header(path: Path) -> dict:
    return OpenEXR.File(str(path), header_only=True).parts[0].header


def logc4(linear: float) -> float:
    """ARRI, "LogC4 Logarithmic Color Space" (2022), section 3."""
    a, b, c = (2**18 - 16) / 117.45, (1023 - 95) / 1023, 95 / 1023
    return (math.log2(a * linear + 64) - 6) / 14 * b + c


def slog3(linear: float) -> float:
    """Sony, "Technical Summary for S-Gamut3.Cine/S-Log3", for reflections above the toe."""
    return (420 + math.log10((linear + 0.01) / 0.19) * 261.5) / 1023


@pytest.mark.parametrize(("name", "curve"), [("ARRI LogC4", logc4), ("S-Log3 S-Gamut3.Cine", slog3)])
@pytest.mark.parametrize("linear", [0.18, 0.9, 6.0])
def test_greys_of_log_cameras_are_what_their_makers_say(tmp_path: Path, name: str, curve, linear: float) -> None:
    codes = np.full((4, 5, 3), round(curve(linear) * 65535), np.uint16)
    ur.files.write_image(tmp_path / "log.png", torch.from_numpy(codes / 65535).permute(2, 0, 1).float(), bits=16,
                         transfer="linear")  # fmt: skip
    frames = read_image(tmp_path / "log.png", name)
    assert frames.hdr
    assert frames.rgb.mean().item() == pytest.approx(linear, rel=2e-3)
    assert frames.rgb.std() < 1e-3 * linear


def test_a_log_clip_is_read_as_its_still(tmp_path: Path) -> None:
    codes = (np.random.default_rng(2).random((16, 16, 3)) * 40000 + 10000).astype(np.uint16)
    with av.open(str(tmp_path / "log.mkv"), "w") as film:
        stream = film.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "gbrp16le"
        for packet in (*stream.encode(av.VideoFrame.from_ndarray(codes, format="rgb48le")), *stream.encode(None)):
            film.mux(packet)
    write_image(tmp_path / "log.png", torch.from_numpy(codes / 65535).permute(2, 0, 1).float(), bits=16,
                transfer="linear")  # fmt: skip
    (frame,) = open_frames(tmp_path / "log.mkv", "V-Log V-Gamut")
    assert torch.allclose(frame.rgb, read_image(tmp_path / "log.png", "V-Log V-Gamut").rgb, rtol=1e-3, atol=1e-4)
    assert frame.rgb.max() > 2
    assert frame.hdr


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_acescg_there_and_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("aces")
    rgb = colours(seed)
    write_image(folder / "a.exr", rgb, colorspace="ACEScg")
    assert torch.allclose(read_image(folder / "a.exr").rgb[0], rgb, rtol=2e-3, atol=4e-3)
    assert header(folder / "a.exr")["chromaticities"] == pytest.approx(AP1)
    assert header(folder / "a.exr")["colorInteropID"] == "lin_ap1_scene"


def test_acescg_is_what_openexr_of_other_makers_is(tmp_path: Path) -> None:
    """Values by the Academy's own matrix of AP1 from Rec.709 (Bradford), to four digits."""
    red = torch.zeros(3, 2, 2)
    red[0] = 1
    write_image(tmp_path / "a.exr", red, colorspace="acescg")
    stored = read_channels(tmp_path / "a.exr").channels
    assert [float(stored[c][0, 0]) for c in "RGB"] == pytest.approx([0.6131, 0.0702, 0.0206], abs=1e-3)


def test_a_gbuffer_in_acescg_has_colours_turned_and_data_not(tmp_path: Path) -> None:
    normal = torch.nn.functional.normalize(torch.randn(1, 3, 6, 7), dim=1)
    gbuffer = ur.GBuffer(base_color=colours(2, 1)[None], normal=normal, irradiance=colours(3)[None])
    ur.write(tmp_path / "g.exr", gbuffer, "ACEScg")
    stored = read_channels(tmp_path / "g.exr")
    assert np.array_equal(stored.channels["normal.X"], normal[0, 0].numpy())
    assert not np.allclose(stored.channels["base_color.R"], gbuffer.base_color[0, 0].numpy(), atol=1e-2)
    assert stored.header["unrender:color_space"] == "ACEScg"
    back = ur.read_gbuffer(tmp_path / "g.exr")
    assert torch.allclose(back.base_color, gbuffer.base_color, atol=2e-3)
    assert torch.allclose(back.irradiance, gbuffer.irradiance, rtol=3e-3, atol=5e-3)


def test_a_gbuffer_that_says_nothing_is_in_the_space_that_the_caller_knows(tmp_path: Path) -> None:
    channels = {f"albedo.{c}": np.full((4, 4), v, np.float32) for c, v in zip("RGB", (0.6, 0.3, 0.2), strict=True)}
    OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(tmp_path / "arnold.exr"))
    read = ur.read_gbuffer(tmp_path / "arnold.exr", colorspace="ACEScg").base_color[0, :, 0, 0]
    expected = rec709_matrix(AP1) @ (0.6, 0.3, 0.2)
    assert np.allclose(read.numpy(), expected, atol=1e-5)
    assert np.allclose(ur.read_gbuffer(tmp_path / "arnold.exr").base_color[0, :, 0, 0], (0.6, 0.3, 0.2))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"colorInteropID": "lin_ap1_scene"}, AP1),
        ({"acesImageContainerFlag": 1}, STANDARD[2].chromaticities),
        ({"colorInteropID": "lin_rec709_scene", "chromaticities": AP1}, REC709_CHROMATICITIES),
        ({"colorInteropID": "srgb_rec709_scene", "chromaticities": AP1}, AP1),
        ({}, REC709_CHROMATICITIES),
    ],
)
def test_what_a_header_says_of_colour(tmp_path: Path, said: dict, expected: tuple[float, ...]) -> None:
    channels = {c: np.ones((2, 2), np.float16) for c in "RGB"}
    OpenEXR.File({"type": OpenEXR.scanlineimage} | said, channels).write(str(tmp_path / "a.exr"))
    assert read_channels(tmp_path / "a.exr").chromaticities == pytest.approx(expected)


def test_every_exr_says_what_its_colours_are(tmp_path: Path) -> None:
    plane = np.ones((2, 2), np.float32)
    for names, said in ((("R", "G", "B"), "lin_rec709_scene"), (("Y",), "lin_rec709_scene"),
                        (("depth.Z", "roughness.Y", "normal.X"), "data")):  # fmt: skip
        write_channels(tmp_path / "a.exr", dict.fromkeys(names, plane), {})
        assert header(tmp_path / "a.exr")["colorInteropID"] == said, names
        assert header(tmp_path / "a.exr")["chromaticities"] == pytest.approx(REC709_CHROMATICITIES)


@pytest.mark.parametrize("name", ["Linear ARRI Wide Gamut 4", "Linear CinemaGamut D55", "lin_rec2020", "ACES2065-1"])
def test_a_cameras_linear_space_is_stated_so_that_readers_undo_it(tmp_path: Path, name: str) -> None:
    rgb = colours(4)
    write_image(tmp_path / "a.exr", rgb, colorspace=name)
    assert torch.allclose(read_image(tmp_path / "a.exr").rgb[0], rgb, rtol=3e-3, atol=6e-3)
    assert torch.allclose(read_image(tmp_path / "a.exr", name).rgb[0], rgb, rtol=3e-3, atol=6e-3)


def test_spaces_are_known_by_what_they_do() -> None:
    for space in STANDARD:
        assert space_of_matrix("?", rec709_matrix(space.chromaticities)) is space
    assert output_space("lin_rec709") is STANDARD[0]
    assert output_space(None) is STANDARD[0]


def refused(capsys: pytest.CaptureFixture, tmp_path: Path, *options: str, out: str = "out") -> str:
    Image.new("RGB", (64, 48), (90, 120, 150)).save(tmp_path / "photo.png")
    assert main(["inverse", str(tmp_path / "photo.png"), "-o", str(tmp_path / out), *options]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--colorspace-in", "ACESgc"), ("'ACESgc'", "did you mean", "'ACEScg'")),
        (("--colorspace-in", "logc4"), ("did you mean", "'ARRI LogC4'")),
        (("--colorspace-in", "sRGB - Display"), ("a display's",)),
        (("--colorspace-in", "Raw"), ("no colour",)),
        (("--colorspace-out", "ARRI LogC4"), ("not linear", "ACEScg")),
        (("--colorspace-out", "zzzz"), ("no colour space 'zzzz'", "it has", BUILT_IN)),
    ],
)
def test_wrong_names_are_refused_in_one_line(capsys, tmp_path: Path, options, words) -> None:
    said = refused(capsys, tmp_path, *options)
    assert all(word in said for word in words), said


def test_a_space_for_exr_wants_an_exr(capsys, tmp_path: Path) -> None:
    assert "--colorspace-out is of EXR" in refused(capsys, tmp_path, "--colorspace-out", "ACEScg", out="maps.png")


def test_the_users_own_configuration_is_asked(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", "ocio://cg-config-v2.2.0_aces-v1.3_ocio-v2.4")
    assert "no colour space 'ARRI LogC4' in ocio://cg-config" in refused(
        capsys, tmp_path, "--colorspace-in", "ARRI LogC4"
    )
    monkeypatch.setenv("OCIO", "nowhere.ocio")
    assert "nowhere.ocio cannot be read" in refused(capsys, tmp_path, "--colorspace-in", "ACEScg")


def test_a_log_plate_through_the_command_line_comes_out_in_acescg(tmp_path: Path) -> None:
    ramp = torch.linspace(logc4(0.02), logc4(4.0), 64).expand(3, 48, 64).contiguous()
    write_image(tmp_path / "plate.png", ramp, bits=16, transfer="linear")
    out = tmp_path / "out.exr"
    command = ["inverse", str(tmp_path / "plate.png"), "-o", str(out)]
    assert main([*command, "--colorspace-in", "ARRI LogC4", "--colorspace-out", "ACEScg"]) == 0
    assert header(out)["colorInteropID"] == "lin_ap1_scene"
    photo = ur.read_gbuffer(out).rgb
    assert photo[0, :, 20, -1].tolist() == pytest.approx([4.0] * 3, rel=1e-2)
    assert BUILT_IN in (tmp_path / "out.run.json").read_text()


def test_the_equation_of_an_insertion_holds_in_its_own_channels() -> None:
    from unrender.output.insertion import _shadow_in

    space = output_space("ACEScg")
    background, shadow = colours(5)[None], colours(6, 1)[None]
    composed = _shadow_in(space, shadow, background) * space.of_rec709(background)
    assert torch.allclose(composed, space.of_rec709(shadow * background), atol=1e-5)
