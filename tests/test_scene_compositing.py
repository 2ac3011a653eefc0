"""An object's G-buffer over a scene's: what hides what, and depths of unlike scale."""

import pytest
import torch

from unrender.errors import UserError
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.compositing import over
from unrender.scene.gbuffer import GBuffer

SIZE = (48, 64)
CAMERA = Camera.perspective(SIZE)
GROUND = 1.0
"""How far below the camera the ground is."""


def ground() -> torch.Tensor:
    """Planar depth of a level ground, (1, 1, H, W); +inf above the horizon."""
    down = -pixel_rays(CAMERA)[:, 1:2]
    return torch.where(down > 1e-3, GROUND / down.clamp(min=1e-3), torch.inf)


def scene(depth: torch.Tensor, kind: str = "metric") -> GBuffer:
    there = depth.isfinite().float()
    normal = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1) * there
    return GBuffer(
        base_color=torch.full((1, 3, *SIZE), 0.2),
        normal=normal,
        depth=depth,
        roughness=torch.full((1, 1, *SIZE), 0.9),
        mask=there,
        instance=there * 2,
        rgb=torch.full((1, 3, *SIZE), 0.5),
        depth_kind=kind,
        camera=CAMERA,
    )


def upright(distance: float, top: int = 12) -> GBuffer:
    """A wall that faces the camera and stands on the ground, `distance` away and some pixels wide."""
    mask = torch.zeros(1, 1, *SIZE)
    columns = slice(24, 40)
    stands = (ground()[0, 0, :, 30] - distance).abs().argmin()
    mask[..., top : int(stands) + 1, columns] = 1.0
    return GBuffer(
        base_color=torch.full((1, 3, *SIZE), 0.8),
        normal=torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1) * mask,
        depth=torch.where(mask > 0, distance, torch.inf),
        mask=mask,
        depth_kind="metric",
        camera=CAMERA,
    )


def test_an_object_hides_what_is_behind_it_and_is_hidden_by_what_is_before():
    behind = ground()
    behind[..., 20:30, 24:32] = 1.5  # something between the camera and a wall at 4
    joined, shown = over(upright(4.0), scene(behind))
    assert shown[0, 0, 25, 28] == 0
    assert shown[0, 0, 25, 36] == 1
    assert joined.depth[0, 0, 25, 28] == 1.5
    assert joined.depth[0, 0, 25, 36] == 4.0
    assert joined.base_color[0, 0, 25, 36] == pytest.approx(0.8)
    assert joined.base_color[0, 0, 40, 4] == pytest.approx(0.2)
    assert torch.equal(joined.rgb, scene(behind).rgb)


def test_maps_of_only_one_of_them_are_left_out_and_objects_are_numbered_on():
    joined, shown = over(upright(4.0), scene(ground()))
    assert joined.roughness is None
    assert joined.instance[shown > 0.5].unique().tolist() == [3.0]
    assert joined.mask[0, 0, 15, 30] == 1  # where there was nothing but sky
    assert joined.camera == CAMERA


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.2, 0.7), (3.0, 1.0)])
@pytest.mark.parametrize("top", [4, 12, 26])
def test_a_relative_depth_is_brought_to_the_plane_the_object_stands_on(scale: float, shift: float, top: int):
    front = upright(4.0, top)
    joined, shown = over(front, scene(ground() * scale + shift, "relative"))
    assert torch.equal(shown, front.mask)
    far = ground().isfinite() & (front.mask == 0)
    # The foot is half a pixel above where it truly stands.
    torch.testing.assert_close(joined.depth[far], ground()[far], rtol=0.04, atol=0.0)
    assert joined.depth_kind == "metric"


def test_what_stands_beside_the_foot_does_not_count():
    cluttered = ground() * 0.5 + 1
    cluttered[..., 30:40, 22:25] = 0.3
    front = upright(4.0)
    joined, _ = over(front, scene(cluttered, "relative"))
    assert joined.depth[0, 0, 44, 5] == pytest.approx(float(ground()[0, 0, 44, 5]), rel=0.04)


def test_a_metric_depth_in_another_unit_is_scaled():
    front = GBuffer(**{**upright(4.0).maps, "depth_kind": "relative", "camera": CAMERA})
    joined, _ = over(front, scene(ground() * 100))
    assert joined.depth[0, 0, 44, 5] == pytest.approx(float(ground()[0, 0, 44, 5]), rel=0.04)


def test_soft_edges_mix_colours_and_never_depths():
    front = upright(4.0)
    half = front.with_maps(mask=front.mask * 0.75)
    joined, shown = over(half, scene(ground()))
    assert shown.max() == pytest.approx(0.75)
    assert joined.base_color[0, 0, 20, 30] == pytest.approx(0.75 * 0.8 + 0.25 * 0.2)
    assert joined.depth[0, 0, 20, 30] == 4.0
    assert joined.normal.norm(dim=1).max() == pytest.approx(1.0)


def test_a_still_object_stands_in_every_frame_of_a_clip():
    clip = GBuffer.concatenate([scene(ground())] * 3)
    assert len(upright(4.0).over(clip)) == 3


def test_what_cannot_be_joined_is_refused():
    front, back = upright(4.0), scene(ground())
    with pytest.raises(UserError, match="mask"):
        over(front.with_maps(mask=None), back)
    with pytest.raises(UserError, match="one size"):
        over(GBuffer(mask=torch.ones(1, 1, 8, 8)), back)
    with pytest.raises(UserError, match="one frame or as many"):
        over(GBuffer.concatenate([front] * 2), GBuffer.concatenate([back] * 3))
    with pytest.raises(UserError, match="stands on 0 pixels"):
        over(front, scene(torch.full((1, 1, *SIZE), torch.inf), "relative"))
