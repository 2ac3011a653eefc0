"""Posed sets taken apart: what one view says of a surface, the others say too."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import grid_sample

from unrender.cli import main
from unrender.errors import UserError
from unrender.files.cameras import NamedCameras, write_transforms
from unrender.files.gbuffers import read_gbuffer
from unrender.files.writing import write
from unrender.inverse.posed_set import Agreement, agree, align_depths, correspondences, invert_set
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.meeting import meeting_point
from view_scenes import box_picture, moved, rigid_motion, ring

CAMERA = ring(5, (48, 48), distance=3.0, elevation=30.0)


def wrong_views(relative: bool = False) -> tuple[GBuffer, torch.Tensor]:
    """The box as a network might tell it: each view's colours too bright or too dark, more so on one side; depth right,
    or brought to [1, 2] view by view. And the true colours."""
    rgb, depth = box_picture(CAMERA)
    g = torch.Generator().manual_seed(0)
    gain = (torch.randn(5, 3, 1, 1, generator=g) * 0.25).exp()
    slope = torch.linspace(-0.2, 0.2, 48) * torch.randn(5, 1, 1, 1, generator=g)
    mask = depth.isfinite().float()
    kind = "metric"
    if relative:
        low, high = (
            torch.stack([getattr(each[each.isfinite()], which)() for each in depth]) for which in ("min", "max")
        )
        depth = 1 + (depth - low[:, None, None, None]) / (high - low)[:, None, None, None]
        kind = "relative"
    return GBuffer(
        base_color=(rgb * gain * slope.exp()).clamp(0, 1),
        roughness=mask * 0.5 * gain[:, :1],
        depth=depth,
        mask=mask,
        camera=CAMERA,
        depth_kind=kind,
    ), rgb


def spread(values: torch.Tensor, depth: torch.Tensor) -> float:
    """Mean deviation over the views of what they say at the same surface points, by true depth."""
    pairs = correspondences(depth, None, CAMERA, 0.01)
    deviations = []
    for i in range(len(values)):
        said = torch.stack(
            [grid_sample(values[j : j + 1], pairs.at[i, j][None], align_corners=False)[0] for j in range(len(values))]
        )
        seen = (pairs.weight[i] > 0.5).float()
        seen[i] = depth[i, 0].isfinite().float()
        said[i] = values[i]
        count = seen.sum(0)
        mean = (said * seen[:, None]).sum(0) / count.clamp(min=1)
        off = (((said - mean).square() * seen[:, None]).sum(0) / count.clamp(min=1)).sqrt().mean(0)
        deviations.append(off[count >= 2])
    return float(torch.cat(deviations).mean())


def test_views_agree_where_depth_is_known_and_lose_nothing():
    told, truth = wrong_views()
    found = agree(told, CAMERA)
    assert spread(found.base_color, told.depth) < 0.4 * spread(told.base_color, told.depth)
    inside = told.mask.expand(-1, 3, -1, -1) > 0
    before, after = ((each - truth)[inside].square().mean() for each in (told.base_color, found.base_color))
    assert after < before
    assert spread(found.roughness, told.depth) < 0.5 * spread(told.roughness, told.depth)


@pytest.mark.slow
def test_relative_depths_are_brought_to_the_scale_of_the_cameras():
    told, _ = wrong_views(relative=True)
    _, depth = box_picture(CAMERA)
    aligned = align_depths(told, CAMERA, Agreement(steps=100, points=200))
    inside = depth.isfinite()
    assert ((aligned / depth - 1).abs()[inside]).median() < 0.06
    found = agree(told, CAMERA, Agreement(steps=100, points=200))
    assert found.depth_kind == "metric"
    assert spread(found.base_color, depth) < 0.6 * spread(told.base_color, depth)


def test_views_that_agree_already_stay_as_they_are():
    rgb, depth = box_picture(CAMERA)
    told = GBuffer(base_color=rgb, depth=depth, mask=depth.isfinite().float(), camera=CAMERA, depth_kind="metric")
    assert (agree(told, CAMERA).base_color - rgb).abs().mean() < 0.02


@pytest.mark.slow
def test_the_world_may_be_moved():
    told, _ = wrong_views()
    there = agree(told, moved(CAMERA, rigid_motion(0)))
    torch.testing.assert_close(there.base_color, agree(told, CAMERA).base_color, atol=1e-3, rtol=0)


def test_cameras_meet_where_they_look_or_nowhere():
    torch.testing.assert_close(meeting_point(CAMERA), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
    assert meeting_point(Camera(CAMERA.intrinsics[:1], CAMERA.pose[:1], CAMERA.size)) is None


def test_one_view_other_cameras_and_no_depth_are_one_line():
    told, rgb = wrong_views()
    with pytest.raises(UserError, match="2 pictures and 5 cameras"):
        invert_set(lambda frames: told, Frames(rgb[:2]), CAMERA)
    with pytest.raises(UserError, match="needs the map depth"):
        agree(told.with_maps(depth=None), CAMERA)


def test_from_the_shell_with_mini(tmp_path: Path, capsys):
    rgb, _ = box_picture(ring(3, (48, 48)))
    names = tuple(f"p{i}.png" for i in range(3))
    for index, name in enumerate(names):
        write(tmp_path / name, Frames(rgb[index : index + 1] + 0.05))
    write_transforms(tmp_path / "transforms.json", NamedCameras(names, ring(3, (48, 48))))
    out = tmp_path / "out"
    arguments = ["inverse", str(tmp_path), "--cameras", str(tmp_path / "transforms.json"), "-o", str(out)]
    assert main(arguments) == 0
    found = read_gbuffer(out / f"{tmp_path.name}.0002.exr")
    assert found.depth_kind == "metric"
    assert {"base_color", "roughness", "depth"} <= set(found.maps)
    capsys.readouterr()
    for wrong, line in (
        (["inverse", str(tmp_path / "p0.png"), "--cameras", str(tmp_path / "transforms.json")], "expected the folder"),
        (["inverse", str(tmp_path), "--attend"], "expected --cameras with it"),
    ):
        assert main([*wrong, "-o", str(tmp_path / "other")]) == 2
        assert line in capsys.readouterr().err
