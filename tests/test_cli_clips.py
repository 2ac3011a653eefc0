"""Clips on the command line: killed runs go on and end with the same files; times and sound are kept; what is odd is
right or refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from films import with_sound
from forward_scenes import sphere
from unrender.cli import main
from unrender.cli.clip_run import SEGMENT
from unrender.files.gbuffers import write_gbuffer
from unrender.files.images import read_image
from unrender.files.video import VideoWriter

LIGHT = ("--light", "sunset")


SIZE = (96, 128)


def frame(index: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """A few soft blobs that drift to the right."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin((x - index) / (5 + c) + y / (7 - c)) for c in range(3)]) ** 2


def clip(path: Path, frames: int = 2 * SEGMENT + 3, size: tuple[int, int] = SIZE, fps: float = 12) -> Path:
    with VideoWriter(path, fps) as writer:
        for index in range(frames):
            writer.write(frame(index, size))
    return path


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "run.json"}


def killed(command: list[str], after: Path) -> None:
    """Runs a command and kills it as soon as a file of that name is anywhere in a hidden folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "unrender", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 300
    while not list(after.parent.glob(f".unrender-run-*/{after.name}")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_killed_run_goes_on_and_ends_with_the_same_files(tmp_path: Path):
    source = clip(tmp_path / "clip.mp4")
    command = ["relight", str(source), *LIGHT, "--turn", "90", "-o"]
    killed([*command, str(tmp_path / "b")], tmp_path / "state.safetensors")
    assert not (tmp_path / "b").exists()  # nothing is seen that is not finished
    (home,) = tmp_path.glob(".unrender-run-*")
    there = {path.name: path.stat().st_mtime_ns for path in (home / "files").glob("*.exr")}
    assert len(there) >= SEGMENT
    assert main([*command, str(tmp_path / "b")]) == 0
    moved = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "b").glob("*.exr")}
    kept = [name for name, made in there.items() if moved[name] == made]
    assert len(kept) >= SEGMENT  # what was finished is not made again
    assert not list(tmp_path.glob(".unrender-*"))
    assert main([*command, str(tmp_path / "a")]) == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("verb", ["inverse", "relight --forward mini", "forward --model mini"])
def test_every_verb_goes_on_from_any_kill(verb: str, tmp_path: Path):
    source = clip(tmp_path / "clip.mp4")
    if verb.startswith("forward"):
        assert main(["inverse", str(source), "-o", str(tmp_path / "maps")]) == 0
        source = tmp_path / "maps"
    light = () if verb == "inverse" else LIGHT
    command = [*verb.split()[:1], str(source), *verb.split()[1:], *light, "-o"]
    assert main([*command, str(tmp_path / "a")]) == 0
    for seconds in (4, 8, 12, 16):
        process = subprocess.Popen([sys.executable, "-m", "unrender", *command, str(tmp_path / "b")])
        time.sleep(seconds)
        process.kill()
        process.wait()
    assert main([*command, str(tmp_path / "b")]) == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_what_another_command_to_the_same_place_left_is_removed(tmp_path: Path):
    source = clip(tmp_path / "clip.mp4")
    killed(["inverse", str(source), "-o", str(tmp_path / "out")], tmp_path / "state.safetensors")
    (left,) = tmp_path.glob(".unrender-run-*")
    assert main(["inverse", str(source), "-o", str(tmp_path / "out"), "--maps", "depth"]) == 0
    assert not left.exists()
    assert len(list((tmp_path / "out").glob("*.exr"))) == 2 * SEGMENT + 3


def test_frames_last_as_long_as_they_did_with_their_sound(tmp_path: Path):
    times = [0, 40, 80, 580, 620, 1620, 1660]
    source = with_sound(tmp_path / "phone.mp4", 1.7, times=times)
    assert main(["relight", str(source), "-o", str(tmp_path / "out"), *LIGHT]) == 0
    with av.open(str(tmp_path / "out" / "phone.relit.mp4")) as film:
        shown = sorted(packet.pts * packet.time_base for packet in film.demux(film.streams.video[0]) if packet.size)
        assert film.streams.audio
    assert [round(1000 * float(at)) for at in shown] == times
    assert "a video of them keeps that" in json.loads((tmp_path / "out" / "run.json").read_text())["notes"][0]


def test_a_long_clip_of_maps_is_rendered_frame_by_frame(tmp_path: Path):
    (tmp_path / "maps").mkdir()
    ball = sphere(16, (0.6, 0.5, 0.4), 0.5, 0.0)
    for index in range(SEGMENT + 6):
        one = ball.with_maps(base_color=ball.base_color * (index + 1) / 40)
        write_gbuffer(tmp_path / "maps" / f"ball.{index + 5:04d}.exr", one)
    assert main(["forward", str(tmp_path / "maps"), "-o", str(tmp_path / "out"), *LIGHT]) == 0
    found = sorted((tmp_path / "out").glob("*.exr"))
    assert [path.name.split(".")[-2] for path in found] == [f"{index + 5:04d}" for index in range(SEGMENT + 6)]
    bright = [float(read_image(path).rgb.mean()) for path in found]
    assert bright == sorted(bright)
    with av.open(str(next((tmp_path / "out").glob("*.mp4")))) as film:
        assert film.streams.video[0].frames == SEGMENT + 6


@pytest.mark.slow
def test_odd_sizes_and_few_frames(tmp_path: Path):
    for frames, size in ((1, (33, 47)), (2, (33, 47)), (9, (25, 61))):
        source = clip(tmp_path / f"odd{frames}.mkv", frames, size)
        out = tmp_path / f"out{frames}"
        assert main(["relight", str(source), "-o", str(out), *LIGHT]) == 0
        assert len(list(out.glob("*.relit*.exr"))) == frames
        if frames > 1:
            with av.open(str(out / f"odd{frames}.relit.mp4")) as film:
                stream = film.streams.video[0]
                assert (stream.height - size[0], stream.width - size[1]) == (size[0] % 2, size[1] % 2)


def test_what_is_no_clip_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        part.sample_rate = 48000
        out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    sizes = tmp_path / "sizes"
    sizes.mkdir()
    with VideoWriter(tmp_path / "a.mkv", 12) as one:
        one.write(frame(0))
    shutil.copy(tmp_path / "a.mkv", tmp_path / "cut.mkv")
    with (tmp_path / "cut.mkv").open("r+b") as file:
        file.truncate(200)
    for source in (sound, tmp_path / "cut.mkv"):
        assert main(["inverse", str(source), "-o", str(tmp_path / "out")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
        assert not list(tmp_path.glob(".unrender-*"))
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", ["--window 2 --overlap 2", "--window 0", "--overlap -1"])
def test_windows_that_cannot_be(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = clip(tmp_path / "clip.mkv", 3)
    assert main(["inverse", str(source), "-o", str(tmp_path / "out"), *wrong.split()]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
