"""Side walls that face one another close a picture; light then comes in dimmed, from everywhere alike."""

import logging

import pytest
import torch

from unrender.forward import DeferredRenderer
from unrender.relight import RelightOptions, relight_decomposition
from unrender.relight.decomposition import Decomposition
from unrender.relight.enclosure import DIMMED, closure, let_in
from unrender.scene.environment import EnvironmentMap, mean_direction
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FORWARD = DeferredRenderer(background=False)


def corridor(depth: int) -> GBuffer:
    """Walls left and right, each `depth` of 32 columns wide, and a back wall between."""
    normal = torch.zeros(1, 3, 16, 32)
    normal[:, 2] = 1
    normal[..., :depth] = torch.tensor([1.0, 0, 0])[None, :, None, None]
    normal[..., 32 - depth :] = torch.tensor([-1.0, 0, 0])[None, :, None, None]
    return GBuffer(base_color=torch.full((1, 3, 16, 32), 0.5), normal=normal)


def lamp() -> EnvironmentMap:
    radiance = torch.full((1, 3, 16, 32), 0.2)
    radiance[:, :, 4:6, 10:12] = torch.tensor([40.0, 20.0, 10.0])[None, :, None, None]
    return EnvironmentMap(radiance)


def test_walls_close_and_what_bulges_does_not():
    found = [float(closure(corridor(depth))) for depth in (0, 2, 8)]
    assert found[0] == 0 < found[1] < found[2] == 1
    walls = corridor(8)
    assert walls.normal is not None
    assert float(closure(walls.with_maps(normal=walls.normal * torch.tensor([-1.0, 1, 1])[None, :, None, None]))) == 0
    assert float(closure(walls.with_maps(mask=torch.zeros(1, 1, 16, 32)))) == 0


def test_a_closed_room_lets_in_the_same_light_from_everywhere_dimmed():
    light = lamp()
    inside = let_in(light, 1.0)
    assert float(mean_direction(inside).norm()) < 1e-3 < float(mean_direction(light).norm())
    small, whole = (torch.einsum("tchw->tc", each.resized((1, 2)).radiance) for each in (inside, light))
    torch.testing.assert_close(small, DIMMED * whole)
    torch.testing.assert_close(let_in(light, 0.0).radiance, light.radiance)
    half = let_in(light, 0.5).radiance
    torch.testing.assert_close(half / (1 - 0.5 * (1 - DIMMED)), (light.radiance + inside.radiance / DIMMED) / 2)


@pytest.mark.parametrize("walls", [True, False])
def test_relighting_says_what_it_did_and_can_leave_it(walls: bool, caplog):
    gbuffer = corridor(8)
    photo = Frames(torch.full((1, 3, 16, 32), 0.3), name="hall")
    decomposition = Decomposition(photo, gbuffer)
    options = RelightOptions(detail=False, exposure=0.0, walls=walls)
    with caplog.at_level(logging.WARNING, "unrender.files"):
        found = relight_decomposition(decomposition, lamp(), FORWARD, options).passes.surface
    right = FORWARD(gbuffer, let_in(lamp(), 1.0) if walls else lamp()).surface
    torch.testing.assert_close(found, right)
    assert ("side walls" in caplog.text and f"{DIMMED:.0%}" in caplog.text) == walls
