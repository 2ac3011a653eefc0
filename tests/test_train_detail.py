"""What brings a small answer to the picture's own resolution: nothing at first, then what it has learnt."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forward_scenes import table
from tiny_models import tiny_checkpoint, tiny_lit_card
from training import QUICK, folder_of, forward_card, frozen, lit_stills, truth
from unrender.device import Compute
from unrender.diffusion.card import DetailCard, MapCodec, TargetPicture
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint, save_checkpoint
from unrender.diffusion.detail import detail_size, refined_maps, refined_render, turned_back
from unrender.diffusion.model import Engine
from unrender.diffusion.networks.detail import DetailNetwork
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.upsampling import guided_upsample
from unrender.errors import UserError
from unrender.forward.lighting import radiance_hint
from unrender.forward.renderer import ForwardRenderer
from unrender.forward.surface import coverage
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.resize import resize_picture
from unrender.train.base import FULL
from unrender.train.data import load_still_dataset
from unrender.train.detail import RECIPES, DetailRecipe, new_detail, train_detail
from unrender.train.mini import SCRATCH_CARD, build_scratch
from unrender.train.recipe import Stage
from unrender.train.start import Start

CPU = InferenceOptions("cpu", "float32")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers that lie within the range of their codecs, as those of a trained network do."""
    folder, checkpoint = tmp_path_factory.mktemp("small") / "model", build_scratch()
    with torch.no_grad():
        checkpoint.autoencoder.decoder.conv_out.weight.mul_(0.05)
    save_checkpoint(checkpoint, folder)
    return folder


def test_before_training_the_answer_is_only_enlarged():
    channels = build_scratch().autoencoder.config["out_channels"]
    answer, photo = (
        torch.rand(2, channels, 9, 12) * 2 - 1,
        torch.rand(2, 3, 37, 50) * 2 - 1,
    )  # no multiple of its stride
    enlarged = refined_maps(DetailNetwork(3, channels), SCRATCH_CARD, photo, answer)
    plain = resize_picture(answer, (37, 50))
    colour = {codec.map: list(codec.channels) for codec in SCRATCH_CARD.maps.targets[0].maps}
    for name in ("normal", "depth", "roughness", "irradiance"):
        assert torch.equal(enlarged[:, colour[name]], plain[:, colour[name]]), name
    followed = guided_upsample((answer[:, :3] + 1) / 2, (photo + 1) / 2) * 2 - 1
    torch.testing.assert_close(enlarged[:, :3], followed)
    first = torch.rand(2, 3, 37, 50)
    assert torch.equal(refined_render(DetailNetwork(8, 3), torch.rand(2, 5, 37, 50), answer[:, :3], first), first)


def test_it_sees_what_is_near_alone():
    torch.manual_seed(0)
    network = DetailNetwork(3, 2, (8, 12, 16)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    given, first = torch.rand(1, 3, 96, 160), torch.rand(1, 2, 96, 160)
    left = network(given[..., :128], first[..., :128])
    torch.testing.assert_close(network(given, first)[..., :88], left[..., :88])


def test_mirrored_pictures_are_turned_back():
    target = TargetPicture("both", (MapCodec("normal", (0, 1, 2)), MapCodec("mask", (3,))))
    picture = torch.rand(1, 4, 3, 5)
    turned = turned_back(picture, target)
    assert torch.equal(turned[:, 0], -picture[:, 0].flip(2))
    assert torch.equal(turned[:, 1:], picture[:, 1:].flip(3))


def test_a_renderer_with_detail_answers_at_the_photos_size_up_to_its_limit(small: Path, tmp_path: Path):
    photo = Frames(torch.rand(1, 3, 150, 200, generator=torch.Generator().manual_seed(0)))
    plain = InverseRenderer.from_pretrained(small, CPU)
    checkpoint = load_checkpoint(find(small), FULL)
    card = checkpoint.card.with_maps(detail=DetailCard(200))
    save_checkpoint(replace(checkpoint, detail=new_detail(card), card=card), tmp_path / "m")
    engine = InverseRenderer.from_pretrained(tmp_path / "m", CPU)
    assert detail_size(engine.engine, (600, 800)) == (150, 200)
    assert detail_size(engine.engine, (90, 120)) == (90, 120)
    assert engine(Frames(torch.rand(1, 3, 300, 400)), maps=["normal"]).size == (300, 400)
    low = InverseRenderer.from_pretrained(tmp_path / "m", InferenceOptions("cpu", "bfloat16"))
    assert low(photo, maps=["base_color"]).size == (150, 200)
    # A network that adds nothing gives the enlarged answer.
    before, after = plain(photo, maps=["normal", "depth"]), engine(photo, maps=["normal", "depth"])
    assert after.size == (150, 200)
    there = (before.maps["mask"] > 0.3) & (after.maps["mask"] > 0.3)
    assert ((before.maps["depth"] - after.maps["depth"]).abs() * there).nan_to_num().max() < 0.02


def test_it_is_trained_over_a_model_that_stays(small: Path, tmp_path: Path):
    config = replace(QUICK, steps=3, stages=(Stage(1.0, 64, 2),), lr=1e-2, warmup=1, validate_every=3)
    recipe = DetailRecipe(config, Start(model=str(small)))
    model = train_detail(recipe, load_still_dataset([truth(4, 64)]), tmp_path / "run")
    trained, before = load_checkpoint(find(model), FULL), load_checkpoint(find(small), FULL)
    for name in ("unet", "autoencoder"):
        pairs = zip(getattr(trained, name).parameters(), getattr(before, name).parameters(), strict=True)
        assert all(torch.allclose(one, other, atol=1e-3) for one, other in pairs), name
    assert trained.detail is not None
    assert trained.detail.conv_out.weight.abs().max() > 0
    assert (tmp_path / "run" / "validation").is_dir()
    Engine(trained, Compute(torch.device("cpu"), torch.float32))
    assert {"mini", "smoke"} <= set(RECIPES)


def test_a_first_render_is_mended_in_the_forward_direction(tmp_path: Path):
    start = folder_of(forward_card(), tmp_path / "forward")
    recipe = DetailRecipe(QUICK, Start("forward", start))
    model = train_detail(recipe, lit_stills(4), tmp_path / "run")
    trained = load_checkpoint(find(model, "forward"), FULL)
    assert trained.detail is not None
    assert trained.detail.config["channels"] == 3
    traced = train_detail(replace(recipe, hint="screen_space"), lit_stills(4), tmp_path / "traced")
    assert load_checkpoint(find(traced, "forward"), FULL).card.radiance_hint == "screen_space"
    assert trained.card.radiance_hint == "split_sum"


def test_a_render_is_never_worse_for_a_network_that_has_learnt_nothing(tmp_path: Path):
    """Whatever the small network answers: what is given out is the first render, of the quality that the card says."""
    scene = table(48)
    light = EnvironmentMap(torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0)) + 0.2)
    pictures = {}
    for hint in ("split_sum", "screen_space"):
        card = forward_card()
        inputs = tuple(replace(one, radiance_hint=hint) if one.radiance_hint else one for one in card.maps.inputs)
        card = card.with_maps(inputs=inputs, detail=DetailCard())
        checkpoint = replace(tiny_checkpoint(card), detail=new_detail(card))
        save_checkpoint(checkpoint, tmp_path / hint)
        picture = ForwardRenderer.from_pretrained(tmp_path / hint, CPU)(scene, light).surface
        expected = radiance_hint(scene, light, quality=hint) * coverage(scene)
        # Codes of a display end at 1; below that, to the rounding of the curve.
        there = (expected < expected.max() * 0.4) & (expected > 0)
        torch.testing.assert_close(picture[there], expected[there], rtol=2e-3, atol=2e-4)
        pictures[hint] = picture
    assert (pictures["split_sum"] - pictures["screen_space"]).abs().max() > 0.01


def test_a_model_of_several_pictures_is_refused(tmp_path: Path):
    from training import inverse_card

    start = folder_of(inverse_card(), tmp_path / "inverse")
    with pytest.raises(UserError, match="expected a model of one"):
        train_detail(DetailRecipe(QUICK, Start(model=start)), load_still_dataset([truth(4)]), tmp_path / "run")
    assert frozen(tiny_lit_card()).detail is None
