"""Tiny folders in the layout of DiffusionRenderer's published checkpoints, with random weights; their networks are
diffusers' own, so that nothing of unrender is in them."""

import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from safetensors.torch import save_file
from torch import nn

LEVELS = (32, 32, 64, 64)
TOKEN = 48
BUFFERS = ("basecolor", "metallic", "roughness", "normal", "depth", "diffuse_albedo")
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [32, 32, 32, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
UNET = {
    "out_channels": 4,
    "down_block_types": [*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3],
    "block_out_channels": list(LEVELS),
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 1,
    "num_attention_heads": [2, 2, 4, 4],
    "num_frames": 24,
}
ENV_ENCODER = {
    "in_channels": 12,
    "channels": list(LEVELS),
    "num_res_blocks": 1,
    "latent_encoder": True,
    "in_labels": ["env_ldr", "env_log", "env_nrm"],
}
RANK = 4


class Lights(nn.Module):
    """The encoder of lights, put together of diffusers' blocks."""

    def __init__(self) -> None:
        super().__init__()
        widths = (LEVELS[0], *LEVELS)
        self.conv_in = nn.Conv2d(ENV_ENCODER["in_channels"], LEVELS[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownEncoderBlock2D(widths[i], widths[i + 1], num_layers=1, add_downsample=i > 0) for i in range(len(LEVELS))
        )


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """Weights that let every part of the network count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            spread = 0.6 if "mix_factor" in name else 0.05
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
    return network.eval()


def plain_unet(forward: bool) -> UNetSpatioTemporalConditionModel:
    """Diffusers' UNet; of the forward direction without cross-attention over time, and as wide a token as its level."""
    torch.manual_seed(3)
    width = list(LEVELS) if forward else TOKEN
    unet = UNetSpatioTemporalConditionModel(
        in_channels=24 if forward else 8, cross_attention_dim=width, **{k: _tuples(v) for k, v in UNET.items()}
    )
    if forward:
        for module in unet.modules():
            if isinstance(module, TransformerSpatioTemporalModel):
                for block in module.temporal_transformer_blocks:
                    block.norm2, block.attn2 = None, None
    return randomised(unet, 4)


def write_inverse(folder: Path, context: str | None = "clip") -> Path:
    """An inverse renderer; `context` is its `context_embedding_type`."""
    unet = plain_unet(forward=False)
    width = TOKEN if context == "clip" else 4 * LEVELS[0]
    table = torch.randn(16, width, generator=torch.Generator().manual_seed(5))
    table[3] *= 20  # a row beyond the largest norm
    config = {
        "_class_name": "UNetCustomSpatioTemporalConditionModel",
        "in_channels": 8,
        "cross_attention_dim": TOKEN,
        "temporal_cross_attention_dim": TOKEN,
        "multi_res_encoder_hidden_states": False,
        "context_embedding_type": context,
        "context_vocab_size": 16,
        **UNET,
    }
    _write(folder / "unet", config, unet.state_dict() | ({"context_embedding.weight": table} if context else {}))
    _write_rest(folder)
    return folder


def write_forward(folder: Path, lora: bool = True) -> Path:
    """A forward renderer, with the leftovers that its repository has."""
    config = {
        "_class_name": "UNetCustomSpatioTemporalConditionModel",
        "in_channels": 24,
        "cross_attention_dim": list(LEVELS),
        "temporal_cross_attention_dim": None,
        "multi_res_encoder_hidden_states": True,
        "context_embedding_type": None,
        "context_vocab_size": 16,
        **UNET,
    }
    unet = plain_unet(forward=True)
    _write(folder / "unet", config, unet.state_dict())
    torch.manual_seed(6)
    _write(folder / "env_encoder", {"_class_name": "EnvEncoder", **ENV_ENCODER}, randomised(Lights(), 7).state_dict())
    if lora:
        (folder / "lora").mkdir()
        save_file(adapter(unet), folder / "lora" / "pytorch_lora_weights.safetensors")
    _write_rest(folder, env_encoder=["src.models.env_encoder", "EnvEncoder"])
    return folder


def adapter(unet: nn.Module) -> dict[str, torch.Tensor]:
    """An adapter of every attention projection, named as diffusers writes them."""
    generator, found = torch.Generator().manual_seed(8), {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            found[f"unet.{name}.lora.down.weight"] = torch.randn(RANK, module.in_features, generator=generator) * 0.1
            found[f"unet.{name}.lora.up.weight"] = torch.randn(module.out_features, RANK, generator=generator) * 0.1
    return found


def _write_rest(folder: Path, **components: list[str]) -> None:
    torch.manual_seed(1)
    vae = AutoencoderKLTemporalDecoder(**{k: _tuples(v) for k, v in VAE.items()})
    _write(folder / "vae", {"_class_name": "AutoencoderKLTemporalDecoder", **VAE}, randomised(vae, 2).state_dict())
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    (folder / "config.json").write_bytes(b"")
    index = {
        "_class_name": "RGBXVideoDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "unet": ["src.models.custom_unet_st", "UNetCustomSpatioTemporalConditionModel"],
        "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
        **components,
    }
    (folder / "model_index.json").write_text(json.dumps(index))


def _write(folder: Path, config: dict, state: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "diffusion_pytorch_model.safetensors"
    )


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
