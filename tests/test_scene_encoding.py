"""Environment maps as checkpoints are shown them; the numbers are those of the official code, run."""

import math

import pytest
import torch

from unrender.conventions import yaw_matrix
from unrender.errors import UserError
from unrender.scene.encoding import (
    DIFFUSION_RENDERER_COSMOS,
    DIFFUSION_RENDERER_SVD,
    EnvironmentEncoding,
    encode,
    encoded_directions,
)
from unrender.scene.environment import EnvironmentMap

COLUMNS = 64


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
        centers = encode(light, EnvironmentEncoding(directions="unit"), size).direction
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


def test_only_the_mirrored_world_looks_like_the_file():
    light = EnvironmentMap(torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)))
    signed = EnvironmentEncoding(mirrored=True)
    as_file = encode(light, signed, (32, 64)).log
    mirrored = encode(light, EnvironmentEncoding(mirrored=False), (32, 64)).log
    torch.testing.assert_close(as_file, mirrored.flip(3), atol=1e-4, rtol=0)


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


def test_yaw_before_all_else_is_a_rotation_of_the_light():
    light = EnvironmentMap(torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1)))
    ahead = encode(light, EnvironmentEncoding(yaw=45.0), (32, 64)).ldr
    torch.testing.assert_close(ahead, encode(light.rotated(45.0), EnvironmentEncoding(), (32, 64)).ldr)


def test_as_many_cameras_as_lights():
    light = EnvironmentMap(torch.ones(3, 3, 4, 8))
    with pytest.raises(UserError, match="2 camera rotations"):
        encode(light, DIFFUSION_RENDERER_SVD, (4, 8), torch.eye(3).expand(2, 3, 3))


def test_encoding_has_a_gradient_in_the_light():
    radiance = torch.rand(1, 3, 16, 32, requires_grad=True)
    encoded = encode(EnvironmentMap(radiance), DIFFUSION_RENDERER_COSMOS, (16, 32))
    (encoded.ldr.sum() + encoded.log.sum()).backward()
    assert radiance.grad.isfinite().all()
    assert (radiance.grad > 0).float().mean() > 0.9
