"""What is asked of results: the camera that they are seen by, their rate, bits, compression and names."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
import torch
from PIL import Image

from unrender.cli import main
from unrender.cli.inputs import parse_rate
from unrender.errors import UserError
from unrender.files.cameras import NamedCameras, read_cameras, write_transforms
from unrender.files.gbuffers import read_gbuffer, read_metadata, write_gbuffer
from unrender.files.images import read_image, write_image
from unrender.files.openimageio import read_stored
from unrender.files.sequences import open_gbuffers
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer

SIZE = (32, 48)


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def ball(fps: float | None = None) -> GBuffer:
    """A glossy ball, whose reflections tell the camera."""
    rows, columns = torch.meshgrid(torch.linspace(1, -1, 32), torch.linspace(-1.5, 1.5, 48), indexing="ij")
    height = (1 - rows**2 - columns**2).clamp(min=0).sqrt()
    there = (height > 0).float()[None, None]
    normal = torch.stack((columns, rows, height))[None] * there
    one = torch.ones(1, 1, *SIZE)
    maps = {"base_color": one.repeat(1, 3, 1, 1) * 0.5, "roughness": 0.2 * one, "metallic": one}
    return GBuffer(normal=normal, depth=torch.where(there > 0, 3 - height, torch.inf), mask=there, fps=fps, **maps)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "ball.exr"
    write_gbuffer(path, ball())
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    ramp = torch.linspace(0.05, 0.6, 48).expand(3, 32, 48)
    write_image(path, ramp * torch.tensor([1.0, 0.8, 0.6])[:, None, None])
    return path


def turned(degrees: float) -> torch.Tensor:
    """A pose that looks `degrees` to the left."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])[None]


def rendered(out: Path, *options: str | Path) -> torch.Tensor:
    assert run("forward", *options, "-o", out, "--light", "city") == 0
    return read_image(out).rgb


def test_a_field_of_view_and_a_camera_that_has_it_agree(maps: Path, tmp_path: Path):
    write_transforms(tmp_path / "c.json", NamedCameras(("a.png",), Camera.perspective((320, 480), 90.0)))
    wide = rendered(tmp_path / "wide.exr", maps, "--fov", "90")
    torch.testing.assert_close(rendered(tmp_path / "by.exr", maps, "--camera", tmp_path / "c.json"), wide)
    usual = rendered(tmp_path / "usual.exr", maps)
    torch.testing.assert_close(rendered(tmp_path / "50.exr", maps, "--fov", "50"), usual)
    assert (wide - usual).abs().mean() > 0.01


def test_the_pose_of_a_camera_places_the_light(maps: Path, tmp_path: Path):
    write_transforms(tmp_path / "c.json", NamedCameras(("a.png",), Camera.perspective(SIZE, 50.0, turned(90))))
    by_pose = rendered(tmp_path / "pose.exr", maps, "--camera", tmp_path / "c.json")
    by_yaw = rendered(tmp_path / "yaw.exr", maps, "--yaw", "-90")
    torch.testing.assert_close(by_pose, by_yaw, rtol=0.02, atol=0.01)


def test_cameras_of_a_clip_are_one_a_frame(tmp_path: Path):
    for number in (1001, 1002):
        write_gbuffer(tmp_path / f"g.{number}.exr", ball())
    poses = torch.cat((turned(0), turned(40)))
    write_transforms(tmp_path / "c.json", NamedCameras(("a", "b"), Camera.perspective(SIZE, 50.0, poses)))
    camera = read_cameras(tmp_path / "c.json").camera
    frames = list(open_gbuffers(tmp_path / "g.####.exr", camera=camera))
    for frame, pose in zip(frames, poses, strict=True):
        assert frame.camera is not None
        torch.testing.assert_close(frame.camera.pose[0], pose)
    with pytest.raises(UserError, match=r"2 cameras for 1 frames .*expected 1, or as many as frames"):
        open_gbuffers(tmp_path / "g.1001.exr", camera=camera)


def test_an_exr_of_ours_is_a_camera_file(tmp_path: Path):
    camera = Camera.perspective(SIZE, 33.0, turned(10))
    write_gbuffer(tmp_path / "g.exr", GBuffer(depth=torch.ones(1, 1, *SIZE), camera=camera))
    assert read_cameras(tmp_path / "g.exr").camera == camera


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--camera", "c.json", "--fov", "40"), "both given"),
        (("--fov", "0"), "field of view of 0 degrees"),
        (("--fov", "nan"), "field of view of nan"),
        (("--camera", "photo.png"), "holds no cameras"),
        (("--camera", "square.json"), "expected one of the same shape"),
        (("--bits", "16"), "expected an OUT ending in .png"),
        (("--fps", "0"), "expected frames a second"),
        (("--fps", "a/b"), "expected frames a second"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    maps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
):
    monkeypatch.chdir(tmp_path)
    write_image("photo.png", torch.rand(3, 8, 8))
    for name, size in (("c.json", SIZE), ("square.json", (8, 8))):
        write_transforms(name, NamedCameras(("a.png",), Camera.perspective(size)))
    before = set(tmp_path.iterdir())
    assert run("forward", maps, "-o", "out.jpg", "--light", "city", *options) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said in told
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        ("24", Fraction(24)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_rates(text: str, rate: Fraction):
    assert parse_rate(text) == rate


def test_a_rate_is_the_videos_and_the_headers(tmp_path: Path):
    for number in (1, 2, 3):
        write_gbuffer(tmp_path / f"g.{number:04d}.exr", ball())
    assert run("forward", tmp_path / "g.####.exr", "-o", tmp_path / "out", "--light", "city", "--fps", "23.976") == 0
    with av.open(str(tmp_path / "out" / "g.forward.mp4")) as video:
        assert video.streams.video[0].average_rate == Fraction(24000, 1001)
    header = OpenEXR.File(str(tmp_path / "out" / "g.forward.0002.exr"), header_only=True).parts[0].header
    assert header["framesPerSecond"] == Fraction(24000, 1001)
    assert header["compression"] == OpenEXR.DWAA_COMPRESSION  # of a clip
    assert run("forward", tmp_path / "g.####.exr", "-o", tmp_path / "a.mov", "--light", "city", "--fps", "30") == 0
    with av.open(str(tmp_path / "a.mov")) as video:
        assert (video.streams.video[0].average_rate, video.streams.video[0].frames) == (30, 3)


def test_a_gbuffer_says_its_rate_in_the_standard_way(tmp_path: Path):
    write_gbuffer(tmp_path / "g.exr", ball(fps=24000 / 1001))
    header = OpenEXR.File(str(tmp_path / "g.exr"), header_only=True).parts[0].header
    assert header["framesPerSecond"] == Fraction(24000, 1001)
    assert read_gbuffer(tmp_path / "g.exr").fps == pytest.approx(24000 / 1001, rel=1e-9)


def test_relight_writes_sixteen_bits_a_profile_and_how_it_was_lit(photo: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ("--bits", "16", "--profile", "nuke", "--yaw", "30", "--compression", "dwaa", "--exposure", "1")
    assert run("relight", photo, "-o", out, "--light", "sunset", *options) == 0
    stored = read_stored(out / "photo.relit.png", "png").pixels
    assert stored.dtype == np.uint16
    assert (stored % 257 != 0).mean() > 0.9  # no 8-bit codes, made longer
    said = read_metadata(out / "photo.relit.exr")
    assert {name: said[name] for name in ("light", "yaw", "exposure", "display_gain")} == {
        "light": "sunset",
        "yaw": "30",
        "exposure": "1.0",
        "display_gain": "1",
    }
    names = OpenEXR.File(str(out / "photo.gbuffer.exr"), separate_channels=True).channels()
    assert {"base_color.red", "roughness.red"} <= set(names)
    relit = OpenEXR.File(str(out / "photo.relit.exr"), separate_channels=True)
    assert relit.header()["compression"] == OpenEXR.DWAA_COMPRESSION
    pixels = {name: channel.pixels for name, channel in relit.channels().items()}
    assert pixels["R"].dtype == np.float16
    total = sum(pixels[f"{name}.G"].astype(np.float32) for name in ("diffuse", "specular", "background"))
    np.testing.assert_allclose(total, pixels["G"], rtol=0.05, atol=0.02)
    assert json.loads((out / "run.json").read_text())["settings"]["profile"] == "nuke"


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")])
def test_relight_writes_what_the_name_says(photo: Path, tmp_path: Path, name: str, kind: str):
    assert run("relight", photo, "-o", tmp_path / name, "--light", "city") == 0
    with Image.open(tmp_path / name) as picture:
        assert (picture.format, picture.size) == (kind, (48, 32))
    assert {path.name for path in tmp_path.iterdir()} == {name, "a.run.json"}


def test_a_still_is_lossless_by_itself(maps: Path, tmp_path: Path):
    rendered(tmp_path / "a.exr", maps)
    file = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True)
    assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
    assert file.channels()["R"].pixels.dtype == np.float32


@pytest.mark.parametrize(
    ("rate", "fps"), [(23.976, Fraction(24000, 1001)), (25.0, Fraction(25)), (29.97, Fraction(30000, 1001))]
)
def test_a_dpx_hands_its_rate_and_time_code_on(tmp_path: Path, rate: float, fps: Fraction):
    for number in (1001, 1002):
        path = tmp_path / f"shot.{number}.dpx"
        spec = oiio.ImageSpec(48, 32, 3, "uint16")
        for name, value in (
            ("FrameRate", rate),
            ("TemporalFrameRate", rate),
            ("TimeCode", f"01:02:03:{number - 1000:02}"),
        ):
            spec.attribute(f"dpx:{name}", value)
        spec.attribute("PixelAspectRatio", 2.0)
        target = oiio.ImageOutput.create(str(path))
        assert target.open(str(path), spec)
        target.write_image(np.full((32, 48, 3), 20000, np.uint16))
        target.close()
    assert run("relight", tmp_path / "shot.####.dpx", "-o", tmp_path / "out", "--light", "city") == 0
    for number in (1001, 1002):
        header = OpenEXR.File(str(tmp_path / "out" / f"shot.relit.{number}.exr"), header_only=True).parts[0].header
        code = header["timeCode"]
        assert (code.hours, code.minutes, code.seconds, code.frame) == (1, 2, 3, number - 1000)
        assert header["framesPerSecond"] == fps
        assert header["pixelAspectRatio"] == 2.0
    with av.open(str(tmp_path / "out" / "shot.relit.mp4")) as video:
        assert video.streams.video[0].average_rate == fps
