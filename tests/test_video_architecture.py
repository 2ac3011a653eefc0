"""The video networks of published checkpoints, built without memory, against counts, widths and names written out by
hand."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

from diffusion_renderer_folders import write_forward, write_inverse
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.architecture import build_unet, download_parameters, parameters, unet_parameters
from unrender.diffusion.checkpoints.hub.components import networks, wanted
from unrender.diffusion.checkpoints.hub.recognise import card_of
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.checkpoints.published.diffusion_renderer import DIFFUSION_RENDERER, FORWARD, INVERSE, OBJAVERSE
from unrender.diffusion.checkpoints.video_architecture import build_env_encoder, build_video_vae
from unrender.errors import UserError
from unrender.train.base import FULL

WIDTHS = (320, 640, 1280, 1280)
BLOCK = "transformer_blocks.0"


def built(card: ModelCard) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return build_unet(card).state_dict()


def count(state: dict[str, torch.Tensor]) -> int:
    return sum(value.numel() for value in state.values())


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """Stable Video Diffusion's own."""
    with torch.device("meta"):
        return UNetSpatioTemporalConditionModel(num_frames=24).state_dict()


def test_the_inverse_unet_is_stable_video_diffusions_and_a_table(plain):
    state = built(INVERSE)
    assert {n: v.shape for n, v in plain.items()} | {"context_embedding.weight": (16, 1024)} == {
        name: value.shape for name, value in state.items()
    }
    assert count(state) == 1_524_623_082 + 16 * 1024 == unet_parameters(INVERSE)
    assert state["conv_in.weight"].shape == (320, 8, 3, 3)
    assert state["conv_out.weight"].shape == (4, 320, 3, 3)


@pytest.mark.parametrize("card", [FORWARD, OBJAVERSE], ids=lambda card: card.id)
def test_the_forward_unet_has_a_light_at_every_level_and_no_tokens_over_time(card, plain):
    state = built(card)
    gone = {name for name in plain if re.search(r"temporal_transformer_blocks\.\d\.(attn2|norm2)\.", name)}
    assert len(gone) == 112
    assert state.keys() == plain.keys() - gone
    assert state["conv_in.weight"].shape == (320, 24, 3, 3)
    levels = [f"down_blocks.{i}.attentions.0" for i in range(3)] + ["mid_block.attentions.0"]
    levels += [f"up_blocks.{i}.attentions.2" for i in (3, 2, 1)]
    for name, width in zip(levels, (*WIDTHS, *WIDTHS[:3]), strict=True):
        assert state[f"{name}.{BLOCK}.attn2.to_k.weight"].shape == (width, width)
    assert count(state) == 1_473_513_642 == unet_parameters(card)


def test_the_encoder_of_lights():
    with torch.device("meta"):
        encoder = build_env_encoder()
        features = encoder(torch.empty(1, 12, 64, 64))
        tokens = encoder.tokens(torch.empty(1, 12, 64, 64))
    assert [tuple(one.shape[1:]) for one in features] == [(320, 64, 64), (640, 32, 32), (1280, 16, 16), (1280, 8, 8)]
    assert [tuple(one.shape[1:]) for one in tokens] == [(4096, 320), (1024, 640), (256, 1280), (64, 1280)]
    state = encoder.state_dict()
    assert state["conv_in.weight"].shape == (320, 12, 3, 3)
    assert "down_blocks.0.downsamplers.0.conv.weight" not in state
    assert state["down_blocks.1.downsamplers.0.conv.weight"].shape == (640, 640, 3, 3)
    assert state["down_blocks.3.resnets.1.conv2.weight"].shape == (1280, 1280, 3, 3)
    assert not any("attentions" in name or "time_emb" in name for name in state)
    assert count(state) == 161_462_720


def test_the_autoencoder():
    with torch.device("meta"):
        state = build_video_vae().state_dict()
    assert count(state) == 97_742_847
    assert state["decoder.time_conv_out.weight"].shape == (3, 3, 3, 1, 1)


def test_what_is_counted_and_pulled():
    assert parameters(INVERSE) == download_parameters(INVERSE) == 1_524_639_466 + 97_742_847
    assert parameters(FORWARD) == download_parameters(FORWARD) == 1_473_513_642 + 97_742_847 + 161_462_720
    assert networks(INVERSE) == ("unet", "vae")
    assert wanted(INVERSE) == ("unet", "vae", "scheduler")
    assert wanted(FORWARD) == ("unet", "vae", "env_encoder", "scheduler", "lora")


# Folders.


@pytest.mark.parametrize("card", DIFFUSION_RENDERER, ids=lambda card: card.id)
def test_a_folder_is_known_by_the_name_of_its_repository(card, tmp_path):
    write = write_inverse if card is INVERSE else write_forward
    assert card_of(write(tmp_path / card.id.rpartition("/")[2])).id == card.id


def test_a_folder_is_known_by_its_class_names(tmp_path):
    assert card_of(write_inverse(tmp_path / "a")).id == INVERSE.id
    assert card_of(write_forward(tmp_path / "b")).id == FORWARD.id


def test_an_empty_config_at_the_root_is_nothing(tmp_path):
    folder = write_forward(tmp_path / "model", lora=False)
    assert (folder / "config.json").read_bytes() == b""
    assert load_checkpoint(find(folder), FULL, lora=0.0).card.id == FORWARD.id


def test_a_missing_adapter_is_said(tmp_path, capsys):
    folder = write_forward(tmp_path / "model", lora=False)
    load_checkpoint(find(folder), FULL)
    assert "run without its adapter" in capsys.readouterr().err
    with pytest.raises(UserError, match="leave --lora out"):
        load_checkpoint(find(folder), FULL, lora=0.5)


def rewritten(folder: Path, component: str, **changes: object) -> Path:
    path = folder / component / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("component", "changes", "said"),
    [
        (
            "unet",
            {"in_channels": 24, "multi_res_encoder_hidden_states": False},
            "multi_res_encoder_hidden_states is false",
        ),
        ("unet", {"temporal_cross_attention_dim": 64}, "temporal_cross_attention_dim is 64; expected null"),
        ("unet", {"layers_per_block": 2}, "tensor .* is missing"),
        ("env_encoder", {"channels": [32, 64, 64, 64]}, "its tokens have"),
        ("env_encoder", {"in_labels": ["env_ldr", "env_sun"]}, "in_labels has 'env_sun'"),
        ("env_encoder", {"num_res_blocks": 2}, "tensor .* is missing"),
    ],
)
def test_a_forward_folder_that_does_not_fit_is_one_line(tmp_path, component, changes, said):
    folder = rewritten(write_forward(tmp_path / "model"), component, **changes)
    with pytest.raises(UserError, match=said) as caught:
        load_checkpoint(find(folder, "forward"), FULL)
    assert "\n" not in str(caught.value)


def test_a_vae_that_is_missing_is_not_stable_diffusions(tmp_path):
    import shutil

    folder = write_inverse(tmp_path / "model")
    shutil.rmtree(folder / "vae")
    with pytest.raises(UserError, match="has no vae; expected a complete model folder"):
        load_checkpoint(find(folder), FULL)


def test_the_pictures_of_a_light_are_in_the_order_of_the_file(tmp_path):
    folder = rewritten(write_forward(tmp_path / "model"), "env_encoder", in_labels=["env_log", "env_nrm", "env_ldr"])
    light = load_checkpoint(find(folder), FULL).card.light
    assert light.encoding.channels == ("log", "direction", "ldr")
