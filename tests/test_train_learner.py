"""Training: what a network is told of a batch, and which weights hear of what it got wrong."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tiny_models import tiny_card
from training import DRAW, SIDE, forward_card, frozen, inverse_card, lit_stills, stills
from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.codec import encode_picture
from unrender.diffusion.denoisers import DENOISERS, UNet2D
from unrender.diffusion.schedule import make_schedule, training_target
from unrender.train.data import join, sample_batch
from unrender.train.dropout import LIT, Conditions, condition_on_all, drop_conditions
from unrender.train.e2e import E2ERecipe, end_to_end_loss, single_step
from unrender.train.learner import Learner
from unrender.train.loop import BatchSpec
from unrender.train.pretrain import PretrainRecipe, diffusion_loss, training_noise

GIVEN = ("base_color", "normal", "depth", "roughness", "metallic", "mask", "first", "irradiance")
"""What `forward_card` is given, in its order."""


def column(conditions: Conditions, name: str) -> Tensor:
    return conditions.maps[:, GIVEN.index(name)]


def learner(card) -> Learner:
    checkpoint = frozen(card)
    return Learner(checkpoint, checkpoint.unet, checkpoint.environment)


def many(known, count: int = 400):
    return sample_batch(known, BatchSpec(4, count, 3))


# What is told.


def test_all_that_is_known_is_told_and_the_light_before_the_irradiance():
    conditions = condition_on_all(forward_card(), sample_batch(lit_stills(), DRAW))
    assert conditions.light.all()
    assert column(conditions, "first").all()
    assert not column(conditions, "irradiance").any()
    assert conditions.maps[:, :6].all()
    dark = condition_on_all(forward_card(), sample_batch(stills(), DRAW))
    assert not dark.light.any()
    assert not column(dark, "first").any()
    assert column(dark, "irradiance").all()


def test_a_view_is_told_its_light_or_its_irradiance_never_both():
    conditions = drop_conditions(forward_card(), many(lit_stills()), DRAW, dropout=0.3)
    assert torch.equal(conditions.light, ~column(conditions, "irradiance"))
    assert torch.equal(conditions.light, column(conditions, "first"))
    assert float(conditions.light.float().mean()) == pytest.approx(LIT, abs=0.08)


def test_a_view_whose_irradiance_is_not_known_is_told_its_light():
    batch = many(lit_stills())
    batch = replace(batch, known=batch.known | {"irradiance": torch.zeros(len(batch), dtype=torch.bool)})
    conditions = drop_conditions(forward_card(), batch, DRAW, dropout=0.0)
    assert conditions.light.all()
    assert not column(conditions, "irradiance").any()


def test_maps_are_dropped_by_chance_each_by_itself():
    conditions = drop_conditions(forward_card(), many(stills()), DRAW, dropout=0.25)
    for name in GIVEN[:6]:
        assert float(column(conditions, name).float().mean()) == pytest.approx(0.75, abs=0.08), name
    assert not torch.equal(column(conditions, "normal"), column(conditions, "depth"))
    assert column(conditions, "irradiance").all()
    none = drop_conditions(forward_card(), many(stills()), DRAW, dropout=0.0)
    assert none.maps[:, :6].all()


def test_an_inverse_network_is_always_told_the_photo():
    assert drop_conditions(inverse_card(), many(stills()), DRAW, dropout=0.9).maps.all()


def test_what_is_not_told_is_zeros_as_the_engine_has_it():
    forward = learner(forward_card())
    batch = sample_batch(lit_stills(), DRAW)
    conditions = condition_on_all(forward.card, batch)
    maps = conditions.maps.clone()
    maps[0, 1], maps[:, 2] = False, False
    conditioning = forward.condition(batch, forward.card.maps.targets, Conditions(maps, torch.tensor([True, False])))
    normal, depth = conditioning.latents[:, 4:8], conditioning.latents[:, 8:12]
    assert (normal[0] == 0).all()
    assert (normal[1] != 0).any()
    assert (depth == 0).all()
    assert (conditioning.tokens[0][0] != 0).any()
    assert (conditioning.tokens[0][1] == 0).all()


def test_the_truth_of_every_picture_can_be_encoded():
    """Marigold's material picture fills two of the three channels that an autoencoder takes."""
    one = learner(tiny_card())
    batch = sample_batch(stills(), DRAW)
    material = one.card.maps.targets[2]
    assert one.clean(batch, one.card.maps.targets).shape == (2, 12, SIDE // 2, SIDE // 2)
    assert (encode_picture(batch.maps, material)[:, 2] == 0).all()


# Which weights learn.


@pytest.mark.parametrize("memory", ["whole", "checkpointed"])
def test_gradients_reach_the_unet_through_the_frozen_decoder(memory):
    one = learner(single_step(inverse_card(), "zeros"))
    losses = end_to_end_loss(one, sample_batch(stills(), DRAW), DRAW, E2ERecipe(memory=memory))
    torch.stack(list(losses.values())).sum().backward()
    assert all(
        float(parameter.grad.abs().sum()) > 0 for parameter in (one.unet.conv_in.weight, one.unet.conv_out.weight)
    )
    assert all(parameter.grad is None for parameter in one.checkpoint.autoencoder.parameters())


def test_checkpointing_changes_no_gradient():
    gradients = []
    for memory in ("whole", "checkpointed"):
        one = learner(single_step(inverse_card(), "zeros"))
        losses = end_to_end_loss(one, sample_batch(stills(), DRAW), DRAW, E2ERecipe(memory=memory))
        torch.stack(list(losses.values())).sum().backward()
        gradients.append(one.unet.conv_in.weight.grad)
    torch.testing.assert_close(*gradients)


def test_the_encoder_of_a_light_learns_where_a_light_is_told_and_only_there():
    found = []
    for known in (lit_stills(), stills()):
        one = learner(single_step(forward_card(), "zeros"))
        assert one.environment is not None
        batch = sample_batch(known, DRAW).seen_forward()
        conditioning = one.condition(batch, one.card.maps.targets, condition_on_all(one.card, batch))
        one.single_step(conditioning, one.blank(batch, one.card.maps.targets)).square().mean().backward()
        found.append(float(one.environment.conv_in.weight.grad.abs().sum()))
        assert float(one.unet.conv_in.weight.grad.abs().sum()) > 0
    assert found[0] > 0
    assert found[1] == 0


# Denoising.


class Oracle(nn.Module):
    """A network that knows the clean latent, and answers exactly what training wants of it."""

    def __init__(self, card, clean: Tensor) -> None:
        super().__init__()
        self.card, self.clean = card, clean
        self.timesteps: list[Tensor] = []

    def forward(self, picture, timestep, tokens, class_labels=None, return_dict=False):
        self.timesteps.append(timestep)
        alpha = make_schedule(self.card.sampling.schedule).alphas_cumprod[timestep][:, None, None, None]
        noisy = picture[:, self.card.conditioning_channels :].double()
        noise = (noisy - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        return (training_target(self.clean, noise, alpha, self.card.sampling.schedule.prediction).float(),)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_a_network_that_answers_the_target_has_no_loss(prediction, monkeypatch):
    card = inverse_card(schedule=ScheduleCard(prediction=prediction), noise="gaussian")
    one, batch = learner(card), sample_batch(stills(), BatchSpec(SIDE, 6, 1))
    monkeypatch.setitem(DENOISERS, "Oracle", UNet2D)
    oracle = Oracle(card, one.clean(batch, card.maps.targets).double())
    losses = diffusion_loss(replace(one, unet=oracle), batch, DRAW, PretrainRecipe())
    assert set(losses) == {picture.name for picture in card.maps.targets}
    assert max(float(loss.detach()) for loss in losses.values()) < 1e-6
    assert len(oracle.timesteps[0].unique()) > 1
    other = diffusion_loss(one, batch, DRAW, PretrainRecipe())
    assert min(float(loss.detach()) for loss in other.values()) > 1e-3


def test_a_picture_that_is_not_known_has_no_diffusion_loss():
    known = join([stills(2), stills(2, irradiance=None)])
    one, batch = learner(inverse_card()), sample_batch(known, BatchSpec(SIDE, 4, 0))
    assert 0 < int(batch.known["irradiance"].sum()) < 4
    loss = partial(diffusion_loss, one, spec=DRAW, recipe=PretrainRecipe())
    unknown = ~batch.known["irradiance"]
    moved = batch.maps["irradiance"].clone()
    moved[unknown] += 0.5
    first, second = loss(batch=batch), loss(batch=replace(batch, maps=batch.maps | {"irradiance": moved}))
    none = loss(batch=replace(batch, known=batch.known | {"irradiance": torch.zeros(4, dtype=torch.bool)}))
    assert float(first["irradiance"].detach()) > 0
    assert float(none["irradiance"].detach()) == 0
    torch.testing.assert_close(first["irradiance"], second["irradiance"])


def test_multi_resolution_noise_is_annealed_to_gaussian():
    """Towards t = 0 neighbours no longer resemble one another; every view has unit deviation."""
    progress = torch.tensor([0.0, 1.0])
    noise = training_noise("multi_resolution", torch.zeros(2, 4, 64, 64), progress, DRAW)
    torch.testing.assert_close(noise.std(dim=(1, 2, 3)), torch.ones(2), rtol=1e-3, atol=1e-3)
    alike = (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3))
    assert float(alike[0]) == pytest.approx(0, abs=0.05)
    assert float(alike[1]) > 0.15
    assert torch.equal(noise, training_noise("multi_resolution", torch.zeros(2, 4, 64, 64), progress, DRAW))
