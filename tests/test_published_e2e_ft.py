"""E2E-FT against its official pipeline written out, step by step; and what its maps mean, against the formulas.

The normals that unrender gives are unit, always; the official ones are only nearly so after they are resized, and are
made unit here at the end.
"""

import pytest
import torch

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
from unrender.diffusion.checkpoints.published.e2e_ft import E2E_FT

CARDS = {card.id.removeprefix("GonzaloMG/"): card for card in E2E_FT}
MANY_STEPS = "marigold-normals"
DEPTH, NORMALS = "marigold-e2e-ft-depth", "marigold-e2e-ft-normals"
# As they lie; rows that the autoencoder drops; enlarged; made smaller; 49 columns, which become 63 and not 64.
PHOTOS = [(48, 64, 64), (42, 58, 0), (75, 50, 96), (90, 121, 64), (37, 49, 64)]
# One step from t = 999 without zero terminal SNR: z0 = sqrt(alpha) noise - sqrt(1 - alpha) v.
SIGNAL, NOISE = 0.0682661, 0.9976671


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    parent = tmp_path_factory.mktemp("e2e_ft")
    written = {name: write_official(parent, card, seed) for seed, (name, card) in enumerate(CARDS.items())}
    depth_at_one_end(written[DEPTH])
    for name in CARDS:
        if "normals" in name:
            normals_of_length(written[name])
    return written


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def noise_for(renderer, photo) -> torch.Tensor | None:
    if renderer.card.sampling.noise != "gaussian":
        return None
    return torch.randn(renderer.noise_shape(photo), generator=torch.Generator().manual_seed(7))


def walked(networks: Networks, given: torch.Tensor, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """From the noise to the clean latent that the last step predicts."""
    tokens = networks.empty_tokens()
    if steps == 1:
        return SIGNAL * noise - NOISE * networks.unet(torch.cat((given, noise), dim=1), 999, tokens).sample
    latent, scheduler = noise, networks.scheduler
    scheduler.set_timesteps(steps)
    for index, timestep in enumerate(scheduler.timesteps):
        output = networks.unet(torch.cat((given, latent), dim=1), timestep, tokens).sample
        step = scheduler.step(output, timestep, latent)
        latent = step.pred_original_sample if index == steps - 1 else step.prev_sample
    return latent


def official(
    folder, codes: torch.Tensor, long_side: int, *, normals: bool, noise: torch.Tensor | None = None, steps: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """The official pipeline: (the latent, depth in [0, 1] or normals with x to the left, at the size of the photo)."""
    networks = load_networks(folder, timestep_spacing="trailing")
    height, width = codes.shape[2:]
    if long_side:
        factor = min(long_side / width, long_side / height)
        codes = resized(codes, (int(height * factor), int(width * factor)))
    picture = codes / 255.0 * 2.0 - 1.0
    mean, _ = networks.vae.quant_conv(networks.vae.encoder(picture)).chunk(2, dim=1)
    given = mean * SCALE
    latent = walked(networks, given, torch.zeros_like(given) if noise is None else noise, steps)
    pixels = networks.vae.decoder(networks.vae.post_quant_conv(latent / SCALE))
    if normals:
        for _ in range(2):
            pixels = pixels / (pixels.norm(dim=1, keepdim=True) + 1e-5)
        return latent, resized(pixels, (height, width)).clip(-1, 1)
    depth = (pixels.mean(dim=1, keepdim=True).clip(-1, 1) + 1) / 2
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    return latent, resized(depth, (height, width)).clip(0, 1)


def in_conventions(prediction: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the pipeline predicts, as unrender's maps."""
    if prediction.shape[1] == 1:
        return {"depth": 1 + prediction}
    return {"normal": unit(prediction) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]}


@pytest.mark.parametrize(("height", "width", "long_side"), PHOTOS)
@pytest.mark.parametrize(("name", "steps"), [*((name, 1) for name in CARDS), (MANY_STEPS, 4)])
def test_equals_the_official_pipeline(folders, name, steps, height, width, long_side):
    codes = photo_codes(height, width)
    renderer, photo = load_renderer(folders[name], CARDS[name], long_side, faithful=True), as_frames(codes)
    noise = noise_for(renderer, photo)
    normals = "normals" in name
    latent, prediction = official(folders[name], codes, long_side, normals=normals, noise=noise, steps=steps)
    torch.testing.assert_close(renderer.latents(photo, steps=steps, noise=noise), latent, atol=TOLERANCE, rtol=0)
    found, expected = renderer(photo, steps=steps, noise=noise), in_conventions(prediction)
    assert set(found.maps) == {*expected, "rgb"}
    assert largest_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("name", CARDS)
def test_takes_as_many_steps_as_it_was_made_for(folders, name):
    codes, steps = photo_codes(32, 40), 50 if name == MANY_STEPS else 1
    renderer, photo = load_renderer(folders[name], CARDS[name], 0, faithful=True), as_frames(codes)
    noise = noise_for(renderer, photo)
    latent, _ = official(folders[name], codes, 0, normals=True, noise=noise, steps=steps)
    torch.testing.assert_close(renderer.latents(photo, noise=noise), latent, atol=TOLERANCE, rtol=0)


def test_nothing_is_drawn_but_for_the_model_of_many_steps(folders):
    photo = as_frames(photo_codes(32, 40))
    for name, card in CARDS.items():
        renderer = load_renderer(folders[name], card, 0)
        one, two = (renderer.latents(photo, steps=1, seed=seed) for seed in (0, 1))
        assert torch.equal(one, two) == (name != MANY_STEPS)


@pytest.mark.parametrize("name", CARDS)
def test_a_scene_referred_photo_is_exposed_first(folders, name):
    photo, shown = scene_referred(photo_codes(42, 58))
    renderer = load_renderer(folders[name], CARDS[name], 64, faithful=True)
    noise = noise_for(renderer, photo)
    codes = (shown * 255).round().to(torch.uint8)
    _, prediction = official(folders[name], codes, 64, normals="normals" in name, noise=noise)
    assert largest_difference(renderer(photo, steps=1, noise=noise), in_conventions(prediction)) < TOLERANCE


HABITS = {
    "the noisy target comes first": (NORMALS, {"order": "noise_first"}),
    "a sample of the photo's latent": (NORMALS, {"posterior": "sample"}),
    "another scale of latents": (NORMALS, {"scale": 0.2}),
    "a padded prompt": (NORMALS, {"padded_prompts": True}),
    "gaussian noise": (NORMALS, {"noise": "gaussian"}),
    "padding": (NORMALS, {"size": {"fit": "pad"}}),
    "sides rounded to the nearest pixel": (NORMALS, {"size": {"rounding": "nearest"}}),
    "sides rounded down exactly": (NORMALS, {"size": {"rounding": "down"}}),
    "resized as floats": (NORMALS, {"size": {"space": "encoded"}}),
    "resized as light": (NORMALS, {"size": {"space": "linear"}}),
    "aliased on the way in": (NORMALS, {"size": {"inward": "bilinear_sharp"}}),
    "aliased on the way back": (NORMALS, {"size": {"back": "bilinear_sharp"}}),
    "the earliest timestep": (NORMALS, {"schedule": {"spacing": "leading"}}),
    "no signal at t = 999": (NORMALS, {"schedule": {"zero_terminal_snr": True}}),
    "noise as what is predicted": (NORMALS, {"schedule": {"prediction": "epsilon"}}),
    "a clean latent as what is predicted": (NORMALS, {"schedule": {"prediction": "sample"}}),
    "a last step that leaves noise": (MANY_STEPS, {"schedule": {"final_step": "previous"}}),
    "red to the right": (NORMALS, {"codec": {"signs": (1, 1, 1)}}),
    "normals that are clipped": (NORMALS, {"codec": {"vectors": "clipped_unit"}}),
    "normals that are unit at the end alone": (NORMALS, {"codec": {"vectors": "clipped"}}),
    "depth as it comes": (DEPTH, {"codec": {"stretched": False}}),
    "depth from the first channel": (DEPTH, {"codec": {"channels": (0,)}}),
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
        noise = noise_for(right, photo)
        _, prediction = official(folders[name], codes, long_side, normals="normals" in name, noise=noise)
        expected = in_conventions(prediction)
        assert largest_difference(right(photo, steps=1, noise=noise), expected) < TOLERANCE
        same_size = noise is None or wrong.noise_shape(photo) == noise.shape
        found = wrong(photo, steps=1, noise=noise if same_size else None)
        differences.append(largest_difference(found, expected))
    assert max(differences) > 10 * TOLERANCE


@pytest.mark.parametrize(("height", "width", "long_side"), PHOTOS)
@pytest.mark.parametrize(("name", "steps"), [(DEPTH, 1), (NORMALS, 1), (MANY_STEPS, 4)])
def test_by_default_nothing_is_cut_or_stretched(folders, name, steps, height, width, long_side):
    codes = photo_codes(height, width)
    renderer, photo = load_renderer(folders[name], CARDS[name], long_side), as_frames(codes)
    networks = load_networks(folders[name], timestep_spacing="trailing")
    given, content = plain_inputs(networks, codes, long_side)
    noise = noise_for(renderer, photo)
    latent = walked(networks, given, torch.zeros_like(given) if noise is None else noise, steps)
    picture = decoded(networks, latent, content)
    if "normals" in name:
        expected = in_conventions(resized(unit(picture), (height, width)))
    else:
        expected = in_conventions(resized((picture.mean(1, keepdim=True).clip(-1, 1) + 1) / 2, (height, width)))
    torch.testing.assert_close(renderer.latents(photo, steps=steps, noise=noise), latent, atol=TOLERANCE, rtol=0)
    assert largest_difference(renderer(photo, steps=steps, noise=noise), expected) < TOLERANCE


@pytest.mark.parametrize("name", [DEPTH, NORMALS])
def test_by_default_a_border_that_is_there_already_shifts_nothing(folders, name):
    """42 rows are as good as 48 of which the last six repeat; the official pipeline stretches 40 rows over them."""
    codes = photo_codes(42, 64)
    longer = torch.nn.functional.pad(codes.float(), (0, 0, 0, 6), mode="replicate").to(torch.uint8)
    for faithful in (False, True):
        renderer = load_renderer(folders[name], CARDS[name], 0, faithful=faithful)
        found, expected = renderer(as_frames(codes)), renderer(as_frames(longer))
        rows = {key: values[..., :42, :] for key, values in expected.maps.items() if key != "rgb"}
        difference = largest_difference(found, rows)
        assert difference > 100 * TOLERANCE if faithful else difference < TOLERANCE


def test_a_clip_is_read_frame_by_frame(folders):
    codes = torch.cat([photo_codes(42, 58, seed) for seed in (3, 4)])
    renderer = load_renderer(folders[NORMALS], CARDS[NORMALS], 64, faithful=True)
    clip = renderer(as_frames(codes))
    for t in range(2):
        _, prediction = official(folders[NORMALS], codes[t : t + 1], 64, normals=True)
        assert largest_difference(clip.frame(t), in_conventions(prediction)) < TOLERANCE
