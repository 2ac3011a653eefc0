"""Folders of weights, read strictly: a missing, extra or mis-shaped tensor is named, nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.adapter import add_adapter
from unrender.diffusion.checkpoints.clip.image_encoder import ImageEncoder, load_image_encoder
from unrender.diffusion.checkpoints.clip.prompts import TOKENS_FILE, prompt_tokens
from unrender.diffusion.checkpoints.fitting import check_unet
from unrender.diffusion.checkpoints.hub.components import DETAIL, VIEW_LAYERS
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.official import refined
from unrender.diffusion.checkpoints.released_views import is_released, read_released, stock_config
from unrender.diffusion.checkpoints.tensors import (
    check_tensors,
    in_eight_bits,
    read_tensors,
    tensor_shapes,
    weight_files,
)
from unrender.diffusion.decoding import TEMPORAL, Decoder
from unrender.diffusion.networks.detail import DetailNetwork
from unrender.diffusion.networks.environment import EnvironmentEncoder
from unrender.diffusion.networks.layout import lay_out
from unrender.diffusion.networks.small import (
    SmallAutoencoder,
    SmallUNet,
    small_autoencoder_fits,
    small_unet_fits,
)
from unrender.errors import UserError
from unrender.files.paths import existing_file
from unrender.files.quiet import silenced
from unrender.files.reading import reading
from unrender.files.tables import read_table

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from unrender.diffusion.networks.env_encoder import EnvEncoder

WEIGHTS = "diffusion_pytorch_model"
_MOST_BLOCKS, _MOST_LAYERS = 16, 32

VIDEO_UNETS = ("UNetCustomSpatioTemporalConditionModel", "UNetSpatioTemporalConditionModel", "VideoRendererUNet")
"""Classes of video UNets, as configurations name them; the first is that of DiffusionRenderer's own code."""

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """A model in memory.

    Attributes:
        card: its habits.
        unet, autoencoder: its networks; where it was loaded to be run only, `networks.small` may stand for diffusers'.
        tokens: (N, D) cross-attention tokens, by prompt.
        decoder: what decodes in the autoencoder's place, None for the autoencoder itself.
        image_encoder: what shows the photo to the network, where the card wants image tokens.
        environment: what makes tokens of a light, where the card tells one.
        detail: what brings the answer to the picture's own resolution, where the card has one.
        home: where it came from, None for one that was built here.
    """

    card: ModelCard
    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL
    tokens: dict[str, Tensor]
    decoder: Decoder | None = None
    image_encoder: ImageEncoder | None = None
    environment: EnvironmentEncoder | EnvEncoder | None = None
    detail: DetailNetwork | None = None
    home: ModelLocation | None = None


def load_checkpoint(
    home: ModelLocation,
    compute: Compute,
    decoder: Path | None = None,
    *,
    inference_only: bool = False,
    lora: float | None = None,
) -> Checkpoint:
    """Reads a model: the UNet, the autoencoder and the environment encoder, where the card tells a light (diffusers
    layout, safetensors), and the tokens of its prompts. The networks come in the precision and to the device of
    `compute`.

    Args:
        decoder: the folder of a tiny decoder (TAESD's layout) to decode with.
        inference_only: networks that are only to be run, whole: those of small models then need no diffusers.
        lora: how much of the model's adapter is added to its weights; what the card says when None.

    Raises:
        UserError: a file is missing, a tensor is missing, extra or mis-shaped, or the card and the networks disagree.
    """
    card = refined(home.card, home)
    unet_folder = home.component(card.identity.source.unet)
    check_unet(card, _config(unet_folder), unet_folder)
    if decoder:
        _check_decoder(card, decoder)
    joint = card.sampling.grouping.joint != "none"
    small = inference_only and not joint
    checkpoint = Checkpoint(
        card,
        unet=_load_views(card, home, compute) if card.views else _load_unet(unet_folder, compute, small),
        autoencoder=_load_autoencoder(home.component("vae"), compute, small),
        tokens=prompt_tokens(home),
        decoder=_load_decoder(decoder, compute) if decoder else None,
        image_encoder=load_image_encoder(home, compute) if card.image_tokens else None,
        environment=_load_environment(card, home, compute) if card.light else None,
        detail=load_network(DetailNetwork, home.component(DETAIL), compute) if card.maps.detail else None,
        home=home,
    )
    _check_tokens(checkpoint, home.folder)
    add_adapter(checkpoint.unet, card, home, lora)
    if joint and not card.is_video and card.views is None:
        from unrender.diffusion.networks.joint_attention import join_items

        join_items(checkpoint.unet)
    return checkpoint


def save_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "15MB",
    *,
    eight_bits: bool = False,
) -> None:
    """Writes a model folder that `load_checkpoint` takes, its weights in `dtype`; or in 8 bits (`in_eight_bits`), which
    only `load_checkpoint` reads, not diffusers."""
    folder.mkdir(parents=True, exist_ok=True)
    networks = {checkpoint.card.identity.source.unet: checkpoint.unet, "vae": checkpoint.autoencoder}
    if checkpoint.environment is not None:
        assert checkpoint.card.light is not None
        networks[checkpoint.card.light.encoder] = checkpoint.environment
    if checkpoint.detail is not None:
        networks[DETAIL] = checkpoint.detail
    for name, network in networks.items():
        state = {key: value.detach().to(dtype) for key, value in network.state_dict().items()}
        if eight_bits:
            state = in_eight_bits(network.state_dict())
        if checkpoint.card.views is not None and network is checkpoint.unet:
            state = _save_views(state, folder, max_shard_size)
        network.save_config(folder / name)
        _save_shards(state, folder / name, max_shard_size)
    safetensors.torch.save_file(checkpoint.tokens, folder / TOKENS_FILE)
    write_card(checkpoint.card, folder)


def save_view_layers(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes what was added to a UNet for the views of a set, with its card, alone: `load_checkpoint` takes the rest
    from the card's fallback."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().to(dtype) for key, value in checkpoint.unet.state_dict().items()}
    _save_views(state, folder, "15MB")
    safetensors.torch.save_file(checkpoint.tokens, folder / TOKENS_FILE)
    write_card(checkpoint.card, folder)


def _save_views(state: dict[str, Tensor], folder: Path, max_shard_size: str) -> dict[str, Tensor]:
    """Writes the added layers of a UNet into `views/`; what is left is the stock network's."""
    from unrender.diffusion.networks.views.install import is_added

    place = folder / VIEW_LAYERS
    place.mkdir()
    _save_shards({name: value for name, value in state.items() if is_added(name)}, place, max_shard_size)
    (place / "config.json").write_text("{}\n")
    return {name: value for name, value in state.items() if not is_added(name)}


def _save_shards(state: dict[str, Tensor], folder: Path, max_shard_size: str) -> None:
    """Safetensors files of at most `max_shard_size`, with an index where there are several."""
    from huggingface_hub import split_torch_state_dict_into_shards

    split = split_torch_state_dict_into_shards(
        state, filename_pattern=f"{WEIGHTS}{{suffix}}.safetensors", max_shard_size=max_shard_size
    )
    for filename, names in split.filename_to_tensors.items():
        safetensors.torch.save_file({name: state[name].contiguous() for name in names}, folder / filename)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / f"{WEIGHTS}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def load_network(kind: type[Network], folder: Path, compute: Compute) -> Network:
    """The network of a folder, strictly, on `compute`; `kind` is one that diffusers' configurations are read by, or of
    `networks`."""
    config = _config(folder)
    if kind.__name__ == "AutoencoderTiny":
        config.pop("block_out_channels", None)  # diffusers writes it down itself, and then warns of it
    # Built without memory, then given the tensors themselves: no time goes into random weights that are thrown away.
    with reading(folder / "config.json", f"the settings of a {kind.__name__}"), silenced(), torch.device("meta"):
        network: Network = cast(Any, kind).from_config(config)
    files = weight_files(folder, WEIGHTS)
    rename = _modern_name if kind.__name__ == "AutoencoderKL" else str
    shapes = {rename(name): shape for path in files for name, shape in tensor_shapes(path).items()}
    check_tensors({name: tuple(value.shape) for name, value in network.state_dict().items()}, shapes, folder)
    state: dict[str, Tensor] = {}
    for path in files:
        state |= {rename(name): value for name, value in read_tensors(path, compute)}
    network.load_state_dict(state, assign=True)
    return lay_out(network, compute.device).eval()


def _load_views(card: ModelCard, home: ModelLocation, compute: Compute) -> UNet2DConditionModel:
    """A UNet with view layers: the stock network of `unet/` and what was added to it in `views/`, or both in `unet/` in
    the layout that ViewDiff's training code exports."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from unrender.diffusion.networks.views.install import add_views, is_added

    assert card.views is not None
    folder = home.component(card.identity.source.unet)
    config = _config(folder)
    released = is_released(config)
    with reading(folder / "config.json", "the settings of a UNet"), torch.device("meta"):
        unet = cast(
            UNet2DConditionModel, UNet2DConditionModel.from_config(stock_config(config) if released else config)
        )
        add_views(unet, card.views)
    expected = {name: tuple(value.shape) for name, value in unet.state_dict().items()}
    if released:
        parts = [(folder, expected, read_released(folder, WEIGHTS, compute))]
    else:
        added = {name: shape for name, shape in expected.items() if is_added(name)}
        stock = {name: shape for name, shape in expected.items() if name not in added}
        parts = [
            (place, shapes, {n: v for path in weight_files(place, WEIGHTS) for n, v in read_tensors(path, compute)})
            for place, shapes in ((folder, stock), (home.component(VIEW_LAYERS), added))
        ]
    state: dict[str, Tensor] = {}
    for place, shapes, found in parts:
        check_tensors(shapes, {name: tuple(value.shape) for name, value in found.items()}, place)
        state |= found
    unet.load_state_dict(state, assign=True)
    for name, module in unet.named_modules():  # what turns features into space has no digits to lose
        if name.endswith(".projection"):
            module.float()
    return lay_out(unet, compute.device).eval()


def _fits(check: Callable[[dict[str, Any]], bool], folder: Path) -> bool:
    """Whether a network without diffusers stands for that of a folder; what its settings hold may be anything."""
    config = _config(folder)
    with reading(folder / "config.json", "a network's settings"):
        return check(config)


def _load_unet(folder: Path, compute: Compute, small: bool) -> UNet2DConditionModel:
    if small and _fits(small_unet_fits, folder):
        return cast("UNet2DConditionModel", load_network(SmallUNet, folder, compute))
    if _config(folder).get("_class_name") in VIDEO_UNETS:
        from unrender.diffusion.networks.video_unet import VideoRendererUNet

        return cast("UNet2DConditionModel", load_network(VideoRendererUNet, folder, compute))
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return load_network(UNet2DConditionModel, folder, compute)


def _load_autoencoder(folder: Path, compute: Compute, small: bool) -> AutoencoderKL:
    if small and _fits(small_autoencoder_fits, folder):
        return cast("AutoencoderKL", load_network(SmallAutoencoder, folder, compute))
    if _config(folder).get("_class_name") == TEMPORAL:
        from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

        return cast("AutoencoderKL", load_network(AutoencoderKLTemporalDecoder, folder, compute))
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return load_network(AutoencoderKL, folder, compute)


def _load_decoder(folder: Path, compute: Compute) -> Decoder:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    return load_network(AutoencoderTiny, folder, compute)


def _load_environment(card: ModelCard, home: ModelLocation, compute: Compute) -> EnvironmentEncoder | EnvEncoder:
    assert card.light is not None
    folder = home.component(card.light.encoder)
    have = _config(folder).get("channels" if card.light.by_levels else "token_width")
    want = _config(home.component(card.identity.source.unet)).get("cross_attention_dim")
    if card.light.one_level and isinstance(have, list):
        have = have[-1:] * len(have)
    if have != want:
        raise UserError(f"{folder}: its tokens have {have} numbers; expected {want}, as the UNet of {card.id} takes")
    if not card.light.by_levels:
        return load_network(EnvironmentEncoder, folder, compute)
    from unrender.diffusion.networks.env_encoder import EnvEncoder

    return load_network(EnvEncoder, folder, compute)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} has no config.json; expected a network folder in diffusers' layout")
    with reading(existing_file(path), "a network's settings"):
        config = read_table(path)
        blocks = config.get("block_out_channels") or ()
        layers = [number for key, value in config.items() if "layers" in key for number in _numbers(value)]
        if len(blocks) > _MOST_BLOCKS or max(layers, default=1) > _MOST_LAYERS:
            raise UserError(
                f"{path} has more than {_MOST_BLOCKS} blocks of {_MOST_LAYERS} layers; expected a UNet or VAE"
            )
        return config


def _numbers(value: object) -> Iterator[float]:
    """The numbers of a setting: one, or those of lists in one another."""
    if isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value


def _modern_name(name: str) -> str:
    """The name of a tensor of an autoencoder's attention, which Stable Diffusion's own files still call otherwise."""
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
        name = name.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return name


def _check_decoder(card: ModelCard, folder: Path) -> None:
    channels = _config(folder).get("latent_channels", 4)
    if channels != card.latents.channels:
        raise UserError(
            f"{folder} decodes latents of {channels} channels, and those of {card.id} have {card.latents.channels}; "
            "expected the model's own decoder"
        )


def _check_tokens(checkpoint: Checkpoint, folder: Path) -> None:
    width = checkpoint.unet.config["cross_attention_dim"]
    for name, tokens in checkpoint.tokens.items():
        if tokens.ndim != 2 or tokens.shape[1] != width:
            raise UserError(f"{folder}: tokens {name!r} are {tuple(tokens.shape)}; expected (N, {width})")
