"""Low-rank adapters by peft: small weights beside those of a model, merged into them at the end."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unrender.errors import UserError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters in place of whole weights (Hu et al. 2022), in every attention projection.

    Attributes:
        rank: of each adapter.
        alpha: an adapter counts alpha / rank.
        targets: endings of the names of the layers that are adapted.
    """

    rank: int
    alpha: int
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


def adapt(unet: UNet2DConditionModel, lora: Lora | None) -> None:
    """Freezes `unet` and puts adapters into it, in place; where `lora` is None, all of it is trained.

    Raises:
        UserError: no layer has a name that ends as the adapters' targets do, or peft is not installed.
    """
    if lora is None:
        unet.requires_grad_(True)
        return
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("adapters need peft; `pip install 'unrender[train]'` brings it") from error
    if not any(name.endswith(lora.targets) for name, _ in unet.named_modules()):
        raise UserError(f"no layer of the UNet ends in {', '.join(lora.targets)}; name layers that it has")
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets)))


def merged(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet without adapters that answers as `unet` with them does; `unet` itself where it has none."""
    if not getattr(unet, "peft_config", None):
        return unet
    plain = copy.deepcopy(unet)
    plain.fuse_lora()
    plain.unload_lora()
    return plain
