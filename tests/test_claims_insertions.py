"""Claims about insertions, on a pair that is rendered here and a tiny random model: everything is measured."""

from pathlib import Path

import pytest
import torch

from sd_folders import sd_folder
from unrender.cli.evaluate_claims import Personaliser
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.claims.insertions import contestants as who
from unrender.evaluate.claims.insertions.claims import INSERTION_CLAIMS
from unrender.evaluate.claims.insertions.contest import OBJECT_PSNR, PSNR, RMSE, guided_fit
from unrender.evaluate.claims.insertions.lights import constant_light, mirrored_light
from unrender.evaluate.claims.insertions.pairs import InsertionCase, read_pairs
from unrender.evaluate.claims.items import Items
from unrender.evaluate.claims.models import ContestSettings, Models
from unrender.evaluate.claims.run import evaluate_claims
from unrender.insert import GUIDED, Placement
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap, sample
from unrender.scene.frames import Frames

RED, BLUE = torch.tensor([1.0, 0.1, 0.1]), torch.tensor([0.1, 0.1, 1.0])
QUICK = ContestSettings(guided_steps=2, personalise_steps=1, concepts=1, samples=64)


def halves() -> Frames:
    """Red on the left, blue on the right."""
    rgb = torch.where(torch.arange(16) < 8, RED[:, None], BLUE[:, None])
    return Frames(rgb[None, :, None].expand(1, 3, 16, 16).clone(), hdr=True)


@pytest.mark.parametrize(
    ("direction", "colour"),
    [
        ((-0.4, 0.0, -1.0), RED),  # before the camera, on its left
        ((0.4, 0.0, -1.0), BLUE),
        ((-0.4, 0.0, 1.0), RED),  # behind it, mirrored
        ((0.4, 0.2, 1.0), BLUE),
        ((-1.0, 0.0, 0.1), RED),  # out of view: the edge goes on
        ((1.0, 0.6, -0.1), BLUE),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_mirrored_photo_lights_from_where_its_pixels_look(direction, colour, turned):
    pose = torch.eye(4)
    if turned:  # a quarter to the right: the camera's -Z is the world's +X
        pose[:3, :3] = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    camera = Camera.perspective((16, 16), 60.0, pose[None])
    light = mirrored_light(halves(), camera)
    world = pose[:3, :3] @ torch.tensor(direction)
    torch.testing.assert_close(
        sample(light.radiance, torch.nn.functional.normalize(world, dim=0)[None])[0, :, 0], colour
    )


def test_a_constant_light_is_the_photos_mean():
    light = constant_light(halves())
    torch.testing.assert_close(light.radiance.amin((0, 2, 3)), (RED + BLUE) / 2)
    torch.testing.assert_close(light.radiance.amax((0, 2, 3)), (RED + BLUE) / 2)


def test_the_region_is_the_object_and_its_shadow_by_the_truth_alone():
    photo, mask = Frames(torch.full((1, 3, 20, 20), 0.5), hdr=True), torch.zeros(1, 1, 20, 20)
    mask[..., :4, :4] = 1.0
    truth = photo.rgb.clone()
    truth[..., 10:, :] = 0.3  # in shadow
    case = InsertionCase(photo, truth, mask, EnvironmentMap(torch.ones(1, 3, 4, 8)), Path(), Placement(), "")
    region = case.region[0, 0]
    assert bool(region[:4, :4].all())
    assert bool(region[11:].all())
    assert not bool(region[5:7].any())


def test_ablations_leave_out_one_thing_and_few_steps_are_larger():
    assert guided_fit("lds", GUIDED.steps) == GUIDED
    assert guided_fit("lds", 6).rate == pytest.approx(10 * GUIDED.rate)
    assert (guided_fit("no-tones", 6).tones, guided_fit("no-tones", 6).separate) == (False, True)
    assert (guided_fit("no-fusion", 6).tones, guided_fit("no-fusion", 6).separate) == (True, False)


def test_a_folder_without_pairs_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no pairs in"):
        read_pairs(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("vectorised_mitsuba")
def test_everything_is_measured_and_the_true_light_is_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from unrender.synth import generate_pairs

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generate_pairs(tmp_path / "pairs", 1, seed=1, resolution=48, samples=64)
    (case,) = read_pairs(tmp_path / "pairs")
    assert case.class_name
    assert 0.02 < float(case.region.float().mean()) < 0.9
    (tmp_path / "models").mkdir()
    sd_folder(tmp_path / "models", name="text-to-image")
    models = Models(tmp_path / "models", InferenceOptions("cpu", "float32"), 0, QUICK, Personaliser(QUICK, 0))
    found = evaluate_claims(Items(pairs=[case]), models, claims=INSERTION_CLAIMS)
    for outcome in found.outcomes:
        assert set(outcome.answers) == set(outcome.claim.contestants), outcome.claim.id
        assert outcome.verdict.word == "undecided"  # of one pair
    scores = {one: answer.scores for outcome in found.outcomes for one, answer in outcome.answers.items()}
    best = max(scores, key=lambda one: scores[one][PSNR])
    assert best == who.TRUE_LIGHT
    assert scores[who.TRUE_LIGHT][OBJECT_PSNR] > scores[who.UNCHANGED][OBJECT_PSNR] + 6
    guided = [scores[one][RMSE] for one in (who.LDS, who.SDS, who.NO_TONES, who.NO_FUSION, who.SHADING)]
    assert len(set(guided)) == len(guided)  # each does something of its own
    assert (
        len(list((tmp_path / "cache").rglob("pytorch_lora_weights.safetensors"))) == 2
    )  # taught once, and once without
