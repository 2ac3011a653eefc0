"""X->RGB's inpainting gives the numbers of its official code; by default it leaves the rest of the photo alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rgbx_reference import (
    MULTIPLIERS,
    Official,
    Size,
    as_light,
    as_power,
    close,
    close_light,
    codes,
    decoded,
    display_code,
    encoded,
    gbuffer_of_files,
    map_files,
    official_given,
    official_maps,
    padded,
    plain,
    preprocessed,
    read_official,
    smooth,
    three_way,
    walked,
    words,
    write_published,
)
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.published.rgbx import INPAINTING
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.forward.neural import NeuralRenderer
from unrender.forward.options import ForwardOptions
from unrender.scene.gbuffer import GBuffer

SIZES = [(48, 64), (42, 58), (75, 50)]
CAPTION = "a vase of glass"
FAITHFUL, DEFAULT = InferenceOptions("cpu", "float32", faithful=True), InferenceOptions("cpu", "float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("rgbx"), INPAINTING)
    write_card(INPAINTING, folder)
    return folder


@pytest.fixture(scope="module")
def official(folder):
    return read_official(folder)


def edit_mask(size: Size) -> Tensor:
    """(1, 1, H, W): 1 where the picture is rendered anew, with a soft edge, as of an 8-bit file."""
    mask = torch.zeros(1, 1, *size)
    mask[..., 10:, 12:45] = 1
    mask[..., 10, 12:45] = 128 / 255
    return mask


def written_out(official: Official, given: Tensor, steps: int, text: float, image: float, *, clean: bool) -> Tensor:
    noise = torch.randn(1, 4, *given.shape[2:], generator=torch.Generator().manual_seed(0))
    told = words(official, CAPTION)
    guided = text >= 1 and image >= 1
    network = three_way(official, given, told, text, image, 0.7) if guided else plain(official, given, told)
    return walked(official, noise, network, steps, clean=clean)


@torch.no_grad()
@pytest.mark.parametrize(("text", "image", "steps"), [(7.5, 1.5, 4), (0.0, 1.5, 1)])
@pytest.mark.parametrize("size", SIZES)
def test_the_faithful_reading_gives_the_numbers_of_the_official_code(folder, official, size, text, image, steps):
    """28 channels: the maps inside the edit alone; the photo outside it; and, last, what is kept, as 1."""
    files, photo, edit = map_files(size), codes(size, 30), edit_mask(size)
    keep = 1 - edit
    maps = {name: values * (1 - keep) for name, values in official_maps(files).items()}
    parts = [official_given(official, maps, size), encoded(official, preprocessed(photo**2.2 * keep))]
    given = torch.cat([*parts, smooth(keep, (size[0] // 8, size[1] // 8))], 1)
    latent = written_out(official, given, steps, text, image, clean=False)

    options = ForwardOptions(CAPTION, guidance=text, image_guidance=image, steps=steps)
    renderer = NeuralRenderer.from_pretrained(folder, FAITHFUL, options)
    gbuffer = gbuffer_of_files(files).with_maps(rgb=as_light(photo))
    assert (renderer.card.input_channels, given.shape[1]) == (28, 24)
    close(renderer.latents(gbuffer, edit), latent, "latents")
    right = smooth(as_light(display_code(decoded(official, latent))), size)
    close_light(renderer(gbuffer, edit=edit).beauty, right, "picture: nothing of the photo is put back")


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_by_default_the_rest_of_the_photo_is_exactly_as_it_was(folder, official, size):
    files, edit = map_files(size), edit_mask(size)
    photo = as_light(codes(size, 30))
    gbuffer = gbuffer_of_files(files).with_maps(rgb=photo)
    grey = {name: gbuffer.maps[name].expand(-1, 3, -1, -1) for name in ("roughness", "metallic")}
    pictures = {
        "albedo": as_power(gbuffer.maps["base_color"] * edit) * 2 - 1,
        "normal": gbuffer.maps["normal"] * edit,
        **{name: values * edit * 2 - 1 for name, values in grey.items()},
    }
    parts = [encoded(official, padded(picture), MULTIPLIERS[name]) for name, picture in pictures.items()]
    irradiance, keep = padded(as_power(gbuffer.maps["irradiance"] * edit) * 2 - 1), padded(1 - edit)
    latent_size = keep.shape[2] // 8, keep.shape[3] // 8
    parts += [smooth(irradiance, latent_size), encoded(official, padded(as_power(photo * (1 - edit)) * 2 - 1))]
    given = torch.cat([*parts, smooth(keep, latent_size)], 1)
    latent = written_out(official, given, 2, 7.5, 1.5, clean=True)

    renderer = NeuralRenderer.from_pretrained(folder, DEFAULT, ForwardOptions(CAPTION, steps=2))
    found = renderer(gbuffer, edit=edit).beauty
    close(renderer.latents(gbuffer, edit), latent, "latents")
    rendered = as_light(display_code(decoded(official, latent)))[..., : size[0], : size[1]]
    close_light(found, photo * (1 - edit) + rendered * edit, "picture")
    outside = (edit == 0).expand_as(photo)
    assert torch.equal(found[outside], photo[outside])
    assert not torch.equal(found, photo)


def test_without_maps_the_photo_is_filled_by_words(folder):
    photo, edit = as_light(codes((48, 64), 30)), edit_mask((48, 64))
    renderer = NeuralRenderer.from_pretrained(folder, DEFAULT, ForwardOptions(CAPTION, steps=1))
    filled = renderer(GBuffer(rgb=photo), edit=edit).beauty
    other = replace(renderer, options=replace(renderer.options, seed=1))(GBuffer(rgb=photo), edit=edit).beauty
    assert not torch.allclose(filled, other, atol=1e-2)


def test_a_clip_is_edited_by_one_mask(folder):
    photo, edit = torch.cat([as_light(codes((42, 58), seed)) for seed in (1, 2)]), edit_mask((42, 58))
    renderer = NeuralRenderer.from_pretrained(folder, FAITHFUL, ForwardOptions(steps=1))
    clip = renderer(GBuffer(rgb=photo), edit=edit).beauty
    for index in (0, 1):
        frame = GBuffer(rgb=photo[index : index + 1])
        close(clip[index : index + 1], renderer(frame, edit=edit).beauty)


@pytest.mark.parametrize(
    ("gbuffer", "edit", "says"),
    [
        (GBuffer(rgb=torch.ones(1, 3, 48, 64)), None, "expected an edit mask, white where"),
        (GBuffer(roughness=torch.ones(1, 1, 48, 64)), torch.ones(1, 1, 48, 64), "expected a G-buffer with rgb"),
        (GBuffer(rgb=torch.ones(1, 3, 48, 64)), torch.ones(1, 1, 64, 48), "mask is 48x64 pixels; expected 64x48"),
        (GBuffer(depth=torch.ones(1, 1, 48, 64)), torch.ones(1, 1, 48, 64), "this G-buffer has only depth"),
    ],
)
def test_wrong_calls_are_one_line(folder, gbuffer, edit, says):
    with pytest.raises(UserError, match=says) as caught:
        NeuralRenderer.from_pretrained(folder, DEFAULT, ForwardOptions(steps=1))(gbuffer, edit=edit)
    assert "\n" not in str(caught.value)
