"""Folders and numbered files as clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unrender.errors import UserError
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import write_image
from unrender.files.sequences import GBufferWriter, ImageWriter, natural_order, numbered, open_frames, open_gbuffers
from unrender.files.video import VideoWriter
from unrender.scene.gbuffer import GBuffer


def levels(reader: object) -> list[int]:
    return [round(frame.rgb.mean().item() * 100) for frame in reader]


def grey(level: int) -> torch.Tensor:
    return torch.full((3, 4, 6), level / 100)


def test_a_folder_is_in_natural_order(tmp_path: Path) -> None:
    for level in (10, 9, 100, 1):
        write_image(tmp_path / f"frame{level}.png", grey(level), bits=16)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    reader = open_frames(tmp_path)
    assert (len(reader), reader.size, reader.fps, reader.name) == (4, (4, 6), None, tmp_path.name)
    assert levels(reader) == [1, 9, 10, 100]
    assert levels(reader) == [1, 9, 10, 100], "a second iteration starts over"


def test_natural_order_of_mixed_names() -> None:
    names = [Path(n) for n in ("b1", "a10", "10", "a9", "A2", "1a")]
    assert [p.name for p in sorted(names, key=natural_order)] == ["1a", "10", "A2", "a9", "a10", "b1"]


@pytest.mark.parametrize("pattern", ["shot.####.exr", "shot.%04d.exr"])
def test_patterns(tmp_path: Path, pattern: str) -> None:
    for number in (8, 9, 10):
        write_image(tmp_path / f"shot.{number:04d}.exr", grey(number))
    write_image(tmp_path / "shot.0009.png", grey(0))
    write_image(tmp_path / "other.0007.exr", grey(0))
    reader = open_frames(tmp_path / pattern)
    assert (reader.name, len(reader)) == ("shot", 3)
    assert levels(reader) == [8, 9, 10]


def test_numbered() -> None:
    assert numbered("a/b.####.exr", 7) == Path("a/b.0007.exr")
    assert numbered("b.%03d.png", 12345) == Path("b.12345.png")
    assert numbered("b%d.png", 12) == Path("b12.png")


def test_stills_and_videos_come_through_the_same_door(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", grey(50))
    reader = open_frames(tmp_path / "a.png")
    assert (len(reader), reader.size, reader.fps) == (1, (4, 6), None)
    assert levels(reader) == [50]
    with VideoWriter(tmp_path / "b.mkv", 25) as writer:
        writer.write(torch.stack([grey(10), grey(20)]))
    assert levels(open_frames(tmp_path / "b.mkv")) == [10, 20]
    assert open_frames(tmp_path / "b.mkv").fps == 25


def test_gbuffers_of_a_clip(tmp_path: Path) -> None:
    clip = GBuffer(depth=torch.rand(12, 1, 3, 4) + 1, normal=torch.rand(12, 3, 3, 4), fps=25.0, model="mini")
    with GBufferWriter(tmp_path / "g.####.exr", first=1) as writer:
        writer.write(clip.frame(0))
        writer.write(clip.with_maps(depth=clip.depth[1:], normal=clip.normal[1:]))
    for source in (tmp_path, tmp_path / "g.####.exr"):
        reader = open_gbuffers(source)
        assert (len(reader), reader.fps, reader.size) == (12, 25.0, (3, 4))
        for index, gbuffer in enumerate(reader):
            assert torch.equal(gbuffer.depth, clip.frame(index).depth)
    assert read_gbuffer(tmp_path / "g.0012.exr").model == "mini"
    assert len(open_gbuffers(tmp_path / "g.0003.exr")) == 1


def test_failed_sequences_leave_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with GBufferWriter(tmp_path / "g.####.exr") as writer:
            writer.write(GBuffer(depth=torch.ones(3, 1, 2, 2)))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_plain_name_is_one_file(tmp_path: Path) -> None:
    with GBufferWriter(tmp_path / "g.exr") as writer:
        writer.write(GBuffer(depth=torch.ones(1, 1, 2, 2)))
    with ImageWriter(tmp_path / "a.png") as pictures:
        pictures.write(grey(50)[None], torch.ones(1, 1, 4, 6))
    assert {path.name for path in tmp_path.iterdir()} == {"g.exr", "a.png"}

    def write_two(path: Path) -> None:
        with ImageWriter(path) as pictures:
            pictures.write(torch.rand(2, 3, 4, 6))

    with pytest.raises(UserError, match=r"one file and there are more frames; expected b\.####\.png"):
        write_two(tmp_path / "b.png")
    write_two(tmp_path / "b.####.png")
    assert {path.name for path in tmp_path.iterdir()} == {"g.exr", "a.png", "b.0001.png", "b.0002.png"}


def test_bad_sequences_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frames in it"):
        open_frames(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        open_frames(tmp_path / "no.mp4")
    with pytest.raises(UserError, match="no file is called"):
        open_frames(tmp_path / "a.####.png")
    with pytest.raises(UserError, match=r"name\.####\.exr"):
        GBufferWriter(tmp_path / "a.png")
    for number in (1, 2, 5):
        write_image(tmp_path / f"a.{number:04d}.png", grey(number))
    with pytest.raises(UserError, match=r"2 frames missing \(3, 4\)"):
        open_frames(tmp_path / "a.####.png")
    write_image(tmp_path / "a.0003.png", grey(3)[:, :2])
    write_image(tmp_path / "a.0004.png", grey(3)[:, :2])
    with pytest.raises(UserError, match="one size for all"):
        list(open_frames(tmp_path / "a.####.png"))
