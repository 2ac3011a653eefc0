"""Training of text-to-image: a tiny run from nothing, what it leaves, and what comes of stopping it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from test_synth_captions import clip
from tiny_task import Killed, logged, same_weights
from unrender.cli import main
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.files.shards import write_shard
from unrender.synth.captions import scene_words, vocabulary
from unrender.train.captioned import CaptionedStills
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.text_to_image import (
    MINI_T2I,
    RECIPES,
    TextToImageRecipe,
    build_text_encoder,
    build_unet,
    train_text_to_image,
)
from unrender.train.tokenizer import build_tokenizer
from unrender.train.vae import VaeRecipe, centre_latents, load_autoencoder, train_vae

CPU = InferenceOptions("cpu", "float32")
CONFIG = TrainConfig(
    steps=4, stages=(Stage(1.0, 32, 2),), warmup=1, ema_decay=0.5, precision="no", save_every=2, validate_every=4
)
WIDTHS = (8, 8, 8, 8)


def stills(count: int = 6, seed: int = 0) -> CaptionedStills:
    g = torch.Generator().manual_seed(seed)
    (words,) = scene_words(clip(lights=()))
    return CaptionedStills((torch.rand(count, 3, 32, 32, generator=g) * 255).byte(), (words,) * count)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory) -> str:
    recipe = VaeRecipe(replace(CONFIG, steps=2, validate_every=0), widths=WIDTHS)
    return str(train_vae(recipe, stills(), tmp_path_factory.mktemp("vae") / "run"))


def recipe(autoencoder: str) -> TextToImageRecipe:
    return TextToImageRecipe(CONFIG, autoencoder, (8, 16), heads=2, text_width=8, text_layers=1, text_length=12)


@pytest.fixture(scope="module")
def run(autoencoder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("t2i") / "run"
    train_text_to_image(recipe(autoencoder), stills(), out)
    return out


def test_centred_latents_decode_to_the_same_pictures(autoencoder):
    before, _ = load_autoencoder(Path(autoencoder))
    mean = torch.linspace(-2, 3, 8)
    after = centre_latents(before, mean)
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        latents = [each.encode(picture).latent_dist.mode() for each in (before, after)]
        pictures = [each.decode(latent).sample for each, latent in zip((before, after), latents, strict=True)]
    torch.testing.assert_close(latents[0] - latents[1], mean[:, None, None].expand_as(latents[0][0])[None])
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=1e-4)


def test_the_latents_of_an_autoencoder_lie_about_zero(autoencoder):
    trained, scale = load_autoencoder(Path(autoencoder))
    with torch.no_grad():
        latents = trained.encode(stills().shown(torch.arange(6))).latent_dist.mode() * scale
    # Of the same pictures that the mean was taken of, but for the roundings of half precision.
    assert latents.mean((0, 2, 3)).abs().max() < 0.05
    assert float(latents.std()) == pytest.approx(1, rel=0.02)


def test_a_run_leaves_a_model_that_makes_pictures_of_words(run):
    model = TextToImage.from_pretrained(run / "model", CPU)
    assert model.card == replace(MINI_T2I, latents=model.card.latents)
    first, second = (model(text, steps=2).rgb for text in ("a red chair", "a blue table"))
    assert first.shape == (1, 3, 128, 128)
    assert not torch.equal(first, second)
    assert (run / "validation" / "pictures-000004.png").is_file()
    assert all(line["noise"] > 0 for line in logged(run))


def test_the_folder_is_stable_diffusion_s_and_read_the_same_without_its_card(run, tmp_path):
    import shutil

    plain = tmp_path / "plain"
    shutil.copytree(run / "model", plain)
    for name in ("unrender.json", "tokens.safetensors"):
        (plain / name).unlink()
    said, own = find(plain).card, find(run / "model").card
    assert replace(said.sampling.schedule, steps=25, set_alpha_to_one=True) == own.sampling.schedule
    assert said.latents.channels == own.latents.channels
    assert said.latents.scale == pytest.approx(own.latents.scale)
    assert said.maps.size.multiple <= own.maps.size.multiple
    one, other = (TextToImage.from_pretrained(folder, CPU) for folder in (plain, run / "model"))
    torch.testing.assert_close(one.embed(["a chair"]), other.embed(["a chair"]))


def test_a_run_goes_on_from_a_model(run, tmp_path):
    on = TextToImageRecipe(replace(CONFIG, lr=0.0, steps=1, validate_every=0), start=str(run / "model"))
    train_text_to_image(on, stills(), tmp_path / "on")
    before, after = (folder / "model" for folder in (run, tmp_path / "on"))
    for part in ("unet", "vae", "text_encoder"):
        (weights,) = (path.name for path in (before / part).glob("*.safetensors"))
        first, second = (safetensors.torch.load_file(folder / part / weights) for folder in (before, after))
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert (before / "tokenizer" / "vocab.json").read_bytes() == (after / "tokenizer" / "vocab.json").read_bytes()
    with pytest.raises(UserError, match="expected one"):
        train_text_to_image(replace(on, autoencoder="somewhere"), stills(), tmp_path / "both")


def test_a_stopped_run_ends_with_the_same_weights(run, autoencoder, tmp_path):
    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train_text_to_image(recipe(autoencoder), stills(), tmp_path / "run", stop)
    model = train_text_to_image(recipe(autoencoder), stills(), tmp_path / "run")
    assert same_weights(model, run / "model")
    assert logged(tmp_path / "run") == logged(run)


def test_latents_are_kept_for_the_same_stills_and_made_anew_for_others(autoencoder, tmp_path):
    def latents() -> tuple[int, torch.Size]:
        path = tmp_path / "run" / "latents.safetensors"
        with safetensors.safe_open(path, framework="pt") as file:
            return path.stat().st_mtime_ns, file.get_tensor("32").shape

    train_text_to_image(recipe(autoencoder), stills(), tmp_path / "run")
    first = latents()
    assert first[1] == (6, 2, 8, 4, 4)
    train_text_to_image(recipe(autoencoder), stills(), tmp_path / "run")
    assert latents() == first
    train_text_to_image(recipe(autoencoder), stills(7), tmp_path / "run")
    assert latents()[1] == (7, 2, 8, 4, 4)


def test_another_recipe_and_no_autoencoder_are_one_line(run, autoencoder, tmp_path):
    with pytest.raises(UserError, match="holds a run of another recipe"):
        train_text_to_image(replace(recipe(autoencoder), dropout=0.5), stills(), run)
    with pytest.raises(UserError, match="has no autoencoder of `unrender train vae`"):
        train_text_to_image(recipe(str(tmp_path)), stills(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_model_that_ships_is_small():
    recipe, tokenizer = RECIPES["mini"], build_tokenizer(vocabulary(), RECIPES["mini"].text_length)
    networks = build_unet(MINI_T2I, recipe), build_text_encoder(tokenizer, recipe)
    numbers = sum(parameter.numel() for network in networks for parameter in network.parameters())
    assert 2 * numbers < 7.2e6


def test_from_the_shell(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    write_shard(tmp_path / "set" / "shard-000000.tar", [(f"{i:06d}", clip()) for i in range(2)])
    command = ["train", "text-to-image", "--autoencoder", str(tmp_path / "vae" / "model"), "-o", str(tmp_path / "run")]
    assert main([*command, "--data", str(tmp_path / "set"), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["widths"] == list(RECIPES["mini"].widths)
    assert main([*command, "--data", str(tmp_path / "set")]) == 2
    assert "has no autoencoder of `unrender train vae`" in capsys.readouterr().err
    assert main([*command, "--dataset", f"photos={tmp_path}"]) == 2
    assert "only pictures of `unrender synth` come with their words" in capsys.readouterr().err


@pytest.mark.slow
def test_all_of_it_from_the_shell(tmp_path):
    (tmp_path / "set").mkdir()
    write_shard(tmp_path / "set" / "shard-000000.tar", [(f"{i:06d}", clip()) for i in range(4)])
    data = ["--data", str(tmp_path / "set"), "--cache", str(tmp_path / "cache"), "--steps", "2"]
    assert main(["train", "vae", "--recipe", "photos", *data, "-o", str(tmp_path / "vae")]) == 0
    autoencoder = ["--autoencoder", str(tmp_path / "vae" / "model"), "--recipe", "smoke"]
    assert main(["train", "text-to-image", *autoencoder, *data, "-o", str(tmp_path / "run")]) == 0
    model = tmp_path / "run" / "model"
    assert main(["generate", "a chair", "--model", str(model), "--steps", "2", "-o", str(tmp_path / "a.png")]) == 0
    assert sum(os.path.getsize(path) for path in model.rglob("*") if path.is_file()) < 9e6
