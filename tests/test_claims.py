"""Claims on tiny random models: everything is measured, and what is missing is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forward_scenes import constant_light, sphere
from tiny_models import DEPTH_PICTURE, THREE_PICTURES, tiny_card, tiny_checkpoint, tiny_lit_card
from unrender.cli import main
from unrender.diffusion.card import InputMap, MapCodec, ScheduleCard, TargetPicture
from unrender.diffusion.checkpoints.loader import save_checkpoint
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.claims.items import Items
from unrender.evaluate.claims.models import Models
from unrender.evaluate.claims.run import evaluate_claims, read_photos
from unrender.evaluate.claims.stills.claims import STILL_CLAIMS
from unrender.evaluate.claims.stills.contestants import LEADING
from unrender.evaluate.claims.table import Setting, as_plain, markdown
from unrender.evaluate.claims.training import STILL_TRAINING
from unrender.evaluate.scenes import Scene, cast_shadow_share, make_scene, scenes_of
from unrender.files.images import write_image
from unrender.files.shards import Clip, LitClip, write_shard
from unrender.forward import DeferredRenderer
from unrender.forward.irradiance import lit_irradiance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer, concatenate

RUNNING = InferenceOptions("cpu", "float32")
SETTING = Setting({"pictures": "set", "relit": "set"}, 0)
LIGHT = constant_light(0.8)


def ball(size: int = 32, red: float = 0.6) -> GBuffer:
    gbuffer = sphere(size, (red, 0.5, 0.4), 0.5, 0.0)
    return gbuffer.with_maps(rgb=DeferredRenderer()(gbuffer, LIGHT).beauty)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All model folders; the weights are random, and the same ones lie behind several names."""
    home, folder = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("models")
    many, once = ScheduleCard(zero_terminal_snr=True, steps=2), ScheduleCard(zero_terminal_snr=True, steps=1)
    irradiance = MapCodec("irradiance", transfer="srgb")
    shade = TargetPicture("irradiance", (irradiance,))
    inverse = tiny_card(targets=(*THREE_PICTURES, DEPTH_PICTURE, shade), schedule=once)
    lit = tiny_lit_card(schedule=once)
    forward = lit.with_maps(inputs=(*lit.maps.inputs, InputMap(irradiance, exposure="percentile")))
    save_checkpoint(tiny_checkpoint(inverse), home / "inverse")
    save_checkpoint(tiny_checkpoint(inverse.with_sampling(noise="gaussian", schedule=many)), home / "inverse-multi")
    save_checkpoint(tiny_checkpoint(forward), home / "forward")
    for name in STILL_TRAINING:
        source = name if name == "inverse-multi" else "inverse" if "inverse" in name else "forward"
        (folder / name).mkdir(parents=True)
        (folder / name / "model").symlink_to(home / source)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A still, and a clip of two frames."""
    folder = tmp_path_factory.mktemp("shards")
    clip = concatenate([ball(red=0.3), ball(red=0.9)])
    clips = [("000000", Clip(ball(), LIGHT, "a ball", 0)), ("000001", Clip(clip, LIGHT, "a ball", 1))]
    write_shard(folder / "shard-000000.tar", clips)
    return folder


# Which scenes have cast shadows.


def plane(size: int = 20) -> GBuffer:
    """A matt plane that faces the camera and fills the picture."""
    ones = torch.ones(1, 1, size, size)
    return GBuffer(
        base_color=0.5 * ones.expand(1, 3, -1, -1),
        normal=torch.cat((0 * ones, 0 * ones, ones), dim=1),
        depth=2 * ones,
        roughness=ones,
        metallic=0 * ones,
        mask=ones,
    )


@pytest.mark.parametrize(("dark", "shadowed"), [(0, False), (19, False), (20, True), (400, True)])
@pytest.mark.parametrize("by", ["irradiance", "rgb"])
def test_a_twentieth_of_the_surface_below_half_its_light_is_a_cast_shadow(dark: int, shadowed: bool, by: str):
    open_sky = torch.full((1, 3, 20, 20), torch.pi)  # of a white sky of radiance 1
    lit = DeferredRenderer()(plane(), constant_light()).beauty
    share = torch.where(torch.arange(400).reshape(20, 20) < dark, 0.45, 0.55)
    if by == "irradiance":
        # Where there is irradiance the picture is not asked.
        truth = plane().with_maps(rgb=lit, irradiance=open_sky * share)
    else:
        truth = plane().with_maps(rgb=lit * share)
    assert cast_shadow_share(truth, constant_light()) == pytest.approx(dark / 400)
    assert make_scene(truth, constant_light()).shadowed is shadowed


def test_of_a_clip_the_first_frame_is_taken_and_nothing_lit_is_given(shards: Path):
    clip = Clip(concatenate([ball(red=0.3), ball(red=0.9)]), LIGHT, "", 0)
    (scene,) = scenes_of([clip], "a test")
    assert len(scene.truth) == 1
    assert float(scene.truth.maps["base_color"].amax()) == pytest.approx(0.5)
    assert "rgb" not in scene.surfaces.maps
    assert scene.relit is None


def test_a_scene_has_the_first_of_its_clips_other_lights():
    truth, other = ball(), EnvironmentMap(LIGHT.radiance * 0.5)
    lit = LitClip(other, truth.maps["rgb"] * 0.5, torch.zeros(1, 3, 32, 32))
    (scene,) = scenes_of([Clip(truth, LIGHT, "", 0, lights=(lit,))], "a test")
    assert scene.relit is not None
    assert torch.equal(scene.relit.truth.maps["rgb"], lit.rgb)
    assert scene.relit.light is other
    assert (scene.shadowed, scene.relit.shadowed) == (False, True)  # no irradiance at all under the other


# The whole.


def shadow(truth: GBuffer) -> GBuffer:
    dark = torch.where(torch.arange(32) < 16, 0.2, 1.0)
    irradiance = lit_irradiance(truth, LIGHT, torch.zeros(1))
    return truth.with_maps(rgb=truth.maps["rgb"] * dark, irradiance=irradiance * dark)


@pytest.fixture(scope="module")
def findings(models: Path):
    def scene(red: float) -> Scene:
        other = EnvironmentMap(LIGHT.radiance * 0.5)
        relit = make_scene(shadow(ball(red=red)), other)
        return replace(make_scene(shadow(ball(red=red)), LIGHT), relit=relit)

    photos = [Frames(ball(40).maps["rgb"], name="photo")]
    seen: list[tuple[int, int]] = []
    found = evaluate_claims(
        Items([scene(0.6)], photos),
        Models(models, RUNNING),
        lambda done, count: seen.append((done, count)),
        STILL_CLAIMS,
    )
    assert seen[-1][0] == seen[-1][1] == len(seen)
    return found


def test_everything_is_measured_where_everything_is_there(findings):
    assert [outcome.claim for outcome in findings.outcomes] == list(STILL_CLAIMS)
    for outcome in findings.outcomes:
        assert set(outcome.answers) == set(outcome.claim.contestants), outcome.claim.id
        assert "no folder" not in outcome.verdict.why
    words = {outcome.claim.id: outcome.verdict.word for outcome in findings.outcomes}
    # One picture says nothing of chance, but of speed; random maps have no mask, so they are surface everywhere.
    assert words["trailing-equal"] == words["forward-shadows"] == words["relight-shadows"] == "undecided"
    assert words["cycle-photo"] == words["cycle-maps"] == words["cycle-real"] == "undecided"
    assert words["single-step-speed"] in ("replays", "does not replay")
    # The same weights behind two names answer alike.
    cycle = next(outcome for outcome in findings.outcomes if outcome.claim.id == "cycle-photo")
    first, *others = (answer.scores for answer in cycle.answers.values())
    assert others == [first] * 3


def test_the_table_has_a_row_a_claim_and_says_how_it_was_measured(findings):
    text = markdown(findings, SETTING)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(STILL_CLAIMS) + 2
    assert all(row.count(" | ") == 5 for row in rows)
    assert text.count("Machine: ") == 1
    assert "Settings: path views 100, guided steps 60, personalise steps as recipe or card has them" in text
    assert "1 pictures of set; depth AbsRel: planar Z, mask surface, alignment scale + shift" in text
    assert "the 1 with cast shadows" in text
    assert "1 real photos" in text
    assert "rgb PSNR: sRGB, mask surface, alignment scale" in text
    assert "mask surface of all, alignment scale" in text


def test_json_has_every_figure_and_no_word_that_json_lacks(findings):
    plain = json.loads(json.dumps(as_plain(findings, SETTING), allow_nan=False))
    assert [claim["id"] for claim in plain["claims"]] == [claim.id for claim in STILL_CLAIMS]
    ensemble = plain["claims"][1]["answers"][1]
    assert (ensemble["steps"], ensemble["members"], ensemble["pictures"]) == (50, 10, 1)
    assert ensemble["trained"] == [None]
    assert {figure["name"] for figure in ensemble["figures"]} >= {"AbsRel", "mean angle"}


def test_spacing_is_put_into_the_card_of_the_same_weights(models: Path):
    renderer = Models(models, RUNNING).inverse(LEADING)
    assert renderer.card.sampling.schedule.spacing == "leading"
    assert renderer.card.sampling.schedule.zero_terminal_snr


@pytest.mark.parametrize("place", ["cycle/inverse", "cycle/inverse/model", "cycle/model/inverse"])
def test_a_model_is_found_with_the_steps_of_its_recipe(place: str, models: Path, tmp_path: Path):
    (tmp_path / place).parent.mkdir(parents=True)
    source = (models / "inverse-e2e" / "model").resolve()
    (tmp_path / place).mkdir()
    for part in source.iterdir():
        (tmp_path / place / part.name).symlink_to(part)
    found = Models(tmp_path, RUNNING)
    assert found.find("cycle/inverse") == tmp_path / place
    who = replace(LEADING, models=("cycle/inverse",))
    assert found.trained(who) == (None,)
    (tmp_path / "cycle" / "recipe.json").write_text('{"config": {"steps": 12}}')
    if place != "cycle/inverse/model":
        assert found.trained(who) == (12,)
        # A time budget ended this run.
        (tmp_path / "cycle" / "log.jsonl").write_text('{"step": 1}\n{"step": 7, "loss": 0.5}\n{"st')
        assert found.trained(who) == (7,)


# Through the doors.


def test_claims_says_which_folders_are_missing(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table, figures = tmp_path / "claims.md", tmp_path / "claims.json"
    (tmp_path / "inverse-e2e").mkdir()  # a run that has not ended
    arguments = ["--data", str(shards), "--models", str(tmp_path), "--clips", "1"]
    assert main(["evaluate", "claims", *arguments, "-o", str(table), "--json", str(figures)]) == 0
    conditions = capsys.readouterr().out
    assert table.read_text() == conditions
    claims = json.loads(figures.read_text())["claims"]
    assert {claim["verdict"] for claim in claims} == {"not measured"}
    assert claims[0]["why"] == (
        "no folder inverse-multi: `unrender train pretrain --data TRAIN --autoencoder VAE -o "
        f"{tmp_path / 'inverse-multi'}`"
    )
    assert "no real photos: `--photos DIR`" in conditions
    assert "the set has no frames under another light" in conditions


def test_claims_measures_what_is_there(models: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "forward-e2e").symlink_to(models / "forward-e2e")
    assert main(["evaluate", "claims", "--data", str(shards), "--models", str(tmp_path), "--device", "cpu"]) == 0
    rows = {row.split(" | ")[0].strip("| "): row for row in capsys.readouterr().out.splitlines() if row[:2] == "| "}
    assert "2 pictures of shards" in " ".join(rows["forward-shadows"].split())
    assert "no picture has both figures" in rows["forward-shadows"]  # no ball of these has a cast shadow
    assert "no folder" in rows["cycle-photo"]


def test_some_rows_alone(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--data", str(shards), "--models", str(tmp_path), "--only", "views-drift, zeros-best"]
    assert main(["evaluate", "claims", *arguments]) == 0
    told = capsys.readouterr().out
    assert [row.split(" | ")[0] for row in told.splitlines() if row[:2] == "| "][2:] == [
        "| views-drift",
        "| zeros-best",
    ]
    assert "no sets of views: `--views DIR`" in told


def test_forward_beside_the_split_sum(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    figures = tmp_path / "forward.json"
    arguments = ["--model", "deferred", "--data", str(shards), "--json", str(figures)]
    assert main(["evaluate", "forward", *arguments]) == 0
    conditions = capsys.readouterr().out
    assert "on 2 pictures" in conditions
    assert "the first frame of every clip" in conditions
    assert "0 of 2 scenes have them" in conditions
    found = {(f["map"], f["name"], f["space"]): f["values"] for f in json.loads(figures.read_text())["figures"]}
    # The truth is the split sum, but for the half floats that it was kept in.
    assert found["rgb", "PSNR", "linear"]["model"] > 60
    assert found["rgb", "PSNR", "linear"]["model"] == found["rgb", "PSNR", "linear"]["split sum"]
    assert found["rgb, cast shadows", "PSNR", "linear"]["model"] is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["claims", "--data", "DATA", "--models", "nowhere"], "no folder nowhere"),
        (["claims", "--data", "DATA", "--models", ".", "-o", "claims.txt"], "ending in .md"),
        (["claims", "--data", "nowhere", "--models", "."], "no shards in nowhere"),
        (["claims", "--data", "DATA", "--models", ".", "--photos", "nowhere"], "no pictures in nowhere"),
        (["claims", "--models", "."], "nothing to measure on; expected --data, --photos"),
        (["claims", "--data", "DATA", "--models", ".", "--only", "cycle-photo,cycel"], "no claim cycel; expected some"),
        (["forward", "--data", "DATA", "--model", "defered"], "did you mean deferred?"),
        (["forward", "--data", "DATA", "--model", "deferred", "--steps", "3"], "--steps"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], named: str, shards: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", *(str(shards) if word == "DATA" else word for word in arguments)]) == 2
    conditions = capsys.readouterr().err
    assert conditions.startswith("unrender: ")
    assert conditions.count("\n") == 1
    assert named in conditions


def test_no_pictures_at_all():
    with pytest.raises(UserError, match="no pictures"):
        list(scenes_of([], "evaluate claims"))


def test_photos_are_made_small_and_come_by_name(tmp_path: Path):
    for name, side in (("b.png", 300), ("a.png", 20)):
        write_image(tmp_path / name, torch.rand(3, side, 2 * side))
    assert [photo.size for photo in read_photos(tmp_path)] == [(20, 40), (128, 256)]
    assert len(read_photos(tmp_path, 1)) == 1
