"""What a network is shown of a light: in the camera's axes, with the light's flux, exposed as the surfaces are."""

import math

import pytest
import torch
from torch import Tensor

from forward_scenes import constant_light, sphere
from unrender.conventions import uv_to_direction, yaw_matrix
from unrender.diffusion.card import InputMap, MapCodec
from unrender.diffusion.networks.environment import EnvironmentEncoder
from unrender.errors import UserError
from unrender.forward import DeferredRenderer
from unrender.forward.lighting import exposure_gain, light_conditioning, radiance_hint, surface_maps
from unrender.scene.color import luminance
from unrender.scene.encoding import MINI, encode, mirror_encoded
from unrender.scene.environment import EnvironmentMap, mean_direction, mean_radiance
from unrender.scene.gbuffer import GBuffer

LEVEL = torch.eye(4)[None]
BALL = sphere(48, (0.6, 0.5, 0.4), 0.5, 0.0)
INSIDE = BALL.maps["mask"] > 0


def turned(seed: int) -> Tensor:
    """A pose (4, 4) turned any way, away from the origin."""
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = q * torch.det(q).sign(), torch.tensor([1.0, 2.0, 3.0])
    return pose


def sun(u: float, v: float) -> EnvironmentMap:
    """One bright texel of 64 x 128."""
    radiance = torch.full((1, 3, 64, 128), 0.01)
    radiance[..., int(v * 64), int(u * 128)] = torch.tensor([300.0, 200.0, 100.0])
    return EnvironmentMap(radiance)


def noise_light() -> EnvironmentMap:
    return EnvironmentMap(torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1)) ** 8 * 10)


def light_picture(light, poses, yaw=0.0, size=(16, 32), gain=None) -> Tensor:
    """The light as `mini` is told it."""
    return encode(light, MINI, size, poses[:, :3, :3], yaw=yaw, gain=gain).picture


def radiance_of(picture: Tensor) -> EnvironmentMap:
    """The radiance that a picture of a light tells on its first curve."""
    return EnvironmentMap(picture[:, :3] / (1 - picture[:, :3]))


def test_a_constant_light_is_constant_on_both_curves():
    picture = light_picture(constant_light(3.0), torch.stack([turned(0), turned(1)]), 20.0, (8, 16))
    assert picture.shape == (2, 9, 8, 16)
    torch.testing.assert_close(picture[:, :3], torch.full((2, 3, 8, 16), 0.75))
    log = math.log(4.0) / math.log(1 + MINI.log_peak)
    torch.testing.assert_close(picture[:, 3:6], torch.full((2, 3, 8, 16), log))
    torch.testing.assert_close(picture[:, 6:].norm(dim=1), torch.ones(2, 8, 16))


@pytest.mark.parametrize(
    ("camera", "yaw", "column"), [(0.0, 0.0, 8), (90.0, 0.0, 16), (0.0, 90.0, 0), (90.0, 90.0, 8), (0.0, -90.0, 16)]
)
def test_a_light_from_the_right_is_where_the_camera_sees_it(camera, yaw, column):
    """Of 32 columns: 0 is before the camera, 8 to its right, 16 behind it."""
    pose = torch.eye(4)
    pose[:3, :3] = yaw_matrix(camera)
    picture = light_picture(sun(0.25, 0.5), pose[None], yaw)
    brightest = int(picture[0, 3:6].mean(0).mean(0).argmax())
    assert brightest in (column, (column - 1) % 32)  # on the edge between two


@pytest.mark.parametrize("u", [0.05, 0.4])
@pytest.mark.parametrize("v", [0.01, 0.05, 0.3, 0.5, 0.99])
def test_a_sun_keeps_its_flux_and_its_place_however_the_camera_is_held(u, v):
    light, poses = sun(u, v), torch.stack([turned(seed) for seed in range(4)])
    seen = radiance_of(light_picture(light, poses, 30.0))
    torch.testing.assert_close(mean_radiance(seen), mean_radiance(light).expand(4, 3), rtol=1e-3, atol=0)
    texel = (torch.tensor((int(u * 128) + 0.5) / 128), torch.tensor((int(v * 64) + 0.5) / 64))
    right = torch.einsum("tji,jk,k->ti", poses[:, :3, :3], yaw_matrix(30.0), uv_to_direction(*texel))
    cosine = (torch.nn.functional.normalize(mean_direction(seen), dim=1) * right).sum(1)
    assert float(torch.rad2deg(torch.acos(cosine.clamp(max=1))).max()) < 180 / 16 / 2  # half a texel


def test_turning_the_light_is_turning_the_camera_back():
    pose, back = turned(3), torch.eye(4)
    back[:3, :3] = yaw_matrix(-40.0)
    once = light_picture(noise_light(), pose[None], 40.0)
    torch.testing.assert_close(once, light_picture(noise_light(), (back @ pose)[None]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(once, light_picture(noise_light(), pose[None], 400.0), atol=1e-5, rtol=1e-4)


def test_a_mirrored_scene_is_the_picture_flipped_but_for_its_directions():
    light, pose, mirror = noise_light(), turned(5), torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    picture = light_picture(light, pose[None], 25.0)
    mirrored = light_picture(EnvironmentMap(light.radiance.flip(3)), (mirror @ pose @ mirror)[None], -25.0)
    torch.testing.assert_close(mirror_encoded(picture, MINI), mirrored, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(picture, mirrored, atol=1e-2)


def test_a_light_of_many_frames_is_shown_frame_by_frame():
    lights = EnvironmentMap(torch.cat([noise_light().radiance, sun(0.3, 0.3).radiance[..., ::2, ::2]]))
    poses, yaws = torch.stack([turned(0), turned(1)]), torch.tensor([10.0, 70.0])
    both = light_picture(lights, poses, yaws, gain=torch.tensor([2.0, 0.5]).reshape(2, 1, 1, 1))
    for i, gain in enumerate((2.0, 0.5)):
        alone = light_picture(EnvironmentMap(lights.frame(i).radiance * gain), poses[i : i + 1], yaws[i])
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_the_gain_brings_a_bright_percentile_of_the_surface_to_point_six():
    first = radiance_hint(BALL, sun(0.3, 0.3), 10.0)
    exposed = luminance(first * exposure_gain(first, BALL.maps["mask"]))[INSIDE]
    assert float((exposed <= 0.6).float().mean()) == pytest.approx(0.9, abs=5e-3)


def test_the_gain_is_that_of_the_surface_however_little_there_is():
    covered = torch.zeros(3, 1, 4, 4)
    covered[0, 0, 1, 1], covered[1, 0, 1, 1] = 1.0, 0.2
    first = torch.where(covered > 0, 0.3, 50.0).expand(3, 3, 4, 4)
    torch.testing.assert_close(exposure_gain(first, covered).flatten(), torch.tensor([2.0, 2.0, 1.0]))
    torch.testing.assert_close(exposure_gain(0 * first, covered).flatten(), torch.ones(3))


def test_a_radiance_hint_is_the_deferred_surface_on_black():
    light = sun(0.2, 0.3)
    expected = DeferredRenderer("split_sum")(BALL, light, 15.0)
    assert torch.equal(radiance_hint(BALL, light, 15.0), expected.diffuse + expected.specular)


def test_surface_maps_are_those_of_training():
    metric = BALL.with_maps(roughness=None, base_color=BALL.maps["base_color"] + 0.1)
    maps = surface_maps(metric)
    assert not any(maps[name][~INSIDE.expand_as(maps[name])].any() for name in maps if name != "depth")
    assert (float(maps["depth"].min()), float(maps["depth"].max())) == (1.0, 2.0)
    assert bool((maps["depth"][~INSIDE] == 2).all())
    assert torch.equal(maps["depth"], surface_maps(GBuffer(**{**metric.maps, "depth": maps["depth"]}))["depth"])
    assert bool((maps["roughness"][INSIDE] == 0.5).all())
    assert torch.equal(maps["mask"], BALL.maps["mask"])


def test_what_is_shown_does_not_know_how_bright_the_light_is():
    light, bright = noise_light(), EnvironmentMap(64 * noise_light().radiance)
    once, again = light_conditioning(BALL, light, 20.0, (8, 16)), light_conditioning(BALL, bright, 20.0, (8, 16))
    torch.testing.assert_close(again.radiance_hint, once.radiance_hint)
    torch.testing.assert_close(again.picture, once.picture)
    torch.testing.assert_close(again.gain, once.gain / 64)
    with pytest.raises(UserError, match="the deferred renderer needs the map base_color"):
        light_conditioning(BALL.with_maps(base_color=None), light)


def test_the_encoder_goes_round_the_map():
    """Turned by a token's width, the radiance alone gives the same tokens, one column on."""
    torch.manual_seed(0)
    encoder = EnvironmentEncoder((4, 8), 8).eval()
    picture = light_picture(noise_light(), turned(2)[None], 0.0, (8, 16))
    picture[:, 6:] = 0
    with torch.inference_mode():
        tokens, moved = encoder(picture), encoder(picture.roll(4, dims=3))
    assert tokens.shape == (1, 8, 8)
    torch.testing.assert_close(moved.unflatten(1, (2, 4)), tokens.unflatten(1, (2, 4)).roll(1, dims=2))
    torch.testing.assert_close(tokens.mean(2), torch.zeros(1, 8), atol=1e-5, rtol=0)


def test_a_network_that_is_told_a_light_is_told_no_irradiance():
    """That of a G-buffer is of the light before; of ground truth, it would give the shadows away."""
    lit = BALL.with_maps(irradiance=torch.rand(1, 3, 48, 48))
    light = constant_light(1.0)
    shown = light_conditioning(lit, light)
    assert shown.values_of(InputMap(MapCodec("irradiance", transfer="srgb"))) is None
    assert torch.equal(shown.radiance_hint, light_conditioning(BALL, light).radiance_hint)
