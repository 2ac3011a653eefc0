"""Environment maps as checkpoints are shown them; the numbers are those of the official code, run."""

import math
from dataclasses import replace

import pytest
import torch

from unrender.conventions import yaw_matrix
from unrender.errors import UserError
from unrender.scene.color import linear_to_log, linear_to_srgb
from unrender.scene.encoding import (
    DIFFUSION_RENDERER_COSMOS,
    DIFFUSION_RENDERER_SVD,
    MINI,
    EnvironmentEncoding,
    encode,
    encoded_directions,
    mirror_encoded,
)
from unrender.scene.environment import EnvironmentMap

COLUMNS = 64
ENCODINGS = (DIFFUSION_RENDERER_SVD, DIFFUSION_RENDERER_COSMOS, MINI)
POSE = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(7)))[0]


def noise(height, width):
    """Smooth enough for a turned look-up to see as much as a turned map."""
    small = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    return EnvironmentMap(small).resized((height, width))


def column_light(size=(32, COLUMNS), column=None):
    radiance = torch.zeros(1, 3, *size)
    radiance[..., column] = 5.0
    return EnvironmentMap(radiance)


def brightest_column(picture):
    return int(picture[0, 0, picture.shape[2] // 2].argmax())


@pytest.mark.parametrize("height", [64, 512])
def test_rows_lie_where_the_checkpoints_learned_them(height):
    directions = encoded_directions(DIFFUSION_RENDERER_SVD, (height, 8))
    polar = torch.acos(directions[:, 0, 1])
    torch.testing.assert_close(polar, math.pi * torch.linspace(1 / height, 1 - 1 / height, height), atol=2e-5, rtol=0)


def test_rows_at_texel_centres_would_be_off_by_what_was_measured():
    for height, off in ((64, 0.0123), (512, 0.00153)):
        size = (height, 2 * height)
        light = EnvironmentMap(torch.ones(1, 3, 8, 16))
        learned = encode(light, DIFFUSION_RENDERER_SVD, size).direction
        centers = encode(light, replace(DIFFUSION_RENDERER_SVD, rows="centers"), size).direction
        assert float((learned - centers).abs().max()) == pytest.approx(off, rel=0.02)


@pytest.mark.parametrize("encoding", [DIFFUSION_RENDERER_SVD, DIFFUSION_RENDERER_COSMOS])
def test_the_direction_picture_is_in_opengl_camera_axes(encoding):
    directions = encoded_directions(encoding, (255, 400))
    middle = 127
    expected = {
        (middle, 200): (0, 0, 1),
        (middle, 300): (1, 0, 0),
        (middle, 100): (-1, 0, 0),
        (middle, 0): (0, 0, -1),
        (middle, 399): (0, 0, -1),
        (0, 0): (0, 1, 0),
        (254, 200): (0, -1, 0),
    }
    for (row, column), axis in expected.items():
        torch.testing.assert_close(directions[row, column], torch.tensor(axis).float(), atol=0.02, rtol=0)


def test_directions_are_fed_as_each_checkpoint_wants_them():
    light = EnvironmentMap(torch.ones(2, 3, 8, 16))
    svd = encode(light, DIFFUSION_RENDERER_SVD, (16, 16))
    cosmos = encode(light, DIFFUSION_RENDERER_COSMOS, (16, 16))
    assert svd.direction.shape == cosmos.direction.shape == (2, 3, 16, 16)
    torch.testing.assert_close(svd.direction * 2 - 1, cosmos.direction)
    assert cosmos.direction.min() < -0.9


@pytest.mark.parametrize(("encoding", "source"), [(DIFFUSION_RENDERER_SVD, 1 / 4), (DIFFUSION_RENDERER_COSMOS, 3 / 4)])
def test_the_column_at_three_quarters_comes_from(encoding, source):
    light = column_light(column=slice(int(source * COLUMNS) - 1, int(source * COLUMNS) + 1))
    assert brightest_column(encode(light, encoding, (32, COLUMNS)).ldr) in (47, 48)
    centred = column_light(column=slice(31, 33))
    assert brightest_column(encode(centred, encoding, (32, COLUMNS)).ldr) in (31, 32)


def test_only_a_world_with_mirrored_x_looks_like_the_file():
    light = EnvironmentMap(torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)))
    as_world = replace(DIFFUSION_RENDERER_SVD, rows="centers")
    as_file = encode(light, replace(as_world, mirror_x=True), (32, 64)).log
    torch.testing.assert_close(as_file, encode(light, as_world, (32, 64)).log.flip(3), atol=1e-4, rtol=0)
    expected = linear_to_srgb(linear_to_log(light.radiance, 10_000.0))
    torch.testing.assert_close(as_file, expected, atol=1e-4, rtol=0)


def test_the_curves_at_known_values():
    values = {
        0.0: (0.0, 0.0),
        1.0: (0.5019531, 0.0752574),
        16.0: (1.0, 0.3076131),
        10000.0: (1.0, 1.0),
        1e6: (1.0, 1.0),
    }
    for radiance, (ldr, log) in values.items():
        encoded = encode(EnvironmentMap(torch.full((1, 3, 4, 8), radiance)), DIFFUSION_RENDERER_SVD, (4, 8))
        # The curves themselves, before the sRGB curve that both end in.
        expected = torch.tensor([ldr, log])
        found = torch.stack((encoded.ldr.mean(), encoded.log.mean()))
        srgb = torch.where(expected <= 0.0031308, expected * 12.92, 1.055 * expected ** (1 / 2.4) - 0.055)
        torch.testing.assert_close(found, srgb, atol=1e-4, rtol=0)


def test_a_sun_is_never_lost_between_the_samples():
    for column in range(40, 60):
        radiance = torch.zeros(1, 3, 64, 128)
        radiance[..., 31, column] = 100.0
        assert encode(EnvironmentMap(radiance), DIFFUSION_RENDERER_SVD, (16, 16)).ldr.max() > 0.4


def test_the_camera_turns_the_radiance_and_not_the_directions():
    light = column_light(column=slice(31, 33))  # at world +Z
    pose = yaw_matrix(90.0)  # a camera looking along world -X: world +Z is at its camera -X
    turned = encode(light, DIFFUSION_RENDERER_SVD, (32, COLUMNS), pose)
    assert brightest_column(turned.ldr) in (15, 16)
    still = encode(light, DIFFUSION_RENDERER_SVD, (32, COLUMNS))
    torch.testing.assert_close(turned.direction, still.direction)
    per_frame = encode(light, DIFFUSION_RENDERER_SVD, (32, COLUMNS), torch.stack((torch.eye(3), pose)))
    torch.testing.assert_close(per_frame.ldr, torch.cat((still.ldr, turned.ldr)))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_yaw_is_a_rotation_of_the_light(encoding):
    light, yaws = noise(32, 64), torch.tensor([45.0, -90.0])
    both = encode(light, encoding, (16, 32), POSE, yaw=yaws)
    for i, yaw in enumerate(yaws.tolist()):
        alone = encode(light.rotated(yaw), encoding, (16, 32), POSE)
        torch.testing.assert_close(both.picture[i : i + 1], alone.picture, atol=1e-4, rtol=0)


def test_as_many_cameras_as_lights():
    light = EnvironmentMap(torch.ones(3, 3, 4, 8))
    with pytest.raises(UserError, match="2 camera rotations"):
        encode(light, DIFFUSION_RENDERER_SVD, (4, 8), torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_mirrored_scene_is_the_picture_mirrored(encoding):
    """Mirrored about world X: camera, light and its turn."""
    light, mirror = noise(32, 64), torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    picture = encode(light, encoding, (16, 32), POSE, yaw=25.0).picture
    other_light = EnvironmentMap(light.radiance.flip(3))
    other = encode(other_light, encoding, (16, 32), mirror @ POSE @ mirror, yaw=-25.0).picture
    torch.testing.assert_close(mirror_encoded(picture, encoding), other, atol=1e-4, rtol=0)
    assert not torch.allclose(picture, other, atol=1e-2)


def test_the_pictures_are_joined_in_the_order_of_the_encoding():
    encoding = replace(MINI, channels=("direction", "log"))
    encoded = encode(noise(8, 16), encoding, (4, 8))
    assert torch.equal(encoded.picture, torch.cat((encoded.direction, encoded.log), dim=1))
    mirrored = mirror_encoded(encoded.picture, encoding)
    assert torch.equal(mirrored, torch.cat((encoded.direction, encoded.log.flip(3)), dim=1))


def test_a_gain_is_an_exposure_of_the_light():
    light = noise(8, 16)
    once = encode(light, DIFFUSION_RENDERER_SVD, (4, 8), gain=torch.full((1, 1, 1, 1), 4.0))
    torch.testing.assert_close(once.picture, encode(light.exposed(2), DIFFUSION_RENDERER_SVD, (4, 8)).picture)


def test_one_map_in_either_layout():
    """Columns run the other way, and with them the directions that are fed: the same light."""
    right, left = (
        encode(noise(16, 32), replace(MINI, columns=way), (8, 16), POSE) for way in ("clockwise", "counterclockwise")
    )
    torch.testing.assert_close(right.ldr.flip(3), left.ldr, atol=1e-5, rtol=0)
    torch.testing.assert_close(right.direction.flip(3), left.direction)


def test_area_filtering_has_its_rows_at_texel_centres():
    with pytest.raises(UserError, match="area filtering"):
        EnvironmentEncoding(filtering="area", rows="inset")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoding_has_a_gradient_in_the_light(encoding):
    radiance = torch.rand(1, 3, 16, 32, requires_grad=True)
    encoded = encode(EnvironmentMap(radiance), encoding, (16, 32))
    (encoded.ldr.sum() + encoded.log.sum()).backward()
    assert radiance.grad.isfinite().all()
    assert (radiance.grad > 0).float().mean() > 0.9
