"""A world under Mitsuba: posed, looked at and lit, frame after frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unrender.raytrace.gbuffer import _interactions, trace_gbuffer
from unrender.raytrace.scene import Surface, build_scene, render
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.synth.atlas import merged, moved
from unrender.synth.shapes import Array
from unrender.synth.world import World


class Stage:
    """STAND-IN until the light transport lands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.movable = tuple(thing.movable for thing in world.things)
        self.rest, self.owners = merged(world.things)
        self.surface = self.rest

    def pose(self, poses: Array) -> None:
        motion = np.stack(
            [now @ np.linalg.inv(thing.pose) for now, thing in zip(poses, self.world.things, strict=True)]
        )
        vertices, normals = moved(self.rest, self.owners, motion)
        self.surface = replace(self.rest, vertices=vertices, normals=normals)

    def look(self, camera: Camera) -> None:
        self.camera = camera

    def trace(self) -> tuple[GBuffer, Tensor]:
        scene = build_scene([self.surface], self.world.light, self.camera)
        gbuffer = trace_gbuffer(scene, self.camera)
        si, _ = _interactions(scene, self.camera, np.array([[0.5, 0.5]]))
        hit = np.array(si.is_valid())
        prim = np.where(hit, np.array(si.prim_index), 0).astype(int)
        ids = np.where(hit, self.owners[self.rest.faces[prim, 0]] + 1, 0)
        instances = torch.from_numpy(ids.astype(np.float32)).reshape(1, 1, *self.camera.size)
        albedo = gbuffer.maps["base_color"] * (1 - gbuffer.maps["metallic"])
        return gbuffer.with_maps(diffuse_albedo=albedo), instances

    def light(self, lights: Sequence[EnvironmentMap], samples: int, seed: int) -> tuple[Tensor, Tensor]:
        white = replace(
            self.surface,
            base_color=np.ones_like(self.surface.base_color),
            roughness=np.ones_like(self.surface.roughness),
            metallic=np.zeros_like(self.surface.metallic),
        )

        def picture(surface: Surface, light: EnvironmentMap, depth: int) -> Tensor:
            scene = build_scene([surface], light, self.camera, max_depth=depth)
            return render(scene, samples=samples, seed=seed)

        rgb = [picture(self.surface, light, 4) for light in lights]
        irradiance = [np.pi * picture(white, light, 2) for light in lights]
        return torch.cat(rgb), torch.cat(irradiance)
