"""The inverse engine, on tiny networks: obeys the card, any size, number by number against the formulas."""

from dataclasses import replace

import pytest
import torch

from tiny_models import THREE_PICTURES, tiny_card, tiny_checkpoint, tiny_folder
from unrender.device import Compute
from unrender.diffusion.card import Grouping, SizeRule
from unrender.diffusion.card.file import read_card
from unrender.diffusion.checkpoints.hub.ids import embedded
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.engine import Engine
from unrender.diffusion.framing import plan_framing
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.upsampling import upsample
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer, check_maps
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_picture

CPU = Compute(torch.device("cpu"), torch.float32)


def engine(**changes) -> InverseRenderer:
    return InverseRenderer(Engine(tiny_checkpoint(tiny_card(**changes)), CPU))


def photo(height: int = 32, width: int = 48, frames: int = 1, **changes) -> Frames:
    rgb = torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(3))
    return Frames(rgb, **changes)


def written_out(checkpoint: Checkpoint, rgb: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
    """Single-step inverse rendering with stacked pictures, from the formulas, naively."""
    with torch.no_grad():
        latent = checkpoint.autoencoder.encode(linear_to_srgb(rgb) * 2 - 1).latent_dist.mean * 0.18215
        tokens = checkpoint.tokens["base_color"][None]
        v = checkpoint.unet(torch.cat((latent, noise), 1), 999, tokens).sample
        z0 = 0.0682661 * noise - 0.9976671 * v
        pictures = [checkpoint.autoencoder.decode(z0[:, 4 * i : 4 * i + 4] / 0.18215).sample for i in range(3)]
    normal = pictures[1] * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    unit = [((picture + 1) / 2).clamp(0, 1) for picture in pictures]
    return {
        "base_color": srgb_to_linear(unit[0]),
        "normal": normal / normal.norm(dim=1, keepdim=True),
        "roughness": unit[2][:, :1],
        "metallic": unit[2][:, 1:2],
    }


def test_equals_the_formulas_written_out():
    renderer, picture = engine(), photo()
    noise = torch.randn(renderer.noise_shape(picture))
    found = renderer(picture, noise=noise)
    expected = written_out(renderer.engine.checkpoint, picture.rgb, noise)
    for name, values in expected.items():
        torch.testing.assert_close(found.maps[name], values, atol=1e-4, rtol=1e-4, msg=name)


def test_one_pass_for_each_picture_is_told_apart_by_its_tokens():
    renderer, picture = engine(grouping=Grouping("target")), photo()
    noise = torch.randn(renderer.noise_shape(picture))
    latents = renderer.latents(picture, noise=noise)
    checkpoint = renderer.engine.checkpoint
    with torch.no_grad():
        encoded = checkpoint.autoencoder.encode(linear_to_srgb(picture.rgb) * 2 - 1).latent_dist.mean * 0.18215
        for index, target in enumerate(THREE_PICTURES):
            tokens = checkpoint.tokens[target.name][None]
            own = noise[:, 4 * index : 4 * index + 4]
            v = checkpoint.unet(torch.cat((encoded, own), 1), 999, tokens).sample
            z0 = 0.0682661 * own - 0.9976671 * v
            torch.testing.assert_close(latents[:, 4 * index : 4 * index + 4], z0, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (100, 37), (17, 16)])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_results_come_back_at_the_size_of_the_input(size, fit):
    renderer = engine(size=SizeRule(long_side=48, multiple=16, fit=fit, min_side=16))
    found = renderer(photo(*size))
    assert found.size == size
    length = found.maps["normal"].norm(dim=1)
    torch.testing.assert_close(length, torch.ones_like(length))


def test_padding_is_taken_off_where_it_was_put_on():
    """A card that pads must give the same pixels, whether the border was replicated by it or by the caller."""
    renderer = engine()
    picture = photo(32, 40)
    padded = torch.nn.functional.pad(picture.rgb, (0, 8, 0, 0), mode="replicate")
    found, by_hand = renderer(picture), renderer(Frames(padded))
    for name, values in found.maps.items():
        torch.testing.assert_close(values, by_hand.maps[name][..., :40], atol=1e-5, rtol=1e-4, msg=name)


def test_frames_are_independent_of_the_clip_around_them():
    renderer = engine(noise="gaussian")
    clip = photo(frames=3, fps=24.0)
    together, alone = renderer(clip, seed=5), renderer(clip.frame(1), seed=5)
    assert (len(together), together.fps) == (3, 24.0)
    for name in together.maps:
        torch.testing.assert_close(together.frame(1).maps[name], alone.maps[name], msg=name)


def test_only_the_maps_asked_for_and_the_photo():
    found = engine()(photo(), maps=["normal", "metallic"])
    assert list(found.maps) == ["normal", "metallic", "rgb"]


def test_how_far_off_maps_are_is_given_where_it_is_asked_for():
    card = read_card(embedded()["mini"])
    assert {"normal_deviation", "sky"} <= set(card.map_names)
    assert check_maps(None, card) == tuple(name for name in card.map_names if not name.endswith("_deviation"))
    assert check_maps(["normal_deviation"], card) == ("normal_deviation",)


def test_alpha_becomes_the_mask_and_nothing_is_outside_it():
    alpha = torch.zeros(1, 1, 32, 48)
    alpha[..., 10:30] = 1
    found = engine()(photo(mask=alpha), maps=["normal"])
    assert torch.equal(found.maps["mask"], alpha)
    assert not found.maps["normal"][..., :10].any()


def test_scene_referred_input_gives_the_same_maps_at_any_exposure():
    renderer, picture = engine(), photo(hdr=True)
    brighter = replace(picture, rgb=picture.rgb * 64)
    torch.testing.assert_close(
        renderer(picture).maps["normal"], renderer(brighter).maps["normal"], atol=1e-3, rtol=1e-3
    )


def test_several_steps_differ_from_one_and_are_repeatable():
    renderer, picture = engine(noise="gaussian"), photo()
    one, four = renderer(picture), renderer(picture, steps=4)
    assert not torch.allclose(one.maps["base_color"], four.maps["base_color"], atol=1e-3)
    torch.testing.assert_close(four.maps["base_color"], renderer(picture, steps=4).maps["base_color"])


@pytest.mark.parametrize(
    ("size", "says"),
    [((1, 1), "1x1"), ((8, 300), "300x8"), ((20, 20_000), "1000 times as long"), ((0, 5), "5x0")],
)
def test_sizes_that_no_network_can_take(size, says):
    with pytest.raises(UserError, match=says) as caught:
        plan_framing(size, SizeRule(long_side=256, multiple=16, min_side=32), "strip.png")
    assert "strip.png" in str(caught.value)


def test_a_misspelt_map_is_answered_with_the_right_one():
    with pytest.raises(UserError, match="no map rougness; did you mean roughness"):
        engine()(photo(), maps=["rougness"])


def test_devices_that_are_not_there(tmp_path):
    folder = tiny_folder(tmp_path / "tiny")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="cuda is not present; expected cpu"):
        InverseRenderer.from_pretrained(folder, InferenceOptions(device="cuda"))
    assert (
        InverseRenderer.from_pretrained(folder, InferenceOptions(dtype="float32")).engine.compute.dtype == torch.float32
    )


def test_a_mirrored_card_answers_a_mirrored_photo_with_mirrored_maps():
    renderer, picture = engine(flip_tta=True), photo(32, 48)
    found, turned = renderer(picture), renderer(Frames(picture.rgb.flip(3)))
    for name in ("base_color", "roughness"):
        torch.testing.assert_close(turned.maps[name].flip(3), found.maps[name], atol=1e-4, rtol=1e-3, msg=name)
    mirror = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    torch.testing.assert_close(turned.maps["normal"].flip(3) * mirror, found.maps["normal"], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(engine()(picture).maps["base_color"], found.maps["base_color"], atol=1e-3)


def test_guided_maps_find_the_edge_that_a_small_map_has_lost():
    """A card of two colours: the small map knows their base colours, the photo where exactly they meet."""
    large = torch.full((1, 3, 64, 64), 0.1)
    large[..., 27:] = 0.7
    base = GBuffer(base_color=resize_picture(1.2 * large, (16, 16)))
    plain, guided = upsample(base, (64, 64), large, ()), upsample(base, (64, 64), large, ("base_color",))
    errors = [float((found.maps["base_color"] - 1.2 * large).abs().mean()) for found in (plain, guided)]
    assert errors[1] < 0.4 * errors[0]
    assert guided.size == (64, 64)


def test_guidance_leaves_flat_pictures_alone():
    smooth = resize_picture(torch.rand(1, 3, 4, 4), (16, 16))
    flat = torch.full((1, 3, 48, 48), 0.5)
    found = upsample(GBuffer(base_color=smooth), (48, 48), flat, ("base_color",)).maps["base_color"]
    expected = srgb_to_linear(resize_picture(linear_to_srgb(smooth), (48, 48)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
