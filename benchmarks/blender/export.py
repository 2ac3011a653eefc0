"""A synthetic world as files that `cycles_scene.py` makes a scene of: one mesh, its textures, lights, a camera."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unrender.errors import UserError
from unrender.files.cameras import Z_UP_TO_Y_UP
from unrender.files.exr import write_channels
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap

_LEAST_AREA = 1e-9
LAYOUT_YAW = -90  # degrees from our layout of lights to Blender's; see docs/conventions.md


def to_z_up(vectors: np.ndarray) -> np.ndarray:
    """Points or directions (N, 3) of our world, +Y up, in Blender's, +Z up."""
    return vectors @ Z_UP_TO_Y_UP[:3, :3]


def blender_camera(camera: Camera) -> dict[str, object]:
    """The first frame of `camera` as Blender has it: a pose (4, 4), a lens in widths of the sensor, shifts.

    Raises:
        UserError: pixels that are not square.
    """
    height, width = camera.size
    k = camera.intrinsics[0].double().numpy()
    if not np.isclose(k[0, 0], k[1, 1], rtol=1e-5):
        raise UserError(f"a camera of focal lengths {k[0, 0]:g} and {k[1, 1]:g}; square pixels are right here")
    return {
        "pose": (Z_UP_TO_Y_UP.T @ camera.pose[0].double().numpy()).tolist(),
        "lens": float(k[0, 0] / width),
        "shift": [float(0.5 - k[0, 2] / width), float((k[1, 2] - height / 2) / width)],
        "size": [height, width],
    }


def tangent_normals(slope: np.ndarray) -> np.ndarray:
    """Slopes (H, W, 2) along u and v as a normal map (H, W, 3), green up, [-1, 1] brought to [0, 1].

    Not made unit, which Blender does after it has interpolated: between texels it then finds the slopes that we do.
    """
    normal = np.stack((-slope[..., 0], slope[..., 1], np.ones_like(slope[..., 0])), -1)
    return normal * 0.5 + 0.5


def export_world(
    folder: Path, surface: TexturedMesh, owners: np.ndarray, camera: Camera, lights: Sequence[EnvironmentMap]
) -> None:
    """Writes mesh.npz, camera.json, three textures and light0.exr, light1.exr, ... into `folder`.

    Args:
        folder: exists.
        surface: all things as one; `owners` (V,) says which each vertex belongs to, from 0 on.
        owners: as above.
        camera: the first frame counts.
        lights: their first frames count.

    Raises:
        UserError: area emitters in the scene, which Blender would sample differently; pixels that are not square.
    """
    if surface.emission is not None:
        raise UserError("a world with area emitters; expected one whose light is all in its environment map")
    corners = surface.vertices[surface.faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    np.savez(
        folder / "mesh.npz",
        vertices=to_z_up(surface.vertices).astype(np.float32),
        normals=to_z_up(surface.normals).astype(np.float32),
        uv=np.stack((surface.uv[:, 0], 1 - surface.uv[:, 1]), -1),
        # Faces of no area, at the poles of lathed things, are never hit, but spoil the normals that Blender is given.
        faces=surface.faces[areas > _LEAST_AREA].astype(np.int32),
        owners=owners.astype(np.int32),
    )
    (folder / "camera.json").write_text(json.dumps(blender_camera(camera)))
    slope = np.zeros((*surface.roughness.shape, 2), np.float32) if surface.slope is None else surface.slope
    rough_metal = np.stack((surface.roughness, surface.metallic, np.zeros_like(surface.metallic)), -1)
    pictures = {"base_color": surface.base_color, "rough_metal": rough_metal, "normal": tangent_normals(slope)}
    for k, light in enumerate(lights):
        pictures[f"light{k}"] = light.rotated(LAYOUT_YAW).radiance[0].permute(1, 2, 0).numpy()
    for name, pixels in pictures.items():
        channels = {letter: pixels[..., i].astype(np.float32) for i, letter in enumerate("RGB")}
        write_channels(folder / f"{name}.exr", channels, {})
