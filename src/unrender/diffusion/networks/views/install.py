"""Adding the layers of a set of views to a stock UNet2DConditionModel, by processors and by blocks in place of
blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from unrender.diffusion.card import ViewLayers
from unrender.diffusion.networks.views.attention import CrossViewAttention, PosedTextAttention
from unrender.diffusion.networks.views.context import ViewContext
from unrender.diffusion.networks.views.projection import ProjectedBlock, ProjectionLayer, ProjectionSize
from unrender.diffusion.networks.views.volume_rendering import Marching
from unrender.errors import UserError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

ADDED = (".processor.", ".norm_cf.", ".projection.", ".gate.")
"""Parts of the names of tensors that a stock UNet has not."""


@dataclass(frozen=True)
class Views:
    """What a UNet with view layers has as its attribute `views`.

    Attributes:
        layers: their part of the card.
        context: what they share.
    """

    layers: ViewLayers
    context: ViewContext


def add_views(unet: UNet2DConditionModel, layers: ViewLayers) -> None:
    """Adds, in place: attention between views in every self-attention, camera codes in every attention, and projection
    layers where `layers` says. At first the network answers as before, but that views see one another and, where
    `layers.joining` is "replace", that projected features stand in for its own.

    Raises:
        UserError: the grid cannot be halved as often as its 3D network does.
    """
    context = ViewContext(layers.up)
    times = unet.time_embedding.linear_2.out_features if layers.times else 0
    _attend(unet, layers, times, context)
    for number, name in enumerate(projected_blocks(unet, layers)):
        parent, _, index = name.rpartition(".")
        blocks = unet.get_submodule(parent)
        block = unet.get_submodule(name)
        width = cast(nn.Linear, unet.get_submodule(f"{name}.attn1.to_q")).in_features
        layer = ProjectionLayer(projection_size(unet, width, layers, times))
        blocks[int(index)] = ProjectedBlock(block, layer, layers.joining, number, context)  # ty: ignore
    unet.conv_in.register_forward_pre_hook(context.remember_size)
    unet.time_proj.register_forward_pre_hook(context.remember_times)
    unet.time_embedding.register_forward_hook(context.remember_embedding)
    cast(Any, unet).views = Views(layers, context)


def set_views(network: nn.Module, vectors: Tensor, group_size: int) -> None:
    """Tells the added layers of `network`, whatever wraps it, which cameras the next batch has (`cameras`), and how
    many consecutive items make a set."""
    for module in network.modules():
        views = getattr(module, "views", None)
        if isinstance(views, Views):
            views.context.begin(vectors, group_size, views.layers.others, views.layers.own)


def views_of(network: nn.Module) -> Views | None:
    """The view layers of a network, whatever wraps it; None where it has none."""
    found = (getattr(module, "views", None) for module in network.modules())
    return next((views for views in found if isinstance(views, Views)), None)


def added_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that `add_views` has added, by name."""
    return {name: value for name, value in network.state_dict().items() if is_added(name)}


def is_added(name: str) -> bool:
    """Whether a tensor is one that a stock UNet has not."""
    return any(part in f".{name}" for part in ADDED)


def projection_layers(network: nn.Module) -> Iterator[ProjectionLayer]:
    """The projection layers of a network."""
    return (module for module in network.modules() if isinstance(module, ProjectionLayer))


def projected_blocks(unet: nn.Module, layers: ViewLayers) -> list[str]:
    """The names of the transformer blocks that get a projection layer, in the network's order.

    `paper`: those of all blocks of the UNet but the first and the last. `released`: those of the deepest block on the
    way down that has any, of the middle, and of the deepest on the way up.
    """
    names = [name for name, module in unet.named_modules() if type(module).__name__ == "BasicTransformerBlock"]
    if layers.projection == "none":
        return []
    down = sorted({int(name.split(".")[1]) for name in names if name.startswith("down_blocks.")})
    up = sorted({int(name.split(".")[1]) for name in names if name.startswith("up_blocks.")})
    if layers.projection == "released":
        kept = {f"down_blocks.{down[-1]}." if down else "", f"up_blocks.{up[0]}." if up else ""}
    else:
        last = len(unet.up_blocks) - 1  # ty: ignore[invalid-argument-type]
        kept = {f"down_blocks.{i}." for i in down if i > 0} | {f"up_blocks.{i}." for i in up if i < last}
    kept = {*(prefix for prefix in kept if prefix), "mid_block."}
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    found = (name for name in names if name.startswith(tuple(kept)))
    return sorted(found, key=lambda name: order[name.partition(".")[0]])


def projection_size(unet: Any, channels: int, layers: ViewLayers, times: int) -> ProjectionSize:
    """The size of the layer at a level of so many channels: the grid has `layers.grid` cells a side where the UNet is
    finest, and as much less as its channels are more, down to what its 3D network can halve."""
    first = unet.config["block_out_channels"][0]
    halved = 2 ** max(0, layers.levels - 1)
    side = max(1, layers.grid * first // channels // halved * halved)
    if layers.levels and (layers.grid % halved or side < 2 * halved):
        raise UserError(
            f"card: a grid of {layers.grid} cells a side, {side} at {channels} channels; expected a multiple of "
            f"{halved} and at least {2 * halved}, as its 3D network halves it"
        )
    marching = Marching(
        layers.samples, layers.samples if layers.background else 0, layers.distance, layers.end, 1 - layers.background
    )
    return ProjectionSize(
        channels,
        layers.inner,
        side,
        layers.levels,
        times,
        layers.compression,
        layers.background > 0,
        marching,
        layers.released_grid,
    )


def _attend(unet: UNet2DConditionModel, layers: ViewLayers, times: int, context: ViewContext) -> None:
    from diffusers.models.attention_processor import Attention

    for name, module in unet.named_modules():
        if not isinstance(module, Attention):
            continue
        width = module.to_q.in_features
        if name.endswith("attn1"):
            module.set_processor(CrossViewAttention(width, layers.rank, times, context))
        elif name.endswith("attn2") and layers.rank:
            module.set_processor(PosedTextAttention(width, module.to_k.in_features, layers.rank, context))
