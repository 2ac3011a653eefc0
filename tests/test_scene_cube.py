"""The official look-ups of environment maps, through a cube; and what DiffusionRenderer is shown, against values worked
out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.cube import cube_of, sample_cube, sample_wrapped
from unrender.scene.encoding import DIFFUSION_RENDERER_COSMOS, DIFFUSION_RENDERER_SVD, encode
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles

POINT = DIFFUSION_RENDERER_SVD
CUBE = replace(DIFFUSION_RENDERER_SVD, filtering="cube")
AXES = {"+X": (1, 0, 0), "-X": (-1, 0, 0), "+Y": (0, 1, 0), "-Y": (0, -1, 0), "+Z": (0, 0, 1), "-Z": (0, 0, -1)}
PLACES = {"+X": (32, 48), "-X": (32, 16), "+Y": (0, 0), "-Y": (63, 0), "+Z": (32, 32), "-Z": (32, 0)}
"""(row, column) of each direction in a picture of 64 x 64: +Z in the middle, +X at three quarters."""
VALUES = {0.25: (0.4847487, 0.1688957), 1.0: (0.7366419, 0.3040428), 1000.0: (1.0, 0.8808772)}
"""Radiance: LDR and log, worked out by hand: x (1 + x / 256) / (1 + x), and ln(1 + x) / ln(10001); then the sRGB
curve."""


def spot(axis: tuple[int, int, int], radiance: float, height: int = 64) -> EnvironmentMap:
    """Light from a cone of 30 degrees around a direction, and none from elsewhere."""
    towards = texel_directions((height, 2 * height)) @ torch.tensor(axis).float()
    return EnvironmentMap(torch.where(towards > 0.866, radiance, 0.0).expand(1, 3, -1, -1).clone())


def smooth(d: Tensor) -> Tensor:
    """A radiance without edges, for directions (..., 3)."""
    x, y, z = d.unbind(-1)
    return torch.stack((1 + x * z, 1 + y * x, 2 + z), -1)


@pytest.mark.parametrize("encoding", [POINT, CUBE], ids=["point", "cube"])
@pytest.mark.parametrize("radiance", VALUES)
@pytest.mark.parametrize("name", AXES)
def test_the_pictures_of_a_light_by_hand(name, radiance, encoding):
    encoded = encode(spot(AXES[name], radiance), encoding, (64, 64))
    row, column = PLACES[name]
    ldr, log = VALUES[radiance]
    assert encoded.ldr[0, :, row, column].tolist() == pytest.approx([ldr] * 3, abs=2e-4)
    assert encoded.log[0, :, row, column].tolist() == pytest.approx([log] * 3, abs=2e-4)
    direction = torch.tensor([part * 0.5 + 0.5 for part in AXES[name]])
    # A texel's centre is up to half a texel off the axis.
    assert (encoded.direction[0, :, row, column] - direction).abs().max() < 0.03
    for other, (down, along) in PLACES.items():
        if other != name:
            assert encoded.ldr[0, :, down, along].max() == 0


@pytest.mark.parametrize(("encoding", "source"), [(DIFFUSION_RENDERER_SVD, -1), (DIFFUSION_RENDERER_COSMOS, 1)])
def test_a_sphere_lit_from_the_left_is_lit_on_the_left(encoding, source):
    """Shaded by nothing but what the network is shown. A checkpoint of a mirrored world reads the map mirrored: it
    takes to come from the left what the map holds on the right."""
    encoded = encode(spot((source, 0, 0), 5.0, 32), encoding, (32, 32))
    directions = encoded.direction[0] if encoding.direction_range == "signed" else encoded.direction[0] * 2 - 1
    y, x = torch.meshgrid(torch.linspace(0.9, -0.9, 15), torch.linspace(-0.9, 0.9, 15), indexing="ij")
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    normals = functional.normalize(torch.stack((x, y, z), -1), dim=-1)
    falls = torch.einsum("hwc,cij->hwij", normals, directions).clamp(min=0)
    weights = encoded.ldr[0].mean(0) * texel_solid_angles((32, 32))
    shaded = (falls * weights).sum((2, 3))
    assert shaded[7, 1] > 4 * shaded[7, 13]
    assert shaded[:, :7].mean() > 3 * shaded[:, 8:].mean()


def test_a_cube_is_seamless_over_its_edges():
    light = smooth(texel_directions((256, 512))).permute(2, 0, 1)[None]
    generator = torch.Generator().manual_seed(0)
    d = functional.normalize(torch.randn(64, 64, 3, generator=generator), dim=-1)
    edges = functional.normalize(torch.sign(d) * torch.tensor([1.0, 1.0, 0.3]), dim=-1)  # between two faces
    corners = functional.normalize(torch.sign(d), dim=-1)
    for directions in (d, edges, corners):
        found = sample_cube(cube_of(light, 64), directions)[0].permute(1, 2, 0)
        assert (found - smooth(directions)).abs().max() < 3e-3


def test_look_ups_go_round_the_map_both_ways():
    """Beyond a pole comes the other pole, as the official code has it: half of each on it."""
    radiance = torch.zeros(1, 1, 4, 8)
    radiance[..., 0, :], radiance[..., 3, :] = 1.0, 3.0
    found = sample_wrapped(radiance, torch.tensor([[[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]]))
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([2.0, 2.0]))


def test_a_texel_that_is_an_axis_is_itself():
    radiance = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(sample_wrapped(radiance, texel_directions((8, 16))), radiance, atol=1e-5, rtol=0)


def test_a_cube_does_not_clip_its_gradient_and_turns_with_the_light():
    radiance = torch.rand(1, 3, 16, 32, requires_grad=True)
    encode(EnvironmentMap(radiance), CUBE, (16, 16)).log.sum().backward()
    assert (radiance.grad > 0).float().mean() > 0.5
    light = EnvironmentMap(smooth(texel_directions((64, 128))).permute(2, 0, 1)[None])
    both = encode(light, CUBE, (32, 32), yaw=torch.tensor([0.0, 90.0])).ldr
    torch.testing.assert_close(both[1:], encode(light.rotated(90), CUBE, (32, 32)).ldr, atol=2e-3, rtol=0)
