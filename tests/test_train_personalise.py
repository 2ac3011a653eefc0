"""Personalisation: adapters that learn one picture, concept pictures that keep the class, and a cache by content."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from sd_folders import SIDE, sd_folder
from tiny_task import logged, same_weights
from unrender.cli import main
from unrender.diffusion.engine import load_engine
from unrender.diffusion.lora import adapters_off, load_adapters
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.score_distillation import ScoreDistillation
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.files.images import write_image
from unrender.insert.diffusion_guidance import DiffusionGuidance
from unrender.scene.frames import Frames
from unrender.train.concept import class_prompt, concept_prompts, display_codes
from unrender.train.loop import BatchSpec
from unrender.train.personalise import PersonaliseRecipe, PersonaliseTask, personalise, personalised, recipe_for
from unrender.train.recipe import Stage, TrainConfig

CPU = InferenceOptions("cpu", "float32")
QUICK = TrainConfig(
    steps=3, stages=(Stage(1.0, SIDE, 2),), lr=5e-3, warmup=1, ema_decay=0.0, precision="no", validate_every=0
)
ADAPTERS = "pytorch_lora_weights.safetensors"


def picture(seed: int = 0) -> Frames:
    return Frames(torch.rand(1, 3, 80, 100, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def v_base(tmp_path_factory) -> Path:
    return sd_folder(tmp_path_factory.mktemp("v"))


def recipe(base: Path, **changes) -> PersonaliseRecipe:
    return replace(PersonaliseRecipe(QUICK, str(base), "chair", concepts=2), **changes)


def adapters_in(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / ADAPTERS)


@pytest.mark.filterwarnings("ignore")
def test_adapters_of_rank_four_that_diffusers_reads_too(v_base, tmp_path):
    folder = personalise(recipe(v_base, concepts=0), picture(), tmp_path / "run")
    tensors = adapters_in(folder)
    assert {min(tensor.shape) for tensor in tensors.values()} == {4}
    assert any(
        float(tensor.abs().max()) > 0
        for name, tensor in tensors.items()
        if name.endswith("up.weight") or "lora_B" in name
    )
    assert all("lora" in name and name.startswith("unet.") for name in tensors)
    told = (torch.randn(1, 4, 8, 8), 5, torch.randn(1, 3, 8))
    ours = load_engine(v_base, "text_to_image", CPU, adaptable=True).checkpoint.unet
    before = ours(*told).sample
    load_adapters(ours, folder)
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(v_base)
    pipeline.load_lora_weights(folder)
    with torch.no_grad():
        torch.testing.assert_close(pipeline.unet(*told).sample, ours(*told).sample, atol=1e-4, rtol=1e-3)
        assert float((before - ours(*told).sample).abs().max()) > 1e-4


@pytest.fixture(scope="module")
def taught(v_base, tmp_path_factory) -> Path:
    """A run with concept pictures."""
    out = tmp_path_factory.mktemp("taught") / "run"
    personalise(recipe(v_base), picture(), out)
    return out


def test_the_losses_are_of_target_and_concept(v_base, taught, tmp_path):
    concepts = taught / "concept"
    assert len(list(concepts.glob("*.png"))) == 2
    personalise(recipe(v_base, preservation=3.0), picture(), tmp_path / "thrice", concepts=concepts)
    personalise(recipe(v_base, concepts=0), picture(), tmp_path / "none")
    both, thrice, none = (logged(out)[0] for out in (taught, tmp_path / "thrice", tmp_path / "none"))
    assert thrice["concept"] == pytest.approx(3 * both["concept"], rel=1e-5)
    assert "concept" not in none
    assert not (tmp_path / "none" / "concept").exists()


def test_it_learns_its_picture(v_base, tmp_path):
    """With its adapters a model errs less on the picture, at levels and noises that it was not taught at."""
    flat = Frames(torch.full((1, 3, 64, 64), 0.6))
    config = replace(QUICK, steps=30, lr=2e-2)
    adapters = personalise(recipe(v_base, config=config, concepts=0), flat, tmp_path / "run")
    engine = load_engine(v_base, "text_to_image", CPU, adaptable=True)
    tokens = TextToImage(engine).embed([recipe(v_base).style_prompt, recipe(v_base).class_prompt])
    task = PersonaliseTask(engine, display_codes(flat), torch.empty(0), tokens, 1.0)

    @torch.no_grad()
    def error() -> float:
        specs = [BatchSpec(SIDE, 4, 1000 + seed) for seed in range(6)]
        return sum(float(task.losses(task.networks, spec)["target"]) for spec in specs)

    load_adapters(engine.checkpoint.unet, adapters)
    learnt = error()
    with adapters_off(engine.checkpoint.unet):
        assert learnt < 0.98 * error()


def test_the_same_picture_is_taught_once_and_others_apart(v_base, tmp_path):
    calls: list[int] = []

    def taught(recipe: PersonaliseRecipe, target: Frames) -> Path:
        return personalised(recipe, target, lambda step, loss: calls.append(step), tmp_path / "cache")

    one = recipe(v_base, concepts=1, config=replace(QUICK, steps=1))
    first = taught(one, picture())
    assert calls == [1]
    assert taught(one, picture()) == first
    assert calls == [1]
    others = [
        taught(one, picture(1)),
        taught(replace(one, class_name="table"), picture()),
        taught(replace(one, preservation=2.0), picture()),
    ]
    assert len({first, *others}) == 4
    assert calls == [1] * 4
    assert len(list((tmp_path / "cache").glob("concept-*"))) == 2  # of chairs, and of tables
    assert not list((tmp_path / "cache").glob("*/concept"))


def test_another_model_of_the_same_name_is_another_one(tmp_path):
    folder = sd_folder(tmp_path)
    first = personalised(recipe(folder, concepts=0), picture(), cache=tmp_path / "cache")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    safetensors.torch.save_file({k: v * 1.01 for k, v in safetensors.torch.load_file(path).items()}, path)
    assert personalised(recipe(folder, concepts=0), picture(), cache=tmp_path / "cache") != first


def test_a_folder_teaches_one_picture(v_base, tmp_path):
    personalise(recipe(v_base, concepts=0), picture(), tmp_path / "run")
    with pytest.raises(UserError, match="holds a run of another recipe"):
        personalise(recipe(v_base, concepts=0), picture(1), tmp_path / "run")


def test_a_killed_run_goes_on_and_makes_no_concept_twice(v_base, taught, tmp_path):
    shutil.copytree(taught / "concept", tmp_path / "half" / "concept")
    shutil.copy(taught / "recipe.json", tmp_path / "half")
    made = tmp_path / "half" / "concept" / "0000.png"
    (tmp_path / "half" / "concept" / "0001.png").unlink()
    before = made.stat().st_mtime_ns
    again = personalise(recipe(v_base), picture(), tmp_path / "half")
    assert made.stat().st_mtime_ns == before
    assert same_weights(taught / "model", again)


def test_prompts_say_the_class_with_attributes_of_many_kinds():
    assert [class_prompt(name) for name in ("chair", "armchair", " old  car ")] == [
        "a photo of a chair", "a photo of an armchair", "a photo of an old car",
    ]  # fmt: skip
    prompts = concept_prompts("chair", 200, 0)
    assert prompts == concept_prompts("chair", 200, 0) != concept_prompts("chair", 200, 1)
    assert all(text.startswith("a photo of a") and text.endswith(" chair") for text in prompts)
    assert len(set(prompts)) > 100
    with pytest.raises(UserError, match="an empty class name"):
        class_prompt("  ")
    chair = PersonaliseRecipe(class_name="chair")
    assert chair.guidance_prompt == "a photo of a chair in a scene in the style of sks rendering"
    assert (chair.lora.rank, chair.concepts) == (4, 36)


def test_small_models_have_a_recipe_of_their_own(v_base):
    assert recipe_for(str(v_base)).config.lr > PersonaliseRecipe().config.lr
    with pytest.raises(UserError, match="no model is called nothing-like-it"):
        recipe_for("nothing-like-it")


@pytest.mark.parametrize("prediction", ["epsilon", pytest.param("v_prediction", marks=pytest.mark.slow)])
def test_a_folder_in_the_official_layout_from_the_shell_to_guidance(prediction, tmp_path, capsys):
    base = sd_folder(tmp_path, prediction)
    write_image(tmp_path / "photo.png", picture().rgb[0])
    command = [
        "train", "personalise", str(tmp_path / "photo.png"), "--class-name", "chair", "--base", str(base),
        "-o", str(tmp_path / "run"), "--concepts", "1", "--steps", "2",
    ]  # fmt: skip
    assert main(command) == 0
    adapters = Path(capsys.readouterr().out.strip())
    assert (adapters / ADAPTERS).is_file()
    said = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert said["recipe"]["lora"]["rank"] == 4
    made = ["generate", "a chair", "--model", str(base), "--lora", str(adapters), "--steps", "1"]
    assert main([*made, "-o", str(tmp_path / "made.png")]) == 0
    prompt = PersonaliseRecipe(class_name="chair").guidance_prompt
    distillation = ScoreDistillation.from_pretrained(base, prompt, adapters=adapters, inference=CPU)
    region = torch.zeros(1, 1, 80, 100)
    region[..., 30:50, 40:60] = 1
    composite = picture().rgb.requires_grad_(True)
    DiffusionGuidance.around(distillation, region).loss(composite, 0, 600).backward()
    assert composite.grad is not None
    assert bool(composite.grad.isfinite().all())
    assert float(composite.grad.abs().sum()) > 0
    assert main([*command[:4], " ", *command[5:]]) == 2
    assert "an empty class name" in capsys.readouterr().err
