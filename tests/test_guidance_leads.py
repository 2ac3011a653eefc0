"""Where guidance leads: a small network that knows one thing of its prompt, and a number that makes a picture."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tiny_models import tiny_card, tiny_checkpoint
from unrender.device import Compute
from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.checkpoints.published.stable_diffusion import PICTURE
from unrender.diffusion.engine import Engine
from unrender.diffusion.latents import encode_pictures
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.schedule import add_noise, discrete_schedule, training_target
from unrender.diffusion.score_distillation import DistillationOptions, ScoreDistillation

SIDE, KNOWN, STEPS = 32, 0.75, 400

pytestmark = pytest.mark.slow


def grey(brightness: Tensor) -> Tensor:
    """Flat pictures (B, 3, SIDE, SIDE) in [-1, 1] of brightness (B,) in [0, 1]."""
    return (brightness * 2 - 1)[:, None, None, None].expand(-1, 3, SIDE, SIDE)


def taught(engine: Engine, prompt: Tensor, empty: Tensor) -> None:
    """Trains the network: the prompt is a grey of brightness `KNOWN`, the empty text any grey."""
    schedule = discrete_schedule(engine.card.sampling.schedule)
    unet = engine.checkpoint.unet.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=4e-3)
    g = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        told = torch.rand(16, generator=g) < 0.5
        brightness = torch.where(told, torch.full((16,), KNOWN), torch.rand(16, generator=g))
        with torch.no_grad():
            clean = encode_pictures(engine, grey(brightness))
        time = torch.randint(600, (16,), generator=g)
        alpha = schedule.alphas_cumprod[time].float()[:, None, None, None]
        noise = draw_noise("gaussian", tuple(clean.shape), step)
        tokens = torch.where(told[:, None, None], prompt, empty)
        output = unet(add_noise(clean, noise, alpha), time, tokens).sample
        loss = (output - training_target(clean, noise, alpha, schedule.card.prediction)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] *= 0.99
    unet.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["v_prediction", "epsilon"])
def distillation(request) -> ScoreDistillation:
    """A fresh network on the trained autoencoder that ships."""
    shipped = load_checkpoint(find("mini", "forward"), Compute(torch.device("cpu"), torch.float32))
    schedule = ScheduleCard(request.param, steps=4)
    card = tiny_card(
        task="text_to_image", inputs=(), targets=PICTURE, noise="gaussian", schedule=schedule, channels=8,
        scale=shipped.card.latents.scale,
    )  # fmt: skip
    checkpoint = replace(tiny_checkpoint(card), autoencoder=shipped.autoencoder.requires_grad_(False))
    engine = Engine(checkpoint, Compute(torch.device("cpu"), torch.float32))
    prompt, empty = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    taught(engine, prompt, empty)
    return ScoreDistillation(engine, prompt, empty, DistillationOptions(guidance=10.0))


def led(distillation: ScoreDistillation, start: float, steps: int = 80) -> float:
    """The brightness that guidance makes of a start."""
    brightness = torch.tensor([start], requires_grad=True)
    optimiser = torch.optim.Adam([brightness], lr=0.02)
    for step in range(steps):
        optimiser.zero_grad()
        distillation.loss(grey(brightness), step, steps).backward()
        optimiser.step()
    return float(brightness.detach())


@pytest.mark.parametrize("kind", ["lds", "sds"])
def test_a_picture_goes_where_the_model_knows_its_prompt_to_be(distillation, kind):
    distillation = replace(distillation, options=replace(distillation.options, kind=kind))
    dark, bright = led(distillation, 0.2), led(distillation, 1.1)
    assert dark == pytest.approx(KNOWN, abs=0.15)
    assert bright == pytest.approx(KNOWN, abs=0.15)
