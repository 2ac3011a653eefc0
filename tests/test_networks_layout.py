"""No layout, kernel or precision costs accuracy: every kind of network against itself in float64, flat pictures too."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from official_folders import published_folder
from unrender.device import Compute
from unrender.diffusion.card import ModelCard, faithful
from unrender.diffusion.checkpoints.architecture import build_vae
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.checkpoints.published import PUBLISHED
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import Layout, by_target, make_conditioning, make_network
from unrender.diffusion.latents import decode_latents, encode_conditioning
from unrender.diffusion.model import Engine
from unrender.diffusion.networks.layout import lay_out
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import sample
from unrender.diffusion.schedule import make_schedule

CPU = torch.device("cpu")
TOLERANCE = 1e-4
PICTURES = ["flat", "cut out", "ordinary"]


def one_of_each_kind() -> dict[str, ModelCard]:
    """The first card of every kind of network: its channels, its task numbers, its targets."""
    kinds: dict[tuple, ModelCard] = {}
    for card in PUBLISHED:
        if card.is_video or not card.maps.inputs:
            continue  # of words alone nothing is encoded
        kind = (card.identity.system, card.task, card.input_channels, card.target_channels, card.task_numbers)
        kinds.setdefault((*kind, card.maps.edits, card.image_tokens), card)
    return {f"{card.id}-{card.task}": card for card in kinds.values()}


CARDS = one_of_each_kind()


def picture(kind: str, size: int, seed: int = 0) -> Tensor:
    """(1, 3, size, size) in [-1, 1]: one value, such as a metalness of 0; something on white; a photo of a kind."""
    generator = torch.Generator().manual_seed(seed)
    grain = torch.rand(1, 3, size, size, generator=generator) * 2 - 1
    if kind == "flat":
        return torch.full((1, 3, size, size), -1.0)
    if kind == "cut out":
        middle = slice(size // 3, 2 * size // 3)
        white = torch.ones(1, 3, size, size)
        white[..., middle, middle] = grain[..., middle, middle]
        return white
    smooth = torch.rand(1, 3, 6, 6, generator=generator) * 2 - 1
    smooth = nn.functional.interpolate(smooth, size=(size, size), mode="bicubic").clamp(-1, 1)
    return 0.8 * smooth + 0.2 * grain


@cache
def folder_of(parent, name: str):
    return published_folder(parent, CARDS[name])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("kinds")


def engine_of(place, card: ModelCard, precision: torch.dtype, inference_only: bool = False) -> Engine:
    compute = Compute(CPU, precision)
    return Engine(
        load_checkpoint(replace(find(place, card.task), card=card), compute, inference_only=inference_only), compute
    )


def denoised(engine: Engine, given: Tensor, inputs: Inputs, photo: Tensor | None = None, steps: int = 1) -> Tensor:
    """The clean latents of all targets of one frame."""
    card, targets = engine.card, engine.card.maps.targets
    network = make_network(engine, make_conditioning(engine, targets, given, inputs, photo))
    layout = Layout.of(card, 1, 1 if card.stacked else len(targets))
    channels = engine.noise_shape(inputs.size, 1)[1]
    noise = draw_noise(card.sampling.noise, (1, channels, *given.shape[2:]), seed=0)
    start = layout.stack(by_target(noise, card, targets))
    return layout.side_by_side(sample(network, make_schedule(card.sampling.schedule), start, steps))


@torch.inference_mode()
def run(engine: Engine, kind: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The conditioning latents, the clean latents, and the pictures decoded from them, in float64."""
    shown = [picture(kind, size, seed) for seed, _ in enumerate(engine.card.maps.inputs)]
    keep = torch.ones(1, 1, size, size) if engine.card.maps.edits else None
    given = encode_conditioning(engine, shown, engine.latent_size((size, size)), keep=keep)
    steps = min(engine.card.sampling.schedule.steps, 3)
    latents = denoised(engine, given, Inputs((size, size)), (shown[0] + 1) / 2, steps)
    return given.double(), latents.double(), decode_latents(engine, latents).double()


def check(place, card: ModelCard, kind: str, size: int, tolerance: float = TOLERANCE) -> None:
    found, exact = (run(engine_of(place, card, precision), kind, size) for precision in (torch.float32, torch.float64))
    for name, one, other in zip(("given", "latents"), found[:2], exact[:2], strict=True):
        assert (one - other).abs().max() < tolerance, name
    # Random decoders enlarge, trained ones do not: by what they make of the largest value.
    scale = max(1.0, float(exact[2].abs().max()))
    assert (found[2] - exact[2]).abs().max() < tolerance * scale


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", CARDS)
def test_a_faithful_reading_is_as_exact_as_float32_is(folders, name, kind):
    check(folder_of(folders, name), faithful(CARDS[name]), kind, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize(
    ("size", "kind"), [*((size, kind) for size in (256, 384) for kind in PICTURES), (512, "flat")], ids=str
)
def test_a_faithful_reading_is_as_exact_on_large_pictures(folders, size, kind, name):
    # Random networks enlarge the rounding of float32 itself, more the fewer edges there are: 2e-4 in one of all at 512,
    # with whatever normalisation.
    check(folder_of(folders, name), faithful(CARDS[name]), kind, size, 3e-4 if size == 512 else TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", CARDS)
def test_the_default_reading_is_as_exact(folders, name, kind):
    check(folder_of(folders, name), CARDS[name], kind, 256)


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("task", ["inverse", "forward"])
def test_mini_is_as_exact_and_in_bfloat16_as_exact_as_that_is(task, kind):
    home = find("mini", task)
    exact = decoded(engine_of("mini", home.card, torch.float64), kind)
    found = decoded(engine_of("mini", home.card, torch.float32, inference_only=True), kind)
    assert (found - exact).abs().max() < TOLERANCE
    half = decoded(engine_of("mini", home.card, torch.bfloat16, inference_only=True), kind)
    # Eight bits a number, through some fifty layers.
    assert (half - exact).square().mean().sqrt() < 0.04 * max(1.0, float(exact.square().mean().sqrt()))


@torch.inference_mode()
def decoded(engine: Engine, kind: str) -> Tensor:
    """The decoded pictures, without a light."""
    card, size = engine.card, 64
    shown = [picture(kind, size, seed) for seed, _ in enumerate(card.maps.inputs)]
    given = encode_conditioning(engine, shown, engine.latent_size((size, size)))
    tokens = torch.zeros(1, engine.checkpoint.unet.config["cross_attention_dim"]) if card.light else None
    steps = card.sampling.schedule.steps
    latents = denoised(engine, given, Inputs((size, size), tokens=tokens), steps=steps)
    return decode_latents(engine, latents).double()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("deviation", [1.0, 0.03, 0.001])
def test_a_normalisation_keeps_the_variance_in_any_order(deviation, precision):
    values = (3 + deviation * torch.randn(1, 128, 64, 64, generator=torch.Generator().manual_seed(0))).to(precision)
    norm = lay_out(nn.Sequential(nn.GroupNorm(32, 128)), CPU).to(precision)
    exact = nn.functional.group_norm(values.double(), 32)
    tolerance = 2e-4 if precision == torch.float32 else 2e-2
    for order in (torch.contiguous_format, torch.channels_last):
        assert (norm(values.contiguous(memory_format=order)).double() - exact).abs().max() < tolerance, order


def test_pictures_that_come_pixel_by_pixel_are_as_exact(folders):
    """Numbers from a file are so; a convolution passes their order on."""
    place, card = folder_of(folders, "zheng95z/x-to-rgb-forward"), CARDS["zheng95z/x-to-rgb-forward"]
    engine = engine_of(place, card, torch.float32)
    shown = picture("cut out", 64)
    usual, by_pixels = (
        encode_conditioning(engine, [one] * len(card.maps.inputs), engine.latent_size((64, 64)))
        for one in (shown, shown.contiguous(memory_format=torch.channels_last))
    )
    assert (usual - by_pixels).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(1200)  # minutes of float64 on a busy machine
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("size", [256, 384])
@torch.inference_mode()
def test_a_full_size_autoencoder_is_as_exact(size, kind):
    torch.manual_seed(0)
    autoencoder = lay_out(build_vae().eval(), CPU)
    shown = picture(kind, size)
    latent = autoencoder.encode(shown).latent_dist.mode()
    half = build_vae().eval().to(torch.bfloat16)
    half.load_state_dict(autoencoder.state_dict())
    in_half = lay_out(half, CPU).encode(shown.bfloat16()).latent_dist.mode()
    decoded = autoencoder.decode(latent).sample
    exact_decoded = autoencoder.double().decode(latent.double()).sample
    exact = autoencoder.encode(shown.double()).latent_dist.mode()
    assert (latent - exact).abs().max() < TOLERANCE
    assert (decoded - exact_decoded).abs().max() < TOLERANCE
    assert (in_half - exact).square().mean().sqrt() < 0.05 * exact.square().mean().sqrt()
