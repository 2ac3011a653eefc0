"""Tiny random folders in the layout that ViewDiff's training code exports. Names and shapes of tensors are written out
as that code has them."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from tiny_clip import write_text_encoder

WIDTHS, TOKENS, RANK, INNER, TIMES = (32, 64, 128, 128), 16, 3, 16, 128
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
STOCK: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": list(WIDTHS),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": TOKENS,
    "use_linear_projection": True,
    "norm_num_groups": 8,
    "sample_size": 8,
}
RELEASED: dict[str, Any] = {
    "_class_name": "UNet2DConditionCrossFrameInExistingAttnModel",
    "_diffusers_version": "0.21.2",
    "down_block_types": ["CrossAttnDownBlock2D"] * 2 + ["CrossFrameInExistingAttnDownBlock2D", "DownBlock2D"],
    "mid_block_type": "UNetMidBlock2DCrossFrameInExistingAttn",
    "up_block_types": ["UpBlock2D", "CrossFrameInExistingAttnUpBlock2D"] + ["CrossAttnUpBlock2D"] * 2,
    "n_input_images": 3,
    "to_k_other_frames": 4,
    "random_others": True,
    "last_layer_mode": "no_residual_connection",
    "use_lora_in_cfa": False,
    "use_temb_in_lora": True,
    "temb_out_size": 8,
    "pose_cond_dim": 10,
    "rank": RANK,
    "network_alpha": None,
    "unproj_reproj_mode": "only_unproj_reproj",
    "num_3d_layers": 5,
    "dim_3d_latent": INNER,
    "dim_3d_grid": 32,
    "n_novel_images": 1,
    "vol_rend_proj_in_mode": "multiple",
    "vol_rend_proj_out_mode": "multiple",
    "vol_rend_aggregator_mode": "ibrnet",
    "vol_rend_model_background": True,
    "vol_rend_background_grid_percentage": 0.5,
    "vol_rend_disparity_at_inf": 0.5,
}

Shapes = dict[str, tuple[int, ...]]


def layer(name: str, out: int, *inward: int) -> Shapes:
    return {f"{name}.weight": (out, *inward), f"{name}.bias": (out,)}


def residual(name: str, inward: int, out: int) -> Shapes:
    short = layer(f"{name}.conv_shortcut", out, inward, 1, 1, 1) if inward != out else {}
    return {
        **layer(f"{name}.norm1", inward),
        **layer(f"{name}.conv1", out, inward, 3, 3, 3),
        **layer(f"{name}.time_emb_proj", out, 4 * INNER),
        **layer(f"{name}.norm2", out),
        **layer(f"{name}.conv2", out, out, 3, 3, 3),
        **short,
    }


def projection(width: int) -> Shapes:
    """`unproj_reproj_layer` of a block of that width, five 3D layers."""
    c, w = INNER, width
    pairs: Shapes = {
        **layer("proj_in_2d.0.conv", w, w, 3, 3),
        **layer("proj_in_2d.1.conv", c, w, 3, 3),
        **layer("proj_in_2d.2", c, c, 1, 1),
        **layer("linear_ray", c, 3),
    }
    for side in ("fg", "bg"):
        pairs |= layer(f"proj_out_2d_{side}.0.conv", c, c, 1, 1) | layer(f"proj_out_2d_{side}.1.conv", w, c, 1, 1)
        pairs |= layer(f"proj_out_2d_{side}.2", w, w, 1, 1)
    for name, out, inward in (
        ("ray_depth_encoder.0", c // 2, 4),
        ("ray_depth_encoder.2", c, c // 2),
        ("base_fc.0", 2 * c, 3 * c),
        ("base_fc.2", c, 2 * c),
        ("vis_fc.0", c, c),
        ("vis_fc.2", c + 1, c),
        ("vis_fc2.0", c, c),
        ("vis_fc2.2", 1, c),
        ("statistics_out.0", c, 2 * c + 1),
    ):
        pairs |= layer(f"ibrnet_aggregator.{name}", out, inward, 1, 1, 1)
    pairs |= layer("ibrnet_aggregator.temb_encoder.0", TIMES // 2, TIMES)
    pairs |= layer("ibrnet_aggregator.temb_encoder.2", c, TIMES // 2)
    pairs |= {
        "volume_renderer.mlp_weights": (3, c, c),
        "volume_renderer.mlp_biases": (3, c),
        "volume_renderer.weight_opacity": (c,),
        "volume_renderer.bias_opacity": (1,),
        "volume_renderer.weight_color": (c, c),
        "volume_renderer.bias_color": (c,),
        "volume_renderer.bg_color": (c,),
    }
    grid: Shapes = {
        **layer("conv_in", c, c, 3, 3, 3),
        **layer("time_embedding.linear_1", 4 * c, c),
        **layer("time_embedding.linear_2", 4 * c, 4 * c),
        **residual("down_blocks.0.resnets.0", c, c),
        **layer("down_blocks.0.downsamplers.0.conv", c, c, 3, 3, 3),
        **residual("down_blocks.1.resnets.0", c, 2 * c),
        **residual("mid_block.resnets.0", 2 * c, 2 * c),
        **residual("up_blocks.0.resnets.0", 4 * c, 2 * c),
        **residual("up_blocks.0.resnets.1", 3 * c, 2 * c),
        **layer("up_blocks.0.upsamplers.0.conv", 2 * c, 2 * c, 3, 3, 3),
        **residual("up_blocks.1.resnets.0", 3 * c, c),
        **residual("up_blocks.1.resnets.1", 2 * c, c),
        **layer("conv_norm_out", c),
        **layer("conv_out", c, c, 3, 3, 3),
    }
    return pairs | {f"blocks_3d.{name}": shape for name, shape in grid.items()}


def low_rank(name: str, width: int, text: bool) -> Shapes:
    """The camera's low-rank layers of one attention."""
    told = 10 if text else 10 + 8
    seen = TOKENS if text else width
    shapes: Shapes = {}
    for part, inward in (("q", width + told), ("k", seen + told), ("v", seen + told), ("out", width)):
        shapes |= {
            f"{name}.to_{part}_lora.down.weight": (RANK, inward),
            f"{name}.to_{part}_lora.up.weight": (width, RANK),
        }
    if not text:
        shapes |= layer(f"{name}.temb_proj.0", TIMES // 2, TIMES) | layer(f"{name}.temb_proj.2", 8, TIMES // 2)
    return shapes


def blocks() -> dict[str, int]:
    """Every transformer block with its width."""
    down = {f"down_blocks.{i}.attentions.0.transformer_blocks.0": WIDTHS[i] for i in range(3)}
    up = {f"up_blocks.{i}.attentions.{j}.transformer_blocks.0": WIDTHS[3 - i] for i in range(1, 4) for j in range(2)}
    return down | {"mid_block.attentions.0.transformer_blocks.0": WIDTHS[3]} | up


def released_shapes() -> tuple[Shapes, Shapes]:
    """The added tensors: those of the projection layers, and those of the camera's low-rank layers."""
    projections: Shapes = {}
    ranks: Shapes = {}
    for name, width in blocks().items():
        if name.startswith(("down_blocks.2", "mid_block", "up_blocks.1")):
            added = projection(width) | {}
            projections |= layer(f"{name}.norm_cf", width)
            projections |= {f"{name}.unproj_reproj_layer.{key}": shape for key, shape in added.items()}
        ranks |= low_rank(f"{name}.attn1.processor", width, text=False)
        ranks |= low_rank(f"{name}.attn2.processor", width, text=True)
    return projections, ranks


def write_released(folder: Path, lora_in_unet: bool = True, **config: Any) -> Path:
    """A whole folder: UNet with both kinds of added tensors, low-rank layers beside it, VAE, text encoder,
    tokenizer."""
    g = torch.Generator().manual_seed(0)

    def drawn(shapes: Shapes) -> dict[str, torch.Tensor]:
        return {name: torch.randn(shape, generator=g) * 0.1 for name, shape in shapes.items()}

    torch.manual_seed(0)
    projections, ranks = released_shapes()
    stock = UNet2DConditionModel(**STOCK).state_dict()
    unet = folder / "unet"
    unet.mkdir(parents=True)
    (unet / "config.json").write_text(json.dumps(STOCK | RELEASED | config))
    lora = drawn(ranks)
    state = stock | drawn(projections) | (lora if lora_in_unet else {})
    safetensors.torch.save_file(state, unet / "diffusion_pytorch_model.safetensors")
    safetensors.torch.save_file({f"unet.{k}": v for k, v in lora.items()}, unet / "pytorch_lora_weights.safetensors")
    write_rest(folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "CustomStableDiffusionPipeline"}))
    said = {"cross_frame_attention": {"with_self_attention": True}, "model": {"pose_cond_coord_space": "absolute"}}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def write_base(folder: Path) -> Path:
    """A tiny text-to-image model in Stable Diffusion's layout."""
    torch.manual_seed(1)
    UNet2DConditionModel(**STOCK).save_pretrained(folder / "unet")
    write_rest(folder)
    return folder


def write_rest(folder: Path) -> None:
    """Autoencoder, scheduler, and what makes tokens of words."""
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    ).save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    write_text_encoder(folder, TOKENS)
