"""Marigold against diffusers' own pipelines, from the same noise; and what its maps mean, against the formulas."""

import json
import shutil

import pytest
import torch
from diffusers import MarigoldDepthPipeline, MarigoldIntrinsicsPipeline, MarigoldNormalsPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from official_folders import official_scheduler, write_official
from official_networks import (
    TOLERANCE,
    Networks,
    as_frames,
    decoded,
    depth_at_one_end,
    largest_difference,
    load_networks,
    load_renderer,
    normals_of_length,
    photo_codes,
    plain_inputs,
    resized,
    scene_referred,
    unit,
    with_habit,
)
from unrender.diffusion.checkpoints.published.marigold import MARIGOLD
from unrender.diffusion.options import InferenceOptions
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.color import srgb_to_linear

CARDS = {card.id.removeprefix("prs-eth/marigold-"): card for card in MARIGOLD}
# As they lie; padded below and to the right; enlarged; made smaller, to rows that are no multiple of 8.
PHOTOS = [(48, 64, 64), (42, 58, 0), (75, 50, 96), (90, 121, 64)]
APPEARANCE = {
    "target_names": ["albedo", "material"],
    "albedo": {"prediction_space": "srgb", "sub_target_names": []},
    "material": {"prediction_space": "linear", "sub_target_names": ["roughness", "metallicity", None]},
}
LIGHTING = {
    "target_names": ["albedo", "shading", "residual"],
    "albedo": {"prediction_space": "linear", "up_to_scale": False, "sub_target_names": []},
    "shading": {"prediction_space": "linear", "up_to_scale": True, "sub_target_names": []},
    "residual": {"prediction_space": "linear", "up_to_scale": True, "sub_target_names": []},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    parent = tmp_path_factory.mktemp("marigold")
    written = {name: write_official(parent, card) for name, card in CARDS.items()}
    depth_at_one_end(written["depth-v1-0"])
    for name in ("normals-v1-1", "normals-v0-1"):
        normals_of_length(written[name])
    return written


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def pipeline(folder, name, **changes):
    """diffusers' pipeline of a folder."""
    networks = load_networks(folder)
    parts = {part: getattr(networks, part) for part in ("unet", "vae", "scheduler", "text_encoder", "tokenizer")}
    defaults = {"default_denoising_steps": CARDS[name].sampling.schedule.steps, "default_processing_resolution": 768}
    if name.startswith("depth"):
        made = MarigoldDepthPipeline(**parts, prediction_type="depth", **defaults, **changes)
    elif name.startswith("normals"):
        made = MarigoldNormalsPipeline(**parts, prediction_type="normals", **defaults, **changes)
    else:
        targets = LIGHTING if "lighting" in name else APPEARANCE
        made = MarigoldIntrinsicsPipeline(
            **parts, prediction_type="intrinsics", target_properties=targets, **defaults, **changes
        )
    made.set_progress_bar_config(disable=True)
    return made


def in_conventions(name: str, prediction: torch.Tensor, material: float = 1.0) -> dict[str, torch.Tensor]:
    """What a pipeline predicts, as unrender's maps; roughness and metallicity to the power `material`."""
    if name.startswith("depth"):
        return {"depth": 1 + prediction}
    if name.startswith("normals"):
        return {"normal": prediction}
    pictures = prediction.split(1)
    if "lighting" in name:
        return dict(zip(("diffuse_albedo", "shading", "residual"), pictures, strict=True))
    return {
        "base_color": srgb_to_linear(pictures[0]),
        "roughness": pictures[1][:, :1] ** material,
        "metallic": pictures[1][:, 1:2] ** material,
    }


def noise_for(renderer, photo) -> torch.Tensor:
    return torch.randn(renderer.noise_shape(photo), generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("height", "width", "long_side"), PHOTOS)
@pytest.mark.parametrize("name", CARDS)
def test_equals_diffusers_from_the_same_noise(folders, name, height, width, long_side, steps):
    codes = photo_codes(height, width)
    renderer, photo = load_renderer(folders[name], CARDS[name], long_side, faithful=True), as_frames(codes)
    noise = noise_for(renderer, photo)
    official = pipeline(folders[name], name)(
        codes / 255,
        num_inference_steps=steps,
        processing_resolution=long_side,
        latents=noise,
        output_type="pt",
        output_latent=True,
    )
    latents = renderer.latents(photo, steps=steps, noise=noise)
    torch.testing.assert_close(latents, official.latent, atol=TOLERANCE, rtol=0)
    found = renderer(photo, steps=steps, noise=noise)
    expected = in_conventions(name, official.prediction)
    assert set(found.maps) == {*expected, "rgb"}
    assert largest_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("name", CARDS)
def test_takes_as_many_steps_as_the_pipeline_does_by_itself(folders, name):
    codes = photo_codes(32, 40)
    renderer, photo = load_renderer(folders[name], CARDS[name], 0, faithful=True), as_frames(codes)
    noise = noise_for(renderer, photo)
    official = pipeline(folders[name], name)(
        codes / 255, processing_resolution=0, latents=noise, output_type="pt", output_latent=True
    )
    torch.testing.assert_close(renderer.latents(photo, noise=noise), official.latent, atol=TOLERANCE, rtol=0)


def test_a_folder_that_says_how_many_steps_and_pixels_is_believed(folders, tmp_path):
    """The pipelines of diffusers read both from `model_index.json`."""
    folder = shutil.copytree(folders["depth-v1-0"], tmp_path / "marigold-depth-v1-0")
    said = {"default_denoising_steps": 3, "default_processing_resolution": 48}
    (folder / "model_index.json").write_text(json.dumps(said))
    codes = photo_codes(42, 58)
    renderer, photo = load_renderer(folder, CARDS["depth-v1-0"], faithful=True), as_frames(codes)
    assert renderer.card.sampling.schedule.steps == 3
    noise = noise_for(renderer, photo)
    official = pipeline(folder, "depth-v1-0")(
        codes / 255, 3, processing_resolution=48, latents=noise, output_type="pt", output_latent=True
    )
    torch.testing.assert_close(renderer.latents(photo, noise=noise), official.latent, atol=TOLERANCE, rtol=0)
    wished = InverseRenderer.from_pretrained(folder, InferenceOptions(device="cpu", long_side=32))
    assert wished.card.maps.size.long_side == 32


def test_a_folder_whose_z_is_only_half_a_range_is_believed(folders, tmp_path):
    folder = shutil.copytree(folders["normals-v1-1"], tmp_path / "marigold-normals-v1-1")
    (folder / "model_index.json").write_text(json.dumps({"use_full_z_range": False}))
    codes = photo_codes(42, 58)
    renderer, photo = load_renderer(folder, CARDS["normals-v1-1"], 64, faithful=True), as_frames(codes)
    noise = noise_for(renderer, photo)
    official = pipeline(folder, "normals-v1-1", use_full_z_range=False)(
        codes / 255, processing_resolution=64, latents=noise, output_type="pt"
    )
    assert float((official.prediction[:, 2]).min()) >= 0
    assert largest_difference(renderer(photo, noise=noise), {"normal": official.prediction}) < TOLERANCE


@pytest.mark.parametrize("to_one", [False, True])
def test_the_last_step_goes_where_the_scheduler_file_says(folders, tmp_path, to_one):
    folder = shutil.copytree(folders["depth-v1-0"], tmp_path / "marigold-depth-v1-0")
    scheduler = official_scheduler(CARDS["depth-v1-0"]).config
    DDIMScheduler.from_config(scheduler, set_alpha_to_one=to_one).save_pretrained(folder / "scheduler")
    codes = photo_codes(48, 64)
    renderer, photo = load_renderer(folder, CARDS["depth-v1-0"], 0, faithful=True), as_frames(codes)
    noise = noise_for(renderer, photo)
    official = pipeline(folder, "depth-v1-0")(
        codes / 255, 4, processing_resolution=0, latents=noise, output_type="pt", output_latent=True
    )
    torch.testing.assert_close(renderer.latents(photo, steps=4, noise=noise), official.latent, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", CARDS)
def test_a_scene_referred_photo_is_exposed_first(folders, name):
    photo, shown = scene_referred(photo_codes(42, 58))
    renderer = load_renderer(folders[name], CARDS[name], 64, faithful=True)
    noise = noise_for(renderer, photo)
    official = pipeline(folders[name], name)(shown, 1, processing_resolution=64, latents=noise, output_type="pt")
    found = renderer(photo, steps=1, noise=noise)
    assert largest_difference(found, in_conventions(name, official.prediction)) < TOLERANCE


HABITS = {
    "the noisy target comes first": ("depth-v1-1", {"order": "noise_first"}),
    "a sample of the photo's latent": ("depth-v1-1", {"posterior": "sample"}),
    "another scale of latents": ("depth-v1-1", {"scale": 0.2}),
    "a padded prompt": ("depth-v1-1", {"padded_prompts": True}),
    "no padding": ("depth-v1-1", {"size": {"fit": "cut"}}),
    "sides rounded to the nearest pixel": ("depth-v1-1", {"size": {"rounding": "nearest"}}),
    "resized as light": ("depth-v1-1", {"size": {"space": "linear"}}),
    "resized as 8 bits": ("depth-v1-1", {"size": {"space": "bytes"}}),
    "aliased on the way in": ("depth-v1-1", {"size": {"inward": "bilinear_sharp"}}),
    "antialiased on the way back": ("depth-v1-1", {"size": {"back": "bilinear"}}),
    "steps that begin early": ("depth-v1-1", {"schedule": {"spacing": "leading"}}),
    "betas that leave some signal": ("depth-v1-1", {"schedule": {"zero_terminal_snr": False}}),
    "steps that begin late": ("depth-v1-0", {"schedule": {"spacing": "trailing"}}),
    "betas that leave none": ("depth-v1-0", {"schedule": {"zero_terminal_snr": True}}),
    "a clean last step": ("depth-v1-1", {"schedule": {"final_step": "clean"}}),
    "noise as what is predicted": ("depth-v1-0", {"schedule": {"prediction": "epsilon"}}),
    "a clean latent as what is predicted": ("depth-v1-1", {"schedule": {"prediction": "sample"}}),
    "stretched depth": ("depth-v1-0", {"codec": {"stretched": True}}),
    "mirrored x": ("normals-v1-1", {"codec": {"signs": (-1, 1, 1)}}),
    "normals that are not clipped": ("normals-v1-1", {"codec": {"vectors": "unit"}}),
    "normals that are unit at the end alone": ("normals-v1-1", {"codec": {"vectors": "clipped"}}),
    "half a z": ("normals-v1-1", {"codec": {"half_z": True}}),
    "a linear albedo": ("iid-appearance-v1-1", {"codec": {"transfer": "linear"}}),
    "a power albedo": ("iid-appearance-v1-1", {"codec": {"transfer": "gamma22"}}),
    "pictures in another order": ("iid-appearance-v1-1", {"target_order": (1, 0)}),
    "an albedo on the display curve": ("iid-lighting-v1-1", {"codec": {"transfer": "srgb"}}),
    "residual before shading": ("iid-lighting-v1-1", {"order": (0, 2, 1)}),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_card_with_another_habit_is_found_out(folders, habit):
    """Each habit of the cards shows in the maps: were it wrong, the tests above would fail."""
    name, changes = HABITS[habit]
    codes, differences = photo_codes(43, 61), []
    photo = as_frames(codes)
    for long_side in (48, 72):
        right = load_renderer(folders[name], CARDS[name], long_side, faithful=True)
        wrong = with_habit(right, changes)
        noise = noise_for(right, photo)
        official = pipeline(folders[name], name)(
            codes / 255, 4, processing_resolution=long_side, latents=noise, output_type="pt"
        )
        expected = in_conventions(name, official.prediction)
        assert largest_difference(right(photo, steps=4, noise=noise), expected) < TOLERANCE
        height, width = wrong.noise_shape(photo)[2:]
        found = wrong(photo, steps=4, noise=noise[..., :height, :width])
        differences.append(largest_difference(found, expected))
    assert max(differences) > 10 * TOLERANCE


def clean_latent(networks: Networks, given: torch.Tensor, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """DDIM as the folder's scheduler walks it, to the clean latent that its last step predicts."""
    latent, tokens, scheduler = noise, networks.empty_tokens(), networks.scheduler
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        output = networks.unet(torch.cat((given, latent), dim=1), timestep, tokens).sample
        step = scheduler.step(output, timestep, latent)
        latent = step.prev_sample
    return step.pred_original_sample


@pytest.mark.parametrize(("photo_size", "steps"), list(zip(PHOTOS, (1, 4, 4, 1), strict=True)))
@pytest.mark.parametrize("name", CARDS)
def test_by_default_light_is_resized_and_the_clean_latent_is_decoded(folders, name, photo_size, steps):
    height, width, long_side = photo_size
    codes = photo_codes(height, width)
    renderer, photo = load_renderer(folders[name], CARDS[name], long_side), as_frames(codes)
    noise, networks = noise_for(renderer, photo), load_networks(folders[name])
    given, content = plain_inputs(networks, codes, long_side)
    latent = clean_latent(networks, given, noise, steps)
    pictures = torch.cat([decoded(networks, one, content) for one in latent.split(4, dim=1)])
    if name.startswith("depth"):
        maps = {"depth": 1 + (pictures.mean(1, keepdim=True).clip(-1, 1) + 1) / 2}
    elif name.startswith("normals"):
        maps = {"normal": unit(pictures.clip(-1, 1))}
    else:
        maps = in_conventions(name, (pictures.clip(-1, 1) + 1) / 2, material=2.2)
    maps = {key: resized(values, (height, width)) for key, values in maps.items()}
    if "normal" in maps:
        maps["normal"] = unit(maps["normal"])
    found = renderer(photo, steps=steps, noise=noise)
    torch.testing.assert_close(renderer.latents(photo, steps=steps, noise=noise), latent, atol=TOLERANCE, rtol=0)
    assert largest_difference(found, maps) < TOLERANCE


def test_cards_know_their_steps_and_sizes():
    """Where no folder says otherwise: few steps for the models made for few, 768 pixels."""
    steps = {name: card.sampling.schedule.steps for name, card in CARDS.items()}
    assert steps == {name: 4 if name.endswith("v1-1") else 50 for name in CARDS}
    assert {card.maps.size.long_side for card in MARIGOLD} == {768}
