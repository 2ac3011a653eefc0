"""A clip that gives another number of frames than it promised is said, and is not status 0."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrender.cli import main
from unrender.files import sequences
from unrender.files.readers import FrameReader
from unrender.files.video import VideoWriter
from unrender.scene.frames import Frames

FRAMES = 5


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 24) as video:
        video.write(torch.rand(FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return path


def giving(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Makes every clip end after `count` frames, or begin again, as damaged ones do."""
    opened = sequences.open_frames

    def open_frames(path: Path, *colour: str | None) -> FrameReader:
        reader = opened(path, *colour)

        def frames() -> Iterator[Frames]:
            all_frames = [*reader, *reader]
            yield from all_frames[:count]

        return replace(reader, open=frames)

    monkeypatch.setattr(sequences, "open_frames", open_frames)


@pytest.mark.parametrize("verb", [["inverse"], ["relight", "--light", "sunset"]], ids=lambda verb: verb[0])
@pytest.mark.parametrize("count", [3, 7])
def test_another_number_of_frames_is_told_and_is_status_1(verb, count, clip, tmp_path, monkeypatch, capsys):
    giving(monkeypatch, count)
    out = tmp_path / "out"
    assert main([verb[0], str(clip), "-o", str(out), *verb[1:]]) == 1
    said = capsys.readouterr()
    assert said.err.endswith(
        f"unrender: {clip}: {FRAMES} frames were promised and {count} could be read; all those are written; "
        "expected an undamaged file\n"
    )
    assert "Traceback" not in said.err
    assert json.loads((out / "run.json").read_text())["frames"] == {"promised": FRAMES, "read": count}
    kind = "clip" if verb == ["inverse"] else "clip.relit"
    assert len(list(out.glob(f"{kind}.*[0-9].exr"))) == count


@pytest.mark.parametrize("verb", [["inverse"], ["relight", "--light", "sunset"]], ids=lambda verb: verb[0])
def test_no_frame_at_all_writes_nothing(verb, clip, tmp_path, monkeypatch, capsys):
    giving(monkeypatch, 0)
    assert main([verb[0], str(clip), "-o", str(tmp_path / "out"), *verb[1:]]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_clip_cut_after_it_was_opened_is_never_status_0(kept, clip, tmp_path, monkeypatch, capsys):
    opened = sequences.open_frames

    def open_and_cut(path: Path, *colour: str | None) -> FrameReader:
        reader = opened(path, *colour)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        return reader

    monkeypatch.setattr(sequences, "open_frames", open_and_cut)
    whole = clip.with_name("whole.mkv")
    with VideoWriter(whole, 24) as video:  # Matroska is read as far as it goes; an mp4's index is at its end
        video.write(torch.rand(FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    for path in (clip, whole):
        out = tmp_path / f"out-{path.stem}"
        status = main(["inverse", str(path), "-o", str(out)])
        said = capsys.readouterr().err
        assert status == (1 if out.exists() else 2), said
        assert said.count("\n") == 1
        shutil.rmtree(out, ignore_errors=True)


def test_fewer_frames_were_asked_for(clip, tmp_path):
    assert main(["relight", str(clip), "-o", str(tmp_path / "a.mp4"), "--light", "sunset", "--frames", "2"]) == 0


@pytest.mark.parametrize("count", [0, 3])
def test_pictures_that_end_early_are_not_measured(count, clip, tmp_path, monkeypatch, capsys):
    giving(monkeypatch, count)
    assert main(["evaluate", "pictures", str(clip), str(clip), "--json", str(tmp_path / "r.json")]) == 2
    said = capsys.readouterr().err
    assert f"{FRAMES} frames were promised and {count} could be read" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r.json").exists()
