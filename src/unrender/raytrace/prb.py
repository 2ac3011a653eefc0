"""Mitsuba's Path Replay Backpropagation, from torch: the twin of `transport`, with gradients to materials as well.

Slower and noisy, and all that Mitsuba renders: what `transport` and `shadows` give is held against it, and roughness,
metalness, colour and glow of an object can be fitted with it, as in the applications of DiPIR (Liang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.raytrace import backend
from unrender.raytrace.mitsuba_scene import Kind, build_mitsuba_scene, dense_rows
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap


@dataclass(frozen=True)
class MaterialEdit:
    """What is changed of the material of a surface; all of it may want gradients.

    Attributes:
        base_color: (3,) factors on the base colour.
        roughness: () added.
        metallic: () added.
        emission: (3,) linear radiance that the surface sends out.
    """

    base_color: Tensor = field(default_factory=lambda: torch.ones(3))
    roughness: Tensor = field(default_factory=lambda: torch.zeros(()))
    metallic: Tensor = field(default_factory=lambda: torch.zeros(()))
    emission: Tensor = field(default_factory=lambda: torch.zeros(3))


@dataclass(frozen=True)
class PrbScene:
    """A surface in Mitsuba, ready for gradients; made by `prb_scene`.

    Attributes:
        surface: one mesh with its material; bumps are left out.
        light_size: (height, width) in texels.
        render_raw: Mitsuba behind `dr.wrap`: light, base colour, roughness, metallic, emission, samples, seed.
    """

    surface: TexturedMesh
    light_size: tuple[int, int]
    render_raw: Callable[..., Tensor] = field(repr=False)


def prb_scene(
    surface: TexturedMesh, camera: Camera, light_size: tuple[int, int], *, max_depth: int = 5, kind: Kind = "plain"
) -> PrbScene:
    """Puts `surface` before the first frame of `camera`.

    Args:
        surface: what is rendered; without emission of its own.
        camera: of square pixels.
        light_size: (height, width) of the lights to come.
        max_depth: path vertices as Mitsuba counts them; 2 is direct light alone.
        kind: "glowing" for a surface whose emission counts, "lambertian" for one that has a base colour alone.

    Raises:
        UserError: only the scalar variant of Mitsuba runs here, which has no gradients.
    """
    if backend.use().startswith("scalar"):
        raise UserError("gradients need Mitsuba's llvm_ad_rgb or cuda_ad_rgb, and only scalar_rgb runs here")
    import drjit as dr
    import mitsuba as mi

    plain = replace(surface, slope=None, emission=None)
    light = EnvironmentMap(torch.ones(1, 3, *light_size))
    scene = build_mitsuba_scene([plain], light, camera, max_depth=max_depth, kind=kind)
    integrator: Any = mi.load_dict({"type": "prb", "max_depth": max_depth, "hide_emitters": True})
    parameters = mi.traverse(scene)

    @dr.wrap(source="torch", target="drjit")
    def render(light: Any, base: Any, rough: Any, metal: Any, emission: Any, samples: int, seed: int) -> Any:
        parameters["light.data"] = mi.TensorXf(light)
        if kind == "lambertian":
            parameters["surface0.bsdf.reflectance.data"] = mi.TensorXf(base)
        else:
            parameters["surface0.bsdf.base_color.data"] = mi.TensorXf(base)
            parameters["surface0.bsdf.roughness.data"] = mi.TensorXf(rough)
            parameters["surface0.bsdf.metallic.data"] = mi.TensorXf(metal)
        if kind == "glowing":
            values = mi.TensorXf(emission).array
            parameters["surface0.emitter.radiance.value"] = mi.Color3f(
                *(dr.gather(mi.Float, values, i) for i in range(3))
            )
        parameters.update()
        return mi.render(scene, parameters, integrator=integrator, spp=samples, seed=mi.UInt32(seed))

    return PrbScene(plain, light_size, render)


def render_prb(
    scene: PrbScene, radiance: Tensor, change: MaterialEdit | None = None, *, samples: int, seed: int
) -> Tensor:
    """The surface under a light of `radiance` (3, *light_size), (1, 3, H, W) linear, multiplied by its coverage; the
    light itself is not seen. Differentiable in the light and in `change`; gradients are noisy, and unbiased where
    forward and backward pass draw different paths, as Mitsuba has it."""
    change = MaterialEdit() if change is None else change
    dense = dense_rows(radiance)
    # Mitsuba 3.9 wraps one column on either side of an environment map.
    light = torch.cat((dense[:, -1:], dense, dense[:, :1]), dim=1)
    surface = scene.surface
    base = (torch.from_numpy(np.ascontiguousarray(surface.base_color)) * change.base_color).clamp(0, 1)
    rough = (torch.from_numpy(np.ascontiguousarray(surface.roughness))[..., None] + change.roughness).clamp(0.03, 1)
    metal = (torch.from_numpy(np.ascontiguousarray(surface.metallic))[..., None] + change.metallic).clamp(0, 1)
    picture = scene.render_raw(light, base, rough, metal, change.emission, samples, seed)
    return picture.permute(2, 0, 1)[None]


def prb_shadow_ratio(
    both: PrbScene, alone: PrbScene, radiance: Tensor, *, samples: int, seed: int, least: float = 1e-6
) -> Tensor:
    """The ratio of a stand-in with objects (`both`) and without (`alone`), each "lambertian" and of `max_depth` 2, by
    common random numbers, (1, 3, H, W), meaningful where the objects are not seen themselves. Differentiable in the
    light."""
    with_objects, without = (render_prb(scene, radiance, samples=samples, seed=seed) for scene in (both, alone))
    return torch.where(without > least, with_objects / without.clamp(min=least), torch.ones_like(without))
