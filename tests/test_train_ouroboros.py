"""Training both ways together: each network hears of what the other made of it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tiny_task import Killed, logged, same_weights, weights
from training import DRAW, QUICK, folder_of, forward_card, frozen, inverse_card, lit_stills, opaque, truth
from training import stills as plain_stills
from unrender.device import Compute
from unrender.diffusion.card import Grouping
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.gbuffer import GBuffer
from unrender.train.cycle import Pair, leakage, maps_cycle, photo_cycle
from unrender.train.data import load_still_dataset, sample_batch
from unrender.train.e2e import single_step
from unrender.train.learner import Learner
from unrender.train.ouroboros import OuroborosRecipe, OuroborosTask, train_ouroboros
from unrender.train.recipe import Stage
from unrender.train.start import Start


def photos():
    return load_still_dataset([GBuffer(rgb=truth(5).maps["rgb"])], required=())


def pair(seed: int = 0) -> Pair:
    one = opaque(frozen(single_step(inverse_card(), "multi_resolution"), seed))
    two = frozen(single_step(forward_card(), "multi_resolution"), seed)
    return Pair(Learner(one, one.unet), Learner(two, two.unet, two.environment), "multi_resolution")


def heard(network: nn.Module) -> float:
    gradient = network.conv_in.weight.grad
    return 0.0 if gradient is None else float(gradient.abs().sum())


def recipe(folders: tuple[str, str], **changes) -> OuroborosRecipe:
    inverse, forward = folders
    known = OuroborosRecipe(QUICK, Start("inverse", inverse), Start("forward", forward))
    return replace(known, **changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    parent = tmp_path_factory.mktemp("pair")
    return folder_of(inverse_card(), parent / "inverse"), folder_of(forward_card(), parent / "forward")


@pytest.mark.parametrize("cycle", ["photo", "maps"])
def test_both_networks_hear_of_a_cycle(cycle: str):
    both, batch = pair(), sample_batch(plain_stills(), DRAW)
    if cycle == "photo":
        photo_cycle(both, batch, both.decompose(batch, 0), seed=1).backward()
    else:
        maps_cycle(both, batch, seed=0).backward()
    assert heard(both.inverse.unet) > 0
    assert heard(both.forward.unet) > 0
    for one in (both.inverse, both.forward):
        assert all(parameter.grad is None for parameter in one.checkpoint.autoencoder.parameters())
    assert both.forward.environment is not None
    assert heard(both.forward.environment) == 0


def test_the_maps_cycle_is_of_views_whose_irradiance_is_known():
    both, batch = pair(), sample_batch(plain_stills(), DRAW)
    none = replace(batch, known=batch.known | {"irradiance": torch.zeros(2, dtype=torch.bool)})
    assert float(maps_cycle(both, none, seed=0).detach()) == 0
    assert float(maps_cycle(both, batch, seed=0).detach()) > 0


def test_leakage_is_the_mean_square_of_what_moved():
    pictures = torch.rand(2, 5, 3, 4, 4)
    assert float(leakage(pictures + 0.5, pictures)) == pytest.approx(0.25)


def task(folders: tuple[str, str], **changes) -> OuroborosTask:
    known = recipe(folders, **changes)
    one, two = (
        opaque(frozen(single_step(inverse_card(), known.noise))),
        frozen(single_step(forward_card(), known.noise)),
    )
    before = frozen(inverse_card()).unet.requires_grad_(False)
    return OuroborosTask(one, two, before, known, lit_stills(), lit_stills(), photos())


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("noise", ["zeros", "multi_resolution"])
def test_nothing_has_leaked_at_the_first_step(folders, share: float, noise):
    both = task(folders, photos=share, noise=noise)
    losses = both.losses(both.networks, DRAW)
    assert float(losses["leakage"].detach()) < 1e-10  # with gradients and without, the last bits differ
    assert float(losses["photo cycle"].detach()) > 0
    with torch.no_grad():
        both.inverse.unet.conv_out.bias.add_(0.1)
    assert float(both.losses(both.networks, DRAW)["leakage"].detach()) > 0


def test_photos_without_maps_join_the_photo_cycle_alone(folders):
    """Half of the draws take them: what those change is the photo cycle, and no other loss."""
    often, never = task(folders, photos=1.0), task(folders, photos=0.0)
    with torch.no_grad():
        one, other = (both.losses(both.networks, DRAW) for both in (often, never))
    assert set(one) == set(other)
    assert {name for name in one if not torch.allclose(one[name], other[name], atol=1e-6)} == {"photo cycle"}


def test_without_cycles_only_the_losses_of_the_task_are_left(folders):
    both = task(folders, photo_cycle=0.0, maps_cycle=0.0)
    with torch.no_grad():
        losses = both.losses(both.networks, DRAW)
    assert set(losses) == {"base_color", "normal", "depth", "mask", "roughness", "metallic", "irradiance", "rgb"}


def test_both_models_come_out_and_a_killed_run_goes_on(folders, tmp_path: Path):
    known = recipe(folders, config=replace(QUICK, steps=3, save_every=1, validate_every=3))

    def kill(step: int, loss: float) -> None:
        if step == 2:
            raise Killed

    model = train_ouroboros(known, lit_stills(), tmp_path / "whole", photos=photos())
    with pytest.raises(Killed):
        train_ouroboros(known, lit_stills(), tmp_path / "killed", kill, photos())
    train_ouroboros(known, lit_stills(), tmp_path / "killed", photos=photos())
    assert same_weights(model, tmp_path / "killed" / "model")
    assert logged(tmp_path / "whole") == logged(tmp_path / "killed")
    assert (tmp_path / "whole" / "validation" / "photo cycle-000003.png").is_file()
    for direction, start in zip(("inverse", "forward"), folders, strict=True):
        loaded = load_checkpoint(find(model / direction), Compute(torch.device("cpu"), torch.float32))
        assert loaded.card.task == direction
        assert (loaded.card.sampling.noise, loaded.card.sampling.schedule.steps) == ("multi_resolution", 1)
        before, after = weights(Path(start)), weights(model / direction)
        same = {name for name in before if torch.equal(after[name], before[name].half())}
        assert {name for name in before if name.startswith("vae")} <= same
        assert any(name.startswith("unet") and name not in same for name in before)


def test_models_that_do_not_undo_one_another_are_refused(folders, tmp_path: Path):
    lacking = folder_of(inverse_card(targets=inverse_card().maps.targets[:3]), tmp_path / "lacking")
    with pytest.raises(UserError, match=r"given irradiance, metallic, roughness, which tiny-inverse does not give"):
        train_ouroboros(recipe((lacking, folders[1])), lit_stills(), tmp_path / "run")
    single = folder_of(inverse_card(grouping=Grouping("target")), tmp_path / "single")
    with pytest.raises(UserError, match="gives one picture a pass"):
        train_ouroboros(recipe((single, folders[1])), lit_stills(), tmp_path / "run")
    with pytest.raises(UserError, match="needs stills whose irradiance is known"):
        train_ouroboros(recipe(folders), plain_stills(irradiance=None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from test_train_ouroboros import config_of, lit_stills, opaque, photos, recipe, train_ouroboros

torch.set_num_threads(1)
inverse, forward, out = sys.argv[1:]
known = recipe((inverse, forward), config=config_of(1))
train_ouroboros(known, lit_stills(), Path(out), photos=photos())
"""


def config_of(accumulate: int):
    return replace(QUICK, steps=2, accumulate=accumulate, stages=(Stage(1.0, 16, 1),), ema_decay=0.0, lr=1e-4)


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batches(folders, tmp_path: Path):
    """Both networks are called several times to a step in each process, and their gradients are still summed once."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    command = [*launch, str(program), *folders, str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    train_ouroboros(recipe(folders, config=config_of(2)), lit_stills(), tmp_path / "one", photos=photos())
    found, expected = (
        torch.load(tmp_path / name / "state.pt", weights_only=True)["weights"] for name in ("two", "one")
    )
    far = max(float((found[name] - value).abs().max()) for name, value in expected.items())
    assert far < 2e-4


def test_the_pair_in_the_box_is_a_start(tmp_path: Path):
    """Its inverse half gives all maps as one picture of many channels, with an autoencoder of its own."""
    config = replace(QUICK, steps=1, stages=(Stage(1.0, 32, 1),), validate_every=1)
    model = train_ouroboros(OuroborosRecipe(config), lit_stills(size=32), tmp_path / "run")
    assert (tmp_path / "run" / "validation" / "photo cycle-000001.png").is_file()
    assert InverseRenderer.from_pretrained(model / "inverse").card.map_names[6:8] == ("irradiance", "sky")
