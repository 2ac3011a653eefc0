"""Training: losses against closed forms, gradients through the decoder, exact resume."""

import json
import math
from dataclasses import replace

import pytest
import torch

from tiny_models import tiny_card, tiny_checkpoint
from unrender.diffusion.codec import relative_depth
from unrender.diffusion.schedule import make_schedule
from unrender.errors import UserError
from unrender.scene.gbuffer import GBuffer
from unrender.train.data import Stills, draw_batch, load_stills
from unrender.train.e2e import E2ERecipe, Stage, learning_rate, predict, stage_at, task_losses, train
from unrender.train.losses import affine_invariant_l1, align, angular_loss, mean_squared

ONES = torch.ones(2, 1, 4, 4)


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
    target = torch.rand(2, 1, 4, 4)
    mask = (torch.rand(2, 1, 4, 4) > 0.3).float()
    guess = 0.2 * target - 3 + (1 - mask) * 100
    scale, shift = align(guess, target, mask)
    torch.testing.assert_close(scale.flatten(), torch.full((2,), 5.0), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(shift.flatten(), torch.full((2,), 15.0), rtol=1e-2, atol=3e-2)
    assert float(affine_invariant_l1(guess, target, mask)) < 2e-3
    assert float(affine_invariant_l1(torch.rand(2, 1, 4, 4), target, ONES)) > 0.1


def test_mean_squared_counts_only_what_is_valid():
    valid = torch.zeros(2, 1, 4, 4)
    valid[0, 0, 0, 0] = 1
    error = torch.zeros(2, 3, 4, 4)
    error[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    error[1] = 100
    assert float(mean_squared(error, torch.zeros_like(error), valid)) == pytest.approx(14 / 3)


def gbuffer(count: int = 4, size: int = 32) -> GBuffer:
    g = torch.Generator().manual_seed(0)
    ramp = torch.linspace(2, 5, size)[None, None, :, None].expand(count, 1, size, size)
    return GBuffer(
        rgb=torch.rand(count, 3, size, size, generator=g),
        base_color=torch.rand(count, 3, size, size, generator=g),
        normal=torch.nn.functional.normalize(torch.randn(count, 3, size, size, generator=g), dim=1),
        depth=ramp + torch.rand(count, 1, 1, 1, generator=g),
        roughness=torch.rand(count, 1, size, size, generator=g),
        metallic=torch.zeros(count, 1, size, size),
        mask=torch.ones(count, 1, size, size),
        depth_kind="metric",
    )


@pytest.fixture(scope="module")
def stills() -> Stills:
    return load_stills([gbuffer()])


def test_relative_depth_spans_one_to_two_and_background_is_far():
    depth = torch.linspace(3, 30, 64).reshape(1, 1, 8, 8).clone()
    depth[..., 0] = torch.inf
    relative = relative_depth(depth, depth.isfinite().float())
    assert (float(relative.min()), float(relative.max())) == (1.0, 2.0)
    assert (relative[..., 0] == 2).all()
    torch.testing.assert_close(relative_depth(depth * 7, depth.isfinite().float()), relative)


def test_batches_follow_from_seed_and_step_alone(stills):
    first, again, other = (draw_batch(stills, 24, 3, 7, step) for step in (5, 5, 6))
    assert torch.equal(first.rgb, again.rgb)
    assert not torch.equal(first.rgb, other.rgb)
    assert first.rgb.shape == (3, 3, 24, 24)
    assert 0 <= float(first.rgb.min()) <= float(first.rgb.max()) <= 1


def test_mirroring_turns_the_x_of_normals():
    """Right-facing normals only: after any number of random mirrorings half of them face left, with their pixels."""
    still = gbuffer(1)
    facing_right = torch.zeros(1, 3, 32, 32)
    facing_right[:, 0] = 1.0
    base = torch.zeros(1, 3, 32, 32)
    base[..., 16:] = 1.0
    many = load_stills([still.with_maps(normal=facing_right, base_color=base)])
    batch = draw_batch(many, 32, 64, 0, 0)
    bright_right = batch.maps["base_color"][:, 0, :, -1].mean(1) > batch.maps["base_color"][:, 0, :, 0].mean(1)
    faces_right = batch.maps["normal"][:, 0].mean((1, 2)) > 0
    assert torch.equal(bright_right, faces_right)
    assert 0 < int(bright_right.sum()) < 64


def test_gradients_reach_the_unet_through_the_frozen_checkpointed_decoder(stills):
    checkpoint = tiny_checkpoint(tiny_card())
    checkpoint.autoencoder.requires_grad_(False)
    batch = draw_batch(stills, 32, 2, 0, 0)
    predicted = predict(checkpoint, make_schedule(checkpoint.card.schedule), batch.rgb, "checkpointed")
    torch.stack(list(task_losses(predicted, batch, checkpoint.card, E2ERecipe()).values())).sum().backward()
    gradient = checkpoint.unet.conv_in.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in checkpoint.autoencoder.parameters())


def test_rates_and_sides_follow_the_recipe():
    recipe = E2ERecipe(
        steps=1000, warmup=100, rate=1e-3, final_rate=0.01, stages=(Stage(0.5, 64, 2), Stage(0.5, 96, 1))
    )
    assert learning_rate(recipe, 49) == pytest.approx(5e-4)
    assert learning_rate(recipe, 100) == pytest.approx(1e-3)
    assert learning_rate(recipe, 1000) == pytest.approx(1e-5)
    assert [stage_at(recipe, step).side for step in (0, 499, 500, 999)] == [64, 64, 96, 96]
    with pytest.raises(UserError, match=r"add up to 0\.5; 1 is right"):
        replace(recipe, stages=(Stage(0.5, 64, 2),))


class Killed(BaseException):
    pass


def test_a_killed_run_goes_on_with_the_same_loss_curve(tmp_path, stills):
    recipe = E2ERecipe(steps=5, stages=(Stage(1.0, 32, 1),), save_every=2, warmup=2)

    def kill_after_three(step: int, loss: float) -> None:
        if step == 3:
            raise Killed

    train(recipe, stills, tmp_path / "whole")
    with pytest.raises(Killed):
        train(recipe, stills, tmp_path / "killed", kill_after_three)
    train(recipe, stills, tmp_path / "killed")
    curves = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert len(curves[0]) == 5
    assert curves[0] == curves[1]
    with pytest.raises(UserError, match="another recipe"):
        train(replace(recipe, rate=1.0), stills, tmp_path / "whole")


@pytest.mark.slow
def test_the_smoke_recipe_overfits_four_pictures(tmp_path):
    from unrender.train.e2e import SMOKE

    smooth = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4), size=64, mode="bilinear")
    four = load_stills([gbuffer(4, 64).with_maps(base_color=smooth, rgb=smooth, normal=field_of(4, 64))])
    losses = []
    train(SMOKE, four, tmp_path / "run", lambda step, loss: losses.append(loss))
    assert sum(losses[-20:]) < 0.35 * sum(losses[:20])


def field_of(count: int, size: int) -> torch.Tensor:
    smooth = torch.nn.functional.interpolate(torch.randn(count, 3, 3, 3), size=size, mode="bilinear")
    return torch.nn.functional.normalize(smooth, dim=1)
