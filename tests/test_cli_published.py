"""Every published family from the shell, with tiny weights in its official layout."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from official_folders import published_folder
from unrender.cli import main
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.published import PUBLISHED, published
from unrender.diffusion.checkpoints.published.geowizard import E2E, V1
from unrender.diffusion.checkpoints.published.lotus import LOTUS
from unrender.diffusion.checkpoints.published.marigold import MARIGOLD
from unrender.diffusion.checkpoints.published.ouroboros import FORWARD as OUROBOROS_FORWARD
from unrender.diffusion.checkpoints.published.ouroboros import INVERSE as OUROBOROS_INVERSE
from unrender.diffusion.checkpoints.published.rgbx import INPAINTING, RGB_TO_X, X_TO_RGB
from unrender.files.gbuffers import read_gbuffer, write_gbuffer
from unrender.files.images import read_image
from unrender.scene.gbuffer import GBuffer

HEIGHT, WIDTH = 42, 58
SMALL = ["--long-side", "64"]
QUICK = ["--steps", "2"]
EXACT = ["--dtype", "float32"]
LIGHT_OPTIONS = "--yaw, --turn, --exposure, --elevation and --shadows are a light's; expected --light HDRI with them"

Folder = Callable[[ModelCard], Path]
Conditions = Callable[..., str]

INVERSE = [card for card in PUBLISHED if card.task == "inverse" and not card.is_video]  # those: test_cli_video.py
FORWARD = [X_TO_RGB, OUROBOROS_FORWARD]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a card's tiny weights, which nothing but its name tells from another."""
    return partial(published_folder, tmp_path_factory.mktemp("models"))


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Conditions:
    """Runs a command that must fail, and returns the one line it says."""

    def run(*arguments: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert status == 2, said.err
        assert said.out == ""
        assert said.err.startswith("unrender: ")
        assert said.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        return said.err.removeprefix("unrender: ").strip()

    return run


def run(*arguments: str | Path) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def record(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def photo(folder: Path, height: int = HEIGHT, width: int = WIDTH, name: str = "photo.png") -> Path:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / (7 + c) + c) * np.cos(y / 8) for c in range(3)]
    path = folder / name
    Image.fromarray(np.stack(waves, 2).astype(np.uint8)).save(path)
    return path


def mask(folder: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """White in the middle."""
    codes = np.zeros((height, width), np.uint8)
    codes[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    path = folder / "mask.png"
    Image.fromarray(codes).save(path)
    return path


def gbuffer(folder: Path, **changes) -> Path:
    """A ball's maps, and its photo, as one EXR."""
    y, x = torch.meshgrid(torch.linspace(0.9, -0.9, HEIGHT), torch.linspace(-0.9, 0.9, WIDTH), indexing="ij")
    z = (1 - (x**2 + y**2) / 2).clamp(min=0.1)
    one = torch.ones(1, 1, HEIGHT, WIDTH)
    colour = torch.stack((0.5 + 0.4 * x, 0.5 + 0.4 * y, 0.3 + 0.2 * x * y))[None]
    maps = {
        "base_color": colour,
        "normal": torch.nn.functional.normalize(torch.stack((x, y, z)), dim=0)[None],
        "depth": 2 + 0.2 * one - 0.2 * z,
        "roughness": 0.4 * one,
        "metallic": 0.1 * one,
        "irradiance": colour * 2,
        "rgb": colour * 0.6,
    }
    path = folder / "ball.exr"
    write_gbuffer(path, GBuffer(**(maps | changes)))
    return path


def maps_of(path: Path) -> dict[str, torch.Tensor]:
    return read_gbuffer(path).maps


# Picture to maps. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", INVERSE, ids=lambda card: card.id)
def test_inverse_takes_a_folder_of_every_family(card, model, tmp_path, capsys):
    out = tmp_path / "out"
    run("inverse", photo(tmp_path), "--model", model(card), "-o", out, *SMALL, *QUICK)
    assert capsys.readouterr().out == f"{out}\n"
    assert sorted(path.name for path in out.iterdir()) == ["photo.exr", "photo.maps.png", "run.json"]
    found = maps_of(out / "photo.exr")
    assert found.keys() == {*card.map_names, "rgb"}
    for name, values in found.items():
        assert values.shape[2:] == (HEIGHT, WIDTH), name
        assert values.isfinite().all(), name
        assert name == "rgb" or values.std() > 1e-4, name
    said = record(out)
    assert said["model"] == {
        "id": card.id,
        "system": card.identity.system,
        "licence": card.identity.licence,
        "commercial": card.identity.commercial,
    }
    assert said["settings"]["faithful"] is False
    assert said["settings"]["steps"] == 2


@pytest.mark.parametrize("card", [LOTUS[1], OUROBOROS_INVERSE], ids=lambda card: card.id)
def test_inverse_at_the_models_own_size_and_steps(card, model, tmp_path):
    run("inverse", photo(tmp_path), "--model", model(card), "-o", tmp_path / "maps.exr", "--maps", card.map_names[0])
    (values,) = [values for name, values in maps_of(tmp_path / "maps.exr").items() if name != "rgb"]
    assert values.isfinite().all()


@pytest.mark.parametrize("card", [E2E, LOTUS[0], MARIGOLD[0], RGB_TO_X], ids=lambda card: card.id)
def test_faithful_is_another_answer_and_is_written_down(card, model, tmp_path):
    found = []
    for index, flags in enumerate(([], ["--faithful"])):
        out = tmp_path / str(index)
        run("inverse", photo(tmp_path), "--model", model(card), "-o", out, *SMALL, *QUICK, *EXACT, *flags)
        assert record(out)["settings"]["faithful"] is bool(flags)
        found.append(maps_of(out / "photo.exr")[card.map_names[0]])
    assert found[1].isfinite().all()
    assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("card", [V1, OUROBOROS_INVERSE, MARIGOLD[4]], ids=lambda card: card.id)
def test_little_memory_gives_the_same_numbers(card, model, tmp_path):
    found = []
    for memory in ("normal", "low"):
        path = tmp_path / f"{memory}.exr"
        run("inverse", photo(tmp_path), "--model", model(card), "-o", path, *SMALL, *QUICK, *EXACT, "--memory", memory)
        found.append(maps_of(path))
    for name, values in found[0].items():
        torch.testing.assert_close(found[1][name], values, atol=1e-4, rtol=1e-3, msg=name)


def test_the_domain_is_heard_and_written_down(model, tmp_path):
    found = {}
    for domain in ("indoor", "outdoor"):
        out = tmp_path / domain
        run("inverse", photo(tmp_path), "--model", model(V1), "-o", out, *SMALL, *QUICK, "--domain", domain)
        assert record(out)["settings"]["domain"] == domain
        found[domain] = maps_of(out / "photo.exr")["depth"]
    assert (found["indoor"] - found["outdoor"]).abs().max() > 1e-3


def test_steps_are_heard(model, tmp_path):
    found = []
    for steps in ("1", "3"):
        path = tmp_path / f"{steps}.exr"
        run("inverse", photo(tmp_path), "--model", model(MARIGOLD[0]), "-o", path, *SMALL, "--steps", steps)
        found.append(maps_of(path)["depth"])
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_the_shell_itself(model, tmp_path):
    arguments = ["inverse", photo(tmp_path), "--model", model(E2E), "-o", tmp_path / "out", *SMALL]
    command = [sys.executable, "-m", "unrender", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert record(tmp_path / "out")["model"]["id"] == "GonzaloMG/geowizard-e2e-ft"


# Maps to picture. ----------------------------------------------------------------------------------------------------


def rendered(out: Path) -> torch.Tensor:
    """The beauty that `forward` wrote of the ball, (1, 3, H, W)."""
    names = {"ball.forward.exr", "ball.forward.png", "run.json"}
    assert {path.name for path in out.iterdir()} == names
    rgb = read_image(out / "ball.forward.exr").rgb
    assert rgb.shape == (1, 3, HEIGHT, WIDTH)
    assert rgb.isfinite().all()
    assert rgb.std() > 1e-4
    return rgb


@pytest.mark.parametrize("light", [[], ["--light", "studio"]], ids=["no light", "studio"])
@pytest.mark.parametrize("card", FORWARD, ids=lambda card: card.id)
def test_forward_takes_a_folder_of_every_family(card, light, model, tmp_path):
    out = tmp_path / "out"
    run("forward", gbuffer(tmp_path), "--model", model(card), "-o", out, *QUICK, *light)
    rendered(out)
    said = record(out)["forward"]
    assert (said["id"], said["licence"], said["commercial"]) == (card.id, card.identity.licence, False)


def test_forward_at_another_size_in_the_network(model, tmp_path):
    found = []
    for side in ("32", "64"):
        out = tmp_path / side
        run("forward", gbuffer(tmp_path), "--model", model(X_TO_RGB), "-o", out, *QUICK, "--long-side", side)
        found.append(rendered(out))
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_forward_at_the_models_own_steps(model, tmp_path):
    run("forward", gbuffer(tmp_path), "--model", model(X_TO_RGB), "-o", tmp_path / "out")
    rendered(tmp_path / "out")


def test_a_light_is_seen_whichever_way_it_is_turned(model, tmp_path):
    found = []
    for yaw in ("0", "90"):
        out = tmp_path / yaw
        light = ["--light", "sunset", "--yaw", yaw]
        run("forward", gbuffer(tmp_path), "--model", model(OUROBOROS_FORWARD), "-o", out, *light)
        found.append(rendered(out))
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_inpainting_leaves_the_rest_of_the_photo_as_it_was(model, tmp_path):
    ball, edit = gbuffer(tmp_path), mask(tmp_path)
    run("forward", ball, "--model", model(INPAINTING), "-o", tmp_path / "out", "--edit-mask", edit, *QUICK)
    before, after = maps_of(ball)["rgb"], rendered(tmp_path / "out")
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4] = True
    torch.testing.assert_close(after[..., ~inside], before[..., ~inside], atol=1e-3, rtol=1e-2)
    assert (after - before)[..., inside].abs().max() > 1e-2


def test_words_are_heard_and_no_guidance_leaves_them_weaker(model, tmp_path):
    found = {}
    for name, flags in {
        "plain": [],
        "caption": ["--caption", "a red ball"],
        "unguided": ["--caption", "a red ball", "--guidance", "0"],
    }.items():
        out = tmp_path / name
        run("forward", gbuffer(tmp_path), "--model", model(X_TO_RGB), "-o", out, *QUICK, *flags)
        found[name] = rendered(out)
    assert record(tmp_path / "caption")["settings"]["caption"] == "a red ball"
    assert (found["plain"] - found["caption"]).abs().max() > 1e-3
    assert (found["unguided"] - found["caption"]).abs().max() > 1e-3


@pytest.mark.parametrize("flags", [["--faithful"], ["--memory", "low"]], ids=lambda flags: flags[0])
def test_forward_obeys_how_networks_are_run(flags, model, tmp_path):
    found = []
    for index, extra in enumerate(([], flags)):
        out = tmp_path / str(index)
        run("forward", gbuffer(tmp_path), "--model", model(X_TO_RGB), "-o", out, *QUICK, *EXACT, *extra)
        found.append(rendered(out))
    if flags == ["--faithful"]:
        assert (found[0] - found[1]).abs().max() > 1e-3
    else:
        torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-3)


def test_an_ensemble(model, tmp_path):
    (depth,) = published("prs-eth/marigold-depth-v1-1")
    out, three = tmp_path / "out", ["--steps", "1", "--ensemble", "3"]
    run("inverse", photo(tmp_path), "--model", model(depth), "-o", out, *SMALL, *three)
    assert record(out)["settings"]["ensemble"] == 3


def test_an_ensemble_of_a_model_without_noise(model, tmp_path, told):
    said = told("inverse", photo(tmp_path), "--model", model(E2E), "-o", tmp_path / "no", *SMALL, "--ensemble", "3")
    assert said == f"{E2E.id} starts from no noise: all its predictions would be alike; expected an ensemble of one"


def test_relight_with_a_network_each_way(model, tmp_path):
    out = tmp_path / "out"
    models = ["--model", model(RGB_TO_X), "--forward", model(X_TO_RGB)]
    run("relight", photo(tmp_path), *models, "--light", "studio", "-o", out, *SMALL, *QUICK, "--forward-steps", "1")
    names = {"photo.gbuffer.exr", "photo.maps.png", "photo.relit.exr", "photo.relit.png", "run.json"}
    assert {path.name for path in out.iterdir()} == names
    assert read_image(out / "photo.relit.exr").rgb.isfinite().all()
    said = record(out)
    assert (said["model"]["id"], said["forward"]["id"]) == (RGB_TO_X.id, X_TO_RGB.id)
    assert (said["settings"]["steps"], said["settings"]["forward_steps"]) == (2, 1)
    assert said["model"]["commercial"] is said["forward"]["commercial"] is False


# What does not fit. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weights", "name"), [(LOTUS[5], LOTUS[6]), (LOTUS[1], LOTUS[0])], ids=["g as d", "d as g"])
def test_weights_of_one_lotus_under_the_name_of_the_other(weights, name, model, tmp_path, told):
    folder = tmp_path / name.id.rpartition("/")[2]
    shutil.copytree(model(weights), folder)
    said = told("inverse", photo(tmp_path), "--model", folder, "-o", tmp_path / "out")
    own, other = (4, 8) if name.sampling.noise == "none" else (8, 4)
    assert said == f"{folder / 'unet'}: the UNet has {other} in channels; the card of {name.id} wants {own}"


@pytest.mark.parametrize("verb", [["inverse"], ["relight", "--light", "studio"]], ids=lambda verb: verb[0])
def test_a_forward_model_where_an_inverse_one_belongs(verb, model, tmp_path, told):
    said = told(*verb, photo(tmp_path), "--model", model(X_TO_RGB), "-o", tmp_path / "out")
    assert said.startswith("zheng95z/x-to-rgb is a forward renderer")
    assert "`unrender forward` takes it" in said


def test_an_inverse_model_where_a_forward_one_belongs(model, tmp_path, told):
    right = "zheng95z/rgb-to-x is an inverse renderer (picture to maps); `unrender inverse` takes it"
    assert told("forward", gbuffer(tmp_path), "--model", model(RGB_TO_X), "-o", tmp_path / "out") == right
    models = ["--model", model(RGB_TO_X), "--forward", model(RGB_TO_X)]
    assert told("relight", photo(tmp_path), *models, "--light", "studio", "-o", tmp_path / "out") == right


@pytest.mark.parametrize(
    ("options", "right"),
    [
        (["--maps", "roughness"], "model lemonaddie/geowizard gives no map roughness; expected depth, normal"),
        (["--domain", "attic"], "lemonaddie/geowizard knows no domain attic; expected indoor, outdoor, object"),
        (["--decoder", "nowhere"], "nowhere is no decoder; "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_the_model_does_not_know(options, right, model, tmp_path, told):
    assert told("inverse", photo(tmp_path), "--model", model(V1), "-o", tmp_path / "out", *options).startswith(right)


def test_a_domain_for_a_model_that_is_told_none(model, tmp_path, told):
    said = told("inverse", photo(tmp_path), "--model", model(RGB_TO_X), "-o", tmp_path / "out", "--domain", "indoor")
    assert said == "zheng95z/rgb-to-x knows no domain indoor; expected none"


def test_a_picture_too_small_for_any_network(model, tmp_path, told):
    small = photo(tmp_path, 10, 12, "small.png")
    said = told("inverse", small, "--model", model(V1), "-o", tmp_path / "out")
    assert said == "small is 12x10 pixels; expected at least 16 on each side"


def test_a_folder_that_does_not_say_whose_weights_it_holds(tmp_path, told):
    folder = tmp_path / "weights"
    folder.mkdir()
    for command in (["inverse", photo(tmp_path)], ["forward", gbuffer(tmp_path)]):
        said = told(*command, "--model", folder, "-o", tmp_path / "out")
        assert said.startswith(f"{folder} does not say whose weights it holds; run `unrender models adopt")


def test_relighting_with_a_model_that_gives_no_base_colour(model, tmp_path, told):
    said = told("relight", photo(tmp_path), "--model", model(E2E), "--light", "studio", "-o", tmp_path / "out", *SMALL)
    assert said == "the light estimate needs the map base_color; this G-buffer has normal, depth, rgb"


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ([], "the deferred renderer needs a light; expected --light HDRI"),
        (["--yaw", "30"], LIGHT_OPTIONS),
        (["--turn", "30"], LIGHT_OPTIONS),
        (["--elevation", "30"], LIGHT_OPTIONS),
        (["--shadows"], LIGHT_OPTIONS),
        (["--light", "studio", "--steps", "2"], "deferred has no network, and --steps is a network's"),
        (["--light", "studio", "--faithful"], "deferred has no network, and --faithful is a network's"),
        (["--light", "studio", "--caption", "a ball"], "the deferred renderer takes no caption, guidance or shadows"),
        (["--light", "studio", "--guidance", "2"], "the deferred renderer takes no caption, guidance or shadows"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_renderer_without_a_network_cannot_be_told(options, right, tmp_path, told):
    assert told("forward", gbuffer(tmp_path), "-o", tmp_path / "out", *options).startswith(right)


def test_steps_of_a_forward_network_that_is_none(tmp_path, told):
    out, steps = tmp_path / "out", ["--forward-steps", "2"]
    said = told("relight", photo(tmp_path), "--light", "studio", "-o", out, *steps)
    assert said == "deferred has no network, and --forward-steps is a network's"


def test_an_edit_that_does_not_fit(model, tmp_path, told):
    ball, edit, out = gbuffer(tmp_path), mask(tmp_path), ["-o", tmp_path / "out"]
    inpainting = ["--model", model(INPAINTING)]
    assert told("forward", ball, *inpainting, *out).startswith(
        f"{INPAINTING.id} renders a part of a picture; expected an edit"
    )
    said = told("forward", ball, "--model", model(X_TO_RGB), "--edit-mask", edit, *out)
    assert said == f"{X_TO_RGB.id} renders whole pictures; {INPAINTING.id} edits a part"
    assert "an edit mask needs a model" in told("forward", ball, "--light", "studio", "--edit-mask", edit, *out)
    said = told("forward", ball, *inpainting, "--edit-mask", mask(tmp_path, 20, 30), *out)
    assert said == "the edit mask is 30x20 pixels; expected 58x42, as the G-buffer"
    unseen = gbuffer(tmp_path, rgb=None)
    assert "a G-buffer with rgb" in told("forward", unseen, *inpainting, "--edit-mask", mask(tmp_path), *out)


def test_a_gbuffer_with_nothing_that_the_network_is_given(model, tmp_path, told):
    nothing = dict.fromkeys(("base_color", "normal", "roughness", "metallic", "irradiance", "rgb"))
    said = told("forward", gbuffer(tmp_path, **nothing), "--model", model(X_TO_RGB), "-o", tmp_path / "out")
    names = "base_color, normal, roughness, metallic, irradiance"
    assert said == f"zheng95z/x-to-rgb is given {names}; this G-buffer has only depth"
