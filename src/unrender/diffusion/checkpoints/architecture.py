"""The full-size networks of published checkpoints, as data: Stable Diffusion 2's, with other first and last layers.

Counts are arithmetic, so that a list of models needs no torch; the tests build every network and compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrender.diffusion.card import ModelCard, ViewLayers
from unrender.diffusion.checkpoints.video_architecture import (
    build_video_unet,
    video_parameters,
    video_unet_config,
    video_unet_parameters,
)

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    from unrender.diffusion.networks.video_unet import VideoRendererUNet

WORDS, IMAGES = 1024, 768
"""Widths of the tokens: those of Stable Diffusion 2's text encoder, and those of CLIP ViT-L's image embedding."""

VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 768,
    "scaling_factor": 0.18215,
}

IMAGE_ENCODER_CONFIG: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": IMAGES,
}

SD2_UNET = 865_910_724  # four channels in, four out, no task
SD_VAE = 83_653_863
SD2_TEXT_ENCODER = 340_387_840
IMAGE_ENCODER = 303_179_776 + 1024 * IMAGES

_WIDTH, _TIME = 320, 1280
_TRANSFORMERS = {320: 5, 640: 5, 1280: 6}
"""How many transformer blocks the UNet has at each width."""
_CROSS_ATTENDED = 2 * (320 + 640 + 1280) + 1280 + 3 * (320 + 640 + 1280)  # widths of the layers, down, middle and up


def unet_config(card: ModelCard) -> dict[str, Any]:
    """The configuration of a published checkpoint's UNet, as in its `config.json`."""
    if card.is_video:
        return video_unet_config(card)
    return {
        "in_channels": card.input_channels,
        "out_channels": card.target_channels,
        "sample_size": 96,
        "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "layers_per_block": 2,
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": IMAGES if card.image_tokens else WORDS,
        "use_linear_projection": True,
        "dual_cross_attention": False,
        "only_cross_attention": False,
        "upcast_attention": False,
        "class_embed_type": "projection" if card.task_numbers else None,
        "projection_class_embeddings_input_dim": card.task_numbers or None,
        "act_fn": "silu",
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "center_input_sample": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "downsample_padding": 1,
    }


def build_unet(card: ModelCard) -> UNet2DConditionModel | VideoRendererUNet:
    """A UNet of the full size, untrained, on the active torch device."""
    if card.is_video:
        return build_video_unet(card)
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**unet_config(card))


def build_vae() -> AutoencoderKL:
    """Stable Diffusion's autoencoder, untrained, on the active torch device."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(**VAE_CONFIG)


def build_image_encoder() -> CLIPVisionModelWithProjection:
    """CLIP ViT-L/14's image encoder, untrained, on the active torch device."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER_CONFIG))


def unet_parameters(card: ModelCard) -> int:
    """The number of parameters of a published checkpoint's UNet."""
    if card.is_video:
        return video_unet_parameters(card)
    ends = (card.input_channels - 4) * _WIDTH * 9 + (card.target_channels - 4) * (_WIDTH * 9 + 1)
    task = (card.task_numbers + 1) * _TIME + (_TIME + 1) * _TIME if card.task_numbers else 0
    keys_and_values = 2 * _CROSS_ATTENDED * (IMAGES - WORDS) if card.image_tokens else 0
    return SD2_UNET + ends + task + keys_and_values + view_parameters(card)


def view_parameters(card: ModelCard) -> int:
    """The number of parameters that view layers add to a UNet of Stable Diffusion 2."""
    views = card.views
    if views is None:
        return 0
    attention = sum(count * _view_attention(width, views) for width, count in _TRANSFORMERS.items())
    return attention + sum(count * projection_parameters(width, views) for width, count in view_places(views).items())


def view_places(views: ViewLayers) -> dict[int, int]:
    """How many projection layers Stable Diffusion 2's UNet gets at each width."""
    return {"none": {}, "released": {1280: 6}, "paper": {640: 5, 1280: 6}}[views.projection]


def view_memory_bytes(card: ModelCard, views: int, side: int = 256) -> dict[str, int]:
    """An estimate of what one evaluation of N views of `side` pixels takes in half precision, in bytes, by part.

    weights: the whole UNet's, two bytes each. attention: keys, values and queries of the finest level, for all views.
    projection: what the finest projection layer holds at once, in single precision: voxels of the 3D network's widest
    moment, cells that are looked up together, samples that are rendered together. Text guidance doubles all but the
    weights.
    """
    layers = card.views
    if layers is None:
        return {}
    tokens, seen = (side // 8) ** 2, views if layers.others is None else min(views, layers.others + layers.own)
    attention = 2 * _WIDTH * tokens * views * (1 + 2 * (1 if seen == views else seen))
    projection = 0
    if view_places(layers):
        cells = (layers.grid * _WIDTH // min(view_places(layers))) ** 3
        # The last level of the way up: what comes from below, what was skipped, their joint, and what comes out.
        grid = cells * layers.inner * (6 if layers.levels else 1)
        looked = min(CELLS, cells * views) * layers.inner * 8
        rendered = SAMPLES * layers.inner * 6
        projection = 4 * (grid + looked + rendered)
    return {"weights": 2 * unet_parameters(card), "attention": attention, "projection": projection}


CELLS, SAMPLES = 1 << 16, 1 << 17
"""Cells times views, and samples, that a projection layer works on together (`networks.views`)."""


def view_summary(card: ModelCard) -> list[str]:
    """What view layers add to Stable Diffusion 2's UNet, in lines for people: places, sizes, parameters, memory."""
    layers = card.views
    if layers is None:
        return []
    lines = [
        f"attention between views: {sum(_TRANSFORMERS.values())} layers, each view sees "
        + ("all others" if layers.others is None else f"{layers.others} others")
        + (" and itself" if layers.own else "")
    ]
    names = {640: "down_blocks.1, up_blocks.2", 1280: "down_blocks.2, mid_block, up_blocks.1"}
    for width, count in sorted(view_places(layers).items(), reverse=True):
        side = layers.grid * _WIDTH // width
        each = projection_parameters(width, layers)
        lines.append(
            f"projection: {count} layers at {width} channels ({names[width]}), {side}^3 cells, {each:,} parameters each"
        )
    lines.append(f"added: {view_parameters(card):,} parameters")
    for views in (5, 30):
        parts = view_memory_bytes(card, views)
        shown = ", ".join(f"{name} {value / 1e9:.2f}" for name, value in parts.items())
        lines.append(f"memory of {views} views of 256 x 256, estimated, GB: {sum(parts.values()) / 1e9:.2f} ({shown})")
    return lines


def projection_parameters(width: int, views: ViewLayers) -> int:
    """The number of parameters of a projection layer, its norm included, at that width."""
    inner, half, linear = views.inner, views.inner // 2, _linear
    compress = linear(width, inner)
    if views.compression == "multiple":
        compress = linear(9 * width, width) + linear(9 * width, inner) + linear(inner, inner)
    aggregator = (
        linear(4, half)
        + linear(half, inner)
        + linear(3 * inner, 2 * inner)
        + linear(2 * inner, inner)
        + linear(inner, inner)
        + linear(inner, inner + 1)
        + linear(inner, inner)
        + linear(inner, 1)
        + linear(2 * inner + 1, inner)
        + (linear(_TIME, _TIME // 2) + linear(_TIME // 2, inner) if views.times else 0)
    )
    renderer = 3 * (inner * inner + inner) + inner + 1 + inner * inner + inner
    scales = 2 * (linear(inner, inner) + linear(inner, width) + linear(width, width))
    gate = linear(width, width) if views.joining == "zero" else 0
    return compress + aggregator + _unet_3d(views) + linear(3, inner) + renderer + scales + gate + 2 * width


def _view_attention(width: int, views: ViewLayers) -> int:
    """What attention to other views and to the text gets at one transformer of that width."""
    if not views.rank:
        return 0
    code, numbers = 10, 8 if views.times else 0
    to_views = 3 * views.rank * (width + code + numbers + width)
    to_text = views.rank * (width + code + width) + 2 * views.rank * (WORDS + code + width)
    time = _linear(_TIME, _TIME // 2) + _linear(_TIME // 2, numbers) if views.times else 0
    return to_views + to_text + 2 * views.rank * 2 * width + time


def _unet_3d(views: ViewLayers) -> int:
    if not views.levels:
        return 0
    widths, inner = [views.inner * (i + 1) for i in range(views.levels)], views.inner
    before, times = [inner, *widths[:-1]], 4 * views.inner

    def block(inward: int, outward: int) -> int:
        short = _linear(inward, outward) if inward != outward else 0
        norms, convolutions = 2 * (inward + outward), _linear(27 * inward, outward) + _linear(27 * outward, outward)
        return norms + convolutions + _linear(times, outward) + short

    total = _linear(27 * inner, inner) * 2 + 2 * inner + _linear(inner, times) + _linear(times, times)
    total += block(widths[-1], widths[-1])
    below = widths[-1]
    for level in reversed(range(views.levels)):
        inward, width = before[level], widths[level]
        total += block(inward, width) + block(below + width, width) + block(width + inward, width)
        total += (_linear(27 * width, width) if level < views.levels - 1 else 0) + (
            _linear(27 * width, width) if level else 0
        )
        below = width
    return total


def _linear(inward: int, outward: int) -> int:
    """Parameters of a linear layer with a bias; of a convolution with so many numbers in its window."""
    return inward * outward + outward


def parameters(card: ModelCard) -> int:
    """Parameters that inference holds in memory: the UNet, the autoencoder, and an image encoder where it has one."""
    if card.is_video:
        return video_parameters(card)
    return unet_parameters(card) + SD_VAE + (IMAGE_ENCODER if card.image_tokens else 0)


def download_parameters(card: ModelCard) -> int:
    """Parameters that are pulled: those of inference, and the text encoder, which turns the prompts into tokens."""
    return parameters(card) + (0 if card.text is None else SD2_TEXT_ENCODER)


def memory_bytes(numbers: int, long_side: int, pictures: int = 1) -> int:
    """An estimate of what inference of one picture takes in half precision, in bytes.

    Two bytes for each of `numbers`, and the peak of the VAE decoder's activations: three tensors of 256 channels
    at the full size of a square picture, for as many `pictures` as are decoded together (what goes into its last
    block, the same normalised, and what comes out). The library's own overhead is not in it, nor is attention that
    stores its full matrix.
    """
    side = long_side or NATIVE_SIDE
    return 2 * (numbers + 3 * 256 * side * side * pictures)


NATIVE_SIDE = 768
"""The side in pixels that is assumed for a model that works at the picture's own size."""
