"""Real footage into shards: what is done is known by its content, and each machine does its own part."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unrender.cli import main
from unrender.errors import UserError
from unrender.files.environments import write_environment
from unrender.files.shards import read_clips
from unrender.files.video import VideoWriter
from unrender.inverse.renderer import InverseRenderer
from unrender.scale import Part
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.train.data import TARGETS, load_still_dataset
from unrender.train.label_gate import gate
from unrender.train.labelling import LabelRecipe, label_footage

SIDE = 32
RECIPE = LabelRecipe(frames=2, segments=3, resolution=SIDE)


@pytest.fixture(scope="module")
def mini() -> InverseRenderer:
    return InverseRenderer.from_pretrained("mini")


def picture(shift: int = 0) -> torch.Tensor:
    """A lit ball on a table, in colours that no camera would clip; (3, 48, 64) linear."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    dx, dy = (x - 28 - shift) / 14, (y - 24) / 14
    ball = dx.square() + dy.square() < 1
    shade = (0.6 - 0.4 * dx - 0.4 * dy).clamp(0.05, 1)
    table = torch.stack((0.3 + 0.002 * x, 0.25 + 0.002 * y, torch.full_like(x, 0.2)))
    return torch.where(ball, torch.stack((0.7 * shade, 0.3 * shade, 0.2 * shade)), table)


def video(folder: Path, name: str = "shot.mp4", frames: int = 7, cut: bool = False) -> Path:
    path = folder / name
    with VideoWriter(path, 12.0) as writer:
        for index in range(frames):
            shown = picture(index)
            writer.write((1 - shown if cut and index % 2 else shown)[None])
    return path


def test_a_video_becomes_segments_with_maps_lights_and_cameras(tmp_path: Path, mini: InverseRenderer):
    report = label_footage([video(tmp_path)], tmp_path / "labels", mini, RECIPE)
    clips = list(read_clips(tmp_path / "labels"))
    assert len(report.labelled) + len(report.rejected) == 3
    assert len(clips) == len(report.labelled) >= 2
    for clip in clips:
        assert set(clip.gbuffer.maps) == {"rgb", *TARGETS}
        assert clip.gbuffer.size == (SIDE, SIDE)
        assert len(clip.gbuffer) == 2
        assert clip.caption == "shot"
        assert float(clip.light.radiance.amax()) > 0
        assert clip.gbuffer.depth_kind == "relative"
        # The middle 48 pixels of 48 x 64 keep the field of view that is assumed for the height.
        focal = clip.gbuffer.camera.intrinsics[0, 1, 1] / SIDE
        assert float(focal) == pytest.approx(0.5 / np.tan(np.radians(25)), rel=1e-4)


def test_training_reads_the_labels(tmp_path: Path, mini: InverseRenderer):
    label_footage([video(tmp_path)], tmp_path / "labels", mini, RECIPE)
    stills = load_still_dataset(clip.gbuffer.frame(0) for clip in read_clips(tmp_path / "labels"))
    assert bool(stills.known["base_color"].all())


def test_what_is_done_is_known_by_its_content(tmp_path: Path, mini: InverseRenderer):
    out = tmp_path / "labels"
    first = label_footage([video(tmp_path)], out, mini, RECIPE)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    shutil.move(tmp_path / "shot.mp4", tmp_path / "renamed.mp4")
    again = label_footage([tmp_path / "renamed.mp4"], out, mini, RECIPE)
    assert again.labelled == ()
    assert set(first.labelled) <= set(again.before)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    other = label_footage([tmp_path / "renamed.mp4"], out, mini, LabelRecipe(frames=3, segments=3, resolution=SIDE))
    assert not set(other.labelled) & set(first.labelled)
    assert other.before == ()


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, mini: InverseRenderer):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    source = video(tmp_path)
    label_footage([source], whole, mini, RECIPE)
    for number in range(2):  # stopped after the first segment, then by another

        def stop(done: int, total: int, number: int = number) -> None:
            if done > number:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            label_footage([source], parts, mini, RECIPE, stop)
    label_footage([source], parts, mini, RECIPE)
    assert {path.name: path.read_bytes() for path in parts.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_machines_share_the_segments(tmp_path: Path, mini: InverseRenderer):
    sources = [video(tmp_path, "a.mp4", 4), video(tmp_path, "b.mp4", 6)]
    recipes = [LabelRecipe(2, 3, SIDE, part=Part(i, 2)) for i in (1, 2)]
    halves = [label_footage(sources, tmp_path / "labels", mini, recipe) for recipe in recipes]
    names = [{*half.labelled, *(name for name, _ in half.rejected)} for half in halves]
    assert [len(part) for part in names] == [3, 2]
    whole = label_footage(sources, tmp_path / "labels", mini, LabelRecipe(2, 3, SIDE))
    assert len(whole.before) == 5
    assert whole.labelled == ()


def test_a_cut_is_rejected_once_and_remembered(tmp_path: Path, mini: InverseRenderer):
    source, out = video(tmp_path, cut=True, frames=2), tmp_path / "labels"
    report = label_footage([source], out, mini, RECIPE)
    ((name, reason),) = report.rejected
    assert "shot.mp4 from frame 0" in name
    assert "cut" in reason
    (marker,) = out.iterdir()
    assert json.loads(marker.read_text())["video"] == "shot.mp4"
    assert len(label_footage([source], out, mini, RECIPE).before) == 1


def test_a_video_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, mini: InverseRenderer):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video(tmp_path).read_bytes()[:300])
    report = label_footage([broken, tmp_path / "shot.mp4"], tmp_path / "labels", mini, RECIPE)
    assert len(report.labelled) >= 2
    ((failed, reason),) = report.failed
    assert failed == str(broken)
    assert reason


def test_lights_come_from_chrome_balls_where_they_are_given(tmp_path: Path, mini: InverseRenderer):
    lights = tmp_path / "lights"
    lights.mkdir()
    ramp = torch.linspace(0.1, 2, 32).reshape(1, 1, 1, 32).expand(1, 3, 16, 32)
    write_environment(lights / "shot.exr", EnvironmentMap(ramp))
    write_environment(lights / "shot.0005.exr", EnvironmentMap(ramp * 3))
    recipe = LabelRecipe(2, 2, SIDE, lights)
    report = label_footage([video(tmp_path)], tmp_path / "labels", mini, recipe)
    brightest = sorted(float(clip.light.radiance.amax()) for clip in read_clips(tmp_path / "labels"))
    assert brightest == pytest.approx([2, 6], rel=0.01) or len(report.rejected) > 0
    with pytest.raises(UserError, match="no light of shot"):
        label_footage([tmp_path / "shot.mp4"], tmp_path / "other", mini, LabelRecipe(2, 2, SIDE, tmp_path))


def surface(rgb: torch.Tensor) -> GBuffer:
    frames, _, height, width = rgb.shape
    full = torch.ones(frames, 1, height, width)
    normal = torch.zeros(frames, 3, height, width)
    normal[:, 2] = 1
    return GBuffer(rgb=rgb, base_color=rgb.clamp(0, 1), normal=normal, depth=full, mask=full, roughness=full)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.with_maps(mask=torch.zeros_like(g.mask)), "surfaces fill"),
        (lambda g: g.with_maps(rgb=torch.ones_like(g.rgb)), "white"),
        (lambda g: g.with_maps(rgb=torch.zeros_like(g.rgb)), "black"),
        (lambda g: g.with_maps(rgb=torch.cat((g.rgb[:1], 1 - g.rgb[1:]))), "cut"),
        (lambda g: g.with_maps(base_color=1 - g.base_color), "do not explain"),
    ],
    ids=["empty", "white", "black", "cut", "unlike"],
)
def test_the_gate_says_what_is_wrong(change, said: str):
    shown = torch.stack((picture(), picture(1))).clamp(0, 0.9)
    light = EnvironmentMap(torch.full((1, 3, 8, 16), 1.0))
    assert gate(surface(shown), light) == ""
    assert said in gate(change(surface(shown)), light)
    assert "light" in gate(surface(shown), EnvironmentMap(torch.zeros(1, 3, 8, 16)))


def test_the_command_writes_shards_a_record_and_says_how_many(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(2):
        codes = (picture(index).clamp(0, 1) ** (1 / 2.2) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(codes).save(frames / f"{index:03d}.png")
    out = tmp_path / "labels"
    command = ["label", str(frames), "-o", str(out), "--frames", "2", "--resolution", str(SIDE)]
    assert main(command) == 0
    assert "1 segments labelled" in capfd.readouterr().out
    assert json.loads((out / "run.json").read_text())["labelled"]
    assert main([*command, "--shard", "2/2"]) == 0
    assert main([command[0], str(frames), str(tmp_path / "missing.mp4"), *command[2:]]) == 1
    assert "missing.mp4" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.mp4"], "missing.mp4"),
        (["missing.mp4", "--shard", "3/2"], "i from 1 to n"),
        (["missing.mp4", "--shard", "half"], "expected I/N"),
        (["missing.mp4", "--model", "nobody/nothing"], "nobody/nothing"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str):
    assert main(["label", *arguments, "-o", str(tmp_path / "labels")]) == 2
    assert said in capfd.readouterr().err.strip().splitlines()[-1]
