"""Low-rank adapters by peft: small weights beside those of a model, merged into them at the end."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unrender.errors import UserError
from unrender.files.paths import existing_file

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


ADAPTERS_FILE = "pytorch_lora_weights.safetensors"
"""The name by which diffusers and other hosts know adapters in a folder."""


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
    _check_peft()
    from peft import LoraConfig

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


def save_adapters(unet: UNet2DConditionModel, folder: Path) -> None:
    """Writes the adapters of a UNet as `ADAPTERS_FILE`, as diffusers' pipelines read it, in half precision."""
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    state = {name: value.detach().half().cpu() for name, value in state.items()}
    StableDiffusionLoraLoaderMixin.save_lora_weights(folder, unet_lora_layers=state)


def load_adapters(unet: UNet2DConditionModel, folder: Path) -> None:
    """Puts the adapters of a folder into a UNet that has none, in place.

    Raises:
        UserError: there is no such file, it is damaged, or its adapters are another network's; or peft is not
            installed.
    """
    _check_peft()
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin as Loader

    path = existing_file(folder / ADAPTERS_FILE)
    try:
        state, alphas = Loader.lora_state_dict(str(path))
        Loader.load_lora_into_unet(state, network_alphas=alphas, unet=unet)
    except Exception as error:  # of safetensors, diffusers and peft
        raise UserError(f"{path} has no adapters for this UNet: {str(error).splitlines()[0]}") from error
    unet.requires_grad_(False)


@contextmanager
def adapters_off(unet: UNet2DConditionModel) -> Generator[None]:
    """While the block runs, a UNet answers as if it had no adapters; one that has none answers as ever."""
    if not getattr(unet, "peft_config", None):
        yield
        return
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()


def _check_peft() -> None:
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UserError("adapters need peft; `pip install 'unrender[train]'` brings it") from error
