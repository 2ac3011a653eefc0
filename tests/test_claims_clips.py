"""Claims about clips, on tiny random video models: everything is measured; and what an ablation leaves out is left out
in training, in the card and in what is run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffusion_renderer_folders import write_forward, write_inverse
from forward_scenes import constant_light
from tiny_models import DEPTH_PICTURE, THREE_PICTURES, tiny_card, tiny_checkpoint, tiny_lit_card
from unrender.cli import main
from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.loader import save_checkpoint
from unrender.diffusion.checkpoints.published.diffusion_renderer import FORWARD, INVERSE
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.claims.clips import contestants as who
from unrender.evaluate.claims.clips.claims import ANGLE, BASE_COLOR, CLIP_CLAIMS, FLICKER
from unrender.evaluate.claims.clips.contest import CLIPS, clip_cases
from unrender.evaluate.claims.items import Items
from unrender.evaluate.claims.models import ContestSettings, Models
from unrender.evaluate.claims.run import evaluate_claims
from unrender.evaluate.claims.training import CLIP_TRAINING
from unrender.evaluate.forward import PSNR_SRGB, SHADOWED_PSNR_SRGB
from unrender.files.shards import Clip, LitClip
from unrender.forward import DeferredRenderer
from unrender.forward.irradiance import lit_irradiance
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

RUNNING = InferenceOptions("cpu", "float32")
SIDE, FRAMES = 64, 2


def moving_wall() -> Clip:
    """A patterned wall that a camera goes along, under an even light and under half of it; half of it is in shadow."""
    poses = torch.eye(4).repeat(FRAMES, 1, 1)
    poses[:, 0, 3] = 0.1 * torch.arange(FRAMES)
    camera = Camera.perspective((SIDE, SIDE), 50.0, poses)
    ones = torch.ones(FRAMES, 1, SIDE, SIDE)
    pattern = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    colour = torch.nn.functional.interpolate(pattern, size=(SIDE, SIDE), mode="bicubic").clamp(0.1, 0.9)
    gbuffer = GBuffer(
        base_color=colour.expand(FRAMES, -1, -1, -1).clone(),
        normal=torch.cat((0 * ones, 0 * ones, ones), 1),
        depth=2 * ones,
        roughness=ones,
        metallic=0 * ones,
        mask=ones,
        camera=camera,
        depth_kind="metric",
    )
    dark = torch.where(torch.arange(SIDE) < SIDE // 2, 0.2, 1.0)
    lights = [constant_light(0.8), EnvironmentMap(0.5 * constant_light(0.8).radiance)]
    lit = []
    for light in lights:
        irradiance = lit_irradiance(gbuffer, light, torch.zeros(FRAMES)) * dark
        lit.append(LitClip(light, DeferredRenderer()(gbuffer, light).beauty * dark, irradiance))
    shown = gbuffer.with_maps(rgb=lit[0].rgb, irradiance=lit[0].irradiance)
    return Clip(replace(shown, irradiance_kind="metric"), lights[0], "a wall", 0, lights=(lit[1],))


@pytest.fixture(scope="module")
def cases():
    return list(clip_cases([moving_wall(), replace(moving_wall(), gbuffer=moving_wall().gbuffer.frame(0), lights=())]))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home, folder = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("models")
    small = {"size": replace(FORWARD.maps.size, short_side=64)}
    write_inverse(home / "inverse")
    write_card(INVERSE.with_maps(**small).with_schedule(steps=1), home / "inverse")
    write_forward(home / "forward", lora=False)
    light = replace(FORWARD.light, size=(64, 64))
    conditioning = tuple(light if one is FORWARD.light else one for one in FORWARD.conditioning)
    forward = replace(FORWARD.with_maps(**small).with_schedule(steps=1), conditioning=conditioning, adapter=None)
    write_card(forward, home / "forward")
    once = ScheduleCard(zero_terminal_snr=True, steps=1)
    save_checkpoint(tiny_checkpoint(tiny_card(targets=(*THREE_PICTURES, DEPTH_PICTURE), schedule=once)), home / "e2e")
    save_checkpoint(tiny_checkpoint(tiny_lit_card(schedule=once)), home / "lit")
    sources = {name: name.split("-")[1] for name in CLIP_TRAINING} | {"inverse-e2e": "e2e", "forward-e2e": "lit"}
    for name, source in sources.items():
        (folder / name).mkdir()
        (folder / name / "model").symlink_to(home / source)
        (folder / name / "recipe.json").write_text('{"config": {"steps": 7}}')
    return folder


def test_a_clip_has_one_exposure_with_its_light_and_stills_are_left_out(cases):
    (case,) = cases
    clip = moving_wall()
    gain = case.truth.maps["rgb"] / clip.gbuffer.maps["rgb"]
    torch.testing.assert_close(gain, torch.full_like(gain, float(gain.mean())))
    torch.testing.assert_close(case.light.radiance, clip.light.radiance * gain.mean())
    assert case.shadowed
    assert "rgb" not in case.surfaces.maps
    assert case.relit is not None
    assert not torch.equal(case.relit.light.radiance, clip.lights[0].light.radiance)
    with pytest.raises(UserError, match="no clips of several frames"):
        list(clip_cases([]))


def test_without_shadows_the_split_sum_is_the_truth(cases):
    (case,) = cases
    lit = DeferredRenderer()(case.surfaces, case.light).beauty
    plain = replace(case, truth=case.truth.with_maps(rgb=lit))
    answer = CLIPS.answer(who.SPLIT_SUM, plain, Models(Path(), RUNNING))
    assert CLIPS.score(who.SPLIT_SUM, answer, plain, Models(Path(), RUNNING))[PSNR_SRGB] > 60


def test_everything_is_measured(cases, models: Path):
    found = evaluate_claims(Items(clips=cases), Models(models, RUNNING), claims=CLIP_CLAIMS)
    for outcome in found.outcomes:
        assert set(outcome.answers) == set(outcome.claim.contestants), outcome.claim.id
        assert outcome.verdict.word == "undecided", outcome  # of one clip
    scores = {one: answer.scores for outcome in found.outcomes for one, answer in outcome.answers.items()}
    assert scores[who.VIDEO] == pytest.approx(scores[who.NO_LEVELS], nan_ok=True)  # the same weights
    assert scores[who.TRUTH][ANGLE] < 0.1 < scores[who.INVERSE][ANGLE]
    assert scores[who.FLAT][FLICKER[0]] < 1e-3
    assert scores[who.FLAT][BASE_COLOR] > scores[who.TRUTH][BASE_COLOR]
    assert scores[who.SPLIT_SUM][SHADOWED_PSNR_SRGB] > scores[who.MEAN_COLOUR][SHADOWED_PSNR_SRGB] - 10


def test_the_steps_of_video_models_are_a_condition_of_the_contest(cases, models: Path):
    (case,) = cases
    one, other = (
        CLIPS.answer(who.VIDEO, case, Models(models, RUNNING, conditions=ContestSettings(video_steps=steps)))
        for steps in (1, 2)
    )
    assert not torch.equal(one, other)


# What ablations leave out.


def test_ablations_are_options_and_in_the_recipe(capsys: pytest.CaptureFixture[str]):
    import json

    def dry(*words: str) -> dict:
        assert main(["train", *words, "--recipe", "smoke", "--dry-run", "-o", "run"]) == 0
        return json.loads(capsys.readouterr().out)

    assert dry("env-encoder", "--without", "log")["pictures"] == ["ldr", "direction"]
    assert dry("env-encoder")["pictures"] == ["ldr", "log", "direction"]
    plain, told = dry("video-forward"), dry("video-forward", "--no-levels", "--no-adapter")
    assert (plain["start"]["one_level"], plain["adapted"]) == (False, True)
    assert (told["start"]["one_level"], told["adapted"]) == (True, False)
