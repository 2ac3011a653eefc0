"""The layout that ViewDiff's training code exports: a diffusers folder whose `unet/` is of a class of its own, with the
camera's low-rank layers beside it. Its settings become a card's part, its tensors ours, one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unrender.device import Compute
from unrender.diffusion.card import ModelCard, ViewLayers
from unrender.diffusion.checkpoints.hub.components import VIEW_LORA
from unrender.diffusion.checkpoints.tensors import read_tensors, tensor_shapes, weight_files
from unrender.errors import UserError
from unrender.files.tables import read_table

RELEASED_CLASS = "UNet2DConditionCrossFrameInExistingAttnModel"

_STOCK_BLOCKS = {
    "CrossFrameInExistingAttnDownBlock2D": "CrossAttnDownBlock2D",
    "CrossFrameInExistingAttnUpBlock2D": "CrossAttnUpBlock2D",
    "UNetMidBlock2DCrossFrameInExistingAttn": "UNetMidBlock2DCrossAttn",
}
_JOINING = {"no_residual_connection": "replace", "none": "add", "zero-conv": "zero"}
_RENAMED = (
    (r"\.cfa_controlnet_block\.", ".gate."),
    (r"\.unproj_reproj_layer\.", ".projection."),
    (r"\.proj_in_2d\.0\.conv\.", ".compress.0."),
    (r"\.proj_in_2d\.1\.conv\.", ".compress.2."),
    (r"\.proj_in_2d\.2\.", ".compress.4."),
    (r"\.proj_in_2d\.(weight|bias)$", r".compress.\1"),
    *(
        pair
        for theirs, ours in (("fg", "foreground"), ("bg", "background"))
        for pair in (
            (rf"\.proj_out_2d_{theirs}\.0\.conv\.", f".{ours}.0."),
            (rf"\.proj_out_2d_{theirs}\.1\.conv\.", f".{ours}.2."),
            (rf"\.proj_out_2d_{theirs}\.2\.", f".{ours}.4."),
        )
    ),
    (r"\.ibrnet_aggregator\.ray_depth_encoder\.", ".aggregator.ray_depth."),
    (r"\.ibrnet_aggregator\.temb_encoder\.", ".aggregator.time."),
    (r"\.ibrnet_aggregator\.base_fc\.", ".aggregator.base."),
    (r"\.ibrnet_aggregator\.vis_fc\.", ".aggregator.visibility."),
    (r"\.ibrnet_aggregator\.vis_fc2\.", ".aggregator.weight."),
    (r"\.ibrnet_aggregator\.statistics_out\.", ".aggregator.statistics."),
    (r"\.linear_ray\.", ".direction."),
    (r"\.blocks_3d\.", ".refine."),
)


def is_released(config: Mapping[str, Any]) -> bool:
    """Whether the settings of a UNet are of that layout."""
    return config.get("_class_name") == RELEASED_CLASS


def stock_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the stock UNet inside. Raises UserError for blocks of other kinds."""
    blocks: dict[str, Any] = {}
    for name in ("down_block_types", "up_block_types"):
        kinds = config.get(name)
        if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
            raise UserError(f"the UNet's {name} is {str(kinds)[:60]}; expected a list of blocks")
        blocks[name] = [_STOCK_BLOCKS.get(kind, kind) for kind in kinds]
    middle = str(config.get("mid_block_type", "UNetMidBlock2DCrossAttn"))
    blocks["mid_block_type"] = _STOCK_BLOCKS.get(middle, middle)
    kept = {name: value for name, value in config.items() if name not in _OWN and not name.startswith("_")}
    return kept | blocks | {"_class_name": "UNet2DConditionModel"}


_OWN = frozenset(
    {"n_input_images", "to_k_other_frames", "random_others", "last_layer_mode", "use_lora_in_cfa", "use_temb_in_lora"}
    | {"temb_out_size", "pose_cond_dim", "rank", "network_alpha", "unproj_reproj_mode", "num_3d_layers"}
    | {"dim_3d_latent", "dim_3d_grid", "n_novel_images", "vol_rend_proj_in_mode", "vol_rend_proj_out_mode"}
    | {"vol_rend_aggregator_mode", "vol_rend_model_background", "vol_rend_background_grid_percentage"}
    | {"vol_rend_disparity_at_inf"}
)


def released_layers(home: Path, unet: str = "unet") -> ViewLayers:
    """The card's part for a folder of that layout, from `unet/config.json`, and from the `config.json` beside it as far
    as the UNet's own does not say.

    Raises:
        UserError: a setting that our layers do not have.
    """
    path = home / unet / "config.json"
    config = read_table(path)
    _refuse(path, config)
    depth = int(config.get("num_3d_layers", 1))
    projected = config.get("unproj_reproj_mode", "none") != "none"
    rank = int(config.get("rank", 4)) if _has_low_rank(home / unet) else 0
    return ViewLayers(
        others=int(config.get("to_k_other_frames", 4)),
        own=bool(_said(home, "cross_frame_attention", "with_self_attention", True)),
        rank=rank,
        times=bool(config.get("use_temb_in_lora", False)),
        projection=_placement(path, config) if projected else "none",
        grid=int(config.get("dim_3d_grid", 64)),
        inner=int(config.get("dim_3d_latent", 32)),
        levels=(depth - 1) // 2,
        background=float(config.get("vol_rend_background_grid_percentage", 0.5)),
        end=float(config.get("vol_rend_disparity_at_inf", 1e-3)),
        compression="multiple" if config.get("vol_rend_proj_in_mode") == "multiple" else "single",
        joining=_JOINING[config.get("last_layer_mode", "none")],  # ty: ignore[invalid-argument-type]
        distance=4.0,
        up="z",
        released_grid=True,
    )


def with_released_layers(card: ModelCard, home: Path) -> ModelCard:
    """A card of views with the layers that a folder of that layout says it has; as it is for other folders."""
    path = home / card.identity.source.unet / "config.json"
    if card.views is None or not path.is_file() or not is_released(read_table(path)):
        return card
    others = tuple(one for one in card.conditioning if not isinstance(one, ViewLayers))
    return replace(card, conditioning=(*others, released_layers(home, card.identity.source.unet)))


def read_released(folder: Path, stem: str, compute: Compute | None) -> dict[str, Tensor]:
    """All tensors of a UNet of that layout, under our names and in our shapes. Where the low-rank layers lie both in
    the UNet's file and beside it, those beside it count, as in the code that wrote them.

    Raises:
        UserError: a file is missing or damaged.
    """
    files = weight_files(folder, stem)
    state = {name: value for path in files for name, value in read_tensors(path, compute)}
    beside = folder / VIEW_LORA
    if beside.is_file():
        state |= {name.removeprefix("unet."): value for name, value in read_tensors(beside, compute)}
    return {our_name(name): _our_shape(name, value) for name, value in state.items()}


def our_name(name: str) -> str:
    """What a tensor of that layout is called here."""
    for theirs, ours in _RENAMED:
        name = re.sub(theirs, ours, name)
    return name


def _our_shape(name: str, value: Tensor) -> Tensor:
    """Their convolutions of 1 x 1 x 1 are linear layers here."""
    return value.flatten(1) if ".ibrnet_aggregator." in name and value.ndim == 5 else value


def _has_low_rank(folder: Path) -> bool:
    """Whether there are the camera's low-rank layers, in a file of their own or in the UNet's."""
    if (folder / VIEW_LORA).is_file():
        return True
    files = (path for path in weight_files(folder, "diffusion_pytorch_model") if path.is_file())
    return any("_lora." in name for path in files for name in tensor_shapes(path))


def _placement(path: Path, config: Mapping[str, Any]) -> Any:
    """Which preset the blocks are those of."""
    down = [kind in _STOCK_BLOCKS for kind in config["down_block_types"]]
    up = [kind in _STOCK_BLOCKS for kind in config["up_block_types"]]
    attends = ["Attn" in kind for kind in config["down_block_types"]]
    deepest = [i == max(j for j, has in enumerate(attends) if has) for i in range(len(down))]
    attends_up = ["Attn" in kind for kind in config["up_block_types"]]
    first_up = [i == attends_up.index(True) for i in range(len(up))]
    if (down, up) == (deepest, first_up):
        return "released"
    inside = [has and i > 0 for i, has in enumerate(attends)]
    inside_up = [has and i < len(up) - 1 for i, has in enumerate(attends_up)]
    if (down, up) == (inside, inside_up):
        return "paper"
    raise UserError(
        f"{path}: projection layers in the blocks {sum(down)} down and {sum(up)} up; expected the deepest alone, or "
        "all but the first and the last"
    )


def _refuse(path: Path, config: Mapping[str, Any]) -> None:
    """Raises UserError for settings that our layers do not have."""
    projected = config.get("unproj_reproj_mode", "none") != "none"
    expected: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("unproj_reproj_mode", "none", ("none", "only_unproj_reproj")),
        ("last_layer_mode", "none", tuple(_JOINING)),
        ("pose_cond_dim", 10, (10,)),
        ("temb_out_size", 10, (8,) if config.get("use_temb_in_lora") else (8, 10)),
        ("network_alpha", None, (None,)),
    ]
    if projected:
        expected += [
            ("vol_rend_proj_in_mode", "unet", ("single", "multiple")),
            ("vol_rend_proj_out_mode", "multiple", ("multiple",)),
            ("vol_rend_aggregator_mode", "ibrnet", ("ibrnet",)),
            ("vol_rend_model_background", False, (True,)),
            ("num_3d_layers", 1, (3, 5, 7, 9)),
            ("mid_block_type", "", ("UNetMidBlock2DCrossFrameInExistingAttn",)),
        ]
    for name, default, known in expected:
        if config.get(name, default) not in known:
            raise UserError(
                f"{path}: {name} is {config.get(name, default)!r}; expected {' or '.join(map(repr, known))}, as the "
                "released training script has it"
            )
    home = path.parents[1]
    space = _said(home, "model", "pose_cond_coord_space", "absolute")
    if space != "absolute":
        raise UserError(f"{home / 'config.json'}: pose_cond_coord_space is {space!r}; expected 'absolute'")


def _said(home: Path, part: str, name: str, default: Any) -> Any:
    """What the training's own `config.json` says; `default` where there is none."""
    path = home / "config.json"
    said = read_table(path).get(part) if path.is_file() and path.stat().st_size else None
    return said.get(name, default) if isinstance(said, dict) else default
