"""Training: losses against closed forms."""

import math
from dataclasses import replace

import pytest
import torch

from training import inverse_card, stills
from unrender.diffusion.card import MapCodec, TargetPicture
from unrender.diffusion.codec import encode_map
from unrender.train.data import join, whole_batch
from unrender.train.losses import (
    affine_invariant_l1,
    affine_invariant_squared,
    angular_loss,
    gradient_l1,
    mean_squared,
    structure_loss,
)
from unrender.train.task_losses import Weights, task_losses

ONES = torch.ones(2, 1, 4, 4)
NORMAL = (TargetPicture("normal", (MapCodec("normal"),)),)


def field(*vector: float) -> torch.Tensor:
    return torch.tensor(vector)[None, :, None, None].expand(2, 3, 4, 4).clone()


@pytest.mark.parametrize(("angle", "length"), [(0.0, 1.0), (30.0, 0.2), (90.0, 5.0), (179.0, 1.0)])
def test_angular_loss_is_the_angle(angle, length):
    turned = field(math.sin(math.radians(angle)) * length, 0.0, math.cos(math.radians(angle)) * length)
    assert math.degrees(float(angular_loss(turned, field(0.0, 0.0, 1.0), ONES))) == pytest.approx(angle, abs=0.1)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_angular_loss_has_a_finite_gradient_where_arccos_has_none(sign):
    guess = field(0.0, 0.0, sign).requires_grad_()
    angular_loss(guess, field(0.0, 0.0, 1.0), ONES).backward()
    assert guess.grad is not None
    assert guess.grad.isfinite().all()


def test_depth_loss_ignores_scale_shift_and_what_is_masked():
    g = torch.Generator().manual_seed(0)
    target = torch.rand(2, 1, 4, 4, generator=g)
    mask = (torch.rand(2, 1, 4, 4, generator=g) > 0.3).float()
    guess = 0.2 * target - 3 + (1 - mask) * 100
    assert float(affine_invariant_l1(guess, target, mask)) < 2e-3
    assert float(affine_invariant_l1(torch.rand(2, 1, 4, 4, generator=g), target, ONES)) > 0.1


def test_irradiance_loss_aligns_every_channel_of_every_picture_by_itself():
    target = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 1, 8, 8)
    mask[..., :2] = 0
    scale, shift = torch.rand(2, 2, 3, 1, 1, generator=torch.Generator().manual_seed(1)) + 0.5
    guess = scale * target - shift + (1 - mask) * 9
    assert float(affine_invariant_squared(guess, target, mask)) < 1e-6


def test_irradiance_loss_of_a_flat_guess_is_the_variance_of_each_channel():
    target = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(2, 1, 8, 8)
    expected = target.var(dim=(2, 3), correction=0).mean()
    torch.testing.assert_close(affine_invariant_squared(torch.zeros_like(target), target, ones), expected)


def test_mean_squared_counts_only_what_is_valid():
    valid = torch.zeros(2, 1, 4, 4)
    valid[0, 0, 0, 0] = 1
    error = torch.zeros(2, 3, 4, 4)
    error[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    error[1] = 100
    assert float(mean_squared(error, torch.zeros_like(error), valid)) == pytest.approx(14 / 3)
    assert float(mean_squared(error, torch.zeros_like(error), torch.zeros_like(valid))) == 0


def answers(batch) -> dict[str, torch.Tensor]:
    codecs = [codec for picture in inverse_card().maps.targets for codec in picture.maps]
    return {codec.map: encode_map(batch.maps[codec.map], codec) for codec in codecs}


def test_the_truth_has_no_loss_and_every_map_has_its_weight():
    batch = whole_batch(stills(), 16)
    pictures = inverse_card().maps.targets
    none = task_losses(answers(batch), batch, pictures, Weights())
    assert set(none) == {"base_color", "normal", "depth", "mask", "roughness", "metallic", "irradiance"}
    assert max(float(value) for value in none.values()) < 2e-3
    wrong = {name: value * 0.5 + 0.3 for name, value in answers(batch).items()}
    once, twice = (task_losses(wrong, batch, pictures, Weights(base_color=weight)) for weight in (1.0, 2.0))
    torch.testing.assert_close(twice["base_color"], 2 * once["base_color"])
    torch.testing.assert_close(twice["normal"], once["normal"])


def test_what_is_not_known_has_no_loss_and_no_gradient():
    """Two views know their irradiance, two do not; whatever is answered for those changes nothing."""
    batch = whole_batch(join([stills(2), stills(2, irradiance=None)]), 16)
    assert batch.known["irradiance"].tolist() == [True, True, False, False]
    guesses = {name: (value * 0.5).requires_grad_() for name, value in answers(batch).items()}
    losses = task_losses(guesses, batch, inverse_card().maps.targets, Weights())
    torch.stack(list(losses.values())).sum().backward()
    gradient = guesses["irradiance"].grad
    assert gradient is not None
    assert gradient[:2].abs().sum() > 0
    assert (gradient[2:] == 0).all()
    moved = guesses | {
        "irradiance": guesses["irradiance"] + batch.known["irradiance"].logical_not().float()[:, None, None, None]
    }
    again = task_losses(moved, batch, inverse_card().maps.targets, Weights())
    torch.testing.assert_close(again["irradiance"], losses["irradiance"])


def test_nothing_is_learnt_of_the_surface_where_there_is_none():
    batch = whole_batch(stills(2), 16)
    guess = torch.zeros_like(batch.maps["normal"]).fill_(0.3).requires_grad_()
    task_losses({"normal": guess}, batch, NORMAL, Weights())["normal"].backward()
    assert guess.grad is not None
    assert (guess.grad[(batch.surface() == 0).expand_as(guess)] == 0).all()
    assert guess.grad.abs().sum() > 0
    unmasked = replace(batch, known=batch.known | {"mask": torch.zeros(2, dtype=torch.bool)})
    assert (unmasked.surface() == 1).all()


def test_gradients_cost_what_is_blurred_and_not_what_is_shifted():
    target = torch.zeros(1, 1, 16, 16)
    target[..., 8:] = 1
    ones = torch.ones(1, 1, 16, 16)
    assert float(gradient_l1(target + 0.3, target, ones)) == pytest.approx(0, abs=1e-6)
    # One scale: 16 of the 16 x 15 differences across are off by 1, none of those down.
    assert float(gradient_l1(torch.zeros_like(target), target, ones, scales=1)) == pytest.approx(0.5 / 15)
    left = ones.clone()
    left[..., 8:] = 0
    assert float(gradient_l1(torch.zeros_like(target), target, left)) == 0


def test_structure_is_one_minus_ssim():
    g = torch.Generator().manual_seed(0)
    target = torch.rand(2, 3, 32, 32, generator=g) * 2 - 1
    ones = torch.ones(2, 1, 32, 32)
    assert float(structure_loss(target, target, ones)) == pytest.approx(0, abs=1e-4)
    blurred = torch.nn.functional.avg_pool2d(target, 5, stride=1, padding=2)
    darker = target * 0.9 - 0.1
    assert float(structure_loss(blurred, target, ones)) > 5 * float(structure_loss(darker, target, ones))
    hidden = ones.clone()
    hidden[..., :16] = 0
    wrong = target.clone()
    wrong[..., :16] = -1
    assert float(structure_loss(wrong, target, hidden)) == pytest.approx(0, abs=1e-4)


def test_a_deviation_is_held_against_the_error_that_is():
    batch = whole_batch(stills(), 16)
    codec = MapCodec("base_color", transfer="srgb")
    doubt = MapCodec("base_color_deviation", (3,))
    picture = (TargetPicture("colour", (codec, doubt)),)
    off = encode_map(batch.maps["base_color"], codec) + 0.2
    right, wrong = (torch.full_like(batch.photo[:, :1], 2 * value - 1) for value in (0.1, 0.6))
    losses = [task_losses({"base_color": off, doubt.map: guess}, batch, picture, Weights()) for guess in (right, wrong)]
    assert float(losses[0][doubt.map]) == pytest.approx(0, abs=1e-6)
    assert float(losses[1][doubt.map]) == pytest.approx(Weights().deviation * 0.25, rel=1e-3)
    assert torch.equal(losses[0]["base_color"], losses[1]["base_color"])
