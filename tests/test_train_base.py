"""Training from a text-to-picture base: the widened network answers as the base did."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from official_folders import write_official
from tiny_models import changed
from training import QUICK, stills, truth
from unrender.diffusion.card import Identity, MapCodec, MapsCard, ModelCard, SamplingCard, Source, TargetPicture
from unrender.diffusion.checkpoints.hub.ids import cards_of
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint, load_network
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames
from unrender.train.base import FULL, load_base
from unrender.train.e2e import E2ERecipe, train_e2e
from unrender.train.start import Start, starting_checkpoint

BASE = ModelCard(
    Identity("stable-diffusion-2", source=Source("someone/stable-diffusion-2")),
    task="text_to_image",
    maps=MapsCard((TargetPicture("rgb", (MapCodec("rgb"),)),), inputs=()),
    sampling=SamplingCard(noise="gaussian"),
)
MARIGOLD, E2E_FT = "prs-eth/marigold-depth-v1-1", "GonzaloMG/stable-diffusion-e2e-ft-depth"
IID, RGBX = "prs-eth/marigold-iid-appearance-v1-1", "zheng95z/rgb-to-x"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_official(tmp_path_factory.mktemp("base"), BASE)


def base_unet(base: Path) -> UNet2DConditionModel:
    return load_network(UNet2DConditionModel, base / "unet", FULL)


@pytest.mark.parametrize(("model", "copies", "pictures"), [(MARIGOLD, 2, 1), (IID, 3, 2), (RGBX, 2, 1), (E2E_FT, 2, 1)])
def test_the_same_latent_everywhere_is_answered_as_by_the_base(base: Path, model: str, copies: int, pictures: int):
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens = torch.ones(1, 3, 8)
    checkpoint, theirs = load_base(str(base), cards_of(model)[0]), base_unet(base)
    if model == E2E_FT:  # which halves the bias as well
        theirs.conv_in.bias.data /= 2
    with torch.no_grad():
        answer = checkpoint.unet(latent.repeat(1, copies, 1, 1), 7, tokens).sample
        expected = theirs(latent, 7, tokens).sample
    torch.testing.assert_close(answer, expected.repeat(1, pictures, 1, 1), rtol=1e-4, atol=1e-5)


def test_every_copy_has_its_share_of_the_weights(base: Path):
    weight = base_unet(base).conv_in.weight
    widened = load_base(str(base), cards_of(MARIGOLD)[0]).unet
    torch.testing.assert_close(widened.conv_in.weight, torch.cat([weight, weight], dim=1) / 2)
    assert (widened.config["in_channels"], widened.config["out_channels"]) == (8, 4)


def test_maps_that_go_round_the_autoencoder_begin_unheard(base: Path):
    """X->RGB is shown irradiance at the size of the latent, three channels of it."""
    card = next(card for card in cards_of("zheng95z/x-to-rgb") if not card.maps.edits)
    weight = load_base(str(base), card).unet.conv_in.weight
    heard = weight.abs().sum((0, 2, 3)) > 0
    assert weight.shape[1] == card.input_channels
    assert int((~heard).sum()) == sum(len(given.codec.channels) for given in card.maps.inputs if not given.encoded) > 0


def test_prompts_are_told_by_the_text_encoder_of_the_base(base: Path):
    found = {model: load_base(str(base), cards_of(model)[0]) for model in (MARIGOLD, RGBX)}
    for checkpoint in found.values():
        assert set(checkpoint.tokens) == set(checkpoint.card.prompts)
    assert found[MARIGOLD].card.padded_prompts is False
    assert len(found[MARIGOLD].tokens[""]) == 2
    padded = changed(cards_of(MARIGOLD)[0], padded_prompts=True)
    assert len(load_base(str(base), padded).tokens[""]) == 77


def test_a_renderer_is_trained_from_a_base(base: Path, tmp_path: Path):
    start = Start(base=str(base), card=MARIGOLD)
    recipe = E2ERecipe(replace(QUICK, steps=1), start, memory="whole")
    model = train_e2e(recipe, stills(1), tmp_path / "run")
    assert load_checkpoint(find(model), FULL).card.sampling.schedule.steps == 1
    rendered = InverseRenderer.from_pretrained(model, InferenceOptions("cpu", "float32"))(Frames(truth(1).maps["rgb"]))
    assert rendered.depth is not None


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Start(base="no/where", card=MARIGOLD), "no base no/where on this machine"),
        (Start(base="BASE", card="prs-eth/nothing"), "no model is called prs-eth/nothing"),
        (Start(base="BASE"), "a base needs a card"),
        (Start(card=MARIGOLD), "a card a base"),
        (Start(base="BASE", card=MARIGOLD, model="mini"), "three ways to start; expected one of them"),
        (Start("forward", base="BASE", card=MARIGOLD), "is an inverse renderer"),
        (Start(base="BASE", card="mini"), "a latent of mini"),
        (Start(base="BASE", card="jingheya/lotus-depth-d-v2-0-disparity"), "task vector"),
        (Start(base="BASE", card="lemonaddie/geowizard"), "image embedding"),
        (Start(base="EMPTY", card=MARIGOLD), "has no unet"),
        (Start(), "nothing to start from"),
        (Start("forward", scratch=True), "trains an inverse renderer only"),
        (Start(autoencoder="vae", scratch=True), "no other start than an older model"),
    ],
)
def test_what_cannot_be_started_from_is_said_in_a_line(base: Path, tmp_path: Path, start: Start, said: str):
    places = {"BASE": str(base), "EMPTY": str(tmp_path)}
    with pytest.raises(UserError, match=said) as refused:
        starting_checkpoint(replace(start, base=places.get(start.base or "", start.base)), seed=0)
    assert "\n" not in str(refused.value)
