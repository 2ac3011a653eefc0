"""Lights: shipped, given, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch

from unrender.errors import UserError
from unrender.files.environments import (
    builtin_environment,
    builtin_environment_names,
    read_environment,
    resolve_light,
    write_environment,
)
from unrender.files.images import write_image
from unrender.scene.environment import EnvironmentMap


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
