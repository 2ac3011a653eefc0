"""Lights: shipped, given, and refused."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch

from unrender.errors import UserError
from unrender.files.environments import (
    DESCRIPTIONS,
    builtin_environment,
    builtin_environment_names,
    read_environment,
    resolve_light,
    write_environment,
)
from unrender.files.images import write_image
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, mean_direction, texel_directions, texel_solid_angles


def test_the_eight_worlds() -> None:
    assert builtin_environment_names() == (
        "city",
        "courtyard",
        "forest",
        "interior",
        "night",
        "studio",
        "sunrise",
        "sunset",
    )
    light = builtin_environment("sunset")
    assert light.size == (512, 1024)
    assert light.hdr
    assert light.radiance.min() >= 0
    assert light.radiance.max() > 100


@pytest.mark.parametrize(
    ("name", "warmth"), [("sunset", (1.3, 2.0)), ("interior", (1.3, 2.0)), ("city", (0.9, 1.1)), ("studio", (0.8, 1.0))]
)
def test_names_say_what_a_light_does(name: str, warmth: tuple[float, float]) -> None:
    red, _, blue = irradiance(builtin_environment(name), (0.0, 1.0, 0.0))
    assert warmth[0] < red / blue < warmth[1]


def test_a_sunset_is_warm_from_every_side_of_a_low_sun_and_as_bright_as_its_file() -> None:
    light = builtin_environment("sunset").resized((64, 128))
    red, green, blue = irradiance(light, (0.0, 0.0, 1.0))  # what faces the camera
    assert red > 1.5 * green > 1.5 * blue
    direction = mean_direction(light)[0]
    assert math.degrees(math.asin(float(direction[1] / direction.norm()))) < 45
    with resources.as_file(resources.files("unrender.files").joinpath("worlds", "sunset.exr")) as path:
        plain = read_environment(path)
    before, after = (float(luminance(irradiance(one, (0.0, 1.0, 0.0)), 0)) for one in (plain, light))
    assert after == pytest.approx(before, rel=0.05)


def test_every_light_is_described() -> None:
    assert tuple(sorted(DESCRIPTIONS)) == builtin_environment_names()


def irradiance(light: EnvironmentMap, normal: tuple[float, float, float]) -> torch.Tensor:
    """(3,) what falls on a surface with that normal."""
    light = light.resized((64, 128))
    cosine = (texel_directions(light.size) @ torch.tensor(normal)).clamp(min=0) * texel_solid_angles(light.size)
    return (light.radiance[0] * cosine).sum((1, 2))


def test_round_trip(tmp_path: Path) -> None:
    light = EnvironmentMap(torch.rand(1, 3, 8, 16) * 100)
    write_environment(tmp_path / "a.exr", light)
    back = read_environment(tmp_path / "a.exr")
    assert torch.allclose(back.radiance, light.radiance, rtol=1e-3)
    assert back.name == "a"


def test_display_pictures_are_flagged(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", torch.rand(3, 8, 16))
    assert not read_environment(tmp_path / "a.png").hdr


def test_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_light("studio").name == "studio"
    assert resolve_light("studio.exr").name == "studio"
    write_environment(tmp_path / "studio.exr", EnvironmentMap(torch.ones(1, 3, 4, 8)))
    assert resolve_light("studio.exr").size == (4, 8), "a file goes before a shipped name"
    with pytest.raises(UserError, match="did you mean the shipped sunset"):
        resolve_light("sunst.exr")
    with pytest.raises(UserError, match="did you mean sunrise"):
        builtin_environment("sunrize")
    with pytest.raises(UserError, match="shipped lights are city"):
        resolve_light("qqq")


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "1 NaN"), (np.inf, "1 infinite"), (-np.inf, "1 infinite"), (-1.0, "1 negative"), (0.0, "black")],
)
def test_bad_lights_are_one_line(tmp_path: Path, value: float, message: str) -> None:
    planes = {name: np.full((8, 16), float(value != 0), np.float32) for name in "RGB"}
    planes["G"][3, 4] = value
    OpenEXR.File({}, planes).write(str(tmp_path / "bad.exr"))
    with pytest.raises(UserError, match=rf"bad\.exr.*{message}") as caught:
        read_environment(tmp_path / "bad.exr")
    assert "\n" not in str(caught.value)


def test_ringing_of_lossy_compression_passes(tmp_path: Path) -> None:
    planes = {name: np.ones((8, 16), np.float32) for name in "RGB"}
    planes["G"][3, 4] = -0.01
    OpenEXR.File({}, planes).write(str(tmp_path / "a.exr"))
    assert read_environment(tmp_path / "a.exr").radiance.min() == 0


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", torch.rand(3, 16, 16))
    with pytest.raises(UserError, match="16x16"):
        read_environment(tmp_path / "a.png")
    with pytest.raises(UserError, match="does not exist"):
        read_environment(tmp_path / "no.exr")
    with pytest.raises(UserError, match=r"end in \.exr"):
        write_environment(tmp_path / "a.png", EnvironmentMap(torch.ones(1, 3, 4, 8)))
