"""Training: every recipe from its data to a model that renders, by the API and through the doors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tiny_models import tiny_card
from tiny_task import Killed, logged, same_weights, weights
from training import DRAW, QUICK, SIDE, folder_of, forward_card, frozen, inverse_card, lit_stills, stills, truth
from unrender.cli import main
from unrender.device import Compute
from unrender.diffusion.card import Grouping, ModelCard
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.metrics.geometry import angular_errors
from unrender.files.shards import Clip, write_shard
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.train import e2e
from unrender.train.data import load_still_dataset, sample_batch
from unrender.train.e2e import E2ERecipe, end_to_end_loss, single_step, train_e2e
from unrender.train.learner import Learner
from unrender.train.loop import BatchSpec
from unrender.train.pretrain import PretrainRecipe, draw_timesteps, pretrain
from unrender.train.recipe import Stage
from unrender.train.start import Start, starting_checkpoint
from unrender.train.vae import VaeRecipe, train_vae

RUNNING = InferenceOptions("cpu", "float32")
CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def inverse(tmp_path_factory: pytest.TempPathFactory) -> str:
    return folder_of(inverse_card(), tmp_path_factory.mktemp("start") / "inverse")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of one clip each."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    light = EnvironmentMap(torch.rand(1, 3, 8, 16))
    for count, folder in enumerate(folders, 1):
        gbuffer = replace(truth(1 + count), camera=Camera.perspective((24, 24)))
        write_shard(folder / "shard-000000.tar", [("000000", Clip(gbuffer, light, "things", 0))])
    return folders


# End to end.


@pytest.mark.parametrize("noise", ["zeros", "gaussian", "multi_resolution"])
def test_the_one_step_starts_from_the_noise_of_the_recipe(noise):
    """From zeros a seed changes nothing; of noise it is part of the answer. The card says which it was."""
    checkpoint = replace(frozen(inverse_card()), card=single_step(inverse_card(), noise))
    learner, batch = Learner(checkpoint, checkpoint.unet), sample_batch(stills(), DRAW)
    recipe = E2ERecipe(noise=noise, memory="whole")
    with torch.no_grad():
        first, again, other = (
            end_to_end_loss(learner, batch, BatchSpec(SIDE, 2, seed), recipe)["normal"] for seed in (1, 1, 2)
        )
    assert torch.equal(first, again)
    assert torch.equal(first, other) is (noise == "zeros")
    assert (
        learner.card.sampling.noise,
        learner.card.sampling.schedule.steps,
        learner.card.sampling.schedule.spacing,
    ) == (noise, 1, "trailing")


def test_a_network_without_a_noisy_target_stays_without_one():
    card = single_step(inverse_card(noise="none"), "gaussian")
    assert card.sampling.noise == "none"
    assert card.input_channels == 4


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, inverse: str):
    config = replace(QUICK, steps=4, save_every=2, validate_every=4, warmup=2)
    recipe = E2ERecipe(config, Start(model=inverse), noise="gaussian", memory="whole")

    def kill_after_three(step: int, loss: float) -> None:
        if step == 3:
            raise Killed

    model = train_e2e(recipe, stills(), tmp_path / "whole")
    with pytest.raises(Killed):
        train_e2e(recipe, stills(), tmp_path / "killed", kill_after_three)
    train_e2e(recipe, stills(), tmp_path / "killed")
    assert same_weights(model, tmp_path / "killed" / "model")
    assert logged(tmp_path / "whole") == logged(tmp_path / "killed")
    assert {path.name for path in (tmp_path / "whole" / "validation").iterdir()} == {
        f"{name}-000004.png" for name in inverse_card().map_names
    }
    before, after = weights(Path(inverse)), weights(model)
    assert all(torch.equal(after[name], before[name].half()) for name in before if name.startswith("vae"))
    assert any(not torch.equal(after[name], before[name].half()) for name in before if name.startswith("unet"))
    rendered = InverseRenderer.from_pretrained(model, RUNNING)(Frames(torch.rand(1, 3, 32, 32)))
    assert set(inverse_card().map_names) <= rendered.maps.keys()


def test_one_picture_a_pass_is_trained_in_turns(tmp_path: Path):
    card = tiny_card(grouping=Grouping("target"))
    start = folder_of(card, tmp_path / "start")
    train_e2e(E2ERecipe(replace(QUICK, steps=6), Start(model=start), memory="whole"), stills(), tmp_path / "run")
    targets = {tuple(sorted(set(line) - {"step", "loss"})) for line in logged(tmp_path / "run")}
    assert len(targets) > 1
    assert targets <= {("base_color",), ("normal",), ("metallic", "roughness")}


def test_a_forward_network_is_trained_end_to_end(tmp_path: Path):
    start = folder_of(forward_card(), tmp_path / "start")
    recipe = E2ERecipe(replace(QUICK, validate_every=2), Start("forward", start), memory="whole", dropout=0.2)
    loaded = load_checkpoint(find(train_e2e(recipe, lit_stills(), tmp_path / "run"), "forward"), CPU)
    assert loaded.environment is not None
    assert (tmp_path / "run" / "validation" / "rgb-000002.png").is_file()
    before = starting_checkpoint(recipe.start, 0).environment
    assert before is not None
    assert not torch.allclose(loaded.environment.conv_in.weight, before.conv_in.weight, atol=1e-6)


# Denoising, and autoencoders.


def test_a_multi_step_network_is_trained(tmp_path: Path):
    card: ModelCard = inverse_card(noise="gaussian")
    start = folder_of(card, tmp_path / "start")
    recipe = PretrainRecipe(replace(QUICK, validate_every=2), Start(model=start), noise="multi_resolution")
    model = pretrain(recipe, stills(), tmp_path / "run")
    assert load_checkpoint(find(model), CPU).card == card
    assert set(logged(tmp_path / "run")[0]) == {"step", "loss", *(picture.name for picture in card.maps.targets)}
    assert (tmp_path / "run" / "validation" / "depth-000002.png").is_file()


def test_an_autoencoder_is_trained_from_nothing_and_networks_begin_on_it(tmp_path: Path):
    config = replace(QUICK, steps=1, validate_every=1, stages=(Stage(1.0, SIDE, 2),))
    model = train_vae(VaeRecipe(config), stills(1), tmp_path / "run")
    assert (tmp_path / "run" / "validation" / "pictures-000001.png").is_file()
    checkpoint = starting_checkpoint(Start("forward", autoencoder=str(model)), seed=0)
    assert checkpoint.card.latents.scale == json.loads((model / "latents.json").read_text())["latent_scale"]
    assert not any(parameter.requires_grad for parameter in checkpoint.autoencoder.parameters())
    assert checkpoint.environment is not None
    with pytest.raises(UserError, match="has no autoencoder"):
        starting_checkpoint(Start(autoencoder=str(tmp_path)), seed=0)


def test_a_folder_is_claimed_only_by_a_run_that_can_begin(tmp_path: Path, inverse: str):
    for wrong in (Start(), Start(model="nothing-like-it")):
        with pytest.raises(UserError):
            train_e2e(E2ERecipe(QUICK, wrong), stills(), tmp_path / "run")
    with pytest.raises(UserError, match="no training picture has irradiance"):
        train_e2e(E2ERecipe(QUICK, Start(model=inverse)), stills(irradiance=None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Through the doors.


@pytest.mark.parametrize("recipe", ["vae", "pretrain", "e2e", "ouroboros"])
def test_a_dry_run_prints_the_whole_recipe_and_writes_nothing(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    command = ["train", recipe, "--data", str(tmp_path), "-o", str(out), "--steps", "12", "--seed", "3", "--dry-run"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["config"]["steps"], printed["config"]["seed"]) == (12, 3)
    assert {"lr", "warmup", "betas", "max_grad_norm", "ema_decay", "accumulate", "precision", "stages"} <= printed[
        "config"
    ].keys()
    assert not out.exists()


def test_what_is_asked_for_is_in_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    targets = ["--task", "forward", "--base", "sd2", "--card", "zheng95z/x-to-rgb", "--lora", "8"]
    command = ["train", "e2e", "--data", "x", "-o", str(tmp_path / "out"), "--noise", "gaussian", *targets, "--dry-run"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["noise"] == "gaussian"
    assert printed["lora"]["rank"] == 8
    assert printed["start"] == {
        "task": "forward",
        "model": None,
        "autoencoder": None,
        "base": "sd2",
        "card": "zheng95z/x-to-rgb",
        "scratch": False,
    }


def test_a_parent_may_be_trained_for_one_step_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["train", "pretrain", "--data", "x", "-o", str(tmp_path / "out"), "--terminal", "1", "--dry-run"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["terminal"] == 1
    drawn = draw_timesteps(64, 1000, 1.0, torch.Generator().manual_seed(0))
    assert drawn.tolist() == [999] * 64


def test_no_pictures_at_all_are_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "vae", "-o", str(tmp_path / "out")]) == 2
    assert "expected --data DIR of `unrender synth`, or --dataset NAME=DIR" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_several_folders_of_data_are_one_set(
    data: list[Path], inverse: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The first one alone is another set than both; the same command again finds its work done."""
    out = tmp_path / "run"
    command = ["train", "e2e", "--data", str(data[0]), "--data", str(data[1]), "-o", str(out), "--recipe", "smoke"]
    command += ["--start", inverse, "--steps", "1"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{out / 'model'}\n"
    before = weights(out / "model")
    assert main(command) == 0
    assert before.keys() == weights(out / "model").keys()
    assert len(logged(out)) == 1
    assert json.loads((out / "run.json").read_text())["settings"]["data"] == [str(folder) for folder in data]
    assert main([*command[:-1], "2"]) == 2
    assert "another recipe" in capsys.readouterr().err


# The smallest recipe that means something.


def pictures_to_learn_by_heart() -> GBuffer:
    """Four even coloured pictures, each of a surface of its own."""
    size, g = 64, torch.Generator().manual_seed(0)

    def smooth(channels: int) -> torch.Tensor:
        coarse = torch.rand(4, channels, 4, 4, generator=g)
        return functional.interpolate(coarse, size=size, mode="bilinear")

    colour, facing = smooth(3), smooth(3) - 0.5
    facing[:, 2] = facing[:, 2].abs() + 0.2
    return GBuffer(
        rgb=colour,
        base_color=colour,
        normal=functional.normalize(facing, dim=1),
        depth=2 + smooth(1),
        roughness=smooth(1),
        metallic=torch.zeros(4, 1, size, size),
        irradiance=torch.full((4, 3, size, size), 2.0) * smooth(1),
        mask=torch.ones(4, 1, size, size),
        depth_kind="metric",
        irradiance_kind="metric",
    )


def mean_angle(maps: GBuffer, truth: GBuffer) -> float:
    """Degrees between the normals of two G-buffers."""
    frames = zip(maps.maps["normal"], truth.maps["normal"], truth.maps["mask"] > 0.5, strict=True)
    return float(torch.cat([angular_errors(*frame) for frame in frames]).mean())


@pytest.mark.slow
def test_the_smoke_recipe_learns_four_pictures_by_heart(tmp_path: Path):
    """From the embedded weights, in minutes: the loss falls, and the maps come nearer to the truth than they were."""
    four = pictures_to_learn_by_heart()
    photo, losses = Frames(four.maps["rgb"]), []
    before = InverseRenderer.from_pretrained("mini", RUNNING)(photo)
    model = train_e2e(e2e.SMOKE, load_still_dataset([four]), tmp_path / "run", lambda step, loss: losses.append(loss))
    after = InverseRenderer.from_pretrained(model, RUNNING)(photo)
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    angles = [mean_angle(maps, four) for maps in (before, after)]
    assert angles[1] < 0.75 * angles[0]
    errors = [float((maps.maps["base_color"] - four.maps["base_color"]).square().mean()) for maps in (before, after)]
    assert errors[1] < errors[0]
