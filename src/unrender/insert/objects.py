"""What is inserted: an asset file or a shipped object, and where it stands."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.insert.builtin import BUILTIN
from unrender.insert.plane import SupportPlane, intersect_plane
from unrender.raytrace.assets import load_asset
from unrender.raytrace.atlas import PlacedMesh
from unrender.raytrace.mesh import Array
from unrender.scene.camera import Camera, project

Up = Literal["y", "-y", "z", "-z", "x", "-x"]

TEXELS = 1024
"""Side of an asset's textures."""

DEFAULT_HEIGHT = "25%"
_UP = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


@dataclass(frozen=True)
class VirtualObject:
    """An object that is not in the picture yet.

    Attributes:
        name: for messages and files.
        parts: its meshes, posed in its own space: that of the asset file.
        pose: (4, 4) float64 object-to-world: a rotation, one scale, a place.
    """

    name: str
    parts: tuple[PlacedMesh, ...]
    pose: Array

    @property
    def placed(self) -> tuple[PlacedMesh, ...]:
        """Its meshes in the world."""
        return tuple(replace(part, pose=self.pose @ part.pose) for part in self.parts)

    @property
    def points(self) -> Array:
        """All its vertices in the world, (V, 3)."""
        return np.concatenate([part.placed for part in self.placed])

    def at(self, pose: Array) -> VirtualObject:
        """The object elsewhere.

        Raises:
            UserError: a pose that is no rotation, scale and place.
        """
        return replace(self, pose=_checked(pose, self.name))


def load_object(asset: str | Path) -> VirtualObject:
    """A file (.glb, .gltf, .obj, .ply), else a shipped object by its name; at the origin of its own space.

    Raises:
        UserError: neither (the nearest name is suggested), or what `load_asset` raises.
    """
    path = Path(asset)
    if path.exists() or path.suffix:
        read = load_asset(path, TEXELS)
        return VirtualObject(path.stem, (PlacedMesh(read.mesh, read.material, read.file_from_mesh),), np.eye(4))
    if path.name not in BUILTIN:
        near = difflib.get_close_matches(path.name, BUILTIN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the shipped objects are {', '.join(BUILTIN)}"
        raise UserError(f"the asset {asset} does not exist; {hint}")
    return VirtualObject(path.name, BUILTIN[path.name](), np.eye(4))


@dataclass(frozen=True)
class Standing:
    """How an object is put on the plane.

    Attributes:
        at: (x, y) of the pixel that its foot is in; None to have it found.
        height: in world units ("0.9", or "0.9m"), or as a share of the picture's height ("25%").
        turn: degrees about the plane's normal, right-handed.
        up: which of the asset's own axes points up.
    """

    at: tuple[float, float] | None = None
    height: str = DEFAULT_HEIGHT
    turn: float = 0.0
    up: Up = "y"


def stand(
    thing: VirtualObject, at: tuple[float, float], standing: Standing, plane: SupportPlane, camera: Camera
) -> VirtualObject:
    """Puts `thing` upright on the plane at pixel `at`, its lowest point touching it, its front (+Z) turned to the
    camera, then by `standing.turn`.

    Raises:
        UserError: the plane is not seen there, or a height that is none.
    """
    foot = intersect_plane(plane, camera, at)
    upright = _upright(plane, camera, foot, standing)
    own = np.concatenate([part.placed for part in thing.parts]) @ upright.T
    low, high = own.min(0), own.max(0)
    across = plane.normal.double().numpy()
    along = own @ across
    tall = float(along.max() - along.min())
    scale = _height(standing.height, camera, foot) / max(tall, 1e-9 * float((high - low).max()))
    middle = (low + high) / 2
    # The middle of its box above the foot, its lowest point on the plane.
    middle = middle - across * (middle @ across - along.min())
    pose = np.eye(4)
    pose[:3, :3] = upright * scale
    pose[:3, 3] = foot.double().numpy() - scale * middle
    return thing.at(pose)


def check_in_picture(thing: VirtualObject, camera: Camera) -> None:
    """Raises UserError where no frame of the camera can see the object's box."""
    pixels, depth = project(torch.from_numpy(thing.points).float(), camera)
    height, width = camera.size
    for frame, before in zip(pixels, depth > 1e-6, strict=True):
        seen = frame[before]
        if len(seen) and (seen.amax(0) > 0).all() and (seen.amin(0) < seen.new_tensor([width, height])).all():
            return
    span = pixels[0][depth[0] > 1e-6]
    where = (
        "behind the camera"
        if not len(span)
        else "at {:.0f},{:.0f} to {:.0f},{:.0f}".format(*span.amin(0).tolist(), *span.amax(0).tolist())
    )
    raise UserError(f"{thing.name} is outside the picture of {width} x {height}: it is {where}; expected it in view")


def _upright(plane: SupportPlane, camera: Camera, foot: Tensor, standing: Standing) -> Array:
    """The rotation (3, 3) from the asset's axes to the world."""
    if standing.up.lstrip("-") not in _UP:
        raise UserError(f"--up {standing.up}; expected x, y, z, -x, -y or -z")
    own_up = np.array(_UP[standing.up.lstrip("-")], float) * (-1 if standing.up.startswith("-") else 1)
    own_front = np.array((0.0, 0.0, 1.0) if abs(own_up[2]) < 0.5 else (0.0, -np.sign(own_up[2]), 0.0))
    up = plane.normal.double().numpy()
    towards = camera.pose[0, :3, 3].double().numpy() - foot.double().numpy()
    front = towards - (towards @ up) * up
    if np.linalg.norm(front) < 1e-6:
        front = np.cross(camera.pose[0, :3, 0].double().numpy(), up)
    front /= np.linalg.norm(front)
    angle = math.radians(standing.turn)
    front = math.cos(angle) * front + math.sin(angle) * np.cross(up, front)
    target = np.stack((np.cross(up, front), up, front), 1)
    source = np.stack((np.cross(own_up, own_front), own_up, own_front), 1)
    return target @ source.T


def _height(text: str, camera: Camera, foot: Tensor) -> float:
    """The height asked for, in world units."""
    share = text.endswith("%")
    try:
        value = float(text.removesuffix("%").removesuffix("m"))
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise UserError(f"--height {text}; expected metres such as 0.9, or a share of the picture such as 25%")
    if not share:
        return value
    _, depth = project(foot[None], camera.frame(0))
    return value / 100 * camera.size[0] * float(depth[0, 0]) / float(camera.intrinsics[0, 1, 1])


def _checked(pose: Array, name: str) -> Array:
    pose = np.asarray(pose, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise UserError(f"the pose of {name} is no 4 x 4 matrix of finite numbers with the last row 0 0 0 1")
    linear = pose[:3, :3]
    square = float(np.trace(linear.T @ linear)) / 3
    if square < 1e-18 or np.abs(linear.T @ linear / square - np.eye(3)).max() > 1e-3:
        raise UserError(f"the pose of {name} stretches or shears it; expected a rotation, one scale and a place")
    if np.linalg.det(linear) < 0:
        raise UserError(f"the pose of {name} mirrors it (a negative scale); expected a rotation, one scale and a place")
    return pose
