"""X->RGB and Ouroboros' forward half give the numbers of their official code, and, by default, what is right."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rgbx_reference import (
    MULTIPLIERS,
    Official,
    as_light,
    as_power,
    close,
    close_light,
    codes,
    decoded,
    display_code,
    encoded,
    engine_of,
    gbuffer_of_files,
    map_files,
    official_given,
    official_maps,
    padded,
    plain,
    read_official,
    smooth,
    three_way,
    walked,
    words,
    write_published,
)
from unrender.diffusion.card import ModelCard, faithful
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.published.ouroboros import FORWARD
from unrender.diffusion.checkpoints.published.rgbx import X_TO_RGB
from unrender.diffusion.options import InferenceOptions
from unrender.forward.neural import NeuralRenderer
from unrender.forward.options import ForwardOptions
from unrender.scene.gbuffer import GBuffer

SIZES = [(48, 64), (42, 58), (75, 50)]
CAPTION = "a small room by the sea"
FAITHFUL, DEFAULT = InferenceOptions("cpu", "float32", faithful=True), InferenceOptions("cpu", "float32")


@dataclass(frozen=True)
class Model:
    card: ModelCard
    official: Official
    folder: Path


@pytest.fixture(scope="module")
def rgbx(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("rgbx"), X_TO_RGB)
    write_card(X_TO_RGB, folder)
    return Model(X_TO_RGB, read_official(folder), folder)


@pytest.fixture(scope="module")
def ouroboros(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("ouroboros"), FORWARD)
    return Model(FORWARD, read_official(folder, "unet_0"), folder)


@torch.no_grad()
def written_out(
    model: Model,
    given: Tensor,
    *,
    steps: int,
    caption: str = "",
    text: float = 0.0,
    image: float = 0.0,
    rescale: float = 0.0,
    clean: bool = False,
) -> Tensor:
    """The latent, from the noise of seed 0, and guided where the official code guides."""
    noise = torch.randn(1, 4, *given.shape[2:], generator=torch.Generator().manual_seed(0))
    told = words(model.official, caption)
    if text >= 1 and image >= 1:
        network = three_way(model.official, given, told, text, image, rescale)
    else:
        network = plain(model.official, given, told)
    return walked(model.official, noise, network, steps, clean=clean)


def check(renderer: NeuralRenderer, gbuffer: GBuffer, latent: Tensor, model: Model) -> None:
    """Latents, and the picture at the size of the maps."""
    close(renderer.latents(gbuffer), latent, "latents")
    with torch.no_grad():
        light = as_light(display_code(decoded(model.official, latent)))
    groups = renderer(gbuffer)
    close_light(groups.beauty, smooth(light, gbuffer.size), "picture")
    assert list(groups.surfaces) == ["rendered"]


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("size", SIZES)
def test_the_faithful_reading_gives_the_numbers_of_the_official_code(rgbx, size, steps):
    files = map_files(size)
    given = official_given(rgbx.official, official_maps(files), size)
    latent = written_out(rgbx, given, steps=steps, caption=CAPTION, text=7.5, image=1.5, rescale=0.7)
    renderer = NeuralRenderer.from_pretrained(rgbx.folder, FAITHFUL, ForwardOptions(CAPTION, steps=steps))
    check(renderer, gbuffer_of_files(files), latent, rgbx)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("size", SIZES)
def test_ouroboros_is_the_same_in_one_step_without_guidance(ouroboros, size, steps):
    files = map_files(size)
    given = official_given(ouroboros.official, official_maps(files), size)
    renderer = NeuralRenderer(
        engine_of(ouroboros.folder, faithful(FORWARD)), ForwardOptions(steps=None if steps == 1 else steps)
    )
    check(renderer, gbuffer_of_files(files), written_out(ouroboros, given, steps=steps), ouroboros)


def test_ouroboros_is_told_a_caption(ouroboros):
    files = map_files((48, 64))
    given = official_given(ouroboros.official, official_maps(files), (48, 64))
    with torch.no_grad():
        caption = words(ouroboros.official, CAPTION)[0]
    renderer = NeuralRenderer(engine_of(ouroboros.folder, faithful(FORWARD)), ForwardOptions(), caption)
    check(renderer, gbuffer_of_files(files), written_out(ouroboros, given, steps=1, caption=CAPTION), ouroboros)


@pytest.mark.parametrize(
    "names",
    [["irradiance"], ["albedo"], ["normal", "irradiance"], ["roughness", "metallic"], ["metallic", "albedo", "normal"]],
)
def test_any_maps_may_be_missing_and_are_zeros_in_the_latents(rgbx, names):
    size = (42, 58)
    files = map_files(size, names)
    given = official_given(rgbx.official, official_maps(files), size)
    latent = written_out(rgbx, given, steps=2, text=7.5, image=1.5, rescale=0.7)
    renderer = NeuralRenderer.from_pretrained(rgbx.folder, FAITHFUL, ForwardOptions(steps=2))
    check(renderer, gbuffer_of_files(files), latent, rgbx)


@pytest.mark.parametrize(
    ("text", "image"),
    [(0.0, 1.5), (0.99, 1.5), (1.0, 1.0), (1.0, 1.5), (7.5, 1.0), (3.0, 4.0), (7.5, 0.9), (7.5, 0.0)],
)
def test_guidance_is_on_where_both_scales_are_1_or_more(rgbx, text, image):
    size, files = (48, 64), map_files((48, 64))
    given = official_given(rgbx.official, official_maps(files), size)
    latent = written_out(rgbx, given, steps=2, caption=CAPTION, text=text, image=image, rescale=0.7)
    options = ForwardOptions(CAPTION, guidance=text, image_guidance=image, steps=2)
    close(NeuralRenderer.from_pretrained(rgbx.folder, FAITHFUL, options).latents(gbuffer_of_files(files)), latent)


@pytest.mark.parametrize(("image", "branches"), [(None, 3), (1.0, 2), (0.5, 1)])
def test_as_few_evaluations_as_guidance_needs_at_once_or_one_by_one(rgbx, image, branches):
    gbuffer, latents, batches = gbuffer_of_files(map_files((48, 64))), {}, {}
    for memory in ("normal", "low"):
        inference, options = replace(FAITHFUL, memory=memory), ForwardOptions(CAPTION, image_guidance=image, steps=2)
        renderer = NeuralRenderer.from_pretrained(rgbx.folder, inference, options)
        batches[memory] = []
        count = batches[memory].append
        renderer.engine.checkpoint.unet.register_forward_pre_hook(lambda _, args, count=count: count(len(args[0])))
        latents[memory] = renderer.latents(gbuffer)
    assert batches == {"normal": [branches] * 2, "low": [1] * 2 * branches}
    close(latents["low"], latents["normal"])


@pytest.mark.parametrize(("dark", "side"), [(0.0, 20), (1e-6, 20), (1.0, 0)])
def test_scene_referred_irradiance_is_exposed_and_stays_linear(rgbx, dark, side):
    size, files = (42, 58), map_files((42, 58), ["albedo", "irradiance"])
    files["irradiance"] = files["irradiance"] ** 2 * 40
    files["irradiance"][..., :side, :side] *= dark
    given = official_given(rgbx.official, official_maps(files, scene=True), size)
    latent = written_out(rgbx, given, steps=1)
    renderer = NeuralRenderer.from_pretrained(rgbx.folder, FAITHFUL, ForwardOptions(guidance=0, steps=1))
    check(renderer, gbuffer_of_files(files, scene=True), latent, rgbx)


@torch.no_grad()
def right_given(official: Official, gbuffer: GBuffer) -> Tensor:
    """What is given by default: at the maps' own size, padded; nothing where there is no normal."""
    pictures = {
        "albedo": as_power(gbuffer.maps["base_color"]) * 2 - 1,
        "normal": gbuffer.maps["normal"],
        "roughness": gbuffer.maps["roughness"].expand(-1, 3, -1, -1) * 2 - 1,
        "metallic": gbuffer.maps["metallic"].expand(-1, 3, -1, -1) * 2 - 1,
    }
    light = gbuffer.maps["irradiance"]
    if gbuffer.irradiance_kind == "metric":
        luminance = (light * torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None]).sum(1)
        light = (light * 0.18 / luminance[luminance > 0].log().mean().exp()).clamp(0, 1)
    else:
        light = as_power(light)
    parts = [encoded(official, padded(picture), MULTIPLIERS[name]) for name, picture in pictures.items()]
    irradiance = padded(light * 2 - 1)
    return torch.cat([*parts, smooth(irradiance, (irradiance.shape[2] // 8, irradiance.shape[3] // 8))], 1)


@torch.no_grad()
@pytest.mark.parametrize("scene", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_default_reading_decodes_the_clean_latent_of_padded_maps(rgbx, size, scene):
    """Where nothing is lit there is no surface: black pixels have no say in the exposure of an irradiance."""
    files = map_files(size)
    if scene:
        files["irradiance"] = files["irradiance"] ** 2 * 40
        files["irradiance"][..., :20, :] = 0
    gbuffer = gbuffer_of_files(files, scene=scene)
    given = right_given(rgbx.official, gbuffer)
    latent = written_out(rgbx, given, steps=2, text=7.5, image=1.5, rescale=0.7, clean=True)
    renderer = NeuralRenderer.from_pretrained(rgbx.folder, DEFAULT, ForwardOptions(steps=2))
    close(renderer.latents(gbuffer), latent, "latents")
    right = as_light(display_code(decoded(rgbx.official, latent)))
    close_light(renderer(gbuffer).beauty, right[..., : size[0], : size[1]], "picture")


@torch.no_grad()
def test_ouroboros_default_reading_decodes_the_clean_latent(ouroboros):
    gbuffer = gbuffer_of_files(map_files((42, 58)))
    latent = written_out(ouroboros, right_given(ouroboros.official, gbuffer), steps=1, clean=True)
    renderer = NeuralRenderer(engine_of(ouroboros.folder, FORWARD), ForwardOptions())
    close(renderer.latents(gbuffer), latent)


def test_a_clip_is_rendered_frame_by_frame_from_one_noise(rgbx):
    frames = [gbuffer_of_files({name: codes((42, 58), seed) for name in ("albedo", "irradiance")}) for seed in (1, 2)]
    clip = GBuffer(
        irradiance_kind="relative",
        **{name: torch.cat([frame.maps[name] for frame in frames]) for name in ("base_color", "irradiance")},
    )
    renderer = NeuralRenderer.from_pretrained(rgbx.folder, FAITHFUL, ForwardOptions(steps=2))
    together = renderer(clip).beauty
    for index, frame in enumerate(frames):
        close(together[index : index + 1], renderer(frame).beauty)
