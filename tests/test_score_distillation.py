"""Guidance by a text-to-image model: LDS and SDS as their papers write them, and where they lead."""

import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from sd_folders import SIDE, sd_folder
from unrender.diffusion.checkpoints.clip.text_encoder import embed_prompts
from unrender.diffusion.engine import load_engine
from unrender.diffusion.lora import Lora, adapt, adapters_off, load_adapters, save_adapters
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.schedule import add_noise, predict_noise, training_target
from unrender.diffusion.score_distillation import DistillationOptions, ScoreDistillation
from unrender.errors import UserError
from unrender.insert.diffusion_guidance import DiffusionGuidance, display_codes, guided_window
from unrender.scene.color import linear_to_srgb

CPU = InferenceOptions("cpu", "float32")
PROMPT = "a photo of a chair in a scene in the style of sks rendering"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def write_adapters(model: Path, folder: Path) -> Path:
    """Adapters that already say something."""
    unet = load_engine(model, "text_to_image", CPU, adaptable=True).checkpoint.unet
    adapt(unet, Lora(4, 4))
    with torch.no_grad():
        for number, (name, parameter) in enumerate(unet.named_parameters()):
            if "lora_" in name:
                parameter.copy_(drawn(*parameter.shape, seed=number).half() * 0.5)
    save_adapters(unet, folder)
    return folder


@pytest.fixture(scope="module", params=["v_prediction", "epsilon"])
def model(request, tmp_path_factory) -> Path:
    return sd_folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def adapters(model, tmp_path_factory) -> Path:
    return write_adapters(model, tmp_path_factory.mktemp("adapters"))


def guidance(model: Path, adapters: Path | None, **options) -> ScoreDistillation:
    return ScoreDistillation.from_pretrained(
        model, PROMPT, adapters=adapters, options=DistillationOptions(**options), inference=CPU
    )


class Written:
    """The equations, written out with diffusers' own scheduler and two networks: one adapted, one not."""

    def __init__(self, model: Path, adapters: Path) -> None:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        engines = [load_engine(model, "text_to_image", CPU, adaptable=True) for _ in range(2)]
        self.base, self.adapted = (engine.checkpoint.unet for engine in engines)
        load_adapters(self.adapted, adapters)
        self.vae, home = engines[0].checkpoint.autoencoder, engines[0].checkpoint.home
        assert home is not None
        self.prompt, self.empty = embed_prompts(home, [PROMPT, ""], True)
        self.scheduler = DDIMScheduler.from_pretrained(model / "scheduler")

    @torch.no_grad()
    def eps(self, unet: torch.nn.Module, noisy: Tensor, time: int, tokens: Tensor) -> Tensor:
        output = unet(noisy, time, tokens.expand(len(noisy), -1, -1)).sample
        alpha = self.scheduler.alphas_cumprod[time]
        v_predicted = self.scheduler.config.prediction_type == "v_prediction"
        return alpha**0.5 * output + (1 - alpha) ** 0.5 * noisy if v_predicted else output

    def gradient(self, picture: Tensor, kind: str, time: int, noise: Tensor, scale: float) -> Tensor:
        """d/d picture, by autograd through the encoder and the noising."""
        picture = picture.clone().requires_grad_(True)
        clean = self.vae.encode(picture).latent_dist.mode() * 0.18215
        noisy = self.scheduler.add_noise(clean, noise, torch.tensor([time]))
        seen = noisy.detach()
        alpha = self.scheduler.alphas_cumprod[time]
        if kind == "lds":
            difference = self.eps(self.adapted, seen, time, self.prompt) - self.eps(self.base, seen, time, self.empty)
        else:
            told, untold = (self.eps(self.adapted, seen, time, tokens) for tokens in (self.prompt, self.empty))
            difference = untold + scale * (told - untold) - noise
        noisy.backward((1 - alpha) * difference)
        assert picture.grad is not None
        return picture.grad


@pytest.mark.parametrize("kind", ["lds", "sds"])
def test_the_gradient_is_the_equations(model, adapters, kind):
    found = guidance(model, adapters, kind=kind, guidance=20.0, seed=3)
    picture = (drawn(2, 3, SIDE, SIDE, seed=5) * 0.3).requires_grad_(True)
    found.loss(picture, 7, 600).backward()
    generator = torch.Generator().manual_seed(3 * 1_000_003 + 7)
    high = round((0.6 - 0.3 * 7 / 599) * 999)
    time = int(torch.randint(20, high + 1, (), generator=generator))
    noise = torch.randn(2, 4, SIDE // 8, SIDE // 8, generator=generator)
    expected = Written(model, adapters).gradient(picture.detach(), kind, time, noise, 20.0)
    assert picture.grad is not None
    assert float(expected.abs().mean()) > 1e-5
    torch.testing.assert_close(picture.grad, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_adapters_make_lds_and_their_absence_leaves_the_text_alone(model, adapters):
    """Without adapters LDS is what the prompt adds; with an empty prompt on top it is nothing at all."""
    plain = guidance(model, None)
    clean = drawn(1, 4, 8, 8, seed=2)
    assert float(plain.direction(clean, 0, 10)[1].abs().mean()) > 1e-4
    assert float(replace(plain, prompt=plain.empty).direction(clean, 0, 10)[1].abs().max()) == 0
    adapted = guidance(model, adapters)
    assert float(replace(adapted, prompt=adapted.empty).direction(clean, 0, 10)[1].abs().mean()) > 1e-4


def test_adapters_are_off_inside_and_on_again_after_even_an_error(model, adapters):
    unet = guidance(model, adapters).engine.checkpoint.unet
    told = (drawn(1, 4, 8, 8), 5, drawn(1, 3, 8, seed=1))
    plain = load_engine(model, "text_to_image", CPU, adaptable=True).checkpoint.unet
    with torch.no_grad():
        adapted = unet(*told).sample
        with contextlib.suppress(ZeroDivisionError), adapters_off(unet):
            torch.testing.assert_close(unet(*told).sample, plain(*told).sample)
            raise ZeroDivisionError
        assert torch.equal(unet(*told).sample, adapted)
        assert float((adapted - plain(*told).sample).abs().max()) > 1e-3


def test_networks_are_not_trained_by_guidance(model, adapters):
    found = guidance(model, adapters)
    picture = torch.zeros(1, 3, SIDE, SIDE, requires_grad=True)
    found.loss(picture, 0, 10).backward()
    checkpoint = found.engine.checkpoint
    for network in (checkpoint.unet, checkpoint.autoencoder):
        assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_every_prediction_is_brought_to_noise(prediction):
    clean, noise = drawn(2, 4, 3, 3), drawn(2, 4, 3, 3, seed=1)
    for alpha in (0.04, 0.5, 0.97):
        signal, share = alpha**0.5, (1 - alpha) ** 0.5
        noisy = add_noise(clean, noise, alpha)
        if prediction == "flow":
            signal, share = 1 - alpha, alpha
            noisy = signal * clean + share * noise
        output = training_target(clean, noise, torch.tensor(alpha), prediction)
        torch.testing.assert_close(predict_noise(output, noisy, signal, share, prediction), noise)


def test_strength_falls_over_the_steps_and_levels_stay_under_it(model):
    found = guidance(model, None)
    options = found.options
    assert [options.strength_at(step, 600) for step in (0, 599, 900)] == [0.6, 0.3, 0.3]
    assert options.strength_at(0, 1) == 0.6
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    clean = torch.zeros(1, 4, 8, 8)
    shares = []
    for step in range(0, 600, 20):
        noisy, _ = found.direction(clean, step, 600)
        shares.append(float(noisy.square().mean()))  # of zeros, noised: about 1 - alpha
        highest = round(options.strength_at(step, 600) * 999)
        assert shares[-1] < float(1 - alphas[highest]) * 1.5
    assert max(shares[:10]) > max(shares[-10:])
    again, _ = found.direction(clean, 40, 600)
    assert torch.equal(again, found.direction(clean, 40, 600)[0])


@pytest.mark.parametrize("options", [{"strength": (0.6, 0.0)}, {"strength": (1.2, 0.3)}, {"least": 0.4}])
def test_levels_that_cannot_be_are_refused(options):
    with pytest.raises(UserError, match="expected shares of the schedule"):
        DistillationOptions(**options)


def test_adapters_of_another_network_are_one_line(model, adapters, tmp_path):
    with pytest.raises(UserError, match=r"pytorch_lora_weights\.safetensors does not exist"):
        guidance(model, tmp_path)
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(
        (adapters / "pytorch_lora_weights.safetensors").read_bytes()[:99]
    )
    with pytest.raises(UserError, match="has no adapters for this UNet"):
        guidance(model, tmp_path)


# What the model is shown.


def region(height: int, width: int, box: tuple[int, int, int, int]) -> Tensor:
    found = torch.zeros(1, 1, height, width)
    found[0, 0, box[0] : box[2], box[1] : box[3]] = 1
    return found


@pytest.mark.parametrize(
    ("size", "box"),
    [((100, 160), (40, 60, 60, 90)), ((100, 160), (0, 0, 5, 5)), ((100, 160), (95, 150, 100, 160)),
     ((100, 160), (10, 5, 95, 155)), ((160, 100), (5, 40, 155, 60)), ((64, 64), (0, 0, 64, 64))],
)  # fmt: skip
def test_the_window_holds_the_region_and_stays_inside(size, box):
    top, left, height, width = guided_window(region(*size, box))
    assert top >= 0
    assert left >= 0
    assert top + height <= size[0]
    assert left + width <= size[1]
    assert top <= box[0]
    assert left <= box[1]
    assert top + height >= box[2]
    assert left + width >= box[3]
    side = max(box[2] - box[0], box[3] - box[1])
    assert height >= min(size[0], side)
    assert width >= min(size[1], side)
    if max(height, width) < min(size):
        assert height == width


def test_an_empty_region_has_no_window():
    with pytest.raises(UserError, match="nothing of the object or its shadow"):
        guided_window(torch.zeros(1, 1, 9, 9))


def test_what_is_too_bright_is_shown_white_and_can_be_made_darker():
    linear = torch.tensor([0.0, 0.2, 1.0, 7.0], requires_grad=True)
    codes = display_codes(linear)
    torch.testing.assert_close(codes.detach(), linear_to_srgb(linear.detach().clamp(0, 1)))
    codes.sum().backward()
    assert linear.grad is not None
    assert bool((linear.grad > 0.3).all())


def test_only_the_window_is_guided_and_the_model_sees_its_own_size(model, adapters):
    found = DiffusionGuidance.around(guidance(model, adapters), region(96, 200, (30, 100, 50, 130)))
    assert found.seen_size == (SIDE, SIDE)
    composite = torch.rand(1, 3, 96, 200, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    found(SimpleNamespace(composite=composite, step=0, steps=10)).backward()
    top, left, height, width = found.window
    assert composite.grad is not None
    inside = composite.grad[:, :, top : top + height, left : left + width]
    assert float(inside.abs().mean()) > 0
    assert float(composite.grad.abs().sum()) == pytest.approx(float(inside.abs().sum()), rel=1e-5)
    assert replace(found, window=(0, 0, 96, 200)).seen_size == (SIDE // 2, SIDE)
