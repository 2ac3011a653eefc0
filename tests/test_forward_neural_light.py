"""Renderers that are told a light: read strictly, and as bright as the light is."""

import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from forward_scenes import sphere
from tiny_models import changed, tiny_card, tiny_checkpoint, tiny_folder, tiny_lit_card
from unrender.cli import main
from unrender.device import Compute
from unrender.diffusion.card import InputMap, LightTokens, MapCodec
from unrender.diffusion.card.file import read_card, write_card
from unrender.diffusion.checkpoints.hub import ids
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint, save_checkpoint
from unrender.diffusion.codec import decode_maps
from unrender.diffusion.engine import Engine
from unrender.diffusion.networks.environment import EnvironmentEncoder
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.forward import ForwardOptions, ForwardRenderer
from unrender.forward.lighting import exposure_gain, radiance_hint
from unrender.forward.neural import NeuralRenderer
from unrender.forward.neural_light import DEEPEST_SHADOW, irradiance_picture, lit_picture, with_detail
from unrender.inverse.renderer import InverseRenderer
from unrender.relight import relight
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.train.data import load_lit_still_dataset, whole_batch
from unrender.train.dropout import Conditions
from unrender.train.learner import Learner

RUNNING = InferenceOptions("cpu", "float32")
CPU = Compute(torch.device("cpu"), torch.float32)
ENCODER = "environment_encoder/diffusion_pytorch_model.safetensors"
BALL = sphere(48, (0.6, 0.5, 0.4), 0.5, 0.0)
INSIDE = BALL.maps["mask"] > 0


def spot(column: int, row: int = 8) -> EnvironmentMap:
    """One bright texel of 16 x 32; column 8 is +X, the right."""
    radiance = torch.full((1, 3, 16, 32), 0.01)
    radiance[..., row, column] = torch.tensor([30.0, 20.0, 10.0])
    return EnvironmentMap(radiance)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lit") / "tiny"
    save_checkpoint(tiny_checkpoint(tiny_lit_card()), folder)
    return folder


@pytest.fixture(scope="module")
def renderer(folder):
    return ForwardRenderer.from_pretrained(folder, RUNNING)


# Cards and folders.


def test_a_card_and_its_encoder_come_back(folder):
    saved, loaded = tiny_checkpoint(tiny_lit_card()), load_checkpoint(find(folder), CPU)
    assert loaded.card == saved.card == read_card(folder)
    assert (loaded.card.task, loaded.card.prompts, loaded.tokens) == ("forward", (), {})
    for name, tensor in saved.environment.state_dict().items():
        assert torch.equal(loaded.environment.state_dict()[name], tensor), name


def test_the_encoder_is_a_folder_in_the_layout_of_diffusers(folder):
    said = json.loads((folder / "environment_encoder" / "config.json").read_text())
    assert said == {"_class_name": "EnvironmentEncoder", "channels": [4, 8], "token_width": 8}
    written = safetensors.torch.load_file(folder / ENCODER)
    ours = load_checkpoint(find(folder), CPU).environment
    assert all(torch.equal(written[name], tensor) for name, tensor in ours.state_dict().items())


def damage_tensor(folder):
    state = safetensors.torch.load_file(folder / ENCODER)
    safetensors.torch.save_file({**state, "norm.weight": torch.ones(9)}, folder / ENCODER)


def damage_width(folder):
    EnvironmentEncoder((4, 8), 12).save_config(folder / "environment_encoder")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: shutil.rmtree(folder / "environment_encoder"), "has no environment_encoder"),
        (lambda folder: (folder / ENCODER).unlink(), "has no diffusion_pytorch_model.safetensors"),
        (damage_tensor, r"norm\.weight is \(9,\); expected \(8,\)"),
        (damage_width, "its tokens have 12 numbers; expected 8, as the UNet of tiny-lit takes"),
    ],
    ids=["no folder", "no weights", "mis-shaped", "other width"],
)
def test_a_broken_encoder_is_one_line(folder, tmp_path, damage, says):
    broken = shutil.copytree(folder, tmp_path / "broken")
    damage(broken)
    with pytest.raises(UserError, match=says) as caught:
        load_checkpoint(find(broken), CPU)
    assert "\n" not in str(caught.value)


def test_wrong_cards_are_one_line(tmp_path):
    with pytest.raises(UserError, match="a light of 6 x 16 texels; expected multiples of 4"):
        LightTokens((6, 16))
    with pytest.raises(UserError, match="a radiance hint carries normal; expected rgb"):
        InputMap(MapCodec("normal"), radiance_hint="split_sum")
    with pytest.raises(UserError, match="under a light that it is not conditioned on"):
        tiny_card(inputs=tiny_lit_card().maps.inputs)
    write_card(tiny_lit_card(), tmp_path)
    path = tmp_path / "unrender.json"
    path.write_text(path.read_text().replace("split_sum", "path_traced"))
    with pytest.raises(
        UserError, match=r"maps\.inputs\.6\.radiance_hint: Input should be '', 'split_sum' or 'screen_space'"
    ):
        read_card(tmp_path)


def test_an_id_may_have_an_embedded_folder_for_each_direction(folder, tmp_path, monkeypatch):
    tiny_folder(tmp_path / "mini", id="mini")
    write_card(changed(read_card(folder), id="mini"), shutil.copytree(folder, tmp_path / "mini_forward"))
    monkeypatch.setattr(ids, "_HERE", tmp_path)
    assert ids.known_ids()[0] == "mini"
    assert [card.task for card in ids.cards_of("mini")] == ["inverse", "forward"]
    assert find("mini", "forward").folder == tmp_path / "mini_forward"
    assert find("mini").folder == find("mini", "inverse").folder == tmp_path / "mini"
    assert ForwardRenderer.from_pretrained("mini", RUNNING)(BALL, spot(8)).beauty.shape == (1, 3, 48, 48)
    assert main(["models", "list"]) == main(["models", "show", "mini"]) == main(["models", "check", "mini"]) == 0


def test_doors_of_a_folder(folder, capsys):
    assert main(["models", "check", str(folder)]) == 0
    assert "tiny-lit, forward, none" in capsys.readouterr().out


# Pictures.


def test_passes_are_what_is_rendered_and_what_is_behind(renderer):
    light = spot(8)
    found, again = renderer(BALL, light, 30.0), renderer(BALL, light, 30.0)
    assert set(found.passes) == {"rendered", "background"}
    assert found.beauty.shape == (1, 3, 48, 48)
    assert bool(found.beauty.isfinite().all())
    assert torch.equal(found.beauty, again.beauty)
    assert not found.surface[~INSIDE.expand_as(found.surface)].any()
    assert not found.background[INSIDE.expand_as(found.background)].any()


def test_a_light_turned_all_the_way_round_is_as_it_was(renderer):
    once = renderer(BALL, spot(8), 30.0).beauty
    torch.testing.assert_close(renderer(BALL, spot(8), 390.0).beauty, once, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(renderer(BALL, spot(8), 210.0).beauty, once, atol=1e-2)


def test_a_light_is_told_by_its_tokens_as_well_as_by_the_first_render(renderer, folder):
    """A network that is given no rendered picture sees the light nevertheless."""
    checkpoint = renderer.engine.engine.checkpoint
    card = checkpoint.card.with_maps(inputs=checkpoint.card.maps.inputs[:-1])
    blind = Engine(tiny_checkpoint(card), CPU)
    renderer = NeuralRenderer(blind, ForwardOptions())
    one, other = (renderer.latents(BALL, light=spot(column)) for column in (8, 24))
    assert one.shape == (1, 4, 24, 24)
    assert not torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 2.0, 1e4])
def test_a_picture_is_as_bright_as_its_light(renderer, factor):
    once, more = (renderer(BALL, EnvironmentMap(k * spot(13).radiance)) for k in (1.0, factor))
    torch.testing.assert_close(more.beauty / factor, once.beauty, atol=1e-4, rtol=1e-3)


def test_a_picture_is_no_brighter_than_a_display_of_its_exposure(renderer):
    """A network says at most 1, which is 1 / 0.6 of the bright percentile of the first render."""
    engine = renderer.engine.engine
    picture = lit_picture(engine, ForwardOptions(), BALL, spot(8))
    assert float(picture.min()) >= 0
    gain = exposure_gain(radiance_hint(BALL, spot(8)), BALL.maps["mask"])
    assert float((picture * gain).max()) <= 1 + 1e-4


def test_a_clip_is_its_frames(renderer):
    other = sphere(48, (0.2, 0.7, 0.3), 0.2, 1.0)
    clip, lights = concatenate([BALL, other]), EnvironmentMap(torch.cat([spot(8).radiance, spot(20).radiance]))
    together = renderer(clip, lights, torch.tensor([0.0, 50.0])).beauty
    apart = [renderer(BALL, lights.frame(0)).beauty, renderer(other, lights.frame(1), 50.0).beauty]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-4, rtol=1e-3)


def test_metric_and_relative_depth_are_one(renderer):
    depth = BALL.maps["depth"]
    relative = replace(BALL.with_maps(depth=depth / 7 + 3), depth_kind="relative")
    pair = [renderer(gbuffer, spot(8)).beauty for gbuffer in (BALL, relative)]
    torch.testing.assert_close(*pair, atol=1e-4, rtol=1e-3)


def test_any_size_without_camera_roughness_or_depth(renderer):
    front = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(1, 3, 37, 50)
    bare = GBuffer(base_color=torch.full((1, 3, 37, 50), 0.5), normal=front)
    assert renderer(bare, spot(8)).beauty.shape == (1, 3, 37, 50)
    assert bare.camera is None


# Without a light.


@pytest.fixture(scope="module")
def by_irradiance():
    """A renderer of a card that takes irradiance in place of a light."""
    given = (*tiny_lit_card().maps.inputs, InputMap(MapCodec("irradiance", transfer="srgb"), exposure="percentile"))
    return NeuralRenderer(Engine(tiny_checkpoint(tiny_lit_card().with_maps(inputs=given)), CPU), ForwardOptions())


def ball_in(shade: torch.Tensor) -> GBuffer:
    return BALL.with_maps(irradiance=shade.expand(1, 3, 48, 48) * INSIDE)


RAMP = torch.linspace(0.5, 4.0, 48)


def test_irradiance_takes_the_place_of_a_light(by_irradiance):
    once, again = (by_irradiance(ball_in(RAMP)) for _ in range(2))
    assert set(once.passes) == {"rendered", "background"}
    assert torch.equal(once.beauty, again.beauty)
    assert 0 <= float(once.beauty.min()) <= float(once.beauty.max()) <= 1
    assert not once.beauty[~INSIDE.expand_as(once.beauty)].any()
    assert not torch.allclose(by_irradiance(ball_in(RAMP.flip(0))).beauty, once.beauty, atol=1e-4)


def test_the_unit_of_irradiance_does_not_count(by_irradiance):
    once, more = (by_irradiance(ball_in(k * RAMP)).beauty for k in (1.0, 300.0))
    torch.testing.assert_close(more, once, atol=1e-4, rtol=1e-3)


def test_where_a_light_is_told_irradiance_is_not(by_irradiance):
    with_, without = (by_irradiance(gbuffer, spot(8)).beauty for gbuffer in (ball_in(RAMP), BALL))
    assert torch.equal(with_, without)


def test_it_is_told_what_training_tells(by_irradiance):
    """The same network, told the same by the learner: maps, irradiance, no first render, no tokens."""
    gbuffer = ball_in(RAMP)
    kept = {name: BALL.maps[name] * INSIDE for name in ("base_color", "roughness", "metallic")}
    gbuffer = gbuffer.with_maps(**kept)  # as rendered truth is, nothing where there is no surface
    stills = load_lit_still_dataset([(gbuffer.with_maps(rgb=kept["base_color"]), spot(8))], LightTokens((8, 16)))
    batch = whole_batch(stills, 48)
    checkpoint = by_irradiance.engine.checkpoint
    learner = Learner(checkpoint, checkpoint.unet, checkpoint.environment)
    maps = torch.tensor([[given.radiance_hint == "" for given in learner.card.maps.inputs]])
    asked = learner.passes()[0]
    conditioning = learner.condition(batch, asked, Conditions(maps, torch.tensor([False])))
    noise = learner.noise("zeros", learner.blank(batch, asked), 0)
    with torch.no_grad():
        answer = decode_maps(learner.maps(learner.single_step(conditioning, noise), asked)["rgb"], asked[0])["rgb"]
    found = irradiance_picture(by_irradiance.engine, ForwardOptions(steps=1), gbuffer, noise)
    torch.testing.assert_close(found, answer, atol=2e-3, rtol=1e-2)


def test_relighting_through_it(folder, tmp_path):
    inverse = InverseRenderer.from_pretrained(tiny_folder(tmp_path / "inverse"), RUNNING)
    photo = Frames(torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0)))
    relit = relight(photo, spot(8), inverse, ForwardRenderer.from_pretrained(folder, RUNNING))
    assert relit.beauty.shape == photo.rgb.shape
    assert bool(relit.beauty.isfinite().all())


@pytest.mark.parametrize(
    ("gbuffer", "light", "edit", "says"),
    [
        (BALL, None, None, "tiny-lit renders under a light; expected --light HDRI"),
        (ball_in(RAMP), None, None, "tiny-lit renders under a light; expected --light HDRI"),
        (BALL.with_maps(normal=None), spot(8), None, "tiny-lit needs the map normal"),
        (BALL, spot(8), torch.ones(1, 1, 48, 48), "tiny-lit renders whole pictures"),
        (BALL, EnvironmentMap(torch.ones(3, 3, 8, 16)), None, "a light of 3 frames for a G-buffer of 1"),
        (GBuffer(rgb=torch.ones(1, 3, 48, 48)), spot(8), None, "is given base_color, normal, .* has only rgb"),
    ],
    ids=["no light", "irradiance that its card does not take", "no normal", "edit", "frames", "no map"],
)
def test_wrong_calls_are_one_line(renderer, gbuffer, light, edit, says):
    with pytest.raises(UserError, match=says) as caught:
        renderer(gbuffer, light, edit=edit)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [ForwardOptions("a caption"), ForwardOptions(guidance=2.0), ForwardOptions(shadows=True)]
)
def test_it_takes_no_words(folder, options):
    with pytest.raises(UserError, match="tiny-lit is given the light itself and takes no caption, guidance or shadows"):
        NeuralRenderer.from_pretrained(folder, RUNNING, options)


def test_dark_texture_under_a_small_network_is_dark_and_not_black():
    seen = torch.full((1, 3, 4, 4), 0.3)
    first = torch.full((1, 3, 32, 32), 0.3)
    first[..., ::8, :] = 0.02  # thin dark lines, which the network does not see
    torch.testing.assert_close(with_detail(seen, seen, first), first)
    for answer in (seen * 2, seen * 0.5, seen * 0.0):  # it brightens, casts a shadow, answers nothing at all
        found = with_detail(answer, seen, first)
        assert bool((found >= DEEPEST_SHADOW * first).all())
        assert found.min() > 0


def test_detail_finer_than_the_network_stays_above_black_where_its_answers_change_quickly():
    generator = torch.Generator().manual_seed(5)
    answer, seen = torch.rand(2, 1, 3, 8, 8, generator=generator)
    first = torch.rand(1, 3, 64, 64, generator=generator) + 1e-3
    assert with_detail(answer, seen, first).min() > 0
