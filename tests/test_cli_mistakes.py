"""The caller's mistakes: one line that names the thing, exit 2, no traceback, no partial output."""

import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from unrender.cli import main
from unrender.diffusion.checkpoints.hub.registry import resolve
from unrender.files.environments import write_environment
from unrender.files.gbuffers import write_gbuffer
from unrender.files.video import VideoWriter
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

Make = Callable[[Path], Path]


def photo(folder: Path, height: int = 48, width: int = 64, name: str = "photo.png") -> Path:
    generator = np.random.default_rng(0)
    path = folder / name
    Image.fromarray(generator.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def missing(folder: Path) -> Path:
    return folder / "missing.png"


def empty(folder: Path) -> Path:
    path = folder / "empty.png"
    path.touch()
    return path


def text_renamed(folder: Path) -> Path:
    path = folder / "text.png"
    path.write_text("This is not a picture.\n" * 10)
    return path


def halved(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def truncated_jpeg(folder: Path) -> Path:
    return halved(photo(folder, name="cut.jpg"))


def truncated_exr(folder: Path) -> Path:
    path = folder / "cut.exr"
    write_environment(path, EnvironmentMap(torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))))
    return halved(path)


def truncated_mp4(folder: Path) -> Path:
    path = folder / "cut.mp4"
    with VideoWriter(path, 24) as video:
        for value in range(12):
            video.write(torch.full((3, 64, 64), value / 12))
    return halved(path)


def zero_size(folder: Path) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = folder / "zero.png"
    header = struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


def one_pixel(folder: Path) -> Path:
    return photo(folder, 1, 1, "pixel.png")


def strip(folder: Path) -> Path:
    return photo(folder, 20, 20_000, "strip.png")


def two_channels(folder: Path) -> Path:
    path = folder / "two.exr"
    plane = np.ones((32, 32), np.float32)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"R": plane, "G": plane}).write(str(path))
    return path


def folder_of_nothing(folder: Path) -> Path:
    path = folder / "nothing"
    path.mkdir()
    return path


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command and returns the one line it says, having checked all that holds for every mistake."""

    def run(*arguments: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert status == 2, said.err
        assert said.out == ""
        assert said.err.startswith("unrender: ")
        assert said.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        return said.err

    return run


@pytest.mark.parametrize(
    "make",
    [missing, empty, text_renamed, truncated_jpeg, truncated_exr, truncated_mp4, zero_size, one_pixel, strip]
    + [two_channels, folder_of_nothing],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("verb", ["inverse", "relight"])
def test_input_that_is_no_picture(verb: str, make: Make, tmp_path: Path, told: Callable[..., str]):
    path = make(tmp_path)
    light = ["--light", "sunset"] if verb == "relight" else []
    assert path.stem in told(verb, path, "-o", tmp_path / "out", *light)


def hdr(folder: Path, value: float, everywhere: bool = False) -> Path:
    path = folder / f"light-{value}.exr"
    radiance = np.full((16, 32, 3), value if everywhere else 1.0, np.float32)
    radiance[3, 4] = value
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": radiance}).write(str(path))
    return path


@pytest.mark.parametrize(
    ("value", "everywhere"), [(np.nan, False), (np.inf, False), (-1.0, False), (0.0, True)], ids=str
)
def test_light_that_is_no_light(value: float, everywhere: bool, tmp_path: Path, told: Callable[..., str]):
    light = hdr(tmp_path, value, everywhere)
    assert light.stem in told("relight", photo(tmp_path), "-o", tmp_path / "out", "--light", light)


def test_light_that_is_not_there(tmp_path: Path, told: Callable[..., str]):
    assert "sunset" in told("relight", photo(tmp_path), "-o", tmp_path / "out", "--light", "sunsett")


def test_output_that_cannot_be_written(tmp_path: Path, told: Callable[..., str]):
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in told("inverse", photo(tmp_path), "-o", tmp_path / "file" / "out")
    assert "that is a file" in told("inverse", photo(tmp_path), "-o", tmp_path / "file")
    assert ".exr, .png" in told("inverse", photo(tmp_path), "-o", tmp_path / "out.gif")


def test_unknown_model(tmp_path: Path, told: Callable[..., str]):
    assert "mini" in told("inverse", photo(tmp_path), "-o", tmp_path / "out", "--model", "minni")
    gbuffer = tmp_path / "gbuffer.exr"
    write_gbuffer(gbuffer, GBuffer(base_color=torch.ones(1, 3, 32, 32), normal=torch.ones(1, 3, 32, 32)))
    assert "defered" in told("forward", gbuffer, "-o", tmp_path / "out", "--light", "sunset", "--model", "defered")


def test_checkpoint_with_a_missing_or_misshaped_tensor(tmp_path: Path, told: Callable[..., str]):
    folder = tmp_path / "broken"
    shutil.copytree(resolve("mini"), folder)
    path = sorted((folder / "unet").glob("*.safetensors"))[0]
    tensors = load_file(path)
    name = sorted(tensors)[0]

    save_file({k: v for k, v in tensors.items() if k != name}, path)
    assert name in told("inverse", photo(tmp_path), "-o", tmp_path / "out", "--model", folder)
    assert name in told("models", "check", folder)

    save_file(tensors | {name: tensors[name].flatten()[:1].clone()}, path)
    assert name in told("inverse", photo(tmp_path), "-o", tmp_path / "out", "--model", folder)

    (folder / "unrender.json").write_text("{}")
    assert "unrender.json" in told("models", "check", folder)


@pytest.mark.parametrize(
    ("typo", "right"),
    [("nromal", "normal"), ("basecolor", "base_color"), ("Depth", "depth"), ("base_color,rough", "roughness")],
)
def test_maps_with_a_typo(typo: str, right: str, tmp_path: Path, told: Callable[..., str]):
    assert f"did you mean {right}?" in told("inverse", photo(tmp_path), "-o", tmp_path / "out", "--maps", typo)


def test_a_word_that_an_option_does_not_know(tmp_path: Path, told: Callable[..., str]):
    line = told("inverse", photo(tmp_path), "-o", tmp_path / "out", "--profile", "maya")
    assert "'--profile': 'maya' is not one of 'unrender', 'blender'" in line


@pytest.mark.parametrize("arguments", [["insert", "photo.png", "--asset", "ball"], ["synth"]])
def test_a_library_of_an_extra_that_is_not_installed(arguments: list[str], tmp_path: Path):
    photo(tmp_path)
    out = ["-o", "out.png"] if arguments[0] == "insert" else ["out", "--clips", "1"]
    program = (
        "import sys; sys.modules |= dict.fromkeys(('mitsuba', 'drjit', 'trimesh', 'scipy'));"
        f"from unrender.cli import main; sys.exit(main({[*arguments, *out]}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    *waiting, line = done.stderr.splitlines()  # a slow machine says how far it is
    assert "pip install 'unrender[raytrace]'" in line
    assert all(" of " in other for other in waiting)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_gbuffer_without_normals(tmp_path: Path, told: Callable[..., str]):
    path = tmp_path / "flat.exr"
    write_gbuffer(path, GBuffer(base_color=torch.rand(1, 3, 32, 32), roughness=torch.rand(1, 1, 32, 32)))
    assert "normal" in told("forward", path, "-o", tmp_path / "out", "--light", "sunset")


def test_a_picture_is_no_gbuffer(tmp_path: Path, told: Callable[..., str]):
    assert "photo" in told("forward", photo(tmp_path), "-o", tmp_path / "out", "--light", "sunset")


@pytest.mark.parametrize(
    ("out", "options", "named"),
    [
        ("out", ["--frames", "4"], "--turn 360"),
        ("out.mp4", [], "--turn 360"),
        ("out.png", ["--turn", "90"], ".mp4"),
    ],
)
def test_settings_that_do_not_fit(out: str, options: list[str], named: str, tmp_path: Path, told: Callable[..., str]):
    assert named in told("relight", photo(tmp_path), "-o", tmp_path / out, "--light", "sunset", *options)


def test_a_clip_does_not_fit_into_a_still(tmp_path: Path, told: Callable[..., str]):
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, 24) as video:
        video.write(torch.rand(3, 3, 64, 64))
    assert "3 frames" in told("inverse", clip, "-o", tmp_path / "out.exr")


def test_device_that_is_not_there(tmp_path: Path, told: Callable[..., str]):
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    assert absent in told("inverse", photo(tmp_path), "-o", tmp_path / "out", "--device", absent)


def test_data_that_is_not_there(tmp_path: Path, told: Callable[..., str]):
    assert "nowhere" in told("train", "e2e", "--data", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert "nowhere" in told("evaluate", "maps", "--model", "mini", "--data", tmp_path / "nowhere")


def test_the_shell_sees_it_too(tmp_path: Path):
    command = [sys.executable, "-m", "unrender", "relight", str(truncated_jpeg(tmp_path)), "-o", str(tmp_path / "out")]
    done = subprocess.run([*command, "--light", "sunset"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("unrender: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_forward_model_has_no_maps_to_hold_steady(tmp_path: Path, told: Callable[..., str]):
    line = told("evaluate", "clips", "--model", "mini", "--task", "forward", "--no-steady", "--data", tmp_path)
    assert "--no-steady is of maps" in line
