"""A scene as `path_tracer` and `gbuffer` read it: one mesh, one atlas, and a camera, in a few packed arrays.

Every scene runs the same compiled kernels: whatever differs between scenes is an argument, never a literal. Mitsuba
only intersects rays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unrender.errors import UserError
from unrender.raytrace import backend
from unrender.raytrace.packed import opaque
from unrender.raytrace.principled import Shading
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera

FACE_STRIDE, TEXEL_STRIDE, EMITTER_STRIDE = 32, 8, 16
EMITTER_SLOTS = 1024
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_EMITTER_SHARE = 0.5  # of the light samples, where there are emitters


@dataclass(frozen=True)
class AreaEmitters:
    """The faces that emit light, as Dr.Jit arrays.

    Attributes:
        slots: (EMITTER_SLOTS * 16,) faces, sampled uniformly: a corner, two edges, the normal, the radiance, the
            density per area. A face has as many slots as its share of all power, one that is too weak has none.
        share: of the light samples that go to emitters, 0 where there are none.
    """

    slots: Any
    share: Any


@dataclass(frozen=True)
class PathTracerScene:
    """What `render_lights` and `trace_gbuffer` take; made by `build_path_tracer_scene`.

    Attributes:
        surface: the mesh and its material.
        camera: its first frame.
        max_depth: path vertices as Mitsuba counts them; 2 is direct light alone.
        traced: the Mitsuba scene, of shapes only.
        faces: Dr.Jit (F * 32,): normals (9) and texture coordinates (6) of three corners, 0, then the face's normal,
            the world directions of rising u and v (unit, or zero), its radiance and density per area, 0.
        atlas: Dr.Jit (H * W * 8,): base colour, roughness, metallic, slopes, opacity.
        atlas_size: Dr.Jit UInt32 (width, height).
        emitters: the faces that emit light.
        shading: how its surfaces scatter light.
        sheer: whether rays pass through parts of it, for which there is a kernel of its own.
    """

    surface: TexturedMesh
    camera: Camera
    max_depth: int
    traced: Any
    faces: Any
    atlas: Any
    atlas_size: tuple[Any, Any]
    emitters: AreaEmitters
    shading: Shading
    sheer: bool


def build_path_tracer_scene(
    surface: TexturedMesh, camera: Camera, *, max_depth: int = 4, shading: Shading | None = None
) -> PathTracerScene:
    """Puts `surface` before the first frame of `camera`; it scatters light as Mitsuba's principled BSDF does, or as
    `shading` says.

    Raises:
        UserError: Mitsuba renders here with its scalar variant alone, for which there is no compiled path tracer;
            `emission` without a row for each face.
    """
    if backend.use().startswith("scalar"):
        raise UserError("the path tracer needs Mitsuba's llvm_ad_rgb or cuda_ad_rgb, and only scalar_rgb runs here")
    if surface.emission is not None and surface.emission.shape != surface.faces.shape:
        raise UserError(
            f"TexturedMesh.emission has shape {surface.emission.shape}; "
            f"expected {surface.faces.shape}, rgb for each face"
        )
    import mitsuba as mi

    mesh = mi.Mesh("surface", len(surface.vertices), len(surface.faces))
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ravel(surface.vertices).astype(np.float32)
    parameters["faces"] = np.ravel(surface.faces).astype(np.uint32)
    parameters.update()
    height, width = surface.roughness.shape
    faces, emitters = _faces(surface)
    return PathTracerScene(
        surface=surface,
        camera=camera,
        max_depth=max_depth,
        traced=mi.load_dict({"type": "scene", "surface": mesh}),
        faces=faces,
        atlas=opaque(mi.Float, _atlas(surface)),
        atlas_size=(opaque(mi.UInt32, width), opaque(mi.UInt32, height)),
        emitters=emitters,
        shading=_opaque_shading(shading or Shading()),
        sheer=surface.opacity is not None and bool((surface.opacity < 1).any()),
    )


def move(scene: PathTracerScene, vertices: np.ndarray, normals: np.ndarray) -> PathTracerScene:
    """The same scene with its vertices and their normals, both (V, 3), elsewhere; the old one must not be used again.

    The atlas stays where it is, and the shapes are moved within Mitsuba's scene: much less work than a new scene.
    """
    if vertices.shape != scene.surface.vertices.shape or normals.shape != scene.surface.normals.shape:
        raise UserError(
            f"vertices {vertices.shape} and normals {normals.shape} for a scene of {len(scene.surface.vertices)} "
            "vertices; expected (V, 3) of the same V"
        )
    import mitsuba as mi

    surface = replace(scene.surface, vertices=vertices, normals=normals)
    parameters = mi.traverse(scene.traced)
    parameters["surface.vertex_positions"] = np.ravel(vertices).astype(np.float32)
    parameters.update()
    faces, emitters = _faces(surface)
    return replace(scene, surface=surface, faces=faces, emitters=emitters)


def set_camera(scene: PathTracerScene, camera: Camera) -> PathTracerScene:
    """The same scene seen by the first frame of `camera`."""
    return replace(scene, camera=camera)


def _opaque_shading(shading: Shading) -> Shading:
    import mitsuba as mi

    return Shading(*(opaque(mi.Float, value) for value in (shading.retro, shading.specular, shading.exponent)))


def _atlas(surface: TexturedMesh) -> np.ndarray:
    texels = np.zeros((*surface.roughness.shape, TEXEL_STRIDE), np.float32)
    texels[..., :3], texels[..., 3], texels[..., 4] = surface.base_color, surface.roughness, surface.metallic
    if surface.slope is not None:
        texels[..., 5:7] = surface.slope
    texels[..., 7] = 1.0 if surface.opacity is None else surface.opacity
    return texels.ravel()


def _faces(surface: TexturedMesh) -> tuple[Any, AreaEmitters]:
    import mitsuba as mi

    corner, uv = surface.vertices[surface.faces], surface.uv[surface.faces]
    edges, across = corner[:, 1:] - corner[:, :1], uv[:, 1:] - uv[:, :1]
    normal = np.cross(edges[:, 0], edges[:, 1])
    area = 0.5 * np.linalg.norm(normal, axis=1)
    normal = _unit(normal)
    # Solves edges = across @ (dp_du, dp_dv), up to the determinant's size: only directions are wanted.
    sign = np.sign(across[:, 0, 0] * across[:, 1, 1] - across[:, 0, 1] * across[:, 1, 0])[:, None]
    dp_du = sign * (across[:, 1, 1:] * edges[:, 0] - across[:, 0, 1:] * edges[:, 1])
    dp_dv = sign * (across[:, 0, :1] * edges[:, 1] - across[:, 1, :1] * edges[:, 0])

    packed = np.zeros((len(corner), FACE_STRIDE), np.float32)
    packed[:, :9] = surface.normals[surface.faces].reshape(-1, 9)
    packed[:, 9:15] = uv.reshape(-1, 6)
    packed[:, 16:19], packed[:, 19:22], packed[:, 22:25] = normal, _unit(dp_du), _unit(dp_dv)
    slots = np.zeros(0, int)
    if surface.emission is not None:
        packed[:, 25:28] = surface.emission
        slots = _slots((surface.emission @ _LUMINANCE) * area)
        packed[:, 28] = np.bincount(slots, minlength=len(corner)) / (EMITTER_SLOTS * np.maximum(area, 1e-12))
    return opaque(mi.Float, packed.ravel()), _area_emitters(corner, packed, slots)


def _slots(power: np.ndarray) -> np.ndarray:
    """EMITTER_SLOTS faces, each in proportion to its share of the power; none where nothing emits."""
    total = np.cumsum(power)
    if total[-1] <= 0:
        return np.zeros(0, int)
    return np.searchsorted(total, (np.arange(EMITTER_SLOTS) + 0.5) / EMITTER_SLOTS * total[-1])


def _area_emitters(corner: np.ndarray, packed: np.ndarray, slots: np.ndarray) -> AreaEmitters:
    import mitsuba as mi

    emitters = np.zeros((EMITTER_SLOTS, EMITTER_STRIDE), np.float32)
    if len(slots):
        drawn = corner[slots]
        emitters[:, :9] = np.concatenate((drawn[:, 0], drawn[:, 1] - drawn[:, 0], drawn[:, 2] - drawn[:, 0]), 1)
        emitters[:, 9:12], emitters[:, 12:16] = packed[slots, 16:19], packed[slots, 25:29]
    return AreaEmitters(opaque(mi.Float, emitters.ravel()), opaque(mi.Float, _EMITTER_SHARE if len(slots) else 0.0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
