"""The networks of small models, in plain torch, are diffusers' to the last bit; what does not fit is diffusers' own."""

import json

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from tiny_models import tiny_folder
from unrender.device import Compute
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.networks.small import (
    SmallAutoencoder,
    SmallUNet,
    small_autoencoder_fits,
    small_unet_fits,
)

UNET = {
    "in_channels": 6,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (8, 16, 24),
    "layers_per_block": 2,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
AUTOENCODER = {
    "out_channels": 5,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (8, 12, 16),
    "layers_per_block": 2,
    "latent_channels": 6,
    "norm_num_groups": 2,
    "mid_block_add_attention": False,
}
PRECISIONS = [torch.float32, torch.bfloat16]


def said(network) -> dict:
    """The configuration as its file has it."""
    return json.loads(network.to_json_string())


def shaken(network):
    """Layers that begin as zeros, or as ones, are told apart by other numbers."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


@pytest.fixture(scope="module")
def unets():
    theirs = shaken(UNet2DConditionModel(**UNET))
    ours = SmallUNet(said(theirs)).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.fixture(scope="module")
def autoencoders():
    theirs = shaken(AutoencoderKL(**AUTOENCODER))
    ours = SmallAutoencoder(said(theirs)).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("size", "timestep"), [((16, 24), 999), ((13, 22), 1), ((16, 16), torch.tensor([7, 500]))])
@torch.inference_mode()
def test_the_unet_is_diffusers_own(unets, size, timestep, precision):
    ours, theirs = (unet.to(precision) for unet in unets)
    latent, tokens = torch.randn(2, 6, *size, dtype=precision), torch.randn(2, 3, 12, dtype=precision)
    (expected,) = theirs(latent, timestep, tokens, return_dict=False)
    (found,) = ours(latent, timestep, tokens, class_labels=None, return_dict=False)
    assert torch.equal(found, expected)
    assert found.dtype == precision


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [(32, 48), (30, 21)])
@torch.inference_mode()
def test_the_autoencoder_is_diffusers_own(autoencoders, size, precision):
    ours, theirs = (network.to(precision) for network in autoencoders)
    found, expected = (n.encode(torch.rand(2, 3, *size).to(precision) * 0 + 0.3).latent_dist for n in (ours, theirs))
    assert torch.equal(found.mode(), expected.mode())
    assert torch.equal(found.std, expected.std)
    latent = torch.randn(2, 6, *expected.mode().shape[2:], dtype=precision)
    assert torch.equal(ours.decode(latent).sample, theirs.decode(latent).sample)


def test_gradients_are_the_same(unets):
    ours, theirs = (unet.float() for unet in unets)
    latent, tokens = torch.randn(1, 6, 8, 8), torch.randn(1, 3, 12)
    for network in (ours, theirs):
        network.zero_grad()
        network(latent, 300, tokens, return_dict=False)[0].square().mean().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, msg=name)


@pytest.mark.parametrize(
    "change",
    [
        {"use_linear_projection": True},
        {"attention_head_dim": (4, 4, 2)},
        {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4},
        {"transformer_layers_per_block": 2},
        {"only_cross_attention": True},
        {"act_fn": "gelu"},
        {"center_input_sample": True},
        {"flip_sin_to_cos": False},
        {"mid_block_type": "UNetMidBlock2D"},
        {"resnet_time_scale_shift": "scale_shift"},
        {"dual_cross_attention": True},
        {"a_habit_of_tomorrow": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_unet_of_other_habits_does_not_fit(unets, change):
    config = said(unets[1])
    assert small_unet_fits(config)
    assert not small_unet_fits(config | change)


@pytest.mark.parametrize(
    "change",
    [
        {"mid_block_add_attention": True},
        {"use_quant_conv": False},
        {"latents_mean": [0.0] * 6},
        {"down_block_types": ["AttnDownEncoderBlock2D"] * 3},
        {"act_fn": "gelu"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_autoencoder_of_other_habits_does_not_fit(autoencoders, change):
    config = said(autoencoders[1])
    assert small_autoencoder_fits(config)
    assert not small_autoencoder_fits(config | change)
    del config["mid_block_add_attention"]  # diffusers has it where a file does not say
    assert not small_autoencoder_fits(config)


CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_mini_is_small_where_it_is_only_run_whole(direction):
    whole = load_checkpoint(find("mini", direction), CPU, inference_only=True)
    assert (type(whole.unet), type(whole.autoencoder)) == (SmallUNet, SmallAutoencoder)
    trained = load_checkpoint(find("mini", direction), CPU)
    assert (type(trained.unet), type(trained.autoencoder)) == (UNet2DConditionModel, AutoencoderKL)


def test_other_folders_are_diffusers_own(tmp_path):
    loaded = load_checkpoint(find(tiny_folder(tmp_path / "model")), CPU, inference_only=True)
    # Its UNet is one that fits, its autoencoder attends in the middle.
    assert (type(loaded.unet), type(loaded.autoencoder)) == (SmallUNet, AutoencoderKL)
