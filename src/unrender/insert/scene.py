"""The virtual scene: objects, what their shadows fall on, and the camera that took the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from unrender.errors import UserError
from unrender.insert.objects import VirtualObject
from unrender.insert.plane import SupportPlane
from unrender.raytrace.assets import load_asset
from unrender.raytrace.atlas import PlacedMesh, pack_atlas
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Mesh
from unrender.raytrace.path_tracer_scene import PathTracerScene, build_path_tracer_scene
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames
from unrender.synth.shapes import grid_faces

MAX_DEPTH = 5
"""Path vertices, as Mitsuba counts them: light, up to three bounces on the object, the camera."""

_REACH = 60.0  # of the plane's mesh, in sizes of the scene: what is farther off gets no shadow
_FILM_DIAGONAL = math.hypot(36.0, 24.0)  # millimetres; focal lengths "in 35 mm film" are by the diagonal


@dataclass(frozen=True)
class InsertionScene:
    """What is rendered into a picture or clip.

    Attributes:
        objects: with their poses.
        stand_in: what shadows fall on, a Lambertian stand-in for what the picture shows there.
        plane: what the objects stand on.
        camera: of the clip, one frame where it stands still.
    """

    objects: tuple[VirtualObject, ...]
    stand_in: PlacedMesh
    plane: SupportPlane
    camera: Camera

    @property
    def parts(self) -> list[PlacedMesh]:
        """The meshes of all objects, in the world."""
        return [part for thing in self.objects for part in thing.placed]

    def traced(self, albedo: Tensor | None = None) -> tuple[PathTracerScene, PathTracerScene]:
        """Objects, and stand-in of `albedo` (3,), a middle grey by default, for the path tracer, each seen by the first
        camera.

        Raises:
            UserError: no compiled variant of Mitsuba runs here.
        """
        return self._built(self.parts), self._built([self._ground(albedo)])

    def traced_together(self, albedo: Tensor) -> PathTracerScene:
        """Objects on a stand-in of `albedo` (3,), which comes last: what lights an object from below."""
        return self._built([*self.parts, self._ground(albedo)])

    def _ground(self, albedo: Tensor | None) -> PlacedMesh:
        if albedo is None:
            return self.stand_in
        base = albedo.clamp(0, 1).float().numpy()
        return replace(
            self.stand_in, material=replace(self.stand_in.material, base_color=np.broadcast_to(base, (2, 2, 3)))
        )

    def _built(self, parts: list[PlacedMesh]) -> PathTracerScene:
        return build_path_tracer_scene(pack_atlas(parts)[0], self.camera.frame(0), max_depth=MAX_DEPTH)

    def seen_at(self, size: tuple[int, int]) -> InsertionScene:
        """The same scene in a picture of another size."""
        return replace(self, camera=self.camera.resized(size))


def photo_camera(frames: Frames, fov_degrees: float | None = None) -> Camera:
    """The camera of a photo whose pose is nobody's knowledge: at the origin, level.

    Its field of view (vertical, degrees) is the one given, else of the photo's EXIF ("FocalLengthIn35mmFilm", by the
    diagonal), else 50.
    """
    if fov_degrees is not None and not 1 <= fov_degrees <= 170:
        raise UserError(f"--fov {fov_degrees:g}; expected degrees from 1 to 170")
    if fov_degrees is None and (focal := _focal_35mm(frames)):
        height, width = frames.size
        pixels = focal / _FILM_DIAGONAL * math.hypot(height, width)
        fov_degrees = math.degrees(2 * math.atan(0.5 * height / pixels))
    return Camera.perspective(frames.size, fov_degrees) if fov_degrees else Camera.perspective(frames.size)


def plane_mesh(plane: SupportPlane, camera: Camera, objects: Sequence[VirtualObject]) -> PlacedMesh:
    """A square of the plane about the objects, large enough for all shadows that are seen."""
    points = np.concatenate([thing.points for thing in objects])
    middle = (points.min(0) + points.max(0)) / 2
    eye = camera.pose[0, :3, 3].double().numpy()
    size = float(np.linalg.norm(points - middle, axis=1).max()) + float(np.linalg.norm(eye - middle))
    up = plane.normal.double().numpy()
    side = np.cross(up, np.eye(3)[int(np.abs(up).argmin())])
    side /= np.linalg.norm(side)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((side, up, np.cross(side, up)), 1) * size
    pose[:3, 3] = middle - up * (middle @ up - plane.offset)
    # Many small triangles under the objects and few far off: intersections lose digits with a triangle's size.
    ticks = np.concatenate((-np.geomspace(_REACH, 0.25, 9), [0.0], np.geomspace(0.25, _REACH, 9)))
    z, x = np.meshgrid(ticks, ticks, indexing="ij")
    vertices = np.stack((x, 0 * x, z), -1).reshape(-1, 3)
    mesh = Mesh(vertices, np.full((len(vertices), 2), 0.5), grid_faces(len(ticks), len(ticks))[:, ::-1])
    return PlacedMesh(mesh, _neutral(), pose)


def read_stand_in(path: Path) -> PlacedMesh:
    """A mesh file, in the world's coordinates, as what shadows fall on; its material does not matter."""
    asset = load_asset(path, 8 * 4)
    return PlacedMesh(asset.mesh, _neutral(), asset.file_from_mesh)


def _neutral() -> Material:
    flat = np.ones((2, 2), np.float32)
    return Material(np.full((2, 2, 3), 0.5, np.float32), flat, 0 * flat, "stand-in", 0 * flat)


def _focal_35mm(frames: Frames) -> float | None:
    try:
        focal = float(frames.metadata.get("focal_length_35mm", ""))
    except ValueError:
        return None
    return focal if 1 <= focal <= 5000 else None
