"""End-to-end training from nothing: the autoencoder learns too; an older network of the build is taken over."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_task import Killed, same_weights
from training import truth
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.diffusion.lora import Lora
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames
from unrender.train.base import FULL
from unrender.train.data import load_still_dataset
from unrender.train.e2e import RECIPES, E2ERecipe, train_e2e
from unrender.train.mini import (
    SCRATCH_CARD,
    SCRATCH_LATENT_CHANNELS,
    build_autoencoder,
    build_mini,
    build_scratch,
    build_unet,
    take_over,
)
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.start import Start

QUICK = TrainConfig(steps=2, stages=(Stage(1.0, 32, 2),), warmup=1, precision="no", ema_decay=0.0, validate_every=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = E2ERecipe(QUICK, Start(scratch=True), memory="whole")
    return train_e2e(recipe, load_still_dataset([truth(4, 32)]), tmp_path_factory.mktemp("scratch") / "run")


def test_all_of_it_learns(model: Path):
    trained, before = load_checkpoint(find(model), FULL), build_scratch(QUICK.seed)
    for name in ("unet", "autoencoder"):
        pairs = zip(getattr(trained, name).parameters(), getattr(before, name).parameters(), strict=True)
        assert any(not torch.allclose(one, other, atol=1e-3) for one, other in pairs), name
    assert trained.card.map_names == SCRATCH_CARD.map_names


def test_it_is_a_renderer_of_every_map(model: Path):
    renderer = InverseRenderer.from_pretrained(model, InferenceOptions("cpu", "float32"))
    gbuffer = renderer(Frames(torch.rand(1, 3, 40, 56)), SCRATCH_CARD.map_names)
    assert set(SCRATCH_CARD.map_names) <= set(gbuffer.maps)
    assert gbuffer.irradiance_kind == "relative"


def test_killed_and_called_again_it_ends_with_the_same_weights(model: Path, tmp_path: Path):
    def kill(step: int, loss: float) -> None:
        raise Killed

    recipe = E2ERecipe(replace(QUICK, save_every=1), Start(scratch=True), memory="whole")
    with pytest.raises(Killed):
        train_e2e(recipe, load_still_dataset([truth(4, 32)]), tmp_path / "run", kill)
    assert same_weights(train_e2e(recipe, load_still_dataset([truth(4, 32)]), tmp_path / "run"), model)


def older(seed: int = 5) -> Checkpoint:
    """A network of the same build that gives fewer maps."""
    autoencoder = build_autoencoder(seed, SCRATCH_LATENT_CHANNELS, out_channels=10)
    return replace(build_scratch(seed), autoencoder=autoencoder, unet=build_unet(SCRATCH_CARD, seed))


@torch.no_grad()
def test_an_older_network_is_taken_over_as_far_as_it_reaches():
    new, old = build_scratch(), older()
    latent = torch.randn(1, SCRATCH_LATENT_CHANNELS, 4, 4, generator=torch.Generator().manual_seed(0))
    take_over(new, old)
    theirs, ours = old.autoencoder.decode(latent).sample, new.autoencoder.decode(latent).sample
    torch.testing.assert_close(ours[:, :10], theirs)
    assert ours.shape[1] == 19
    assert all(map(torch.equal, new.unet.state_dict().values(), old.unet.state_dict().values()))


def test_a_network_of_another_build_is_refused():
    with pytest.raises(UserError, match="mini is no network of this build"):
        take_over(build_scratch(), build_mini("inverse", build_autoencoder(), 1.0))


@pytest.mark.parametrize("what", ["prediction", "maps"])
def test_a_network_that_answers_something_else_is_refused(what: str):
    """Its tensors would fit, and mean another thing."""
    old = older()
    if what == "prediction":
        card = old.card.with_schedule(prediction="sample")
    else:
        (picture,) = old.card.maps.targets
        card = old.card.with_maps(targets=(replace(picture, maps=picture.maps[::-1]),))
    with pytest.raises(UserError, match="is no network of this build"):
        take_over(build_scratch(), replace(old, card=card))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"lora": Lora(2, 2)}, "from nothing all weights learn"), ({}, "several processes cannot share")],
    ids=["adapters", "processes"],
)
def test_what_cannot_learn_from_nothing_is_said_in_a_line(change, said, tmp_path: Path, monkeypatch):
    if not change:
        monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=said):
        train_e2e(replace(RECIPES["scratch"], **change), load_still_dataset([truth(1)]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
