"""The split sum beside Monte Carlo, its prefiltered light, and the gradients of both."""

import pytest
import torch

from forward_scenes import constant_light, psnr, sphere, world
from unrender.forward import DeferredRenderer
from unrender.forward.prefilter import LEVELS, PrefilteredLight, level_alpha, lobe
from unrender.forward.split_sum import response_table
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles

BASE = (0.8, 0.5, 0.2)
# What the split sum reached when this was written (dB, display, see `psnr`), less 1: lower is a regression.
FLOORS = {
    "sunset": {(0.1, 0.0): 45, (0.1, 1.0): 34, (0.4, 0.0): 39, (0.4, 1.0): 31, (0.9, 0.0): 38, (0.9, 1.0): 36},
    "studio": {(0.1, 0.0): 35, (0.1, 1.0): 25, (0.4, 0.0): 26, (0.4, 1.0): 21, (0.9, 0.0): 35, (0.9, 1.0): 28},
}


@pytest.mark.parametrize("light_name", list(FLOORS))
def test_close_to_monte_carlo(light_name):
    light = world(light_name)
    for (roughness, metallic), floor in FLOORS[light_name].items():
        gbuffer = sphere(64, BASE, roughness, metallic)
        reference = DeferredRenderer("monte_carlo", samples=512, background=False)(gbuffer, light).beauty[0]
        picture = DeferredRenderer("split_sum", background=False)(gbuffer, light).beauty[0]
        display, linear = psnr(picture, reference, gbuffer.mask[0])
        print(f"{light_name} roughness {roughness} metallic {metallic}: {display:.1f} dB, linear {linear:.1f} dB")
        assert display >= floor, (roughness, metallic)


@pytest.mark.parametrize("metallic", [0.0, 1.0])
def test_exact_in_a_furnace(metallic):
    """Under constant light nothing is split: the sum is the directional albedo, and Monte Carlo agrees."""
    for roughness in (0.1, 0.5, 1.0):
        gbuffer = sphere(32, BASE, roughness, metallic)
        fast, slow = (DeferredRenderer(q, samples=512)(gbuffer, constant_light()) for q in ("split_sum", "monte_carlo"))
        inside = gbuffer.mask.expand(1, 3, 32, 32) > 0
        for group in ("diffuse", "specular"):
            error = (getattr(fast, group) - getattr(slow, group))[inside].abs()
            assert float(error.mean()) < 5e-3, (roughness, group)


def test_blur_is_the_integral():
    """A blurred texel is the lobe's mean over the sphere, here by summing over every texel."""
    radiance = world("sunset", 64).radiance[0]
    light = PrefilteredLight.of(radiance)
    directions = texel_directions((64, 128)).reshape(-1, 3)
    weights = texel_solid_angles((64, 128)).expand(64, 128).reshape(-1)
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(3, 40, generator=generator), dim=0)
    for level in (5, LEVELS):
        kernel = lobe(directions @ axes, level_alpha(level)) * weights[:, None]
        expected = radiance.reshape(3, -1) @ (kernel / kernel.sum(0))
        got = light.look_up(axes, torch.full((40,), float(level)))
        assert float((got - expected).abs().mean()) < 0.03 * float(expected.mean()), level


def test_blur_commutes_with_yaw():
    light = world("studio", 64)
    still, turned = (PrefilteredLight.of(x.radiance[0]) for x in (light, light.rotated(90)))
    torch.testing.assert_close(turned.glossy, torch.roll(still.glossy, -64, dims=3), atol=1e-4, rtol=1e-3)


def test_response_is_physical():
    table = response_table()
    diffuse, dielectric, metal, fresnel, angle, _ = table
    assert float((metal + fresnel).max()) <= 1.001
    assert float(dielectric.max()) <= 1
    assert float(diffuse[: len(diffuse) // 2].max()) <= 1.02  # rough Disney diffuse gains light at grazing angles
    assert float(angle[0, -1].abs()) < 0.1
    assert torch.isfinite(table).all()


def _mean_picture(quality, gbuffer, radiance):
    groups = DeferredRenderer(quality, samples=512, background=False)(gbuffer, EnvironmentMap(radiance))
    return groups.beauty.sum() / gbuffer.mask.sum()


@pytest.mark.parametrize("quality", ["split_sum", "monte_carlo"])
def test_material_gradients_are_finite_differences(quality):
    gbuffer = sphere(20, BASE, 0.435, 0.45)  # between two nodes of the split sum's table, which has kinks there
    radiance = world("sunset", 32).radiance
    names = ("base_color", "roughness", "metallic")
    maps = {name: getattr(gbuffer, name).clone().requires_grad_() for name in names}
    _mean_picture(quality, gbuffer.with_maps(**maps), radiance).backward()
    for name in names:
        value, step = getattr(gbuffer, name), 0.008
        up, down = (_mean_picture(quality, gbuffer.with_maps(**{name: value + s}), radiance) for s in (step, -step))
        difference = float(up - down) / (2 * step)
        assert float(maps[name].grad.sum()) == pytest.approx(difference, rel=0.1), name


@pytest.mark.parametrize("quality", ["split_sum", "monte_carlo"])
def test_light_gradients_are_finite_differences(quality):
    gbuffer = sphere(20, BASE, 0.45, 0.45)
    radiance = world("sunset", 32).radiance.clone().requires_grad_()
    _mean_picture(quality, gbuffer, radiance).backward()
    brighter = torch.zeros_like(radiance)
    brighter[:, :, 4:10, 20:30] = 0.5
    with torch.no_grad():
        difference = float(
            _mean_picture(quality, gbuffer, radiance + brighter) - _mean_picture(quality, gbuffer, radiance)
        )
    assert float((radiance.grad * brighter).sum()) == pytest.approx(difference, rel=0.05)


def test_gradients_survive_the_poles():
    """Looking straight down, mirror directions meet the pole of the map, where longitude has no derivative."""
    gbuffer = sphere(9, BASE, 0.0, 1.0)
    pose = torch.eye(4)[None].clone()
    pose[0, :3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    camera = type(gbuffer.camera)(gbuffer.camera.intrinsics, pose, gbuffer.size)
    roughness = torch.full((1, 1, 9, 9), 0.2, requires_grad=True)
    flat = torch.zeros(1, 3, 9, 9)
    flat[:, 2] = 1
    buffer = type(gbuffer)(base_color=gbuffer.base_color, normal=flat, roughness=roughness, camera=camera)
    DeferredRenderer("split_sum")(buffer, world("sunset", 32)).beauty.sum().backward()
    assert torch.isfinite(roughness.grad).all()
