"""Model folders are read strictly."""

import json

import pytest
import safetensors.torch
import torch

from tiny_models import tiny_card, tiny_checkpoint, tiny_folder
from unrender.device import Compute
from unrender.diffusion.checkpoints.hub.ids import unknown
from unrender.diffusion.checkpoints.hub.registry import find, resolve
from unrender.diffusion.checkpoints.loader import load_checkpoint, save_checkpoint
from unrender.errors import UserError

CPU = Compute(torch.device("cpu"), torch.float32)
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return tiny_folder(tmp_path / "tiny")


def edit(path, change):
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)


def test_round_trip(folder):
    saved, loaded = tiny_checkpoint(tiny_card()), load_checkpoint(find(folder), CPU)
    assert loaded.card == saved.card
    for name, tensor in saved.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], tensor), name


def test_shards_are_small_and_read_back(tmp_path):
    checkpoint = tiny_checkpoint(tiny_card())
    save_checkpoint(checkpoint, tmp_path / "m", torch.float16, max_shard_size="20KB")
    shards = list((tmp_path / "m" / "unet").glob("*.safetensors"))
    assert len(shards) > 2
    loaded = load_checkpoint(find(tmp_path / "m"), CPU)
    for name, tensor in checkpoint.unet.state_dict().items():
        torch.testing.assert_close(loaded.unet.state_dict()[name], tensor.half().float())


def test_diffusers_reads_the_folder_too(folder):
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    theirs = UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    ours = load_checkpoint(find(folder), CPU).unet
    assert all(torch.equal(theirs.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())


def test_a_missing_tensor_is_named(folder):
    edit(folder / UNET, lambda state: state.pop("conv_in.weight"))
    with pytest.raises(UserError, match=r"tensor conv_in\.weight is missing \(1 in all\)"):
        load_checkpoint(find(folder), CPU)


def test_an_extra_tensor_is_named(folder):
    edit(folder / UNET, lambda state: state.update(surplus=torch.zeros(1)))
    with pytest.raises(UserError, match="tensor surplus is not one"):
        load_checkpoint(find(folder), CPU)


def test_a_misshaped_tensor_is_named_with_both_shapes(folder):
    edit(folder / UNET, lambda state: state.update({"conv_in.bias": torch.zeros(3)}))
    with pytest.raises(UserError, match=r"conv_in\.bias is \(3,\); expected \(16,\)"):
        load_checkpoint(find(folder), CPU)


@pytest.mark.parametrize("missing", ["unrender.json", "unet/config.json", UNET, "tokens.safetensors"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(UserError, match=missing.split("/")[-1].replace(".", r"\.")) as caught:
        load_checkpoint(find(folder), CPU)
    assert "\n" not in str(caught.value)


def test_truncated_weights(folder):
    path = folder / UNET
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        load_checkpoint(find(folder), CPU)


def test_a_card_that_wants_other_channels(folder):
    card = json.loads((folder / "unrender.json").read_text()) | {"sampling": {"grouping": {"item": "target"}}}
    (folder / "unrender.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="16 in channels; the card of tiny wants 8"):
        load_checkpoint(find(folder), CPU)


def test_unknown_ids(tmp_path):
    with pytest.raises(UserError, match="no model is called nowhere"):
        resolve("nowhere")
    assert resolve(tmp_path) == tmp_path


@pytest.mark.parametrize(("model", "recipe"), [("mini-t2i", "text-to-image"), ("mini-mv", "viewdiff")])
def test_a_small_model_that_did_not_come_with_the_package_is_said_to_be_trained(model: str, recipe: str):
    said = str(unknown(model))
    assert f"no {model} comes with this version" in said
    assert f"unrender train {recipe}" in said


@pytest.fixture
def small_kernels_too(monkeypatch):
    """Networks of these tests have no kernel that is large enough for 8 bits."""
    monkeypatch.setattr("unrender.diffusion.checkpoints.tensors._SMALLEST", 1024)


@pytest.mark.usefixtures("small_kernels_too")
def test_eight_bits_keep_what_a_network_answers_and_a_third_of_the_room(tmp_path):
    checkpoint = tiny_checkpoint(tiny_card())
    save_checkpoint(checkpoint, tmp_path / "half", torch.float16)
    save_checkpoint(checkpoint, tmp_path / "eight", eight_bits=True)
    whole, eight = (sum(p.stat().st_size for p in (tmp_path / n).rglob("*.safetensors")) for n in ("half", "eight"))
    assert eight < 0.75 * whole
    loaded = load_checkpoint(find(tmp_path / "eight"), CPU)
    for name, tensor in checkpoint.unet.state_dict().items():
        rounded = loaded.unet.state_dict()[name]
        if tensor.ndim < 2:
            torch.testing.assert_close(rounded, tensor.half().float())
        else:  # half a step of 127 of each row's largest number, and the rounding of its scale
            step = tensor.flatten(1).abs().amax(1).clamp(min=1e-6) / 127
            assert ((rounded - tensor).flatten(1).abs() <= 0.51 * step[:, None] + 2e-5).all(), name


@pytest.mark.usefixtures("small_kernels_too")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv_in.weight.int8_scale"), r"conv_in\.weight is in 8 bits and has no"),
        (lambda state: state.update({"conv_in.weight.int8_scale": torch.ones(3)}), r"int8_scale is \(3,\); expected"),
        (lambda state: state.update({"other.int8_scale": torch.ones(3)}), r"other\.int8_scale is not one of"),
    ],
)
def test_scales_that_do_not_fit_are_named(tmp_path, change, message):
    save_checkpoint(tiny_checkpoint(tiny_card()), tmp_path / "m", eight_bits=True)
    edit(tmp_path / "m" / UNET, change)
    with pytest.raises(UserError, match=message):
        load_checkpoint(find(tmp_path / "m"), CPU)
