"""Folders of shards: the same bytes however many workers, however often killed; mistakes in one line."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import torch
from PIL import Image

from unrender.errors import UserError

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.files.shards import Clip, read_clips, write_shard
from unrender.raytrace import backend
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.synth import SynthRecipe, generate, preview

RECIPE = SynthRecipe(clips=7, resolution=32, seed=11, samples=4, shard_size=2)
COMMAND = f"from unrender.synth import *; import sys; generate({RECIPE!r}, sys.argv[1], workers=1)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing interrupted, made by two workers."""
    try:
        backend.use()
    except UserError as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("synth") / "whole"
    told = []
    generate(RECIPE, folder, workers=2, progress=lambda done, clips: told.append((done, clips)))
    assert told[-1] == (7, 7)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "it ended before it wrote the shard"
        assert time.monotonic() < deadline, f"no {path.name} in two minutes"
        time.sleep(0.005)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX's")
def test_killed_twice_and_started_again_it_ends_with_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "killed"
    process = start(folder)
    wait_for(folder / "shard-000000.tar", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    process = start(folder)
    wait_for(folder / "shard-000001.tar", process)
    process.kill()
    # Its workers hold the other end of this pipe: it closes when the last of them is gone.
    process.communicate(timeout=20)

    assert not (folder / "index.json").exists()
    assert not (folder / "shard-000003.tar").exists()
    generate(RECIPE, folder, workers=1)
    assert contents(folder) == contents(whole)


def test_a_finished_folder_is_left_as_it_is(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.glob("*.tar")}
    told = []
    generate(RECIPE, whole, workers=1, progress=lambda done, clips: told.append((done, clips)))
    assert told == [(7, 7)]
    assert {path: path.stat().st_mtime_ns for path in whole.glob("*.tar")} == before


def test_the_folder_says_what_is_in_it(whole):
    index = json.loads((whole / "index.json").read_text())
    assert index["recipe"] == json.loads((whole / "recipe.json").read_text())
    assert index["recipe"]["seed"] == 11
    assert index["shards"] == {f"shard-{i:06d}.tar": 2 if i < 3 else 1 for i in range(4)}


def test_clips_come_back_in_order_with_their_truth(whole):
    clips = list(read_clips(whole))
    assert [clip.seed for clip in clips] == list(range(7))
    for clip in clips:
        assert len(clip.gbuffer) == 1
        assert clip.gbuffer.size == (32, 32)
        assert clip.gbuffer.camera is not None
        assert clip.gbuffer.camera.size == (32, 32)
        assert clip.light.radiance.shape == (1, 3, 128, 256)
        assert all(value.isfinite().all() for name, value in clip.gbuffer.maps.items() if name != "depth")
    assert len({clip.caption for clip in clips}) > 1


def test_preview_shows_a_clip_in_a_row(whole, tmp_path):
    preview(whole, tmp_path / "sheet.png", rows=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * 32, 3 * 32)
        assert np.asarray(sheet).std() > 20


def test_another_recipe_is_refused_in_one_line(whole):
    other = SynthRecipe(clips=7, resolution=32, seed=12, samples=4, shard_size=2)
    before = contents(whole)
    with pytest.raises(UserError, match=r"another recipe \(.*seed: 11.*\), not .*seed: 12") as caught:
        generate(other, whole)
    assert "\n" not in str(caught.value)
    assert contents(whole) == before


def test_folders_that_are_not_ours_are_left_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("keep me")
    with pytest.raises(UserError, match="not empty and no recipe began it"):
        generate(RECIPE, tmp_path)
    with pytest.raises(UserError, match="is a file; give a new folder"):
        generate(RECIPE, tmp_path / "holiday.txt")
    with pytest.raises(UserError, match="cannot write to"):
        generate(RECIPE, tmp_path / "holiday.txt" / "set")
    with pytest.raises(UserError, match="0 workers; 1 or more"):
        generate(RECIPE, tmp_path / "new", workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [({"clips": 0}, "clips is 0"), ({"seed": -1}, "seed is -1"), ({"split": "val"}, "'val'; 'train' or 'test'")],
)
def test_recipes_that_make_no_sense_are_refused(mistake, said):
    with pytest.raises(UserError, match=said):
        SynthRecipe(**{"clips": 1} | mistake)


def test_shards_keep_geometry_whole_and_colour_to_a_half(tmp_path):
    torch.manual_seed(0)
    maps = {"rgb": 3, "base_color": 3, "normal": 3, "roughness": 1, "metallic": 1, "depth": 1, "mask": 1}
    values = {name: torch.rand(2, count, 6, 8) for name, count in maps.items()}
    values["depth"][0, 0, 0, 0] = torch.inf
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[1, 0, 3] = 0.1
    gbuffer = GBuffer(rgb=values["rgb"], depth_kind="metric", camera=Camera.perspective((6, 8), 40.0, pose))
    clip = Clip(gbuffer.with_maps(**values), EnvironmentMap(torch.rand(1, 3, 4, 8), "dusk"), "a thing", 9)
    write_shard(tmp_path / "shard-000000.tar", [("000009", clip)])
    (found,) = read_clips(tmp_path)
    assert (found.caption, found.seed, found.light.name, found.gbuffer.depth_kind) == ("a thing", 9, "dusk", "metric")
    assert torch.equal(found.gbuffer.camera.pose, pose)
    for name, value in values.items():
        exact = name in ("depth", "normal")
        assert torch.equal(found.gbuffer.maps[name], value if exact else value.half().float()), name


def test_a_clip_without_a_camera_is_refused(tmp_path):
    clip = Clip(GBuffer(rgb=torch.rand(1, 3, 4, 4)), EnvironmentMap(torch.rand(1, 3, 4, 8)), "", 0)
    with pytest.raises(UserError, match="without a camera"):
        write_shard(tmp_path / "shard-000000.tar", [("000000", clip)])


def test_folders_without_whole_shards_are_refused(whole, tmp_path):
    with pytest.raises(UserError, match="no shards in"):
        list(read_clips(tmp_path))
    data = (whole / "shard-000000.tar").read_bytes()
    (tmp_path / "shard-000000.tar").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match=r"shard-000000.tar is damaged"):
        list(read_clips(tmp_path))


def test_any_tar_reader_finds_the_members(whole):
    with tarfile.open(whole / "shard-000001.tar") as shard:
        names = shard.getnames()
    assert names == [
        f"{key}.{end}" for key in ("000002", "000003") for end in ("gbuffer.0000.exr", "light.exr", "json")
    ]
