"""Codecs, cards and decoding."""

import json

import pytest
import torch

from tiny_models import DEPTH_PICTURE, THREE_PICTURES, tiny_card, tiny_checkpoint
from unrender.diffusion.card import Grouping, MapCodec, ModelCard, TargetPicture
from unrender.diffusion.card.file import read_card, write_card
from unrender.diffusion.codec import decode_maps, encode_map
from unrender.diffusion.decoding import decode
from unrender.errors import UserError


@pytest.mark.parametrize("transfer", ["linear", "srgb", "gamma22"])
def test_colors_come_back(transfer):
    codec = MapCodec("base_color", transfer=transfer)
    color = torch.rand(2, 3, 4, 4)
    decoded = decode_maps(encode_map(color, codec), TargetPicture("base_color", (codec,)))
    torch.testing.assert_close(decoded["base_color"], color, atol=1e-5, rtol=1e-4)


def test_mid_grey_is_encoded_by_each_curve():
    grey = torch.full((1, 3, 1, 1), 0.18)
    expected = {"linear": 0.18, "srgb": 0.46135, "gamma22": 0.18 ** (1 / 2.2)}
    for transfer, value in expected.items():
        encoded = encode_map(grey, MapCodec("rgb", transfer=transfer))
        assert float(encoded[0, 0, 0, 0]) == pytest.approx(2 * value - 1, abs=1e-4)


def test_mirrored_normals_come_back_in_opengl_axes():
    codec = THREE_PICTURES[1].maps[0]
    picture = torch.tensor([-0.6, 0.0, 0.8])[None, :, None, None] * 0.5
    decoded = decode_maps(picture, THREE_PICTURES[1])["normal"]
    torch.testing.assert_close(decoded.flatten(), torch.tensor([0.6, 0.0, 0.8]))
    torch.testing.assert_close(encode_map(decoded, codec).flatten(), torch.tensor([-0.6, 0.0, 0.8]))


def test_material_values_are_slices_and_depth_is_the_mean_and_positive():
    picture = torch.tensor([1.0, -1.0, 0.5])[None, :, None, None]
    material = decode_maps(picture, THREE_PICTURES[2])
    assert material["roughness"].item() == 1
    assert material["metallic"].item() == 0
    depth = decode_maps(picture, DEPTH_PICTURE)["depth"]
    assert depth.item() == pytest.approx(1 + (1 / 6 + 1) / 2)
    assert decode_maps(-5 + 0 * picture, DEPTH_PICTURE)["depth"].item() == 1


def test_card_round_trip(tmp_path):
    card = tiny_card(grouping=Grouping("target"))
    write_card(card, tmp_path)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "is empty"), ('{"id": "x"}', "not a model card"), ("[1]", "not a model card")],
)
def test_broken_cards_are_one_line(tmp_path, text, says):
    (tmp_path / "unrender.json").write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        read_card(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_card_with_an_unknown_field_is_refused(tmp_path):
    write_card(tiny_card(), tmp_path)
    data = json.loads((tmp_path / "unrender.json").read_text()) | {"colour": "red"}
    (tmp_path / "unrender.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="colour"):
        read_card(tmp_path)


def test_channels_follow_from_the_card():
    stacked, single = tiny_card(), tiny_card(grouping=Grouping("target"))
    assert (stacked.input_channels, stacked.target_channels) == (16, 12)
    assert (single.input_channels, single.target_channels) == (8, 4)
    assert isinstance(stacked, ModelCard)


def test_checkpointed_decoding_is_the_same_in_values_and_gradients():
    autoencoder = tiny_checkpoint(tiny_card()).autoencoder
    latents = torch.randn(2, 4, 8, 8)
    results = {}
    for memory in ("whole", "checkpointed"):
        z = latents.clone().requires_grad_()
        picture = decode(autoencoder, z, 0.18215, memory)
        picture.square().sum().backward()
        results[memory] = (picture.detach(), z.grad)
    torch.testing.assert_close(results["checkpointed"], results["whole"])


def test_tiled_decoding_is_close_where_tiles_meet_and_the_same_size():
    autoencoder = tiny_checkpoint(tiny_card()).autoencoder
    latents = torch.randn(1, 4, 40, 28) * 0.1
    with torch.no_grad():
        whole, tiled = (decode(autoencoder, latents, 0.18215, memory) for memory in ("whole", "tiled"))
    assert tiled.shape == whole.shape == (1, 3, 80, 56)
    # Group norms see a tile instead of the picture, so the two differ a little; seams would differ a lot.
    assert float((tiled - whole).abs().mean()) < 0.25 * float(whole.std())
