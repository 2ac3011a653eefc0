"""Lotus against its official pipelines written out, step by step; and what its maps mean, against the formulas.

The official script always runs under autocast, in bfloat16 on a CPU; precision is the caller's choice here, and the
pipelines are written out in float32. Normals are what its evaluation makes of the picture, made unit at the end.
"""

import pytest
import torch
from torch.nn import functional

from official_folders import write_official
from official_networks import (
    SCALE,
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
from unrender.diffusion.checkpoints.published.lotus import LOTUS

CARDS = {card.id.removeprefix("jingheya/lotus-"): card for card in LOTUS}
GENERATIVE, REGRESSIVE, DISPARITY = "normal-g-v1-1", "normal-d-v1-1", "depth-g-v2-1-disparity"
# As they lie; rows that the autoencoder drops; enlarged; made smaller; 49 columns, which become 63 and not 64.
PHOTOS = [(48, 64, 64), (42, 58, 0), (75, 50, 96), (90, 121, 64), (37, 49, 64)]
SEED = 11


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    parent = tmp_path_factory.mktemp("lotus")
    written = {name: write_official(parent, card, seed) for seed, (name, card) in enumerate(CARDS.items())}
    depth_at_one_end(written["depth-g-v1-0"])
    for name in (GENERATIVE, REGRESSIVE):
        normals_of_length(written[name])
    return written


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def task_vector() -> torch.Tensor:
    """Predict, in place of giving the photo back: the sines of (1, 0), then their cosines."""
    task = torch.tensor([[1.0, 0.0]])
    return torch.cat((task.sin(), task.cos()), dim=1)


def predicted(networks: Networks, name: str, given: torch.Tensor, noise: torch.Tensor, task: torch.Tensor):
    """The network's output at t = 999, which is the clean latent itself."""
    shown = torch.cat((given, noise), dim=1) if "-g-" in name else given
    return networks.unet(shown, 999, networks.empty_tokens(), class_labels=task).sample


def drawn(height: int, width: int) -> torch.Tensor:
    """What G starts from, drawn by a generator of its own."""
    return torch.randn((1, 4, height // 8, width // 8), generator=torch.Generator().manual_seed(SEED))


def official(
    folder, name: str, shown: torch.Tensor, long_side: int, task: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The official pipelines, of a photo that is shown as [0, 255]: (the latent, the picture in [0, 1] at its size)."""
    networks = load_networks(folder)
    height, width = shown.shape[2:]
    picture = shown / 127.5 - 1.0
    if long_side:
        factor = min(long_side / width, long_side / height)
        picture = resized(picture, (int(height * factor), int(width * factor)))
    noise = drawn(*picture.shape[2:])
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        given = networks.vae.encode(picture).latent_dist.sample() * SCALE
    latent = predicted(networks, name, given, noise, task_vector() if task is None else task)
    image = (networks.vae.decode(latent / SCALE).sample / 2 + 0.5).clamp(0, 1)
    return latent, functional.interpolate(image, size=(height, width), mode="nearest-exact")


def in_conventions(name: str, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """A picture in [0, 1] as unrender's maps."""
    if name.startswith("normal"):
        return {"normal": unit(image * 2 - 1) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]}
    mean = image.mean(1, keepdim=True)
    return {"disparity": mean} if name.endswith("disparity") else {"depth": 1 + mean}


@pytest.mark.parametrize(("height", "width", "long_side"), PHOTOS)
@pytest.mark.parametrize("name", CARDS)
def test_equals_the_official_pipeline_from_the_same_seed(folders, name, height, width, long_side):
    codes = photo_codes(height, width)
    renderer, photo = load_renderer(folders[name], CARDS[name], long_side, faithful=True), as_frames(codes)
    latent, image = official(folders[name], name, codes, long_side)
    torch.testing.assert_close(renderer.latents(photo, seed=SEED), latent, atol=TOLERANCE, rtol=0)
    found, expected = renderer(photo, seed=SEED), in_conventions(name, image)
    assert set(found.maps) == {*expected, "rgb"}
    assert largest_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("name", CARDS)
def test_a_scene_referred_photo_is_exposed_first(folders, name):
    photo, shown = scene_referred(photo_codes(42, 58))
    renderer = load_renderer(folders[name], CARDS[name], 64, faithful=True)
    _, image = official(folders[name], name, shown * 255, 64)
    assert largest_difference(renderer(photo, seed=SEED), in_conventions(name, image)) < TOLERANCE


SINE, COSINE, NOUGHT, ONE = 0.8414710, 0.5403023, 0.0, 1.0


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        ((SINE, NOUGHT, COSINE, ONE), True),
        ((NOUGHT, SINE, ONE, COSINE), False),  # gives the photo back
        ((COSINE, ONE, SINE, NOUGHT), False),  # cosines before sines
        ((SINE, COSINE, NOUGHT, ONE), False),  # each sine with its cosine
        ((ONE, NOUGHT, COSINE, SINE), False),
    ],
)
@pytest.mark.parametrize("name", [GENERATIVE, REGRESSIVE])
def test_the_task_is_told_by_sines_and_then_cosines(folders, name, numbers, right):
    codes = photo_codes(48, 64)
    latent, _ = official(folders[name], name, codes, 64, torch.tensor([numbers]))
    found = load_renderer(folders[name], CARDS[name], 64, faithful=True).latents(as_frames(codes), seed=SEED)
    difference = float((found - latent).abs().max())
    assert difference < TOLERANCE if right else difference > 10 * TOLERANCE


def test_the_models_without_noise_have_no_channels_for_it(folders):
    photo = as_frames(photo_codes(48, 64))
    for name, card in CARDS.items():
        networks, renderer = load_networks(folders[name]), load_renderer(folders[name], card, 64)
        assert networks.unet.config["in_channels"] == (8 if "-g-" in name else 4)
        one, two = (renderer.latents(photo, seed=seed) for seed in (0, 1))
        assert torch.equal(one, two) == ("-d-" in name)


HABITS = {
    "the noisy target comes first": (GENERATIVE, {"order": "noise_first"}),
    "no noise": (GENERATIVE, {"noise": "zeros"}),
    "the mode of the photo's latent": (GENERATIVE, {"posterior": "mode"}),
    "another scale of latents": (GENERATIVE, {"scale": 0.2}),
    "a padded prompt": (GENERATIVE, {"padded_prompts": True}),
    "padding": (GENERATIVE, {"size": {"fit": "pad"}}),
    "sides rounded to the nearest pixel": (GENERATIVE, {"size": {"rounding": "nearest"}}),
    "sides rounded down exactly": (GENERATIVE, {"size": {"rounding": "down"}}),
    "resized as 8 bits": (GENERATIVE, {"size": {"space": "bytes"}}),
    "resized as light": (GENERATIVE, {"size": {"space": "linear"}}),
    "aliased on the way in": (GENERATIVE, {"size": {"inward": "bilinear_sharp"}}),
    "interpolated on the way back": (GENERATIVE, {"size": {"back": "bilinear"}}),
    "the other nearest pixel": (GENERATIVE, {"size": {"back": "nearest"}}),
    "the earliest timestep": (GENERATIVE, {"schedule": {"spacing": "leading"}}),
    "a velocity as what is predicted": (GENERATIVE, {"schedule": {"prediction": "v_prediction"}}),
    "noise as what is predicted": (REGRESSIVE, {"schedule": {"prediction": "epsilon"}}),
    "red to the right": (REGRESSIVE, {"codec": {"signs": (1, 1, 1)}}),
    "normals that are not clipped": (REGRESSIVE, {"codec": {"vectors": "unit"}}),
    "disparity that is clipped after the mean": (DISPARITY, {"codec": {"clipped": "mean"}}),
    "stretched depth": ("depth-g-v1-0", {"codec": {"stretched": True}}),
    "disparity from the first channel": (DISPARITY, {"codec": {"channels": (0,)}}),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_card_with_another_habit_is_found_out(folders, habit):
    """Each habit of the cards shows in the maps: were it wrong, the tests above would fail."""
    name, changes = HABITS[habit]
    codes, differences = photo_codes(43, 49), []
    photo = as_frames(codes)
    for long_side in (38, 64):
        right = load_renderer(folders[name], CARDS[name], long_side, faithful=True)
        wrong = with_habit(right, changes)
        _, image = official(folders[name], name, codes, long_side)
        expected = in_conventions(name, image)
        assert largest_difference(right(photo, seed=SEED), expected) < TOLERANCE
        differences.append(largest_difference(wrong(photo, seed=SEED), expected))
    assert max(differences) > 10 * TOLERANCE


@pytest.mark.parametrize(("height", "width", "long_side"), PHOTOS)
@pytest.mark.parametrize("name", [GENERATIVE, REGRESSIVE, DISPARITY, "depth-d-v1-0"])
def test_by_default_nothing_is_cut_or_drawn_from_the_photo(folders, name, height, width, long_side):
    """No noise in the photo's latent, no rows that are dropped, no pixels that are repeated."""
    codes = photo_codes(height, width)
    renderer, photo = load_renderer(folders[name], CARDS[name], long_side), as_frames(codes)
    networks = load_networks(folders[name])
    given, content = plain_inputs(networks, codes, long_side)
    latent = predicted(networks, name, given, drawn(8 * given.shape[2], 8 * given.shape[3]), task_vector())
    picture = decoded(networks, latent, content).clip(-1, 1)
    expected = in_conventions(name, picture / 2 + 0.5)
    expected = {key: resized(values, (height, width)) for key, values in expected.items()}
    if "normal" in expected:
        expected["normal"] = unit(expected["normal"])
    torch.testing.assert_close(renderer.latents(photo, seed=SEED), latent, atol=TOLERANCE, rtol=0)
    assert largest_difference(renderer(photo, seed=SEED), expected) < TOLERANCE


@pytest.mark.parametrize("name", [REGRESSIVE, "depth-d-v2-0-disparity"])
def test_by_default_a_border_that_is_there_already_shifts_nothing(folders, name):
    """42 rows are as good as 48 of which the last six repeat; the official pipeline stretches 40 rows over them."""
    codes = photo_codes(42, 64)
    longer = functional.pad(codes.float(), (0, 0, 0, 6), mode="replicate").to(torch.uint8)
    for faithful in (False, True):
        renderer = load_renderer(folders[name], CARDS[name], 0, faithful=faithful)
        found, expected = renderer(as_frames(codes)), renderer(as_frames(longer))
        rows = {key: values[..., :42, :] for key, values in expected.maps.items() if key != "rgb"}
        difference = largest_difference(found, rows)
        assert difference > 100 * TOLERANCE if faithful else difference < TOLERANCE
