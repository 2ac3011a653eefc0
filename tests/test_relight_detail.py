"""Ratio transfer keeps what the G-buffer missed, and is guarded where it would divide by nothing."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unrender.relight.detail import DARK, LARGEST_RATIO, SMALLEST_RATIO, belief, believed, detail_gain

EVERYWHERE = torch.ones(1, 1, 64, 64)


def rolling(seed: int, contrast: float) -> torch.Tensor:
    """A smooth picture (1, 3, 64, 64) about 0.3 whose logarithm deviates by `contrast`."""
    generator = torch.Generator().manual_seed(seed)
    logs = functional.interpolate(torch.randn(1, 1, 4, 4, generator=generator), size=(64, 64), mode="bicubic")
    return (0.3 * (contrast * (logs - logs.mean()) / logs.std()).exp()).expand(1, 3, 64, 64)


def test_the_ratio_comes_back_whole():
    generator = torch.Generator().manual_seed(1)
    rerendered = 0.1 + torch.rand(1, 3, 16, 16, generator=generator)
    photo = rerendered * (0.5 + torch.rand(1, 3, 16, 16, generator=generator))
    torch.testing.assert_close(detail_gain(photo, rerendered) * rerendered, photo)
    assert torch.equal(detail_gain(rerendered, rerendered), torch.ones_like(photo))  # a right rendering needs none


def test_belief_falls_where_the_light_does_not_explain_the_photo_and_texture_is_no_reason():
    even = torch.full((1, 3, 64, 64), 0.3)
    stripes = even * (1 + 0.5 * torch.sign(torch.sin((torch.arange(64.0) + 0.5) * torch.pi / 2)))
    assert float(belief(even, even, EVERYWHERE)) == 1
    assert float(belief(stripes, even, EVERYWHERE)) > 0.85
    found = [float(belief(rolling(2, contrast), even, EVERYWHERE)) for contrast in (0.05, 0.21, 0.8)]
    assert 1 > found[0] > found[1] > found[2] > 0
    assert abs(found[1] - 0.5) < 0.1


@given(st.integers(0, 99), st.floats(0.05, 1.0), st.floats(0.01, 100.0))
@settings(max_examples=20, deadline=None)
def test_as_much_of_the_change_of_light_as_is_believed(seed: int, share: float, strength: float):
    photo, rerendered, rendered = rolling(seed, 0.2), rolling(seed + 1, 0.2), strength * rolling(seed + 2, 0.3)
    gain = detail_gain(photo, rerendered)
    relit = rendered * believed(rendered, photo, gain, EVERYWHERE, torch.full((1, 1, 1, 1), share))
    change, wanted = (relit / photo).log(), (rendered / rerendered).log()
    torch.testing.assert_close(change.mean(), wanted.mean(), atol=0.02, rtol=0)
    torch.testing.assert_close(change - change.mean(), share * (wanted - wanted.mean()), atol=0.02, rtol=0)


def test_belief_of_all_is_the_ratio_transfer():
    photo, rerendered, rendered = rolling(1, 0.3), rolling(2, 0.3), rolling(3, 0.3)
    gain = detail_gain(photo, rerendered)
    torch.testing.assert_close(believed(rendered, photo, gain, EVERYWHERE, torch.ones(1, 1, 1, 1)), gain)


def test_dark_renderings_fade_to_the_relit_rendering_itself():
    photo = torch.full((1, 3, 1, 5), 0.5)
    levels = torch.tensor([0.0, DARK / 4, DARK / 2, DARK, 2 * DARK]).expand(1, 3, 1, 5)
    gain = detail_gain(photo, levels)[0, 0, 0]
    assert gain[0] == 1
    assert gain.diff()[:3].gt(0).all()  # the trust grows with the level
    torch.testing.assert_close(float(gain[3]), LARGEST_RATIO)


@given(st.floats(0, 1e4, width=32), st.floats(0, 1e4, width=32))
def test_the_gain_is_finite_and_bounded(photo: float, rerendered: float):
    gain = detail_gain(torch.full((1, 3, 1, 1), photo), torch.full((1, 3, 1, 1), rerendered))
    assert gain.isfinite().all()
    assert SMALLEST_RATIO * 0.999 <= gain.min() <= gain.max() <= LARGEST_RATIO * 1.001


def test_at_a_soft_edge_the_gain_is_no_more_than_its_neighbourhood_supports():
    photo = torch.full((1, 3, 64, 64), 0.2)
    photo[..., 30:34] = 0.8  # a bright sky shines through
    rerendered = torch.full_like(photo, 0.2)
    trust = torch.ones(1, 1, 64, 64)
    trust[..., 30:34] = 0.1
    free, held = detail_gain(photo, rerendered), detail_gain(photo, rerendered, trust)
    assert float(free.max()) > 3
    assert float(held.max()) < 1.8
    assert torch.equal(held[..., :30], free[..., :30])
