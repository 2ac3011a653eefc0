"""What comes to the engine next, in small: a clip by a spatio-temporal network under Euler sigmas, a picture from a
text, a set of views of which two are known. All through `engine.run`; every difference is in the card."""

from dataclasses import replace
from math import hypot

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from tiny_models import tiny_card, tiny_checkpoint
from unrender.device import Compute
from unrender.diffusion.card import (
    FlowCard,
    Grouping,
    Guidance,
    KarrasCard,
    MapCodec,
    ModelCard,
    SamplingCard,
    ScheduleCard,
    TargetPicture,
)
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.engine import Engine, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.networks.joint_attention import join_items
from unrender.diffusion.sampler import sample
from unrender.diffusion.schedule import make_schedule
from unrender.errors import UserError

CPU = Compute(torch.device("cpu"), torch.float32)
PICTURE = (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),)
SIZE = (32, 48)
NUMPY_2 = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # diffusers' own


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


# A clip: a spatio-temporal network, Euler over Karras sigmas, one target a pass.


VIDEO = tiny_card(
    id="tiny-video",
    targets=tuple(TargetPicture(name, (MapCodec(name),), prompt=name) for name in ("base_color", "normal")),
    grouping=Grouping("target", joint="frames", shared_noise="none"),
    schedule=KarrasCard(steps=3),
    noise="gaussian",
)


@pytest.fixture(scope="module")
def video() -> Engine:
    torch.manual_seed(0)
    checkpoint = tiny_checkpoint(VIDEO)
    unet = UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 32),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        layers_per_block=1,
        cross_attention_dim=8,
        num_attention_heads=2,
    )
    return Engine(replace(checkpoint, unet=randomised(unet)), CPU)


def clip(frames: int = 3) -> Inputs:
    photo = torch.rand(frames, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    time_ids = torch.tensor([6.0, 127.0, 0.02]).expand(frames, 3)
    return Inputs(SIZE, frames, {"rgb": photo}, time_ids=time_ids)


@NUMPY_2
@torch.no_grad()
def test_a_clip_by_euler_sigmas_equals_diffusers(video):
    """Diffusers' own scheduler walks in the variance-exploding form, from sigma 700."""
    noise = drawn(3, 8, 16, 24)
    found = run(video, clip(), noise=noise).latents
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_type="continuous",
        timestep_spacing="leading",
    )
    vae, tokens = video.checkpoint.autoencoder, video.checkpoint.tokens
    photo = vae.encode(srgb(clip().maps["rgb"]) * 2 - 1).latent_dist.mode() * 0.18215
    for index, target in enumerate(VIDEO.maps.targets):
        scheduler.set_timesteps(3)
        latent = noise[:, 4 * index : 4 * index + 4] * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            seen = torch.cat((photo, scheduler.scale_model_input(latent, t)), 1)[None]
            output = video.checkpoint.unet(seen, t, tokens[target.prompt][None], added_time_ids=clip().time_ids[:1])
            latent = scheduler.step(output.sample[0], t, latent).prev_sample
        torch.testing.assert_close(found[:, 4 * index : 4 * index + 4], latent, atol=1e-4, rtol=1e-4)


def srgb(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


def test_the_frames_of_a_clip_see_one_another_and_its_maps_come_back_to_size(video):
    inputs = clip()
    found = run(video, inputs, noise=drawn(3, 8, 16, 24))
    other = replace(inputs, maps={"rgb": inputs.maps["rgb"].clone()})
    other.maps["rgb"][2] = 0.5
    moved = run(video, other, noise=drawn(3, 8, 16, 24))
    assert (found.latents[0] - moved.latents[0]).abs().max() > 1e-4
    gbuffer = found.gbuffer(["normal"])
    assert list(gbuffer.maps) == ["normal"]
    assert gbuffer.maps["normal"].shape == (3, 3, *SIZE)


def test_a_clip_without_time_ids_is_one_line(video):
    with pytest.raises(UserError, match="needs added time ids"):
        run(video, replace(clip(), time_ids=None))


# A picture from a text.


TEXT = tiny_card(
    id="tiny-text",
    task="text_to_image",
    inputs=(),
    targets=PICTURE,
    noise="gaussian",
    guidance=Guidance(text=3.0, image=1.0),
    schedule=ScheduleCard(prediction="epsilon", steps=4),
)


@torch.no_grad()
def test_a_text_to_image_card_under_guidance():
    checkpoint = tiny_checkpoint(TEXT)
    randomised(checkpoint.unet)
    engine = Engine(checkpoint, CPU)
    prompt, noise = drawn(5, 8, seed=4), drawn(1, 4, 16, 24)
    found = run(engine, Inputs(SIZE, tokens=prompt), noise=noise)
    schedule = make_schedule(TEXT.sampling.schedule)

    def guided(latent: Tensor, time: int) -> Tensor:
        answers = [checkpoint.unet(latent, time, tokens[None]).sample for tokens in (prompt, checkpoint.tokens[""])]
        return answers[1] + 3.0 * (answers[0] - answers[1])

    padded = checkpoint.tokens[""]
    assert len(padded) != len(prompt)  # prompts of other lengths than the empty one are evaluated apart
    torch.testing.assert_close(found.latents, sample(guided, schedule, noise, 4), atol=1e-4, rtol=1e-4)
    assert found.gbuffer().maps["rgb"].shape == (1, 3, *SIZE)


# A set of views, two of which are known.


VIEWS = tiny_card(
    id="tiny-views",
    task="multi_view",
    inputs=(),
    targets=PICTURE,
    grouping=Grouping("frame", joint="frames", shared_noise="none"),
    noise="gaussian",
    schedule=ScheduleCard(steps=3, solver="unipc"),
)


class Watched(UNet2DConditionModel):
    """A UNet that remembers what time it was told."""

    def forward(self, sample, timestep, *args, **kwargs):
        self.times = [*getattr(self, "times", []), timestep]
        return super().forward(sample, timestep, *args, **kwargs)


@pytest.fixture
def views(monkeypatch) -> Engine:
    from unrender.diffusion import denoisers

    checkpoint = tiny_checkpoint(VIEWS)
    watched = Watched.from_config(checkpoint.unet.config)
    watched.load_state_dict(checkpoint.unet.state_dict())
    monkeypatch.setitem(denoisers.DENOISERS, "Watched", denoisers.UNet2D)
    join_items(watched)
    return Engine(replace(checkpoint, unet=randomised(watched)), CPU)


def set_of_views(clean: list[bool]) -> Inputs:
    rgb = torch.rand(len(clean), 3, *SIZE, generator=torch.Generator().manual_seed(2))
    return Inputs(SIZE, len(clean), {"rgb": rgb}, clean=torch.tensor(clean))


def test_known_views_stay_at_time_zero_and_the_others_see_them(views):
    inputs, noise = set_of_views([True, True, False, False]), drawn(4, 4, 16, 24)
    found = run(views, inputs, noise=noise).latents
    times = torch.stack(views.checkpoint.unet.times)
    assert (times[:, :2] == 0).all()
    assert (
        times[:, 2].tolist() == times[:, 3].tolist() == list(make_schedule(VIEWS.sampling.schedule).trajectory(3).times)
    )
    pictures = srgb(inputs.maps["rgb"][:2]) * 2 - 1
    with torch.no_grad():
        known = views.checkpoint.autoencoder.encode(pictures).latent_dist.mode() * VIEWS.latents.scale
    torch.testing.assert_close(found[:2], known, atol=1e-5, rtol=1e-5)
    moved = replace(inputs, maps={"rgb": inputs.maps["rgb"].flip(2)})
    assert (run(views, moved, noise=noise).latents[2:] - found[2:]).abs().max() > 1e-4


def test_another_order_of_views_is_the_same_views_in_that_order(views):
    inputs, noise, order = set_of_views([True, False, False]), drawn(3, 4, 16, 24), [2, 0, 1]
    found = run(views, inputs, noise=noise).latents
    turned = replace(inputs, maps={"rgb": inputs.maps["rgb"][order]}, clean=inputs.clean[order])
    torch.testing.assert_close(run(views, turned, noise=noise[order]).latents, found[order], atol=1e-4, rtol=1e-3)


def test_noise_of_another_shape_is_one_line(views):
    with pytest.raises(UserError, match=r"noise has shape \(1, 4, 16, 24\); expected \(2, 4, 16, 24\)"):
        run(views, set_of_views([False, False]), noise=drawn(1, 4, 16, 24))


# The solvers.


def toy(latent: Tensor, time: float | Tensor) -> Tensor:
    return torch.tanh(latent * 0.7 + latent.roll(1, -1) * 0.2)


@NUMPY_2
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [3, 10])
def test_unipc_equals_diffusers(prediction, steps):
    card = ScheduleCard(prediction=prediction, solver="unipc", final_step="previous", spacing="linspace")
    reference = UniPCMultistepScheduler(
        beta_start=card.beta_start,
        beta_end=card.beta_end,
        beta_schedule=card.beta_schedule,
        prediction_type=prediction,
        timestep_spacing="linspace",
        steps_offset=1,
    )
    reference.set_timesteps(steps)
    expected = noise = drawn(2, 4, 8, 8)
    for t in reference.timesteps:
        expected = reference.step(toy(expected, t), t, expected).prev_sample
    torch.testing.assert_close(sample(toy, make_schedule(card), noise, steps), expected)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_equals_diffusers(shift):
    reference = FlowMatchEulerDiscreteScheduler(shift=shift)
    sigmas = torch.linspace(1, 1 / 8, 8)
    reference.set_timesteps(sigmas=sigmas.numpy())
    expected = noise = drawn(2, 4, 8, 8)
    for t in reference.timesteps:
        expected = reference.step(toy(expected, t), t, expected).prev_sample
    found = sample(toy, make_schedule(FlowCard(shift=shift)), noise, 8)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_karras_levels_are_unit_variance_from_noise_to_clean(spacing):
    trajectory = make_schedule(KarrasCard(spacing=spacing)).trajectory(20)
    assert all(hypot(step.signal, step.noise) == pytest.approx(1) for step in trajectory.steps)
    assert (trajectory.steps[-1].next_signal, trajectory.steps[-1].next_noise) == (1, 0)
    assert trajectory.steps[0].noise == pytest.approx(1, abs=2e-6)
    assert list(trajectory.times) == sorted(trajectory.times, reverse=True)


def test_a_solver_is_a_word_of_the_card():
    """The sampling of a card is data: the same loop takes every schedule."""
    for schedule in (ScheduleCard(steps=2), ScheduleCard(solver="unipc"), KarrasCard(steps=2), FlowCard(steps=2)):
        card: ModelCard = replace(TEXT, sampling=SamplingCard(schedule, "gaussian"))
        found = sample(toy, make_schedule(card.sampling.schedule), drawn(1, 4, 8, 8), 2)
        assert found.isfinite().all()


def test_checkpoints_say_which_networks_they_have():
    checkpoint: Checkpoint = tiny_checkpoint(TEXT)
    assert isinstance(checkpoint.autoencoder, AutoencoderKL)
