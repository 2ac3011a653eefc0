"""Films joined of parts: pictures to the last bit, times and sound of the source."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from films import with_sound
from unrender.files.films import join_films
from unrender.files.sequences import open_frames
from unrender.files.video import VideoWriter


def parts_of(folder: Path, suffix: str, counts: tuple[int, ...]) -> list[Path]:
    paths, index = [], 0
    for number, count in enumerate(counts):
        paths.append(folder / f"{number}{suffix}")
        with VideoWriter(paths[-1], 12) as writer:
            for _ in range(count):
                picture = torch.full((3, 32, 48), 0.1 + 0.02 * index)
                picture[:, 4:20, index % 30 : index % 30 + 9] = 0.8
                writer.write(picture)
                index += 1
    return paths


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as film:
        return sorted(p.pts * p.time_base for p in film.demux(film.streams.video[0]) if p.size)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_parts_become_one_film(suffix: str, tmp_path: Path):
    parts = parts_of(tmp_path, suffix, (7, 1, 5))
    join_films(tmp_path / f"whole{suffix}", parts)
    whole = torch.cat([frame.rgb for frame in open_frames(tmp_path / f"whole{suffix}")])
    assert torch.equal(whole, torch.cat([frame.rgb for part in parts for frame in open_frames(part)]))
    assert [round(12 * float(at)) for at in times_of(tmp_path / f"whole{suffix}")] == list(range(13))
    join_films(tmp_path / f"again{suffix}", parts)
    if suffix != ".mkv":  # Matroska writes a random number into every file
        assert (tmp_path / f"again{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_uneven_times_are_kept(suffix: str, tmp_path: Path):
    parts = parts_of(tmp_path, suffix, (5, 6))
    times = [Fraction(ms, 1000) for ms in (0, 40, 80, 600, 620, 650, 1650, 1700, 1740, 1900, 1950, 2000)]
    join_films(tmp_path / f"whole{suffix}", parts, times)
    found = times_of(tmp_path / f"whole{suffix}")
    assert [float(at) for at in found] == pytest.approx([float(at) for at in times[:-1]], abs=1e-3)


@pytest.mark.parametrize(
    ("source", "codec", "suffix"),
    [(".mp4", "aac", ".mp4"), (".mkv", "libopus", ".mp4"), (".mkv", "pcm_f32le", ".mp4"), (".mkv", "libopus", ".mkv")],
)
@pytest.mark.parametrize("pictures", [24, 9])
def test_sound_lasts_as_long_as_the_pictures(source: str, codec: str, suffix: str, pictures: int, tmp_path: Path):
    talk = with_sound(tmp_path / f"talk{source}", 2, codec)
    join_films(tmp_path / f"out{suffix}", parts_of(tmp_path, suffix, (pictures - 4, 4)), None, talk)
    with av.open(str(tmp_path / f"out{suffix}")) as film:
        samples = np.concatenate([part.to_ndarray()[0] for part in film.decode(film.streams.audio[0])])
    assert len(samples) == pytest.approx(pictures / 12 * 48000, rel=0.1)
    assert np.abs(samples.astype(np.float64)).max() > 0.1
    assert len(list(open_frames(tmp_path / f"out{suffix}"))) == pictures


def test_a_source_without_sound_gives_none(tmp_path: Path):
    silent = parts_of(tmp_path, ".mp4", (3,))
    join_films(tmp_path / "out.mp4", silent, None, silent[0])
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert not film.streams.audio
