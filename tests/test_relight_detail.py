"""Ratio transfer keeps what the G-buffer missed, and is guarded where it would divide by nothing."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from unrender.relight.detail import COLOUR_STRENGTH, DARK, LARGEST_GAIN, SMALLEST_RATIO, STRENGTH, detail_gain


def test_the_ratio_comes_back_to_the_power_of_the_strength():
    generator = torch.Generator().manual_seed(1)
    rerendered = 0.1 + torch.rand(1, 3, 16, 16, generator=generator)
    photo = rerendered * (0.5 + torch.rand(1, 3, 16, 16, generator=generator))
    grey = photo[:, :1].expand_as(photo)
    flat = rerendered[:, :1].expand_as(photo)
    torch.testing.assert_close(detail_gain(grey, flat), (grey / flat) ** STRENGTH)
    gain, ratio = detail_gain(photo, rerendered), photo / rerendered
    torch.testing.assert_close(gain[:, 0] / gain[:, 2], (ratio[:, 0] / ratio[:, 2]) ** COLOUR_STRENGTH)
    assert torch.equal(detail_gain(rerendered, rerendered), torch.ones_like(photo))  # a right rendering needs none


def test_texture_that_the_gbuffer_missed_scales_with_the_new_light():
    stripes = 1 + 0.5 * torch.sign(torch.sin(torch.arange(32.0)))[None, None, None, :].expand(1, 3, 32, 32)
    smooth = torch.full((1, 3, 32, 32), 0.3)
    relit = 2.5 * smooth
    torch.testing.assert_close(relit * detail_gain(smooth * stripes, smooth), 2.5 * smooth * stripes**STRENGTH)


def test_dark_renderings_fade_to_the_relit_rendering_itself():
    photo = torch.full((1, 3, 1, 5), 0.5)
    levels = torch.tensor([0.0, DARK / 4, DARK / 2, DARK, 2 * DARK]).expand(1, 3, 1, 5)
    gain = detail_gain(photo, levels)[0, 0, 0]
    assert gain[0] == 1
    assert gain.diff()[:3].gt(0).all()  # the trust grows with the level
    torch.testing.assert_close(float(gain[3]), LARGEST_GAIN)


@given(st.floats(0, 1e4, width=32), st.floats(0, 1e4, width=32))
def test_the_gain_is_finite_and_bounded(photo: float, rerendered: float):
    gain = detail_gain(torch.full((1, 3, 1, 1), photo), torch.full((1, 3, 1, 1), rerendered))
    assert gain.isfinite().all()
    assert SMALLEST_RATIO**STRENGTH * 0.999 <= gain.min() <= gain.max() <= LARGEST_GAIN * 1.001


def test_at_a_soft_edge_the_gain_is_no_more_than_its_neighbourhood_supports():
    photo = torch.full((1, 3, 64, 64), 0.2)
    photo[..., 30:34] = 0.8  # a bright sky shines through
    rerendered = torch.full_like(photo, 0.2)
    trust = torch.ones(1, 1, 64, 64)
    trust[..., 30:34] = 0.1
    free, held = detail_gain(photo, rerendered), detail_gain(photo, rerendered, trust)
    assert float(free.max()) > 3
    assert float(held.max()) < 1.6
    assert torch.equal(held[..., :30], free[..., :30])
