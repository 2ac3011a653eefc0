"""Where objects go: what is given of camera, plane and poses, and what is found in the picture."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unrender.errors import UserError
from unrender.insert.look import look_at, quick_copy
from unrender.insert.objects import Standing, VirtualObject, check_in_picture, load_object, stand
from unrender.insert.plane import ASSUMED_CAMERA_HEIGHT, SupportPlane, choose_spot, find_plane, upright_camera
from unrender.insert.scene import InsertionScene, photo_camera, plane_mesh, read_stand_in
from unrender.raytrace.mesh import Array
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

if TYPE_CHECKING:
    from unrender.relight.options import Inverse

Asset = VirtualObject | str | PathLike[str]

_ASPECTS = 0.02  # by how much the shapes of a camera's picture and of the photo may differ
_APART = 0.12  # of the picture's width, between objects whose places are found


@dataclass(frozen=True)
class Placement:
    """Where objects go. What is not given is found.

    Attributes:
        standing: how each object stands on the plane; one serves all.
        poses: (4, 4) object-to-world, from the coordinates of the asset's file, for the first so many objects; the
            others stand.
        plane: in the world of `camera`; of no camera, in the axes of a level one at the origin. None: found, or with a
            camera the world's y = 0.
        camera: of the picture, or of each frame of a clip; None for a still, level one of EXIF's field of view.
        shadow_on: a mesh in the world that shadows fall on, in place of the plane.
        fov_degrees: vertical, where there is no camera.
        camera_height: world units of the first camera above the plane, where neither plane nor metric depth tells;
            `ASSUMED_CAMERA_HEIGHT` by default.
        follow: whether a clip's camera that is not given is followed on the plane (`tracking.follow_plane`); else it
            stands still.
    """

    standing: tuple[Standing, ...] = (Standing(),)
    poses: tuple[Array, ...] = ()
    plane: SupportPlane | None = None
    camera: Camera | None = None
    shadow_on: Path | None = None
    fov_degrees: float | None = None
    camera_height: float | None = None
    follow: bool = True

    def __post_init__(self) -> None:
        if self.camera_height is not None and not 0 < self.camera_height < 1e6:
            raise UserError(f"--camera-height {self.camera_height:g}; expected a height above 0")
        if not self.standing:
            raise UserError("Placement.standing is empty; expected one Standing for all, or one for each object")


ANYWHERE = Placement()
"""Where there is room, found in the picture."""


def place_objects(
    photo: Frames,
    assets: Asset | Sequence[Asset],
    placement: Placement = ANYWHERE,
    inverse: Inverse | None = None,
    *,
    quick: bool = False,
) -> InsertionScene:
    """The scene of `plan_insertion`, without its light.

    Args:
        photo, assets, placement, inverse: as there.
        quick: look at a small copy of the photo (`look.QUICK_SIDE`), which takes a fraction of the time and finds the
            plane within about two degrees of what a look at all of it does; a place that is found may be another.
    """
    seen = quick_copy(photo) if quick else photo
    return build_scene(photo, loaded(assets), placement, functools.cache(lambda: look_at(seen, inverse)))


def loaded(assets: Asset | Sequence[Asset]) -> list[VirtualObject]:
    """Assets as objects, each at the origin of its own space."""
    several = assets if isinstance(assets, Sequence) and not isinstance(assets, str) else [assets]
    return [asset if isinstance(asset, VirtualObject) else load_object(Path(asset)) for asset in several]


def build_scene(
    photo: Frames, things: Sequence[VirtualObject], placement: Placement, look: Callable[[], GBuffer]
) -> InsertionScene:
    """The virtual scene of a picture.

    Args:
        photo: T = 1.
        things: what is inserted.
        placement: where to.
        look: gives the photo's G-buffer, of any size; called only where something has to be found.

    Raises:
        UserError: more or fewer settings than objects, no plane found, a plane that is not seen where an object is to
            stand, or an object outside the picture.
    """
    _check_counts(things, placement)
    standing = [placement.standing[i if len(placement.standing) > 1 else 0] for i in range(len(things))]
    camera = _camera(photo, placement)
    posed = [thing.at(pose) for thing, pose in zip(things, placement.poses, strict=False)]
    spots = [stands.at for stands in standing[len(posed) :]]
    if None in spots:
        spots = _find_spots(spots, look(), photo.size)
    plane = placement.plane
    if plane is None:
        camera, plane = _find_plane(camera, placement, posed, spots, look)
    _check_above(camera, plane)
    stood = [
        stand(thing, at, stands, plane, camera)
        for thing, at, stands in zip(things[len(posed) :], spots, standing[len(posed) :], strict=True)
        if at is not None
    ]
    everything = (*posed, *stood)
    for thing in everything:
        check_in_picture(thing, camera)
    mesh = plane_mesh(plane, camera, everything) if placement.shadow_on is None else read_stand_in(placement.shadow_on)
    return InsertionScene(everything, mesh, plane, camera)


def _check_counts(things: Sequence[VirtualObject], placement: Placement) -> None:
    if not things:
        raise UserError("no object to insert; expected at least one asset")
    if len(placement.poses) > len(things) or len(placement.standing) not in (1, len(things)):
        raise UserError(
            f"{len(placement.poses)} poses and {len(placement.standing)} ways to stand for {len(things)} assets; "
            "expected one for each asset, or one way to stand for all"
        )


def _camera(photo: Frames, placement: Placement) -> Camera:
    if placement.camera is None:
        return photo_camera(photo, placement.fov_degrees)
    if placement.fov_degrees is not None:
        raise UserError(f"--fov {placement.fov_degrees:g} beside --camera, which has a field of view; expected one")
    (height, width), given = photo.size, placement.camera.size
    if abs(width / height * given[0] / given[1] - 1) > _ASPECTS:
        raise UserError(
            f"the camera is of a picture {given[1]} x {given[0]}, and this one is {width} x {height}; "
            "expected the same shape"
        )
    return placement.camera.resized(photo.size)


def _find_spots(
    spots: Sequence[tuple[float, float] | None], gbuffer: GBuffer, size: tuple[int, int]
) -> list[tuple[float, float] | None]:
    """Places for those that have none, side by side about the roomiest one, in pixels of a photo of `size`."""
    x, y = choose_spot(gbuffer, size)
    missing = [i for i, spot in enumerate(spots) if spot is None]
    step = _APART * size[1]
    found = list(spots)
    for number, i in enumerate(missing):
        found[i] = (x + (number - (len(missing) - 1) / 2) * step, y)
    return found


def _find_plane(
    camera: Camera,
    placement: Placement,
    posed: Sequence[VirtualObject],
    spots: Sequence[tuple[float, float] | None],
    look: Callable[[], GBuffer],
) -> tuple[Camera, SupportPlane]:
    """The camera in a world that has the plane, and the plane."""
    up = torch.tensor([0.0, 1.0, 0.0])
    if not spots:  # all objects have poses: what they stand on is under the lowest of them
        return camera, SupportPlane(up, min(float(thing.points[:, 1].min()) for thing in posed))
    if placement.camera is not None:
        height = placement.camera_height
        return camera, SupportPlane(up, 0.0 if height is None else float(camera.pose[0, 1, 3]) - height)
    found = look()
    gbuffer = replace(found, camera=camera.resized(found.size))
    at = next(spot for spot in spots if spot is not None)
    normal, point = find_plane(gbuffer, at, camera.size)
    metric = gbuffer.depth_kind == "metric" and gbuffer.depth is not None
    height = placement.camera_height or (None if metric else ASSUMED_CAMERA_HEIGHT)
    return upright_camera(camera, normal, point, height), SupportPlane(up, 0.0)


def _check_above(camera: Camera, plane: SupportPlane) -> None:
    height = float(plane.normal.to(camera.pose) @ camera.pose[0, :3, 3]) - plane.offset
    if height <= 1e-6:
        raise UserError(f"the camera is {-height:g} below the plane; expected it above (--plane's normal points up)")
