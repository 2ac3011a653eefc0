"""GeoWizard's three checkpoints, number by number: what the official pipelines compute, written out naively on the same
tiny weights, against unrender's answer."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from official_folders import published_folder
from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.checkpoints.published.e2e_ft import E2E_FT
from unrender.diffusion.checkpoints.published.geowizard import E2E, GEOWIZARD, V1, V2
from unrender.diffusion.networks.joint_attention import set_group_size
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.files.images import read_image
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

DOMAINS = {"indoor": (1.0, 0.0, 0.0), "outdoor": (0.0, 1.0, 0.0), "object": (0.0, 0.0, 1.0)}
LONG_SIDE = 64
LATENT_SCALE = 0.18215

Folder = Callable[[ModelCard], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a card's tiny weights."""
    return partial(published_folder, tmp_path_factory.mktemp("official"))


def picture(folder: Path, height: int, width: int, seed: int = 0) -> Path:
    """An 8-bit picture with broad shapes, fine texture, and both ends of the range."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + c) + c) * np.cos(y / (9 - c)) for c in range(3)]
    values = 128 + 110 * np.stack(waves, 2) + generator.normal(0, 30, (height, width, 3))
    path = folder / f"photo{height}x{width}-{seed}.png"
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)
    return path


# The reference. ----------------------------------------------------------------------------------------------------


class AttentionWrittenOut:
    """softmax(q k' / sqrt(d)) v, picture by picture and head by head; `keys` says whose keys each picture sees."""

    def __init__(self, keys: Callable[[Tensor], list[Tensor]]) -> None:
        self.keys = keys

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.to_q(hidden_states)
        keys, values = self.keys(attn.to_k(seen)), self.keys(attn.to_v(seen))
        width = query.shape[2] // attn.heads
        answers = []
        for q, k, v in zip(query, keys, values, strict=True):
            heads = []
            for h in range(attn.heads):
                part = slice(h * width, (h + 1) * width)
                weights = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(width), dim=1)
                heads.append(weights @ v[:, part])
            answers.append(torch.cat(heads, dim=1))
        return attn.to_out[0](torch.stack(answers))


def both(values: Tensor) -> list[Tensor]:
    """What each picture of a batch sees: its own frame's depth, then its own frame's normals."""
    depths, normals = values.chunk(2)
    joined = [torch.cat((d, n)) for d, n in zip(depths, normals, strict=True)]
    return joined + joined


def own(values: Tensor) -> list[Tensor]:
    return list(values)


def others(values: Tensor) -> list[Tensor]:
    depths, normals = values.chunk(2)
    return [*normals, *depths]


def depths_only(values: Tensor) -> list[Tensor]:
    return [*values.chunk(2)[0]] * 2


@lru_cache
def official_vae(path: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(path / "vae").eval()


@lru_cache
def official_unet(path: Path, self_keys=both, cross_keys=None) -> UNet2DConditionModel:
    unet = UNet2DConditionModel.from_pretrained(next(path.glob("unet*"))).eval()
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            block.attn1.set_processor(AttentionWrittenOut(self_keys))
            if cross_keys is not None:
                block.attn2.set_processor(AttentionWrittenOut(cross_keys))
    return unet


def pillow_bicubic(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 at (height, width) `size`."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC))


def image_token(path: Path, shown: Tensor) -> Tensor:
    """CLIP's embedding of the picture (1, 3, H, W) in [-1, 1], stretched to the square that CLIP sees: (1, 1, D)."""
    said = json.loads((path / "feature_extractor" / "preprocessor_config.json").read_text())
    size = said["crop_size"]["height"], said["crop_size"]["width"]
    unit = ((shown[0] + 1) / 2).numpy()
    square = torch.tensor(np.stack([pillow_bicubic(channel, size) for channel in unit]))
    mean, std = (torch.tensor(said[name])[:, None, None] for name in ("image_mean", "image_std"))
    encoder = CLIPVisionModelWithProjection.from_pretrained(path / "image_encoder").eval()
    return encoder(((square - mean) / std)[None]).image_embeds[:, None]


def word_tokens(path: Path, domain: str) -> Tensor:
    """The words of the second version, as many tokens as there are: (1, N, D)."""
    tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(path / "text_encoder").eval()
    ids = tokenizer(f"{domain} geometry", padding="do_not_pad", truncation=True, max_length=77, return_tensors="pt")
    return encoder(ids.input_ids)[0]


def class_numbers(card: ModelCard, domain: str) -> Tensor:
    """(2, 10), of the second version (2, 4): sine and cosine of the task, then of the domain."""
    task = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    parts = [task.sin(), task.cos()]
    if card.id != "lemonaddie/geowizard-v2":
        scene = torch.tensor([DOMAINS[domain]] * 2)
        parts += [scene.sin(), scene.cos()]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def official_latents(path: Path, card: ModelCard, shown: Tensor, noise: Tensor, steps: int, domain: str) -> Tensor:
    """The latents of depth and normals, (2, 4, h, w), from the picture (1, 3, H, W) in [-1, 1]."""
    one_step = card.id == "GonzaloMG/geowizard-e2e-ft"
    vae = official_vae(path)
    unet = official_unet(path)
    scheduler = DDIMScheduler.from_pretrained(
        path / "scheduler", timestep_spacing="trailing" if one_step else "leading", prediction_type="v_prediction"
    )
    scheduler.set_timesteps(steps)
    photo = (vae.encode(shown).latent_dist.mean * LATENT_SCALE).repeat(2, 1, 1, 1)
    latent = noise.repeat(2, 1, 1, 1)
    tokens = word_tokens(path, domain) if card.id == "lemonaddie/geowizard-v2" else image_token(path, shown)
    told = {"encoder_hidden_states": tokens.repeat(2, 1, 1), "class_labels": class_numbers(card, domain)}
    for index, t in enumerate(scheduler.timesteps):
        output = unet(torch.cat((photo, latent), 1), t, **told).sample
        step = scheduler.step(output, t, latent)
        last = index == steps - 1
        latent = step.pred_original_sample if one_step and last else step.prev_sample
    return latent


@dataclass(frozen=True)
class Answer:
    """What a reference gives: depth (H, W) in [0, 1]; normals (H, W, 3), X left; how long the vectors were that they
    were made of, (H, W, 1); and, from the official pipeline, both decoded pictures (2, 3, h, w)."""

    depth: np.ndarray
    normal: np.ndarray
    length: np.ndarray
    decoded: Tensor | None = None


@torch.no_grad()
def official(
    path: Path, card: ModelCard, photo: Path, noise: Tensor, steps: int, domain: str = "indoor", long_side=LONG_SIDE
) -> Answer:
    """The maps as the pipeline hands them over, at the size of the photo."""
    image = Image.open(photo)
    codes = np.asarray(image.resize(official_size(image.size, long_side)) if long_side else image)
    shown = torch.tensor(codes.transpose(2, 0, 1) / 255.0 * 2 - 1, dtype=torch.float32)[None]
    latents = official_latents(path, card, shown, noise, steps, domain)
    vae = official_vae(path)
    decoded = torch.cat([vae.decode(latent[None] / LATENT_SCALE).sample for latent in latents])
    depth = (decoded[0].mean(0).clip(-1, 1) + 1) / 2
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    length = decoded[1].norm(dim=0, keepdim=True)
    normal = -decoded[1] / (length + 1e-5)
    size = image.size[::-1]
    return Answer(
        pillow_bicubic(depth.numpy(), size).clip(0, 1),
        nearest(normal, size).clip(-1, 1),
        nearest(length, size),
        decoded,
    )


def nearest(values: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(C, h, w) at (height, width) `size` as OpenCV's INTER_NEAREST: pixel floor(i / (new / old)) for i. (H, W, C)."""
    rows, columns = (
        [min(math.floor(i * (1 / (new / old))), old - 1) for i in range(new)]
        for old, new in zip(values.shape[1:], size, strict=True)
    )
    return values.permute(1, 2, 0).numpy()[rows][:, columns]


def official_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) of the picture in the network."""
    factor = min(long_side / size[0], long_side / size[1])
    return int(size[0] * factor), int(size[1] * factor)


# ---------------------------------------------------------------------------------------------------------------------


def renderer_of(path: Path, domain: str = "", long_side: int = LONG_SIDE, **inference) -> InverseRenderer:
    options = {"device": "cpu", "dtype": "float32", "faithful": True} | inference
    return InverseRenderer.from_pretrained(path, InferenceOptions(**options, long_side=long_side), domain=domain)


def start(renderer: InverseRenderer, frames: Frames, seed: int = 1) -> Tensor:
    """Noise for the renderer; zeros where the model starts from them."""
    noise = torch.randn(renderer.noise_shape(frames), generator=torch.Generator().manual_seed(seed))
    return noise * (renderer.card.sampling.noise == "gaussian")


def official_axes(frames_normal: Tensor) -> np.ndarray:
    """unrender's normals (1, 3, H, W), X right, as the official ones, X left: (H, W, 3)."""
    return frames_normal[0].permute(1, 2, 0).numpy() * np.array([-1, 1, 1])


def assert_equal(gbuffer: GBuffer, expected: Answer) -> None:
    assert gbuffer.depth is not None
    assert gbuffer.normal is not None
    np.testing.assert_allclose(gbuffer.depth[0, 0].numpy() - 1, expected.depth, atol=1e-4, rtol=0)
    unit = expected.normal / np.linalg.norm(expected.normal, axis=2, keepdims=True)
    # Where a vector is short, making it unit makes its error large.
    found = official_axes(gbuffer.normal) * expected.length
    np.testing.assert_allclose(found, unit * expected.length, atol=1e-4, rtol=0)


def compare(path: Path, card: ModelCard, photo: Path, steps: int, domain: str = "", long_side=LONG_SIDE) -> None:
    renderer, frames = renderer_of(path, domain, long_side), read_image(photo)
    noise = start(renderer, frames)
    expected = official(path, card, photo, noise, steps, domain or "indoor", long_side)
    assert_equal(renderer(frames, noise=noise, steps=steps), expected)
    pictures = renderer.pictures(frames, noise=noise, steps=steps)
    torch.testing.assert_close(torch.cat(list(pictures.values())), expected.decoded, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("card", "steps"),
    [(V1, 1), (V1, 2), (V1, 4), (V1, 10), (V2, 1), (V2, 4), (V2, 10), (E2E, 1), (E2E, 2)],
    ids=lambda value: value.id if isinstance(value, ModelCard) else str(value),
)
def test_equals_the_official_pipeline_at_any_number_of_steps(card, steps, folder, tmp_path):
    compare(folder(card), card, picture(tmp_path, 42, 58), steps)


@pytest.mark.parametrize(
    ("card", "size"),
    [(V1, size) for size in ((58, 42), (33, 100), (42, 42), (64, 48), (200, 140))]
    + [(V2, (101, 67)), (V2, (58, 42)), (E2E, (101, 67)), (E2E, (200, 140))]
    # Here the quotient of the sides, in floating point, makes 98 pixels 63 of 64.
    + [(V1, (98, 62)), (E2E, (62, 98))]
    # And here single precision would find another nearest pixel.
    + [(V1, (40, 94)), (E2E, (40, 94))],
    ids=lambda value: value.id if isinstance(value, ModelCard) else "x".join(map(str, value)),
)
def test_equals_the_official_pipeline_at_any_size(card, size, folder, tmp_path):
    compare(folder(card), card, picture(tmp_path, *size), 2)


def test_equals_the_official_pipeline_at_the_size_of_the_picture_and_in_a_large_one(folder, tmp_path):
    compare(folder(V1), V1, picture(tmp_path, 42, 59), 2, long_side=0)
    compare(folder(V1), V1, picture(tmp_path, 90, 131), 1, long_side=160)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("card", GEOWIZARD, ids=lambda card: card.id)
def test_equals_the_official_pipeline_in_every_domain(card, domain, folder, tmp_path):
    compare(folder(card), card, picture(tmp_path, 42, 58), 2, domain)


@pytest.mark.parametrize("card", GEOWIZARD, ids=lambda card: card.id)
def test_every_domain_is_heard_and_the_first_is_the_default(card, folder, tmp_path):
    frames = read_image(picture(tmp_path, 42, 58))
    latents = {name: renderer_of(folder(card), name).latents(frames, steps=2) for name in ("", *DOMAINS)}
    torch.testing.assert_close(latents[""], latents["indoor"], atol=0, rtol=0)
    assert (latents["indoor"] - latents["outdoor"]).abs().max() > 1e-3
    assert (latents["outdoor"] - latents["object"]).abs().max() > 1e-3


def test_a_domain_that_the_model_does_not_know(folder):
    with pytest.raises(UserError) as caught:
        renderer_of(folder(V1), "attic")
    assert str(caught.value) == "lemonaddie/geowizard knows no domain attic; expected indoor, outdoor, object"


def test_a_domain_for_a_model_that_is_told_none(folder):
    with pytest.raises(UserError) as caught:
        renderer_of(folder(E2E_FT[0]), "indoor")
    assert str(caught.value) == "GonzaloMG/marigold-e2e-ft-depth knows no domain indoor; expected none"


@pytest.mark.parametrize("card", GEOWIZARD, ids=lambda card: card.id)
def test_a_clip_is_its_frames_each_by_itself(card, folder, tmp_path):
    """Three frames in one batch, whose pictures must attend to their own frame's only."""
    path, photos = folder(card), [picture(tmp_path, 42, 58, seed) for seed in range(3)]
    clip = Frames(torch.cat([read_image(photo).rgb for photo in photos]), fps=24.0)
    renderer = renderer_of(path)
    noise = start(renderer, clip)
    latents, maps = renderer.latents(clip, noise=noise, steps=2), renderer(clip, noise=noise, steps=2)
    for index, photo in enumerate(photos):
        mine, frame = noise[index : index + 1], read_image(photo)
        torch.testing.assert_close(
            latents[index : index + 1], renderer.latents(frame, noise=mine, steps=2), atol=1e-5, rtol=1e-4
        )
        assert_equal(maps.frame(index), official(path, card, photo, mine, 2))
    assert (latents[0] - latents[1]).abs().max() > 1e-2


# What the network sees. ----------------------------------------------------------------------------------------------


def told(pictures: int, frames: int) -> dict[str, Tensor]:
    """Input of the network, different in every picture and every frame, as no official pipeline has it."""
    torch.manual_seed(0)
    count = pictures * frames
    return {
        "sample": torch.randn(count, 8, 5, 8),
        "encoder_hidden_states": torch.randn(count, 3, 8),
        "class_labels": torch.randn(count, 10),
    }


@torch.no_grad()
def answer(unet: UNet2DConditionModel, frames: int = 1) -> Tensor:
    """What the official network says of the pictures one after the other, every one of them with all frames."""
    return unet(timestep=501, **told(2, frames)).sample


@torch.no_grad()
def joint_answer(unet: UNet2DConditionModel, frames: int = 1) -> Tensor:
    """The same of a network here, which has the pictures of a frame side by side."""
    set_group_size(unet, 2)
    by_frame = {name: swapped(values, 2, frames) for name, values in told(2, frames).items()}
    return swapped(unet(timestep=501, **by_frame).sample, frames, 2)


def swapped(values: Tensor, first: int, second: int) -> Tensor:
    return values.unflatten(0, (first, second)).transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize("frames", [1, 3])
def test_depth_and_normals_of_a_frame_see_each_other_and_nobody_else(frames, folder):
    path = folder(V1)
    loaded = load_checkpoint(ModelLocation(V1, path), Compute(torch.device("cpu"), torch.float32)).unet
    found = joint_answer(loaded, frames)
    torch.testing.assert_close(found, answer(official_unet(path), frames), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        partial(official_unet, self_keys=own),
        partial(official_unet, self_keys=others),
        partial(official_unet, self_keys=depths_only),
        partial(official_unet, cross_keys=both),
    ],
    ids=["own keys only", "halves swapped", "depth's keys only", "cross-attention joined too"],
)
def test_a_network_that_attends_otherwise_is_told_apart(wrong, folder):
    path = folder(V1)
    loaded = load_checkpoint(ModelLocation(V1, path), Compute(torch.device("cpu"), torch.float32)).unet
    assert (joint_answer(loaded) - answer(wrong(path))).abs().max() > 1e-2


# The default reading. ------------------------------------------------------------------------------------------------


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(values, size=size, mode="bilinear", antialias=True)


def srgb(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


@torch.no_grad()
def default_reading(path: Path, card: ModelCard, linear: Tensor, noise: Tensor, steps: int) -> Answer:
    """Light is resized, the border repeated up to multiples of 8, and the last step's clean latent decoded; depth is
    not stretched, and comes back bilinearly, as normals do, which are made unit again."""
    height, width = linear.shape[2:]
    content = round_down(height * LONG_SIDE / max(height, width)), round_down(width * LONG_SIDE / max(height, width))
    below, right = -content[0] % 8, -content[1] % 8
    shown = functional.pad(srgb(resized(linear, content)) * 2 - 1, (0, right, 0, below), mode="replicate")
    vae, unet = official_vae(path), official_unet(path)
    scheduler = DDIMScheduler.from_pretrained(path / "scheduler")
    scheduler.set_timesteps(steps)
    photo = (vae.encode(shown).latent_dist.mean * LATENT_SCALE).repeat(2, 1, 1, 1)
    tokens = word_tokens(path, "indoor") if card is V2 else image_token(path, shown)
    latent, clean = noise.repeat(2, 1, 1, 1), noise
    for t in scheduler.timesteps:
        output = unet(torch.cat((photo, latent), 1), t, tokens.repeat(2, 1, 1), class_numbers(card, "indoor")).sample
        alpha = scheduler.alphas_cumprod[t]
        clean = alpha.sqrt() * latent - (1 - alpha).sqrt() * output
        latent = scheduler.step(output, t, latent).prev_sample
    decoded = vae.decode(clean / LATENT_SCALE).sample[..., : content[0], : content[1]]
    depth = ((decoded[:1].mean(1, keepdim=True) + 1) / 2).clamp(0, 1)
    length = decoded[1:].norm(dim=1, keepdim=True)
    normal = resized(-decoded[1:] / length, (height, width))
    parts = (resized(depth, (height, width))[:, 0], normal, resized(length, (height, width)))
    depth, normal, length = (part[0].movedim(0, -1).numpy() if part.ndim == 4 else part[0].numpy() for part in parts)
    return Answer(depth, normal, length)


def round_down(value: float) -> int:
    return int(value + 1e-9)


@pytest.mark.parametrize("card", GEOWIZARD, ids=lambda card: card.id)
def test_the_default_reading_is_its_own_formula(card, folder, tmp_path):
    path, frames = folder(card), read_image(picture(tmp_path, 42, 58))
    renderer = renderer_of(path, faithful=False)
    noise = start(renderer, frames)
    for steps in (1, 2):
        assert_equal(renderer(frames, noise=noise, steps=steps), default_reading(path, card, frames.rgb, noise, steps))


def test_the_network_is_told_nothing_but_the_photo_of_a_frame_and_its_task(folder, tmp_path):
    """Asked for its normals alone, a model whose pictures attend to one another still makes both."""
    renderer, frames = renderer_of(folder(V1)), read_image(picture(tmp_path, 42, 58))
    noise = start(renderer, frames)
    whole, part = (renderer(frames, maps, noise=noise, steps=1) for maps in (None, ["normal"]))
    assert list(part.maps) == ["normal", "rgb"]
    torch.testing.assert_close(part.maps["normal"], whole.maps["normal"], atol=0, rtol=0)
