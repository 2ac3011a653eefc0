"""Folders of shards: the same bytes however many workers, however often killed; mistakes in one line."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from unrender.errors import UserError

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.files.shards import read_clips
from unrender.raytrace import backend
from unrender.scale.local import threads_each
from unrender.synth import SynthRecipe, generate, preview
from unrender.synth.previews import HEADER
from unrender.synth.recipe import GENERATOR, recipe_facts

RECIPE = SynthRecipe(clips=3, frames=2, resolution=16, seed=11, samples=1, lights=1, cameras=1, shard_size=1)
COMMAND = f"from unrender.synth import *; import sys; generate({RECIPE!r}, sys.argv[1], workers=int(sys.argv[2]))"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing interrupted, made by one worker."""
    try:
        backend.use()
    except UserError as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("synth") / "whole"
    told = []
    generate(RECIPE, folder, workers=1, progress=lambda done, frames: told.append((done, frames)))
    assert (told[0], told[-1]) == ((0, 6), (6, 6))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(folder, workers):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(there, process):
    deadline = time.monotonic() + 240
    while not there():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline, "nothing to kill in four minutes"
        time.sleep(0.002)


needs_groups = pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX's")


@needs_groups
def test_killed_and_started_again_it_ends_with_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "killed"
    process = start(folder, workers=1)
    wait_for(lambda: any(folder.glob("shard-*.tar")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "index.json").exists()
    generate(RECIPE, folder, workers=1)
    assert contents(folder) == contents(whole)


@pytest.mark.slow
@needs_groups
def test_killed_twice_with_several_workers_it_ends_with_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "killed"
    process = start(folder, workers=2)
    wait_for(lambda: any(path.stat().st_size for path in folder.glob(".unrender-*.partial")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "index.json").exists()

    process = start(folder, workers=1)
    wait_for(lambda: len(list(folder.glob("shard-*.tar"))) >= 1, process)
    process.kill()
    # Its worker holds the other end of this pipe: it closes when that is gone.
    process.communicate(timeout=20)
    assert not (folder / "index.json").exists()

    generate(RECIPE, folder, workers=2)
    assert contents(folder) == contents(whole)


def test_workers_have_one_thread_and_the_caller_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    show = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'])"
    with threads_each(1):
        assert subprocess.check_output([sys.executable, "-S", "-c", show], text=True).split() == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_finished_folder_is_left_as_it_is(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    told = []
    generate(RECIPE, whole, workers=1, progress=lambda done, frames: told.append((done, frames)))
    assert told == [(6, 6)]
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_the_folder_says_what_is_in_it(whole):
    index = json.loads((whole / "index.json").read_text())
    assert index["recipe"] == json.loads((whole / "recipe.json").read_text())
    assert (index["recipe"]["seed"], index["recipe"]["frames"]) == (11, 2)
    assert index["shards"] == {f"shard-{i:06d}.tar": 1 for i in range(3)}
    assert index["replaced"] == sum(clip.replaced for clip in read_clips(whole, others=False))


def test_shards_hold_fifty_stills_or_a_clip():
    assert SynthRecipe(clips=120, frames=1).clips_per_shard == 50
    assert SynthRecipe(clips=120).clips_per_shard == 1
    assert SynthRecipe(clips=120, frames=5).clips_per_shard == 4
    assert [SynthRecipe(clips=120, frames=1).count(start) for start in (0, 50, 100)] == [50, 50, 20]


def test_clips_come_back_in_order_with_their_truth(whole):
    clips = list(read_clips(whole))
    assert [clip.seed for clip in clips] == list(range(3))
    for clip in clips:
        assert len(clip.gbuffer) == 2
        assert clip.gbuffer.size == (16, 16)
        assert clip.gbuffer.camera is not None
        assert clip.gbuffer.camera.size == (16, 16)
        assert clip.light.radiance.shape == (1, 3, 128, 256)
        assert all(value.isfinite().all() for name, value in clip.gbuffer.maps.items() if name != "depth")
        assert len(clip.lights) == len(clip.views) == 1
        assert set(clip.views[0].maps) == set(clip.gbuffer.maps)
    assert len({clip.caption for clip in clips}) > 1


def test_preview_shows_a_clip_in_a_row(whole, tmp_path):
    preview(whole, tmp_path / "sheet.png", rows=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12 * 16, 3 * 16 + HEADER)
        assert np.asarray(sheet).std() > 20


def test_another_recipe_is_refused_in_one_line(whole):
    other = replace(RECIPE, seed=12)
    before = contents(whole)
    with pytest.raises(UserError, match=r"another recipe \(.*seed: 11.*\), not .*seed: 12") as caught:
        generate(other, whole)
    assert "\n" not in str(caught.value)
    assert contents(whole) == before


@pytest.mark.parametrize("generator", [1, 99])
def test_a_folder_that_another_generator_began_is_refused(whole, tmp_path, generator):
    held = json.loads((whole / "recipe.json").read_text()) | {"generator": generator}
    if generator == 1:
        del held["generator"]  # the first generator did not say
    (tmp_path / "recipe.json").write_text(json.dumps(held))
    with pytest.raises(UserError, match=f"begun by generator {generator}; expected generator {GENERATOR}"):
        generate(RECIPE, tmp_path)


def test_a_folder_of_sources_is_known_by_its_files(tmp_path):
    folder = tmp_path / "lights"
    with pytest.raises(UserError, match="lights is no folder"):
        recipe_facts(SynthRecipe(clips=1, hdris=folder))
    folder.mkdir()
    (folder / "dusk.exr").write_bytes(b"1234")
    facts = recipe_facts(SynthRecipe(clips=1, hdris=folder))
    assert str(facts["hdris"]).startswith("1 files, ")
    assert facts["assets"] is None
    moved = folder.rename(tmp_path / "elsewhere")
    assert recipe_facts(SynthRecipe(clips=1, hdris=moved)) == facts
    (moved / "dusk.exr").write_bytes(b"12345")
    assert recipe_facts(SynthRecipe(clips=1, hdris=moved)) != facts


def test_folders_that_are_not_ours_are_left_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("keep me")
    with pytest.raises(UserError, match="not empty and no recipe began it"):
        generate(RECIPE, tmp_path)
    with pytest.raises(UserError, match="is a file; give a new folder"):
        generate(RECIPE, tmp_path / "holiday.txt")
    with pytest.raises(UserError, match="cannot write to"):
        generate(RECIPE, tmp_path / "holiday.txt" / "set")
    with pytest.raises(UserError, match="0 workers; expected 1 or more"):
        generate(RECIPE, tmp_path / "new", workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"clips": 0}, "clips is 0"),
        ({"lights": -1}, "lights is -1; expected 0 or more"),
        ({"seed": -1}, "seed is -1"),
        ({"split": "val"}, "'val'; expected 'train' or 'test'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(mistake, said):
    with pytest.raises(UserError, match=said):
        SynthRecipe(**{"clips": 1} | mistake)


def test_folders_without_whole_shards_are_refused(whole, tmp_path):
    with pytest.raises(UserError, match="no shards in"):
        list(read_clips(tmp_path))
    data = (whole / "shard-000000.tar").read_bytes()
    (tmp_path / "shard-000000.tar").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match=r"shard-000000.tar is damaged"):
        list(read_clips(tmp_path))


def test_any_tar_reader_finds_the_members(whole):
    with tarfile.open(whole / "shard-000001.tar") as shard:
        names = [name.removeprefix("000001.") for name in shard.getnames()]
    assert names == [
        *("gbuffer.0000.exr", "gbuffer.0001.exr", "light.exr", "light-1.exr", "rgb-1.0000.exr", "rgb-1.0001.exr"),
        *("view-1.0000.exr", "view-1.0001.exr", "json"),
    ]
