"""Measures of sets of views: of true pictures they are good, of shuffled ones bad."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrender.cli import main
from unrender.errors import UserError
from unrender.evaluate.metrics.epipolar import FEWEST, fundamental_matrix, match, median_epipolar_distance
from unrender.evaluate.metrics.kernel import kernel_distance
from unrender.evaluate.multiview import (
    REPROJECTION,
    SPLIT_HALF,
    SUBJECT_PSNR,
    TSED,
    WHOLE_PSNR,
    ViewMeasures,
    evaluate_multiview,
    neighbours,
    reprojection_psnr,
    shuffled_order,
)
from unrender.evaluate.splats import Splats, fit_splats, render_splats, write_ply
from unrender.files.cameras import NamedCameras, write_transforms
from unrender.files.ply import read_points
from unrender.files.posed import PosedPictures, read_posed
from unrender.files.writing import write
from unrender.multiview import Subject
from unrender.scene.camera import Camera, project
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.trajectory import orbit
from view_scenes import box_picture, ring, scattered

QUICK = ViewMeasures(split_half=False)


def textured_box(camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """The coloured box with a pattern that its surfaces carry, so that corners can be matched."""
    rgb, depth = box_picture(camera)
    from unrender.scene.camera import unproject

    points = unproject(depth.where(depth.isfinite(), 0.0), camera).permute(0, 2, 3, 1)
    world = torch.einsum("tij,thwj->thwi", camera.pose[:, :3, :3], points) + camera.pose[:, None, None, :3, 3]
    cells = (world * 7).floor().long()
    hashed = ((cells * torch.tensor([73, 157, 311])).sum(-1) * 2654435761 % 97).float() / 97
    return rgb * (0.25 + 0.75 * hashed[:, None]), depth


@pytest.fixture(scope="module")
def box() -> PosedPictures:
    pose = orbit(torch.zeros(3), 3.0, 10, elevation=25.0, degrees=100.0)
    camera = Camera.perspective((128, 128), 40.0, pose)
    rgb, depth = textured_box(camera)
    mask = depth.isfinite().float()
    return PosedPictures(Frames(rgb), camera, tuple(f"{i}.png" for i in range(10)), depth, mask)


def test_true_pictures_are_told_from_shuffled_ones(box):
    report = evaluate_multiview(box, box, torch.tensor([True, *[False] * 9]), QUICK)
    views, truth, shuffled = (report.answers[name] for name in ("views", "truth", "shuffled"))
    assert views == truth
    assert math.isinf(views[WHOLE_PSNR])
    assert shuffled[WHOLE_PSNR] < 20
    assert shuffled[SUBJECT_PSNR] < shuffled[WHOLE_PSNR]
    assert views[REPROJECTION] > shuffled[REPROJECTION] + 4
    assert views[TSED] > 0.6
    assert shuffled[TSED] < 0.3


def test_views_that_are_a_little_wrong_lie_between(box):
    noisy = box.frames.rgb + 0.05 * torch.randn(box.frames.rgb.shape, generator=torch.Generator().manual_seed(0))
    report = evaluate_multiview(replace(box, frames=Frames(noisy.clamp(min=0))), box, None, QUICK)
    views, truth, shuffled = (report.answers[name][REPROJECTION] for name in ("views", "truth", "shuffled"))
    assert shuffled < views < truth


def test_what_is_not_known_is_left_out_and_said(box):
    report = evaluate_multiview(replace(box, depth=None), None, None, QUICK)
    assert set(report.answers) == {"views", "shuffled"}
    assert report.figures == (TSED,)
    assert "no depth is known" in report.protocol
    assert "no truth is known" in report.protocol


def test_two_views_or_other_cameras_are_one_line(box):
    with pytest.raises(UserError, match="2 views; expected three"):
        evaluate_multiview(_first(box, 2), None, None, QUICK)
    with pytest.raises(UserError, match="expected the same cameras"):
        evaluate_multiview(box, _first(box, 4), None, QUICK)


def _first(views: PosedPictures, count: int) -> PosedPictures:
    camera = Camera(views.camera.intrinsics[:count], views.camera.pose[:count], views.camera.size)
    return PosedPictures(views.frames.part(0, count), camera, views.names[:count])


def test_reprojection_leaves_out_what_is_hidden(box):
    """From level, opposite views of a box see no face in common."""
    camera = ring(2, (64, 64), elevation=0.0)
    rgb, depth = box_picture(camera)
    assert math.isnan(reprojection_psnr(rgb, depth, camera, [(0, 1)]))
    assert reprojection_psnr(rgb, depth, camera, [(0, 0)]) > 40


@pytest.mark.parametrize("count", [3, 4, 10, 24])
def test_shuffled_views_are_no_orbit_moved_on(count):
    order = shuffled_order(count)
    assert sorted(order) == list(range(count))
    assert all(here != there for here, there in enumerate(order))
    if count > 3:
        assert len({(there - here) % count for here, there in enumerate(order)}) > 1


def test_neighbours_are_those_beside(box):
    assert {pair for pair in neighbours(box.camera) if pair[0] == 3} == {(3, 2), (3, 4)}


def test_epipolar_lines_pass_through_the_same_point():
    camera = scattered(2, (48, 64))
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    pixels, _ = project(points, camera)
    matrix = fundamental_matrix(camera.frame(0), camera.frame(1))
    a, b = (torch.cat((each, torch.ones(20, 1)), 1).double() for each in pixels)
    lines = a @ matrix.T
    assert ((b * lines).sum(1) / lines[:, :2].norm(dim=1)).abs().max() < 1e-2


def test_corners_are_matched_with_themselves(box):
    a, b = match(box.frames.rgb[0], box.frames.rgb[0])
    assert len(a) >= FEWEST
    torch.testing.assert_close(a, b)
    assert (
        median_epipolar_distance(torch.zeros(3, 128, 128), torch.zeros(3, 128, 128), (box.camera.frame(0),) * 2)[1] == 0
    )


def test_the_kernel_distance_is_unbiased_and_grows():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(400, 8, generator=g), torch.randn(400, 8, generator=g)
    assert abs(kernel_distance(a, b)) < 0.05
    assert kernel_distance(a, b + 1) > 0.5
    # Binkowski et al., eq. 4, sum by sum.
    x, y = a[:5].double(), b[:4].double()
    k = lambda u, v: float((u @ v / 8 + 1) ** 3)  # noqa: E731
    xx = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    yy = sum(k(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    xy = sum(k(u, v) for u in x for v in y) / 20
    assert kernel_distance(a[:5], b[:4]) == pytest.approx(xx + yy - 2 * xy)
    with pytest.raises(UserError, match="at least 2"):
        kernel_distance(a[:1], b)


# Gaussians.


def test_a_gaussian_is_where_it_projects_and_hides_what_is_behind():
    camera = ring(1, (33, 33), distance=4.0, elevation=0.0)
    place = torch.tensor([[0.3, -0.2, 0.0], [0.3 * 0.75, -0.2 * 0.75, 1.0]])  # on one ray, the second nearer
    pixel, _ = project(place, camera)
    splats = Splats(place, torch.full((2,), 0.06), torch.tensor([0.9, 0.98]), torch.eye(3)[:2], torch.zeros(3))
    picture = render_splats(splats, camera)
    row, column = divmod(int(picture.sum(0).argmax()), 33)
    assert abs(column + 0.5 - pixel[0, 1, 0]) <= 1
    assert abs(row + 0.5 - pixel[0, 1, 1]) <= 1
    assert picture[1, row, column] > 0.7 > 0.1 > picture[0, row, column]


@pytest.mark.slow
def test_gaussians_fit_views_that_agree_better_than_shuffled_ones_and_are_written(box, tmp_path: Path):
    subject = Subject.of_cameras(box.camera, 3.0)
    fits = [
        fit_splats(rgb, box.camera, subject, count=150, steps=100, side=24)
        for rgb in (box.frames.rgb, box.frames.rgb[shuffled_order(10)])
    ]
    assert fits[0].psnr > fits[1].psnr + 1
    write_ply(tmp_path / "s.ply", fits[0].splats)
    torch.testing.assert_close(read_points(tmp_path / "s.ply"), fits[0].splats.place)


@pytest.mark.slow
def test_split_halves_of_true_views_agree_better_than_of_shuffled_ones(box):
    report = evaluate_multiview(box)
    assert report.answers["views"][SPLIT_HALF] > report.answers["shuffled"][SPLIT_HALF] + 1


def test_from_the_shell(box, tmp_path, capsys):
    for index in range(4):
        write(tmp_path / f"v{index}.png", box.frames.frame(index))
        maps = GBuffer(depth=box.depth[index : index + 1], mask=box.mask[index : index + 1], depth_kind="metric")
        write(tmp_path / f"v{index}.exr", maps)
    few = _first(box, 4)
    write_transforms(tmp_path / "transforms.json", NamedCameras(tuple(f"v{i}.png" for i in range(4)), few.camera))
    assert read_posed(tmp_path).depth is not None
    arguments = ["evaluate", "multiview", str(tmp_path), "--truth", str(tmp_path), "--no-split-half", "--given", "1"]
    assert main([*arguments, "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    assert "reprojection PSNR" in said
    assert "shuffled" in said
    assert main([*arguments[:-1], "9"]) == 2
    assert "expected numbers of views from 1 to 4" in capsys.readouterr().err
