"""The layout that ViewDiff's training code exports: read strictly, tensor by tensor."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from released_folders import INNER, released_shapes, write_released
from unrender.device import Compute
from unrender.diffusion.checkpoints.hub.components import choose_files
from unrender.diffusion.checkpoints.hub.ids import cards_of, pick
from unrender.diffusion.checkpoints.hub.recognise import local_model
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.checkpoints.published.viewdiff import TEDDYBEAR, VIEWDIFF_CARD
from unrender.diffusion.networks.views.install import is_added, views_of
from unrender.errors import UserError

CPU = Compute(torch.device("cpu"), torch.float32)
BLOCK = "mid_block.attentions.0.transformer_blocks.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_released(tmp_path_factory.mktemp("released") / "teddy")


def unet_of(folder: Path):
    return load_checkpoint(local_model(folder), CPU)


def test_a_folder_is_known_by_its_unet_and_says_its_layers(folder):
    checkpoint = unet_of(folder)
    views = checkpoint.card.views
    assert checkpoint.card.id == TEDDYBEAR
    assert (views.projection, views.rank, views.grid, views.inner, views.levels) == ("released", 3, 32, INNER, 2)
    assert (views.compression, views.joining, views.times, views.up, views.own) == (
        "multiple",
        "replace",
        True,
        "z",
        True,
    )
    assert views.released_grid
    assert checkpoint.tokens[""].shape == (77, 16)  # padded
    assert checkpoint.card.sampling.schedule.solver == "unipc"


def test_every_tensor_finds_its_place(folder):
    checkpoint = unet_of(folder)
    ours = checkpoint.unet.state_dict()
    theirs = safetensors.torch.load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    projections, ranks = released_shapes()
    assert len([name for name in ours if is_added(name)]) == len(projections) + len(ranks)
    assert len(ours) == len(theirs)
    pairs = {
        "unproj_reproj_layer.proj_in_2d.1.conv.weight": "projection.compress.2.weight",
        "unproj_reproj_layer.proj_out_2d_bg.1.conv.bias": "projection.background.2.bias",
        "unproj_reproj_layer.ibrnet_aggregator.vis_fc2.2.weight": "projection.aggregator.weight.2.weight",
        "unproj_reproj_layer.ibrnet_aggregator.vis_fc.2.weight": "projection.aggregator.visibility.2.weight",
        "unproj_reproj_layer.blocks_3d.conv_out.bias": "projection.refine.conv_out.bias",
        "unproj_reproj_layer.linear_ray.weight": "projection.direction.weight",
        "unproj_reproj_layer.volume_renderer.mlp_weights": "projection.volume_renderer.mlp_weights",
        "attn1.processor.temb_proj.2.weight": "attn1.processor.temb_proj.2.weight",
        "attn2.processor.to_v_lora.down.weight": "attn2.processor.to_v_lora.down.weight",
        "norm_cf.weight": "norm_cf.weight",
        "ff.net.2.weight": "ff.net.2.weight",
    }
    for name, our_name in pairs.items():
        found = ours[f"{BLOCK}.{our_name}"]
        torch.testing.assert_close(found, theirs[f"{BLOCK}.{name}"].reshape(found.shape))


def test_the_low_rank_layers_may_lie_beside_the_unet_alone(folder, tmp_path):
    apart = unet_of(write_released(tmp_path / "apart", lora_in_unet=False)).unet.state_dict()
    both = unet_of(folder).unet.state_dict()
    for name, value in both.items():
        torch.testing.assert_close(apart[name], value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"vol_rend_proj_in_mode": "unet"}, "vol_rend_proj_in_mode is 'unet'"),
        ({"unproj_reproj_mode": "with_cfa"}, "unproj_reproj_mode is 'with_cfa'"),
        ({"last_layer_mode": "alpha"}, "last_layer_mode is 'alpha'"),
        ({"vol_rend_model_background": False}, "vol_rend_model_background is False"),
        ({"up_block_types": ["UpBlock2D"] + ["CrossFrameInExistingAttnUpBlock2D"] * 3}, "expected the deepest alone"),
        ({"dim_3d_latent": 8}, "expected"),
    ],
)
def test_what_our_layers_do_not_have_is_one_line(tmp_path, change, line):
    with pytest.raises(UserError, match=line):
        unet_of(write_released(tmp_path / "other", **change))


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_a_tensor_that_is_not_right_is_named(tmp_path, damage):
    folder = write_released(tmp_path / "damaged")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state, name = safetensors.torch.load_file(path), f"{BLOCK}.unproj_reproj_layer.linear_ray.bias"
    if damage == "missing":
        del state[name]
    elif damage == "extra":
        state[f"{BLOCK}.unproj_reproj_layer.more.bias"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(5)
    safetensors.torch.save_file(state, path)
    wanted = "more" if damage == "extra" else "direction.bias"
    with pytest.raises(UserError, match=wanted):
        unet_of(folder)


def test_poses_that_are_told_relative_to_the_first_are_one_line(tmp_path):
    folder = write_released(tmp_path / "relative")
    (folder / "config.json").write_text(json.dumps({"model": {"pose_cond_coord_space": "relative-first"}}))
    with pytest.raises(UserError, match="pose_cond_coord_space"):
        unet_of(folder)


def test_the_low_rank_layers_are_pulled_with_the_unet():
    listing = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/pytorch_lora_weights.safetensors"]
    assert set(choose_files(listing, VIEWDIFF_CARD, half=False, components=("unet",))) == set(listing)


def test_another_verb_says_which_one_takes_it():
    with pytest.raises(UserError, match="`unrender multiview` takes it"):
        pick(cards_of(TEDDYBEAR), "inverse")


def test_its_layers_know_the_axis_that_is_up(folder):
    assert views_of(unet_of(folder).unet).context.up == "z"
