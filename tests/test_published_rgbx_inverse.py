"""RGB->X and Ouroboros' inverse half give the numbers of their official code, and, by default, what is right."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rgbx_reference import (
    Official,
    as_light,
    as_power,
    close,
    close_direction,
    close_light,
    codes,
    decoded,
    display_code,
    encoded,
    engine_of,
    padded,
    plain,
    preprocessed,
    read_official,
    smooth,
    three_way,
    tonemapped,
    walked,
    words,
    write_published,
)
from tiny_models import changed
from unrender.diffusion.card import Guidance, ModelCard, faithful
from unrender.diffusion.checkpoints.published.ouroboros import INVERSE
from unrender.diffusion.checkpoints.published.rgbx import RGB_TO_X
from unrender.diffusion.framing import plan_framing
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames

SIDE = 64  # in place of RGB->X's 1000
SMALL = replace(
    RGB_TO_X.with_maps(size=replace(RGB_TO_X.maps.size, long_side=SIDE)),
    quirks=replace(RGB_TO_X.quirks, size=replace(RGB_TO_X.quirks.size, long_side=SIDE)),
)
SIZES = [(48, 64), (42, 58), (75, 50)]
ASKED = {
    "albedo": "Albedo (diffuse basecolor)",
    "normal": "Camera-space Normal",
    "roughness": "Roughness",
    "metallic": "Metallicness",
    "irradiance": "Irradiance (diffuse lighting)",
}
COMPARED = {"base_color": close_light, "irradiance": close_light, "normal": close_direction}


@dataclass(frozen=True)
class Model:
    card: ModelCard
    official: Official
    folder: Path

    def renderer(self, reading: str = "faithful", **changes) -> InverseRenderer:
        card = changed(self.card, **changes)
        return InverseRenderer(engine_of(self.folder, faithful(card) if reading == "faithful" else card))


@pytest.fixture(scope="module")
def rgbx(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("rgbx"), SMALL)
    return Model(SMALL, read_official(folder), folder)


@pytest.fixture(scope="module")
def ouroboros(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("ouroboros"), INVERSE)
    return Model(INVERSE, read_official(folder, "unet_1"), folder)


@pytest.fixture(params=["rgbx", "ouroboros"])
def model(request):
    return request.getfixturevalue(request.param)


def official_photo(model: Model, photo: Tensor) -> Tensor:
    """The photo, [0, 1], at the size that the official scripts bring it to."""
    height, width = photo.shape[2:]
    if model.card.maps.size.long_side:
        ratio = height / width
        tall = height > width
        height, width = (SIDE, int(SIDE / ratio)) if tall else (int(SIDE * ratio), SIDE)
    return smooth(photo, (height // 8 * 8, width // 8 * 8))


def passes(
    official: Official, shown: Tensor, *, steps: int, seed: int, clean: bool = False, guidance: tuple | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Latents and decoded pictures of five passes, whose noise comes from one generator, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    given = encoded(official, shown)
    latents = {}
    for name, prompt in ASKED.items():
        noise = torch.randn(given.shape, generator=generator)
        told = words(official, prompt)
        network = three_way(official, given, told, *guidance) if guidance else plain(official, given, told)
        latents[name] = walked(official, noise, network, steps, clean=clean)
    return latents, {name: decoded(official, latent) for name, latent in latents.items()}


def handed_over(pictures: dict[str, Tensor], ouroboros: bool) -> dict[str, Tensor]:
    """What the official pipeline makes of decoded pictures, three channels each in [0, 1], not yet 8 bits."""
    files = {name: (picture / 2 + 0.5).clamp(0, 1) for name, picture in pictures.items()}
    for name in ("albedo", "irradiance"):
        files[name] = display_code(pictures[name])
    for name in ("roughness",) if ouroboros else ("roughness", "metallic"):
        files[name] = files[name][:, :1].repeat(1, 3, 1, 1)
    return files


def as_gbuffer(files: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those files read with unrender's meanings, normals of any length."""
    return {
        "base_color": as_light(files["albedo"]),
        "normal": files["normal"] * 2 - 1,
        "roughness": files["roughness"].mean(1, keepdim=True),
        "metallic": files["metallic"].mean(1, keepdim=True),
        "irradiance": as_light(files["irradiance"]),
    }


@torch.no_grad()
def check_faithful(model: Model, photo: Frames, network_photo: Tensor, steps: int, seed: int = 5) -> None:
    renderer = model.renderer()
    latents, pictures = passes(model.official, preprocessed(network_photo), steps=steps, seed=seed)
    close(renderer.latents(photo, steps=steps, seed=seed), torch.cat(list(latents.values()), 1), "latents")
    found = renderer.pictures(photo, steps=steps, seed=seed)
    assert list(found) == list(ASKED)
    for name, picture in pictures.items():
        close(found[name], picture, name)
    files = handed_over(pictures, ouroboros=model.card is INVERSE)
    right = as_gbuffer({name: smooth(file, photo.size) for name, file in files.items()})
    gbuffer = renderer(photo, steps=steps, seed=seed)
    assert (gbuffer.irradiance_kind, set(gbuffer.maps)) == ("relative", {*right, "rgb"})
    for name, values in right.items():
        COMPARED.get(name, close)(gbuffer.maps[name], values, name)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("size", SIZES)
def test_the_faithful_reading_gives_the_numbers_of_the_official_code(model, size, steps):
    code = codes(size, 1)
    check_faithful(model, Frames(as_light(code)), official_photo(model, code**2.2), steps)


def test_a_scene_referred_photo_is_exposed_by_way_of_yxy(model):
    """Linear light is shown as it is: the power 2.2 is for 8-bit codes alone. Very dark pixels turn blue on the way."""
    light = codes((42, 58), 2) ** 4 * 30
    light[..., 10:20, 10:20] *= 1e-6
    check_faithful(model, Frames(light, hdr=True), official_photo(model, tonemapped(light)), steps=1)


@torch.no_grad()
@pytest.mark.parametrize("hdr", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_default_reading_decodes_what_is_right(model, size, hdr):
    """The clean latent of a photo that is resized in linear light and padded, not stretched."""
    light = codes(size, 3) ** 3 * 5 if hdr else as_light(codes(size, 3))
    exposed = (
        light
        * 0.18
        / (light * torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None]).sum(1).clamp(min=1e-6).log().mean().exp()
    )
    side, longest = model.card.maps.size.long_side or max(size), max(size)
    content = size[0] * side // longest, size[1] * side // longest
    small = smooth(exposed if hdr else light, content)
    shown = (small.clamp(0, 1) if hdr else as_power(small)) * 2 - 1
    latents, pictures = passes(model.official, padded(shown), steps=2, seed=6, clean=True)
    renderer, photo = model.renderer("default"), Frames(light, hdr=hdr)
    close(renderer.latents(photo, steps=2, seed=6), torch.cat(list(latents.values()), 1), "latents")

    pictures = {name: picture[..., : content[0], : content[1]] for name, picture in pictures.items()}
    right = as_gbuffer(handed_over(pictures, ouroboros=False))
    found, gbuffer = renderer.pictures(photo, steps=2, seed=6), renderer(photo, steps=2, seed=6)
    for name, picture in pictures.items():
        close(found[name], picture, name)
    for name, values in right.items():
        back = smooth(functional.normalize(values, dim=1) if name == "normal" else values, size)
        COMPARED.get(name, close)(gbuffer.maps[name], back, name)


def test_a_few_maps_are_the_same_maps(model):
    photo, renderer = Frames(as_light(codes((42, 58), 4))), model.renderer()
    every, few = renderer(photo, seed=9, steps=1), renderer(photo, ["metallic", "normal"], seed=9, steps=1)
    assert set(few.maps) == {"normal", "metallic", "rgb"}
    for name in few.maps:
        close(few.maps[name], every.maps[name], name)


def test_ouroboros_metallic_is_its_three_channels_as_it_is_run_and_its_first_by_default(ouroboros):
    photo = Frames(as_light(codes((48, 64), 4)))
    mean, first = ouroboros.renderer(), ouroboros.renderer("default")
    for renderer, channels in ((mean, slice(3)), (first, slice(1))):
        picture = renderer.pictures(photo, ["metallic"])["metallic"][:, channels]
        right = ((picture + 1) / 2).clamp(0, 1).mean(1, keepdim=True)
        close(renderer(photo, ["metallic"]).maps["metallic"], right)


@torch.no_grad()
@pytest.mark.parametrize(("text", "image", "on"), [(1.0, 1.5, False), (1.01, 1.5, True), (7.5, 0.9, False)])
def test_guidance_counts_from_above_1(rgbx, text, image, on):
    renderer = rgbx.renderer(guidance=Guidance(text, image))
    code = codes((48, 64), 5)
    shown = preprocessed(official_photo(rgbx, code**2.2))
    latents, _ = passes(rgbx.official, shown, steps=2, seed=0, guidance=(text, image) if on else None)
    close(renderer.latents(Frames(as_light(code)), steps=2), torch.cat(list(latents.values()), 1))


@pytest.mark.parametrize("size", [(48, 64), (25, 22), (50, 48), (22, 25), (749, 1000), (3000, 2001), (600, 600)])
def test_a_side_that_floats_put_just_below_a_whole_number_loses_eight_pixels(size):
    """The official script divides by height / width in floating point: 25 x 22 comes to 1000 x 879.999."""
    height, width = size
    ratio = height / width
    scaled = (1000, int(1000 / ratio)) if height > width else (int(1000 * ratio), 1000)
    framing = plan_framing(size, faithful(RGB_TO_X).maps.size, "photo")
    assert framing.canvas == framing.content == (scaled[0] // 8 * 8, scaled[1] // 8 * 8)
