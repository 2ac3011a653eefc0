"""Chrome balls: where their light comes from, and how bright it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from unrender.errors import UserError
from unrender.files.chrome_balls import GAMMA, merge_exposures, read_chrome_ball, unwrap_ball
from unrender.files.environments import write_environment
from unrender.scene.environment import EnvironmentMap, mean_direction, sample

DIRECTIONS = {
    "right": (1.0, 0.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
    "above": (0.0, 1.0, 0.0),
    "below": (0.0, -1.0, 0.0),
    "behind the camera": (0.0, 0.0, 1.0),
    "slanting": (0.5, 0.6, -0.62),
}


def lamp(direction: tuple[float, ...], peak: float = 200.0) -> EnvironmentMap:
    """A soft lamp in one direction over a faint sky."""
    from unrender.scene.environment import texel_directions

    towards = functional.normalize(torch.tensor(direction), dim=0)
    cosine = (texel_directions((64, 128)) * towards).sum(-1)
    radiance = 0.05 + peak * torch.exp(60 * (cosine - 1))
    return EnvironmentMap(radiance[None, None] * torch.tensor([1.0, 0.8, 0.6]).reshape(1, 3, 1, 1))


def ball_of(light: EnvironmentMap, size: int = 256) -> torch.Tensor:
    """A mirror ball under `light`, as a camera far away on +Z sees it, (1, 3, S, S), by reflection at each pixel."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size * 2 - 1] * 2, indexing="ij")
    inside = (x.square() + y.square()).clamp(max=0.999)
    normal = torch.stack((x, -y, (1 - inside).sqrt()), dim=-1)
    reflected = 2 * normal[..., 2:] * normal - normal.new_tensor([0.0, 0.0, 1.0])
    return sample(light.radiance, reflected)


def save(folder: Path, name: str, linear: torch.Tensor, stops: tuple[float, ...] = (0, -2.5, -5)) -> None:
    for stop in stops:
        codes = (linear[0] * 2**stop).clamp(0, 1) ** (1 / GAMMA) * 255
        picture = codes.round().byte().permute(1, 2, 0).numpy().astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{name}_ev-{round(-stop * 10):02d}.png")


def angle(found: EnvironmentMap, light: EnvironmentMap) -> float:
    a, b = (functional.normalize(mean_direction(x).flatten()[:3], dim=0) for x in (found, light))
    return float(torch.rad2deg(torch.arccos((a * b).sum().clamp(-1, 1))))


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_ball_says_where_the_light_is(direction: tuple[float, ...]):
    light = lamp(direction)
    found = EnvironmentMap(unwrap_ball(ball_of(light)))
    assert angle(found, light) < 3


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_exposures_of_a_ball_on_disk_give_the_light_and_its_brightness(direction: tuple[float, ...], tmp_path: Path):
    light = lamp(direction, peak=25.0)
    save(tmp_path, "street", ball_of(light))
    found = read_chrome_ball(tmp_path, "street")
    assert angle(found, light) < 4
    assert float(found.radiance.amax()) == pytest.approx(float(light.radiance.amax()), rel=0.15)
    assert float(found.radiance[0, 0].median()) == pytest.approx(0.05, rel=0.2)
    assert found.radiance[0, 2].amax() < found.radiance[0, 0].amax()


def test_maps_have_their_middle_where_the_camera_looks(tmp_path: Path):
    light = lamp((0.7, 0.1, -0.7), peak=20.0)
    turned = light.rotated(-180)  # as DiffusionLight stores it
    save(tmp_path, "exposed", turned.radiance)
    write_environment(tmp_path / "finished.exr", turned)
    for name in ("exposed", "finished"):
        assert angle(read_chrome_ball(tmp_path, name), light) < 2
    middle = turned.radiance[0, 0].amax(0).argmax()
    assert 64 < middle < 96  # right of the middle: in front, to the right


def test_a_single_exposure_is_taken_as_it_is():
    picture = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(merge_exposures({0.0: picture}), picture)


def test_what_is_not_there_or_does_not_fit_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no light of street"):
        read_chrome_ball(tmp_path, "street")
    save(tmp_path, "wide", torch.rand(1, 3, 8, 12))
    with pytest.raises(UserError, match="expected a square ball"):
        read_chrome_ball(tmp_path, "wide")
    save(tmp_path, "mixed", torch.rand(1, 3, 8, 8), (0,))
    save(tmp_path, "mixed", torch.rand(1, 3, 16, 16), (-5,))
    with pytest.raises(UserError, match="several sizes"):
        read_chrome_ball(tmp_path, "mixed")
    save(tmp_path, "street_ev-05", torch.rand(1, 3, 8, 8), (0,))
    with pytest.raises(UserError, match="no light of street;"):
        read_chrome_ball(tmp_path, "street")
