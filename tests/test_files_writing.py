"""One verb for every output, the previews, and the room's front door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unrender.files as files
from unrender.errors import UserError
from unrender.files.environments import read_environment
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.files.preview import contact_sheet, depth_to_rgb, normal_to_rgb, tiles
from unrender.files.sequences import open_frames, open_gbuffers
from unrender.files.writing import write
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import CHANNELS, GBuffer


def test_write_knows_by_object_and_suffix(tmp_path: Path) -> None:
    write(tmp_path / "g.exr", GBuffer(depth=torch.ones(1, 1, 4, 4)))
    assert read_gbuffer(tmp_path / "g.exr").depth is not None
    write(tmp_path / "g.####.exr", GBuffer(depth=torch.ones(3, 1, 4, 4)))
    assert len(open_gbuffers(tmp_path / "g.####.exr")) == 3
    write(tmp_path / "light.exr", EnvironmentMap(torch.ones(1, 3, 4, 8)))
    assert read_environment(tmp_path / "light.exr").size == (4, 8)
    still = Frames(torch.rand(1, 3, 4, 4), mask=torch.full((1, 1, 4, 4), 0.5))
    for name in ("a.png", "a.exr", "a.webp"):
        write(tmp_path / name, still)
        assert read_image(tmp_path / name).mask is not None
    write(tmp_path / "a.jpg", still)
    clip = Frames(torch.rand(3, 3, 16, 16), fps=7.0)
    write(tmp_path / "a.mp4", clip)
    write(tmp_path / "a.%03d.png", clip)
    assert (len(open_frames(tmp_path / "a.mp4")), open_frames(tmp_path / "a.mp4").fps) == (3, 7.0)
    assert len(open_frames(tmp_path / "a.###.png")) == 3


def test_wrong_suffixes_name_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"G-buffer as .*g\.png; expected \.exr"):
        write(tmp_path / "g.png", GBuffer(depth=torch.ones(1, 1, 4, 4)))
    with pytest.raises(UserError, match=r"expected \.png, .*\.mp4"):
        write(tmp_path / "a.xyz", Frames(torch.rand(1, 3, 4, 4)))
    with pytest.raises(UserError, match="3 frames"):
        write(tmp_path / "a.png", Frames(torch.rand(3, 3, 4, 4)))
    with pytest.raises(UserError, match="a light"):
        write(tmp_path / "a.hdr", EnvironmentMap(torch.ones(1, 3, 4, 8)))
    assert not list(tmp_path.iterdir())


def test_normals_are_the_colours_artists_know() -> None:
    normal = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, -1, 0], [0, 0, 0]]).T.reshape(3, 1, 4)
    expected = torch.tensor([[0.5, 0.5, 1], [1, 0.5, 0.5], [0.5, 0, 0.5], [0, 0, 0]])
    assert torch.equal(normal_to_rgb(normal)[:, 0].T, expected)


def test_depth_colours_run_from_near_to_far_and_leave_out_the_sky() -> None:
    depth = torch.linspace(1, 10, 100).reshape(1, 10, 10).clone()
    depth[0, 0, 0] = torch.inf
    picture = depth_to_rgb(depth)
    brightness = picture.sum(0).flatten()
    assert brightness[0] == 0
    assert brightness[5] > brightness[50] > brightness[95] > 0
    assert torch.equal(depth_to_rgb(torch.full((1, 2, 2), torch.inf)), torch.zeros(3, 2, 2))


def test_contact_sheet_shows_every_map() -> None:
    maps = {name: torch.rand(1, channels, 32, 48) + 0.1 for name, channels in CHANNELS.items()}
    one = contact_sheet(GBuffer(**maps), tile=96, title="mini")
    assert one.dtype == "uint8"
    assert one.shape[2] == 3
    fewer = contact_sheet(GBuffer(depth=maps["depth"]), tile=96)
    assert fewer.shape[0] < one.shape[0]
    flat = tiles({"red": torch.tensor([1.0, 0, 0]).reshape(3, 1, 1).expand(3, 20, 20)}, tile=40)
    assert ((flat == (255, 0, 0)).all(-1)).sum() == 40 * 40


def test_front_door_is_complete_and_light() -> None:
    for name in files._MODULE_OF:
        assert getattr(files, name).__module__.startswith(("unrender.files", "typing"))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        files.nonsense  # noqa: B018
    code = "import unrender.files, sys; sys.exit(bool({'torch', 'av', 'trimesh', 'OpenEXR'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
