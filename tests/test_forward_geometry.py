"""Relative depth against the depth it came from."""

import pytest
import torch

from forward_scenes import sphere, table
from unrender.errors import UserError
from unrender.forward.geometry import calibrate_depth
from unrender.scene.gbuffer import GBuffer


def _abs_rel(calibrated: GBuffer, truth: GBuffer) -> float:
    inside = torch.isfinite(truth.depth)
    ratio = calibrated.depth[inside] / truth.depth[inside]
    return float((ratio / ratio.median() - 1).abs().mean())


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.1, -0.25), (7.0, 40.0)])
def test_finds_hidden_scale_and_shift(scale, shift):
    truth = table(96)
    hidden = truth.with_maps(depth=truth.depth * scale + shift)
    calibrated = calibrate_depth(hidden)
    assert _abs_rel(calibrated, truth) < 0.01
    assert torch.equal(torch.isinf(calibrated.depth), torch.isinf(truth.depth))


def test_bears_noisy_normals_and_depth():
    truth = table(96)
    generator = torch.Generator().manual_seed(0)
    inside = torch.isfinite(truth.depth)
    noise = torch.randn(truth.normal.shape, generator=generator) * 0.05
    normal = torch.nn.functional.normalize(truth.normal + noise, dim=1) * inside
    depth = 0.2 * truth.depth - 0.3 + 2e-4 * torch.randn(truth.depth.shape, generator=generator)
    assert _abs_rel(calibrate_depth(truth.with_maps(depth=depth, normal=normal)), truth) < 0.1


def test_what_cannot_be_known_is_still_positive():
    normal = torch.zeros(1, 3, 16, 16)
    normal[:, 2] = 1
    wall = GBuffer(normal=normal, depth=torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    depth = calibrate_depth(wall).depth
    assert torch.isfinite(depth).all()
    assert float(depth.min()) > 0
    empty = GBuffer(normal=normal * 0, depth=torch.full((1, 1, 16, 16), torch.inf))
    assert torch.isinf(calibrate_depth(empty).depth).all()


def test_needs_depth_and_normal():
    with pytest.raises(UserError, match="depth"):
        calibrate_depth(sphere(8, (0.5, 0.5, 0.5), 0.5, 0.0).with_maps(depth=None))
