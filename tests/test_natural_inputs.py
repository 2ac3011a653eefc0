"""What people hand over without ceremony, and what nouns say of themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unrender as ur
from unrender.errors import UserError
from unrender.files import as_clip, as_frames, as_gbuffer, as_light, write_gbuffer, write_image
from unrender.scene.color import srgb_to_linear

PICTURE = torch.rand(3, 32, 40, generator=torch.Generator().manual_seed(3))
CODES = (PICTURE * 255).to(torch.uint8)
MAPS = {
    "base_color": torch.full((1, 3, 32, 40), 0.5),
    "normal": torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 32, 40),
}


@pytest.fixture(scope="module")
def inverse():
    return ur.InverseRenderer.from_pretrained("mini")


@pytest.fixture
def photo(tmp_path):
    write_image(tmp_path / "photo.png", PICTURE)
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    "floats", [PICTURE, PICTURE[None], PICTURE.permute(1, 2, 0), PICTURE.double(), PICTURE.permute(1, 2, 0).numpy()]
)
def test_floats_are_scene_linear(floats):
    assert torch.equal(as_frames(floats).rgb, PICTURE[None])


@pytest.mark.parametrize("codes", [CODES, CODES.permute(1, 2, 0).numpy(), CODES.permute(1, 2, 0)[None]])
def test_integers_are_pictures_of_a_display(codes):
    torch.testing.assert_close(as_frames(codes).rgb, srgb_to_linear(CODES / 255)[None])


def test_sixteen_bits_have_their_own_white():
    white = np.full((4, 6, 3), 65535, dtype=np.uint16)
    assert torch.equal(as_frames(white).rgb, torch.ones(1, 3, 4, 6))


def test_a_light_of_another_shape_is_refused_where_it_is_made():
    with pytest.raises(UserError, match="is 32x32; expected a map twice as wide as high"):
        ur.EnvironmentMap(torch.ones(1, 3, 32, 32))
    square = ur.EnvironmentMap(torch.ones(1, 3, 16, 32)).resized((32, 32))  # as networks want it
    assert square.rotated(30).frame(0).size == (32, 32)
    assert not square.resized((8, 16)).grid


def test_paths_are_read(photo):
    assert as_frames(photo) == as_frames(str(photo)) == ur.read_image(photo)
    assert len(as_clip(str(photo))) == 1


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (torch.zeros(4, 5), r"shape \(4, 5\); expected \(T, 3, H, W\)"),
        (torch.zeros(1, 4, 8, 8), r"shape \(1, 4, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64 numbers; expected floats"),
        (np.zeros((8, 8, 3), dtype=bool), "bool numbers"),
        (7, "int cannot be taken as pictures; expected Frames, a path"),
        (None, "NoneType cannot be taken as pictures"),
    ],
)
def test_other_things_are_refused_in_a_line(thing, message):
    with pytest.raises(UserError, match=message) as error:
        as_frames(thing)
    assert "\n" not in str(error.value)


def test_lights_come_by_name_path_and_array(tmp_path):
    name = ur.builtin_environment_names()[0]
    assert as_light(name) == ur.builtin_environment(name)
    display = as_light(np.full((8, 16, 3), 255, dtype=np.uint8))
    assert torch.equal(display.radiance, torch.ones(1, 3, 8, 16))
    assert not display.hdr
    assert as_light(torch.ones(3, 8, 16)).hdr
    with pytest.raises(UserError, match="dict cannot be taken as a light"):
        as_light({})
    with pytest.raises(UserError, match="16x16; expected a map twice as wide as high"):
        as_light(torch.ones(3, 16, 16))


def test_gbuffers_come_by_path(tmp_path):
    write_gbuffer(tmp_path / "g.exr", ur.GBuffer(**MAPS))
    assert as_gbuffer(tmp_path / "g.exr").size == (32, 40)
    with pytest.raises(UserError, match="list cannot be taken as a G-buffer"):
        as_gbuffer([])


def test_renderers_take_paths_and_names(inverse, photo, tmp_path):
    gbuffer = inverse(photo)
    assert gbuffer == inverse(ur.read_image(photo))
    assert gbuffer == inverse(str(photo))
    forward, name = ur.ForwardRenderer.from_pretrained("deferred"), ur.builtin_environment_names()[0]
    assert forward(gbuffer, name) == forward(gbuffer, ur.builtin_environment(name))


def test_relight_is_a_call(inverse, photo):
    name = ur.builtin_environment_names()[0]
    relit = ur.relight(photo, name)
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    expected = ur.relight.relight(ur.read_image(photo), ur.builtin_environment(name), inverse, forward)
    assert torch.equal(relit.beauty, expected.beauty)
    assert ur.relight.RelightOptions is ur.RelightOptions


def test_nouns_are_equal_by_value():
    frames = ur.Frames(PICTURE[None], fps=24.0, metadata={"lens": "50 mm"})
    assert frames == ur.Frames(PICTURE[None].clone(), fps=24.0, metadata={"lens": "50 mm"})
    assert frames != replace(frames, fps=25.0)
    assert frames != replace(frames, rgb=frames.rgb + 1)
    assert frames != replace(frames, rgb=frames.rgb.double())
    assert frames != replace(frames, mask=torch.ones(1, 1, 32, 40))
    assert frames != "frames"
    assert ur.GBuffer(**MAPS) == ur.GBuffer(**MAPS)
    assert ur.GBuffer(**MAPS) != ur.GBuffer(normal=MAPS["normal"])
    camera = ur.Camera.perspective((32, 40))
    assert camera == ur.Camera.perspective((32, 40))
    assert camera != ur.Camera.perspective((32, 40), 60.0)
    passes = ur.RenderPasses({"diffuse": PICTURE[None]}, PICTURE[None])
    assert passes == ur.RenderPasses({"diffuse": PICTURE[None].clone()}, PICTURE[None])
    assert passes != passes.times(torch.tensor(2.0))


def test_nouns_show_themselves_in_a_line():
    frames = ur.Frames(PICTURE[None], name="kitchen", fps=24.0)
    assert repr(frames) == "Frames(rgb=(1, 3, 32, 40), fps=24.0, name='kitchen')"
    gbuffer = ur.GBuffer(**MAPS, camera=ur.Camera.perspective((32, 40)))
    assert repr(gbuffer) == (
        "GBuffer(base_color=(1, 3, 32, 40), normal=(1, 3, 32, 40), "
        "camera=Camera(intrinsics=(1, 3, 3), pose=(1, 4, 4), size=(32, 40)))"
    )
    assert repr(ur.EnvironmentMap(torch.ones(1, 3, 8, 16).double())) == "EnvironmentMap(radiance=(1, 3, 8, 16) float64)"
    passes = ur.RenderPasses({"diffuse": PICTURE[None]}, PICTURE[None])
    assert repr(passes) == "RenderPasses(surfaces={diffuse: (1, 3, 32, 40)}, background=(1, 3, 32, 40))"


def test_integers_are_no_frames_and_squares_no_lights():
    with pytest.raises(UserError, match="holds uint8 numbers; expected scene-linear floats"):
        ur.Frames(CODES[None])
    with pytest.raises(UserError, match="holds uint8 numbers; expected linear floats"):
        ur.EnvironmentMap(torch.ones(1, 3, 8, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match="32x32; expected a map twice as wide as high"):
        ur.ForwardRenderer.from_pretrained("deferred")(ur.GBuffer(**MAPS), ur.EnvironmentMap(torch.ones(1, 3, 32, 32)))
    as_light(torch.ones(3, 180, 361))  # with the first column once more at the end


def test_the_deferred_renderer_has_no_noise():
    forward, noise = ur.ForwardRenderer.from_pretrained("deferred"), torch.zeros(1, 4, 4, 5)
    with pytest.raises(UserError, match="starts from no noise"):
        forward(ur.GBuffer(**MAPS), ur.builtin_environment_names()[0], noise=noise)
    for attempt in (forward.pictures, forward.latents, forward.noise_shape):
        with pytest.raises(UserError, match="neither noise nor latents; expected the id of a network"):
            attempt(ur.GBuffer(**MAPS))


def test_a_network_that_renders_shows_its_latents_and_takes_noise():
    forward, light = ur.ForwardRenderer.from_pretrained("mini"), ur.builtin_environment_names()[0]
    gbuffer = ur.GBuffer(**MAPS)
    shape = forward.noise_shape(gbuffer)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    latents = forward.latents(gbuffer, light, noise=noise)
    assert latents.shape == shape
    assert torch.equal(latents, forward.latents(gbuffer, ur.builtin_environment(light), noise=noise))
    (picture,) = forward.pictures(gbuffer, light, noise=noise).values()
    assert picture.shape[:2] == (1, 3)
    assert forward(gbuffer, light, noise=noise).beauty.shape == (1, 3, 32, 40)
    with pytest.raises(UserError, match=r"the noise has shape \(1, 2, 3, 4\); expected"):
        forward(gbuffer, light, noise=torch.zeros(1, 2, 3, 4))


def test_a_rescale_is_a_share():
    assert ur.ForwardOptions(guidance_rescale=0.7).guidance_rescale == 0.7
    with pytest.raises(UserError, match=r"1.5; expected a share in \[0, 1\]"):
        ur.ForwardOptions(guidance_rescale=1.5)
