"""Lamps on maps: where they are, and as strong as they say, by the renderer's own irradiance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unrender as ur

DIRECTIONS = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, -0.2, -5.0), (-1.0, 1.0, 1.0)]


def received(light: ur.EnvironmentMap, direction: tuple[float, float, float]) -> torch.Tensor:
    """The irradiance of a surface that faces `direction`: the integral of radiance times the cosine."""
    from unrender.scene.environment import texel_directions, texel_solid_angles

    normal = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    cosine = (texel_directions(light.size) @ normal).clamp(min=0)
    return (light.radiance[0] * cosine * texel_solid_angles(light.size)).sum((1, 2))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("width", [0.0, 0.5, 7.0, 90.0])
def test_a_surface_that_faces_a_lamp_receives_what_it_says(direction, width: float) -> None:
    light = ur.lamps_to_environment([ur.DistantLamp(direction, (3.0, 2.0, 1.0), width)])
    assert received(light, direction).tolist() == pytest.approx([3.0, 2.0, 1.0], rel=1e-4)
    away = tuple(-value for value in direction)
    assert received(light, away).max() < 1e-6


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: math.hypot(*d) > 0.1), st.floats(0.5, 40))
@settings(max_examples=20, deadline=None)
def test_lamps_add_up_and_never_go_below_zero(direction: tuple, width: float) -> None:
    base = ur.lamps_to_environment([ur.DistantLamp((0.0, 0.0, 1.0), (1.0, 1.0, 1.0), 20)], size=(32, 64))
    light = ur.lamps_to_environment([ur.DistantLamp(direction, (5.0, 5.0, 5.0), width)], base, (32, 64))
    alone = ur.lamps_to_environment([ur.DistantLamp(direction, (5.0, 5.0, 5.0), width)], size=(32, 64))
    assert torch.allclose(light.radiance, base.radiance + alone.radiance)
    assert light.radiance.min() >= 0


@pytest.mark.parametrize(
    ("direction", "irradiance", "width"),
    [
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0),
        ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), 1.0),
        ((1.0, 0.0, 0.0), (math.inf, 0.0, 0.0), 1.0),
        ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), 400.0),
    ],
)
def test_what_is_no_lamp_is_refused(direction: tuple, irradiance: tuple, width: float) -> None:
    with pytest.raises(ur.UserError):
        ur.lamps_to_environment([ur.DistantLamp(direction, irradiance, width)])
