"""`unrender insert --guidance`: a diffusion model, taught the photo or not, finds the light of what is inserted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unrender as ur
from sd_folders import sd_folder
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.score_distillation import DistillationOptions, ScoreDistillation
from unrender.errors import UserError

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

from unrender.cli import main
from unrender.files.exr import read_channels
from unrender.files.images import read_image, write_image
from unrender.insert import (
    GUIDED,
    Fit,
    GaussianLight,
    InsertOptions,
    Placement,
    Standing,
    SupportPlane,
    place_objects,
    plan_insertion,
)
from unrender.insert.diffusion_guidance import PAPER_PIXELS, DiffusionGuidance
from unrender.insert.guided import changed_window, fit_guided
from unrender.scene.color import linear_to_srgb
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames

SIZE = (40, 56)
PLANE = ["--plane", "0,1,0,-1", "--at", "28,30", "--height", "0.8"]
PLACE = Placement((Standing((28.0, 30.0), "0.8"),), plane=SupportPlane(torch.tensor([0.0, 1.0, 0.0]), -1.0))
FEW = ["--fit-steps", "3", "--samples", "4"]
CPU = InferenceOptions("cpu", "float32")
GREY = EnvironmentMap(torch.full((1, 3, 16, 32), 0.5), "grey")


pytestmark = pytest.mark.usefixtures("vectorised_mitsuba")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return sd_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unrender" / "personalised"


def ramp(gain: float = 1.0) -> torch.Tensor:
    across = torch.linspace(0.2, 0.7, SIZE[1]).expand(3, *SIZE)
    return gain * across * torch.linspace(0.6, 1.0, SIZE[0])[:, None]


@pytest.fixture
def photo(tmp_path) -> Path:
    write_image(tmp_path / "photo.png", ramp())
    return tmp_path / "photo.png"


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def guided(base: Path, *more) -> list:
    return ["--guidance", "lds", "--base", base, "--class-name", "teapot", *FEW, *PLANE, *more]


def model(base: Path, **options) -> ScoreDistillation:
    return ScoreDistillation.from_pretrained(
        base, "a photo of a teapot", options=DistillationOptions(**options), inference=CPU
    )


def fitted(base: Path, seed: int = 0, steps: int = 3, gain: float = 1.0) -> Fit:
    """By the model alone: without DiPIR's other two losses, whatever moves is moved by the gradient of the guidance."""
    options = replace(GUIDED, steps=steps, consistency_weight=0.0, concentration_weight=0.0)
    frames = Frames(ramp(gain)[None], hdr=gain != 1.0)
    scene = place_objects(frames, "grey", PLACE)
    start = replace(GREY, radiance=gain * GREY.radiance)
    return fit_guided(model(base, seed=seed), scene, frames, start, options)


@pytest.mark.slow
def test_from_the_shell_the_model_is_taught_the_photo_once_and_guides(photo, base, cache, tmp_path):
    few = ("--personalise-steps", "2", "--concepts", "1")
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        assert run("insert", photo, "-o", out, "--asset", "teapot", *guided(base, *few)) == 0
    assert len(list(cache.glob("*/model/pytorch_lora_weights.safetensors"))) == 1
    one, two = (read_channels(out / "photo.insert.exr").channels for out in outs)
    assert all((one[name] == two[name]).all() for name in one)
    assert {"foreground_toned.R", "shadow_ratio_toned.R"} <= one.keys()
    lights = [read_image(outs[0] / f"photo.light{which}.exr").rgb for which in ("", ".foreground", ".shadow")]
    assert not torch.equal(lights[1], lights[2])
    record = json.loads((outs[0] / "run.json").read_text())
    said = record["guided_by"]
    assert (said["kind"], said["base"]["id"]) == ("lds", base.name)
    assert said["prompt"] == "a photo of a teapot in a scene in the style of sks rendering"
    assert said["personalised"] == {"steps": 2, "concepts": 1, "rank": 4}
    assert record["settings"]["guidance"] == "lds"
    assert record["insertion"]["light"]["first_loss"] is None
    assert {"personalise", "plan", "inverse"} <= record["seconds"].keys()


def test_without_personalisation_and_by_sds(photo, base, cache, tmp_path):
    out = tmp_path / "out.png"
    settings = guided(base, "--guidance", "sds", "--personalise", "none")
    assert run("insert", photo, "-o", out, "--asset", "grey", *settings) == 0
    record = json.loads((tmp_path / "out.run.json").read_text())
    assert (record["guided_by"]["kind"], record["guided_by"]["personalised"]) == ("sds", None)
    assert not torch.equal(read_image(out).rgb, read_image(photo).rgb)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("--guidance", "lds", "--class-name", "chair", "--base", "no-such-model"), "no model is called no-such-model"),
        (("--guidance", "lds"), "without --class-name"),
        (("--guidance", "sds", "--class-name", " "), "without --class-name"),
        (("--guidance", "lds", "--class-name", "chair", "--light", "city"), "beside --light"),
        (("--base", "sd21"), "--base sd21: it is that of --guidance lds or sds"),
        (("--personalise", "none"), "--personalise none: it is that of --guidance lds or sds"),
        (("--concepts", "4"), "--concepts 4: it is that of --guidance lds or sds"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(photo, cache, tmp_path, capsys, settings, says):
    assert run("insert", photo, "-o", tmp_path / "out", "--asset", "ball", *PLANE, *settings) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not cache.exists()


def test_teaching_options_without_teaching_are_refused(photo, base, tmp_path, capsys):
    settings = guided(base, "--personalise", "none", "--personalise-steps", "5")
    assert run("insert", photo, "-o", tmp_path / "out", "--asset", "ball", *settings) == 2
    assert "--personalise-steps 5: it is that of --personalise yes" in capsys.readouterr().err


def test_what_cannot_be_placed_is_said_before_a_model_is_taught(photo, base, cache, tmp_path, capsys):
    assert run("insert", photo, "-o", tmp_path / "out", "--asset", "missing.glb", *guided(base)) == 2
    assert "missing.glb" in capsys.readouterr().err
    assert not cache.exists()


def test_a_seed_is_a_light_and_the_model_moves_lights_and_tones(base):
    first, again, other = fitted(base), fitted(base), fitted(base, seed=1)
    assert torch.equal(first.light.radiance, again.light.radiance)
    assert not torch.equal(first.light.radiance, other.light.radiance)
    start = GaussianLight.of(GREY).radiance().detach()
    for light in (first.foreground_light, first.shadow_light):
        assert float((light.radiance[0] / start - 1).abs().max()) > 0.01
    assert bool(first.tones.foreground.heights.any())
    assert bool(first.tones.shadow.heights.any())


@pytest.mark.slow
def test_the_units_of_a_plate_are_no_business_of_the_model(base):
    """What it is shown of a scene-referred plate is exposed for a display, as personalisation exposes it."""
    first, brighter = (fitted(base, steps=1, gain=gain).losses[0] for gain in (7.0, 70.0))
    assert first == pytest.approx(brighter, rel=1e-3)
    assert first != pytest.approx(fitted(base, steps=1).losses[0], rel=1e-3)


def test_the_guided_window_holds_object_and_contact_shadow_at_the_photos_size(base):
    frames = Frames(torch.nn.functional.interpolate(ramp()[None], (160, 224)))
    place = replace(PLACE, standing=(Standing((112.0, 120.0), "0.5"),))
    scene = place_objects(frames, "grey", place)
    top, left, height, width = changed_window(scene, frames, GREY)
    assert top <= 120 <= top + height
    assert left <= 112 <= left + width
    assert top + height <= 160
    assert left + width <= 224
    assert height < 160


def test_small_models_guide_as_strongly_as_large_ones(base):
    distillation = model(base)
    guidance = DiffusionGuidance(distillation, (0, 0, 64, 64))
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    direct = distillation.loss(linear_to_srgb(picture) * 2 - 1, 2, 9)
    torch.testing.assert_close(guidance.loss(picture, 2, 9), direct * PAPER_PIXELS / 64**2, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_python_takes_the_model_as_guidance(base):
    frames = Frames(ramp()[None])
    options = InsertOptions(samples=4, guided=replace(GUIDED, steps=2))
    steps: list[int] = []
    plan = plan_insertion(
        frames, "ball", placement=PLACE, options=options, guidance=model(base),
        report=lambda step, loss: steps.append(step),
    )  # fmt: skip
    assert steps == [0, 1]
    assert len(plan.fit.losses) == 2
    with pytest.raises(UserError, match="a guidance beside a light"):
        ur.insert(frames, "ball", "city", placement=PLACE, guidance=model(base))
