"""Claims about sets of views, on tiny random networks: everything is measured, bounds lie where they must."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrender.cli import main
from unrender.diffusion.checkpoints.loader import save_checkpoint
from unrender.diffusion.options import InferenceOptions
from unrender.evaluate.claims.items import Items
from unrender.evaluate.claims.models import ContestSettings, Models
from unrender.evaluate.claims.run import evaluate_claims
from unrender.evaluate.claims.training import VIEW_TRAINING
from unrender.evaluate.claims.views import contestants as who
from unrender.evaluate.claims.views.claims import VIEW_CLAIMS
from unrender.evaluate.claims.views.contest import LAST, LAST_TO_FIRST, long_path, nearest_to_first, view_sets
from unrender.evaluate.multiview import REPROJECTION, SUBJECT_PSNR, WHOLE_PSNR
from unrender.files.shards import Clip, write_shard
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.trajectory import orbit
from view_scenes import box_picture, view_card, view_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # diffusers' own


def box_clip(azimuths: tuple[float, ...] = (0.0, 100.0, 200.0, 320.0), size: int = 32) -> Clip:
    """The coloured box from cameras about it, as `synth --cameras` would write it."""
    pose = torch.cat([orbit(torch.zeros(3), 3.0, 1, elevation=25.0, start=angle) for angle in azimuths])
    camera = Camera.perspective((size, size), 45.0, pose)
    rgb, depth = box_picture(camera)
    frames = [
        GBuffer(
            rgb=rgb[i : i + 1],
            depth=depth[i : i + 1],
            instance=depth[i : i + 1].isfinite().float(),
            mask=depth[i : i + 1].isfinite().float(),
            camera=camera.frame(i),
            depth_kind="metric",
        )
        for i in range(len(camera))
    ]
    light = EnvironmentMap(torch.ones(1, 3, 4, 8))
    return Clip(frames[0], light, "", 0, things=("box",), views=tuple(frames[1:]))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    card = view_card()
    checkpoint = view_checkpoint(card.with_schedule(steps=1))
    save_checkpoint(checkpoint, folder / "views" / "model")
    for name in VIEW_TRAINING:
        (folder / name).mkdir(exist_ok=True)
        if name != "views":
            (folder / name / "model").symlink_to(folder / "views" / "model")
        (folder / name / "recipe.json").write_text('{"config": {"steps": 7}}')
    return folder


def test_a_long_path_goes_round_and_ends_beside_its_start():
    (one,) = view_sets([box_clip()])
    last = nearest_to_first(one)
    assert last == 3  # 40 degrees away
    camera = one.views.camera
    assert camera is not None
    path = long_path(one, 30)
    torch.testing.assert_close(path.camera.pose[0], camera.pose[0])
    torch.testing.assert_close(path.camera.pose[-1], camera.pose[last])
    place = path.camera.pose[:, :3, 3] - one.subject.pose[:3, 3]
    azimuth = torch.atan2(place[:, 0], place[:, 2]).rad2deg()
    steps = torch.remainder(azimuth.diff() + 180, 360) - 180
    assert bool((steps.abs() < 16).all())
    assert abs(float(steps.sum())) == pytest.approx(320, abs=3)  # the long way
    looks = torch.nn.functional.normalize(-path.camera.pose[:, :3, 2], dim=1)
    assert bool(((looks * torch.nn.functional.normalize(-place, dim=1)).sum(1) > 0.99).all())
    # As seen in a mirror it goes the other way.
    (other,) = view_sets([box_clip((0.0, 260.0, 160.0, 40.0))])
    place = long_path(other, 30).camera.pose[:, :3, 3] - other.subject.pose[:3, 3]
    turned = torch.remainder(torch.atan2(place[:, 0], place[:, 2]).diff() + math.pi, 2 * math.pi) - math.pi
    assert float(turned.sum().rad2deg()) == pytest.approx(-float(steps.sum()), abs=3)


def test_sets_that_nothing_can_be_asked_of_are_left_out():
    assert list(view_sets([replace(box_clip(), views=())])) == []
    assert list(view_sets([box_clip((0.0, 90.0))])) == []
    assert list(view_sets([box_clip((0.0, 0.0, 0.0))])) == []  # no second place


def test_everything_is_measured_and_the_bounds_are_bounds(models: Path):
    sets = list(view_sets([box_clip()]))
    contest = Models(models, InferenceOptions("cpu", "float32"), conditions=ContestSettings(path_views=6))
    found = evaluate_claims(Items(views=sets), contest, claims=VIEW_CLAIMS)
    for outcome in found.outcomes:
        assert set(outcome.answers) == set(outcome.claim.contestants), outcome.claim.id
        assert outcome.verdict.word in ("undecided", "replays"), outcome  # of one set; all are trained alike
    answers = {one: answer.scores for outcome in found.outcomes for one, answer in outcome.answers.items()}
    assert answers[who.VIEWS] == pytest.approx(answers[who.NO_PROJECTION], nan_ok=True)  # the same weights
    assert answers[who.ALONE][WHOLE_PSNR] != answers[who.VIEWS][WHOLE_PSNR]
    assert answers[who.TRUTH][REPROJECTION] > answers[who.SHUFFLED][REPROJECTION]
    assert answers[who.TRUTH][SUBJECT_PSNR] == math.inf
    assert answers[who.LAST_TRUTH][LAST_TO_FIRST] > max(
        answers[one][LAST_TO_FIRST] for one in (who.LONG, who.DIRECT, who.LAST_REPEATED)
    )
    assert answers[who.LAST_TRUTH][LAST] == 100
    assert answers[who.LONG][LAST] != answers[who.DIRECT][LAST]
    trained = {one: answer.trained for outcome in found.outcomes for one, answer in outcome.answers.items()}
    assert trained[who.NO_CROSS_FRAME] == (7,)


def test_views_alone_are_enough_of_a_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_shard(tmp_path / "shard-000000.tar", [("000000", box_clip())])
    arguments = ["--views", str(tmp_path), "--models", str(tmp_path), "--only", "views-agree,leading-broken"]
    assert main(["evaluate", "claims", *arguments]) == 0
    told = capsys.readouterr().out
    assert f"no folder views: `unrender train viewdiff --data SETS --base TEXT_TO_IMAGE -o {tmp_path}/views`" in told
    assert "no pictures: `--data DIR`" in told
