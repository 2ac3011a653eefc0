"""Shadows, occlusion and reflections from depth, beside Mitsuba and the unshadowed qualities."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from forward_scenes import mitsuba_table, psnr, sphere, table, world
from unrender.errors import UserError
from unrender.forward import DeferredRenderer
from unrender.scene.environment import EnvironmentMap


def _lamp(column: float) -> EnvironmentMap:
    """A dim sky and a strong small lamp 35 degrees above the horizon."""
    radiance = torch.full((1, 3, 64, 128), 0.1)
    x = round(column * 128)
    radiance[:, :, 18:22, x - 2 : x + 2] = 200
    return EnvironmentMap(radiance)


def test_casts_shadows_away_from_the_light():
    gbuffer = table(64)
    picture, lit = (
        DeferredRenderer(q, samples=64, background=False)(gbuffer, _lamp(0.25)).beauty[0].mean(0)
        for q in ("screen_space", "monte_carlo")
    )
    ratio = picture / lit.clamp(min=1e-6)
    floor = (gbuffer.roughness[0, 0] == 0.4) & (gbuffer.mask[0, 0] > 0)
    columns = torch.arange(64).expand(64, 64)
    rows = torch.arange(64)[:, None].expand(64, 64)
    # The lamp is on the right: the floor between the balls, left of the right one, is in its shadow ...
    shadow = floor & (columns > 36) & (columns < 44) & (rows > 36) & (rows < 46)
    assert float(ratio[shadow].mean()) < 0.6
    # ... and the near floor, with nothing between it and the lamp, is not.
    open_floor = floor & (rows > 56)
    assert 0.9 < float(ratio[open_floor].mean()) < 1.15


def test_mirror_reflects_its_neighbours():
    gbuffer = table(64)
    light = EnvironmentMap(torch.full((1, 3, 16, 32), 1.0))
    alone = DeferredRenderer("monte_carlo", samples=64)(gbuffer, light).specular[0]
    mirrored = DeferredRenderer("screen_space", samples=64)(gbuffer, light).specular[0]
    metal = gbuffer.metallic[0, 0] == 1
    left = metal & (torch.arange(64)[None].expand(64, 64) < 28)
    redness = lambda x: float((x[0] / x[2])[left].mean())  # noqa: E731
    assert redness(mirrored) > 1.05 * redness(alone)


@pytest.mark.parametrize("light_name", ["sunset", "studio"])
def test_nearer_to_path_tracing_than_without_shadows(mitsuba, light_name):
    gbuffer, light = table(64), world(light_name, 64)
    reference = mitsuba_table(mitsuba, light, 64, samples=256, depth=6)
    figures = {}
    for quality in ("split_sum", "monte_carlo", "screen_space"):
        picture = DeferredRenderer(quality, samples=64, background=False)(gbuffer, light).beauty[0]
        # 2 x 2 pixels together: what is compared is light, not the noise of either.
        small = [functional.avg_pool2d(x, 2) for x in (picture, reference, gbuffer.mask[0])]
        figures[quality] = psnr(*small)[0]
    print(light_name, figures)
    assert figures["screen_space"] > figures["monte_carlo"] + 2
    assert figures["screen_space"] > figures["split_sum"] + 2


def test_lonely_sphere_is_the_split_sum():
    """Nothing convex blocks itself: rays must leave their own surface."""
    gbuffer, light = sphere(48, (0.8, 0.5, 0.2), 0.5, 0.0), world("sunset", 64)
    a, b = (DeferredRenderer(q, samples=128)(gbuffer, light).beauty for q in ("screen_space", "split_sum"))
    assert float((a - b).abs().mean()) < 0.005 * float(b.mean())


def test_relative_depth_is_calibrated():
    truth, light = table(48), _lamp(0.25)
    hidden = replace(truth.with_maps(depth=truth.depth * 0.1 - 0.2), depth_kind="relative")
    a, b = (DeferredRenderer("screen_space", samples=32)(g, light).beauty for g in (truth, hidden))
    assert float((a - b).abs().mean()) < 0.03 * float(a.mean())


def test_gradients_reach_light_and_material():
    gbuffer = table(24)
    radiance = world("sunset", 32).radiance.clone().requires_grad_()
    base = gbuffer.base_color.clone().requires_grad_()
    DeferredRenderer("screen_space", samples=8)(
        gbuffer.with_maps(base_color=base), EnvironmentMap(radiance)
    ).beauty.sum().backward()
    assert torch.isfinite(radiance.grad).all()
    assert float(radiance.grad.sum()) > 0
    assert torch.isfinite(base.grad).all()


def test_needs_depth():
    with pytest.raises(UserError, match="depth"):
        DeferredRenderer("screen_space")(table(8).with_maps(depth=None), _lamp(0.5))
