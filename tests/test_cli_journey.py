"""The commands on real files with the embedded weights, from picture to picture."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from unrender.cli import main
from unrender.files.gbuffers import read_gbuffer, read_metadata
from unrender.files.images import read_image
from unrender.files.sequences import open_frames
from unrender.files.video import VideoWriter
from unrender.scene.color import luminance

PASSES = ("diffuse", "specular", "background")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real photo, scikit-image's coffee (CC0), small and of odd size."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed (extra: demo)")
    path = tmp_path_factory.mktemp("photo") / "coffee.png"
    Image.fromarray(data.coffee()).resize((101, 67)).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """Three frames of the photo, getting darker."""
    path = tmp_path_factory.mktemp("clip") / "fading.mkv"
    (frame,) = open_frames(photo)
    with VideoWriter(path, 12) as video:
        for share in (1.0, 0.9, 0.8):
            video.write(frame.rgb * share)
    return path


@pytest.fixture(scope="module")
def relit(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """A folder that `relight --turn` has written."""
    out = tmp_path_factory.mktemp("relit") / "out"
    assert run("relight", photo, "-o", out, "--light", "sunset", "--turn", "360", "--frames", "5") == 0
    return out


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def channels(path: Path) -> dict[str, np.ndarray]:
    file = OpenEXR.File(str(path), separate_channels=True)
    return {name: channel.pixels for name, channel in file.channels().items()}


def test_inverse_writes_layers_a_sheet_and_a_record(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("inverse", photo, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["coffee.exr", "coffee.maps.png", "run.json"]
    found = channels(tmp_path / "out" / "coffee.exr")
    assert {"base_color.R", "normal.X", "depth.Z", "roughness.Y", "metallic.Y", "R"} <= found.keys()
    assert found["normal.X"].dtype == found["depth.Z"].dtype == np.float32
    lengths = np.sqrt(sum(found[f"normal.{axis}"] ** 2 for axis in "XYZ"))
    assert np.all((np.abs(lengths - 1) < 1e-4) | (lengths == 0))
    assert found["normal.X"].shape == (67, 101)
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["model"]["id"] == "mini"
    assert told["settings"]["seed"] == 0


def test_inverse_writes_one_file_and_the_maps_that_were_asked_for(photo: Path, tmp_path: Path):
    assert run("inverse", photo, "-o", tmp_path / "b.exr", "--maps", "normal,depth", "--profile", "blender") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.exr", "b.run.json"]
    gbuffer = read_gbuffer(tmp_path / "b.exr")
    assert gbuffer.normal is not None
    assert gbuffer.base_color is None
    assert any("Normal.X" in name for name in channels(tmp_path / "b.exr"))


def test_the_same_command_gives_the_same_maps(photo: Path, tmp_path: Path):
    for name in ("a.exr", "b.exr"):
        assert run("inverse", photo, "-o", tmp_path / name, "--seed", "3") == 0
    first, second = channels(tmp_path / "a.exr"), channels(tmp_path / "b.exr")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_inverse_of_a_clip_writes_numbered_files(clip: Path, tmp_path: Path):
    assert run("inverse", clip, "-o", tmp_path / "out", "--maps", "normal") == 0
    names = [f"fading.{number:04d}.exr" for number in (1, 2, 3)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*names, "fading.maps.png", "run.json"]
    assert run("inverse", clip, "-o", tmp_path / "shot.####.exr", "--maps", "normal") == 0
    assert (tmp_path / "shot.0003.exr").exists()


def test_relight_writes_everything(relit: Path):
    names = {"coffee.gbuffer.exr", "coffee.maps.png", "coffee.relit.exr", "coffee.relit.png", "coffee.turn.mp4"}
    assert {p.name for p in relit.iterdir()} == names | {"run.json"}
    assert read_image(relit / "coffee.relit.png").size == (67, 101)


def test_render_passes_are_layers_that_add_up_to_the_beauty(relit: Path):
    found = channels(relit / "coffee.relit.exr")
    assert found.keys() == set("RGB") | {f"{name}.{letter}" for name in PASSES for letter in "RGB"}
    for letter in "RGB":
        total = found[f"diffuse.{letter}"] + found[f"specular.{letter}"] + found[f"background.{letter}"]
        np.testing.assert_array_equal(total, found[letter])
        assert found[letter].min() >= 0


def test_the_light_turns_once_round(relit: Path):
    video = open_frames(relit / "coffee.turn.mp4")
    frames = [frame.rgb for frame in video]
    assert len(frames) == len(video) == 5
    changes = [float((a - b).abs().mean()) for a, b in pairwise(frames)]
    assert min(changes) > 1e-3
    still = read_image(relit / "coffee.relit.png").rgb
    assert float((frames[0][..., :67, :101] - still).abs().mean()) < 0.03  # 8 bits and 4:2:0, and padded to even sides


def test_the_record_and_the_header_say_how_a_picture_is_shown(relit: Path, photo: Path, tmp_path: Path):
    told = json.loads((relit / "run.json").read_text())
    assert told["settings"]["exposure"] == "auto"
    assert told["exposure"]["mode"] == "auto"
    gain = told["exposure"]["gain"]
    assert told["exposure"]["stops"] == pytest.approx(np.log2(gain))
    assert float(read_metadata(relit / "coffee.relit.exr")["display_gain"]) == pytest.approx(gain, rel=1e-6)
    assert run("relight", photo, "-o", tmp_path / "dim.exr", "--light", "sunset", "--exposure", "-2") == 0
    assert run("relight", photo, "-o", tmp_path / "plain.exr", "--light", "sunset", "--exposure", "0") == 0
    plain, dim = channels(tmp_path / "plain.exr"), channels(tmp_path / "dim.exr")
    np.testing.assert_allclose(dim["diffuse.R"], plain["diffuse.R"] / 4, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(plain["diffuse.R"], channels(relit / "coffee.relit.exr")["diffuse.R"], rtol=1e-4)
    assert json.loads((tmp_path / "dim.run.json").read_text())["exposure"] == {
        "mode": "absolute",
        "gain": 1.0,
        "stops": 0.0,
        "light_stops": -2.0,
    }


def test_a_shown_picture_is_as_bright_as_its_photo(relit: Path, photo: Path):
    shown, taken = (read_image(path).rgb for path in (relit / "coffee.relit.png", photo))
    averages = [float(luminance(rgb).clamp(min=0.01).log().mean()) for rgb in (shown, taken)]
    assert averages[0] == pytest.approx(averages[1], abs=0.05)


def test_directions_are_drawn_as_many_as_wanted_and_by_renderers_that_draw(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    split_sum = ["--forward", "deferred:split_sum"]
    drawn = ["--forward", "deferred:screen_space", "--samples", "4", "--light", "studio"]
    assert run("relight", photo, "-o", tmp_path / "a.exr", *drawn) == 0
    assert json.loads((tmp_path / "a.run.json").read_text())["forward"]["id"] == "deferred:screen_space"
    capsys.readouterr()
    assert run("relight", photo, "-o", tmp_path / "b.exr", *split_sum, "--light", "studio", "--samples", "4") == 2
    assert "expected deferred or deferred:screen_space or deferred:monte_carlo" in capsys.readouterr().err
    assert run("relight", photo, "-o", tmp_path / "b.exr", "--light", "studio", "--exposure", "lots") == 2
    assert "expected auto, or a number of stops" in capsys.readouterr().err


def test_lights_are_listed(capsys: pytest.CaptureFixture[str]):
    assert run("lights", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].split()[:6] == ["even", "1.00", "1.00", "1.00", "3.14", "-"]
    assert max(map(len, lines)) <= 100
    (sunset,) = (line.split() for line in lines if line.startswith("sunset"))
    assert float(sunset[1]) > float(sunset[2]) > float(sunset[3])


def test_relight_of_a_clip_is_a_clip(clip: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert run("relight", clip, "-o", out, "--light", "studio", "--turn", "30", "--frames", "2", "--no-passes") == 0
    video = open_frames(out / "fading.relit.mp4")
    assert (len(video), video.fps) == (2, 12)
    assert channels(out / "fading.relit.0002.exr").keys() == set("RGB")
    assert not list(out.glob("*.gbuffer.*")), "354 MB for 24 frames at 512 x 512 that nobody asked for"
    assert run("relight", clip, "-o", out, "--light", "studio", "--frames", "2", "--gbuffer") == 0
    assert (out / "fading.gbuffer.0001.exr").exists()


def test_forward_renders_what_inverse_wrote(relit: Path, tmp_path: Path):
    gbuffer = relit / "coffee.gbuffer.exr"
    assert run("forward", gbuffer, "-o", tmp_path / "out", "--light", "night", "--exposure", "1") == 0
    brighter = channels(tmp_path / "out" / "coffee.gbuffer.forward.exr")
    assert run("forward", gbuffer, "-o", tmp_path / "plain.exr", "--light", "night") == 0
    plain = channels(tmp_path / "plain.exr")
    np.testing.assert_allclose(brighter["R"], 2 * plain["R"], rtol=1e-4, atol=1e-5)


def test_models_and_doctor_report(capsys: pytest.CaptureFixture[str]):
    assert run("models", "list") == 0
    assert any(line.startswith("mini ") for line in capsys.readouterr().out.splitlines())
    assert run("models", "show", "mini", "--json") == 0
    assert [card["identity"]["licence"] for card in json.loads(capsys.readouterr().out)] == [
        "Apache-2.0"
    ] * 2  # one each way
    assert run("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok  ", "warn")) for line in lines)
    assert {"python", "torch", "device", "mini", "libx264", "free"} <= {line.split()[1] for line in lines}
