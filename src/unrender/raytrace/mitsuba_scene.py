"""unrender's cameras, lights and textured meshes as a Mitsuba scene, for Mitsuba's own integrators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from unrender.errors import UserError
from unrender.raytrace import backend
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap

Kind = Literal["plain", "glowing", "lambertian"]
"""Of surfaces in Mitsuba; see `build_mitsuba_scene`."""

SPECULAR = 0.5  # the principled BSDF's dielectric reflectance: an index of refraction of 1.5
# Mitsuba's cameras look along +Z with +X to the left; ours look along -Z with +X to the right.
_OPENGL_FROM_MITSUBA = np.diag([-1.0, 1.0, -1.0, 1.0])


def build_mitsuba_scene(
    surfaces: Sequence[TexturedMesh], light: EnvironmentMap, camera: Camera, *, max_depth: int = 5, kind: Kind = "plain"
) -> Any:
    """A Mitsuba scene of one frame: `surfaces` under the first frame of `light`, seen by the first frame of `camera`.

    The film uses a box filter, so that a pixel is the mean over its own square. `max_depth` counts path vertices as
    Mitsuba does: 2 is direct light alone. For Mitsuba's own integrators, which render neither slopes nor emission;
    of `kind` "glowing" every surface has an area emitter, black until its radiance is set (see `prb`), and
    "lambertian" ones have no more of their material than the base colour, the reflectance of a diffuse surface.

    Raises:
        UserError: a surface with slopes or emission; `build_path_tracer_scene` takes those.
    """
    if any(surface.slope is not None or surface.emission is not None for surface in surfaces):
        raise UserError(
            "build_mitsuba_scene with a surface that has slopes or emission; use build_path_tracer_scene for those"
        )
    backend.use()
    import mitsuba as mi

    parts = {f"surface{i}": _mesh(mi, f"surface{i}", surface, kind) for i, surface in enumerate(surfaces)}
    return mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": max_depth},
            "sensor": sensor(camera),
            "light": emitter(light),
            **parts,
        }
    )


def emitter(light: EnvironmentMap) -> dict[str, Any]:
    """The Mitsuba description of the first frame of `light`, the same in every direction as `environment.sample`.

    Mitsuba 3.9 puts columns at their centres, but stretches rows so that the first and the last lie on the poles. Rows
    twice as dense, on the edges and the centres of ours, make its linear interpolation exactly ours.
    """
    backend.use()
    import mitsuba as mi

    dense = dense_rows(light.radiance[0])
    return {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(dense.numpy(), dtype=np.float32))}


def dense_rows(radiance: torch.Tensor) -> torch.Tensor:
    """Radiance (3, H, W) as the pixels (2 H + 1, W, 3) of `emitter`; linear and differentiable."""
    rows = radiance.permute(1, 2, 0)
    edges = torch.cat((rows[:1], (rows[1:] + rows[:-1]) / 2, rows[-1:]))
    return torch.cat((torch.stack((edges[:-1], rows), dim=1).flatten(0, 1), edges[-1:]))


def sensor(camera: Camera) -> dict[str, Any]:
    """The Mitsuba description of the first frame of `camera`; pixels are taken as square."""
    backend.use()
    import mitsuba as mi

    height, width = camera.size
    k = camera.intrinsics[0].double()
    return {
        "type": "perspective",
        "fov": math.degrees(2 * math.atan(0.5 * height / float(k[1, 1]))),
        "fov_axis": "y",
        "near_clip": 1e-3,
        "far_clip": 1e5,
        # Mitsuba shifts the picture, not the principal point: its offsets are positive to the left and up.
        "principal_point_offset_x": 0.5 - float(k[0, 2]) / width,
        "principal_point_offset_y": 0.5 - float(k[1, 2]) / height,
        "to_world": mi.ScalarTransform4f(camera.pose[0].double().numpy() @ _OPENGL_FROM_MITSUBA),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "pixel_format": "rgb",
            "component_format": "float32",
            "rfilter": {"type": "box"},
        },
        # Stratified: half the noise of independent samples under a sun, at the same count.
        "sampler": {"type": "multijitter"},
    }


def render(scene: Any, *, samples: int, seed: int) -> torch.Tensor:
    """Path-traced radiance, (1, 3, H, W) linear; the same seed gives the same picture."""
    import mitsuba as mi

    picture = np.array(mi.render(scene, spp=samples, seed=mi.UInt32(seed)))
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


def _mesh(mi: Any, name: str, surface: TexturedMesh, kind: Kind) -> Any:
    # The one place that knows Mitsuba 3.9's parameter names of meshes; 3.10 renames them.
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(_bsdf(mi, surface, kind))
    if kind == "glowing":
        properties["emitter"] = mi.load_dict({"type": "area", "radiance": {"type": "rgb", "value": 0.0}})
    mesh = mi.Mesh(
        name, len(surface.vertices), len(surface.faces), properties, has_vertex_normals=True, has_vertex_texcoords=True
    )
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ravel(surface.vertices).astype(np.float32)
    parameters["vertex_normals"] = np.ravel(surface.normals).astype(np.float32)
    parameters["vertex_texcoords"] = np.ravel(surface.uv).astype(np.float32)
    parameters["faces"] = np.ravel(surface.faces).astype(np.uint32)
    parameters.update()
    return mesh


def _bsdf(mi: Any, surface: TexturedMesh, kind: Kind) -> dict[str, Any]:
    # Always three bitmaps, whatever they hold: scenes of the same build share Dr.Jit's compiled kernels.
    def bitmap(values: np.ndarray) -> dict[str, Any]:
        pixels = np.ascontiguousarray(values.reshape(*values.shape[:2], -1), dtype=np.float32)
        return {"type": "bitmap", "bitmap": mi.Bitmap(pixels), "raw": True, "wrap_mode": "clamp"}

    if kind == "lambertian":
        return {"type": "diffuse", "reflectance": bitmap(surface.base_color)}
    return {
        "type": "principled",
        "base_color": bitmap(surface.base_color),
        "roughness": bitmap(surface.roughness),
        "metallic": bitmap(surface.metallic),
        "specular": SPECULAR,
    }
