"""Base colour corrected by the photo: what is known exactly comes back, and what says nothing changes nothing."""

import math

import pytest
import torch

from unrender.relight.refinement import DEVIATION, SIDE, refine_base_color, refinement
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

SKY = EnvironmentMap(torch.full((1, 3, 8, 16), 0.5))
"""Its irradiance is pi / 2 everywhere, so that a photo is half of its base colour."""


def facing(size: tuple[int, int]) -> torch.Tensor:
    return torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, *size).clone()


def told(truth: torch.Tensor, guess: float, deviation: float, **maps: torch.Tensor) -> tuple[Frames, GBuffer]:
    """A photo of `truth` (1, 3, H, W) under `SKY`, and a G-buffer that takes it for one grey."""
    size = (truth.shape[2], truth.shape[3])
    guessed = torch.full((1, 3, *size), guess)
    gbuffer = GBuffer(base_color=guessed, normal=facing(size)).with_maps(
        **{DEVIATION: torch.full((1, 1, *size), deviation)}, **maps
    )
    return Frames(truth * 0.5, hdr=True), gbuffer


def halves(size: int = 32) -> torch.Tensor:
    truth = torch.full((1, 3, size, size), 0.2)
    truth[..., size // 2 :] = 0.6
    return truth


def test_the_weight_of_the_photo_is_that_of_its_precision():
    photo, gbuffer = told(halves(), 0.35, 0.14)
    gain = refinement(photo, gbuffer, SKY)
    apart = torch.tensor([math.log(0.2 / 0.35), math.log(0.6 / 0.35)])
    unexplained = torch.cat([apart[:1].expand(512), apart[1:].expand(512)]).std()
    share = 0.4**2 / (0.4**2 + (2 * unexplained) ** 2 + 1e-6)
    torch.testing.assert_close(gain[0, 0, 5, [3, 28]], (share * apart).exp(), rtol=2e-3, atol=0)


def test_the_base_colour_comes_nearer_to_the_truth_and_its_deviation_goes():
    truth = halves()
    photo, gbuffer = told(truth, 0.35, 0.35)
    after = refine_base_color(photo, gbuffer, SKY)
    assert DEVIATION not in after.maps
    before = (gbuffer.base_color - truth).abs().mean()
    assert float((after.base_color - truth).abs().mean()) < 0.95 * float(before)


def test_what_is_sure_metal_clipped_or_no_surface_stays_as_it_is():
    photo, sure = told(halves(), 0.35, 0.0)
    assert float((refine_base_color(photo, sure, SKY).base_color - sure.base_color).abs().max()) < 2e-3
    metal = torch.zeros(1, 1, 32, 32)
    metal[..., :8] = 1
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 24:] = 0
    photo, gbuffer = told(halves(), 0.35, 0.2, metallic=metal, mask=mask)
    change = (refine_base_color(photo, gbuffer, SKY).base_color - 0.35).abs()[0, 0]
    assert float(change[:, :7].max()) < 1e-5
    assert float(change[:, 25:].max()) < 1e-5
    assert float(change[:, 9:23].min()) > 0.005
    white = Frames(torch.ones(1, 3, 32, 32), hdr=False)
    assert refinement(white, gbuffer, SKY) is None


def test_without_a_deviation_nothing_is_done():
    photo, gbuffer = told(halves(), 0.35, 0.2)
    plain = gbuffer.with_maps(**{DEVIATION: None})
    assert refine_base_color(photo, plain) is plain


def test_a_large_picture_is_compared_small_and_keeps_its_own_grain():
    generator = torch.Generator().manual_seed(0)
    size = (40, 2 * SIDE)
    photo, gbuffer = told(torch.full((1, 3, *size), 0.3), 0.4, 0.2)
    grain = 0.4 + 0.05 * torch.rand(1, 3, *size, generator=generator)
    gbuffer = gbuffer.with_maps(base_color=grain)
    gain = refinement(photo, gbuffer, SKY)
    assert gain.shape[2:] == (20, SIDE)
    after = refine_base_color(photo, gbuffer, SKY).base_color
    ratio = (after / grain)[0, 0]
    assert float(ratio.std()) < 0.2 * float((grain / grain.mean()).std())
    assert float(ratio.mean()) == pytest.approx(0.3 / 0.425, rel=0.02)


@pytest.mark.parametrize("lit", [0.1, 10.0])
def test_the_light_is_estimated_where_none_is_given(lit: float):
    """However bright the photo is: base colours are told apart, not scaled."""
    truth = halves()
    photo, gbuffer = told(truth, 0.35, 0.3)
    after = refine_base_color(Frames(photo.rgb * lit, hdr=True), gbuffer).base_color
    assert float(after[..., 20:].mean()) > 1.1 * float(after[..., :12].mean())
