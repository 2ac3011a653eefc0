"""Final pictures of a virtual scene under a light of any size, path traced."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.insert.composite import Layers
from unrender.insert.plane import SupportPlane
from unrender.insert.scene import InsertionScene
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import PathTracerScene, set_camera
from unrender.raytrace.shadows import shadow_ratio
from unrender.scene.camera import Camera, project
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, texel_directions

GROUPS = ("key", "fill", "ground")
"""The light's parts, which the foreground is also rendered under one by one: a cone about where most light comes from,
all other light from above the plane, and what comes from below it."""

SAMPLES = 128
INDIRECT_ROUGHNESS = 0.3
"""The least roughness of surfaces seen by surfaces: an insert has no fireflies, and keeps their energy."""

_LARGEST_LIGHT = (512, 1024)
_KEY_CONE = math.cos(math.radians(30))
_COARSE = 4  # times smaller is the picture that says where shadows are
_SHADED = 0.998  # more than this is no shadow
_MARGIN = 4  # pixels about what is rendered


@dataclass(frozen=True)
class Rendered:
    """One frame of a virtual scene.

    Attributes:
        layers: the object, multiplied by its coverage, and the shadow ratio.
        groups: (1, 3, H, W) the object under each of `GROUPS`; their sum is the foreground.
        depth: (1, 1, H, W) planar depth of the object, +inf where it is not.
        normal: (1, 3, H, W) of the object, unit, camera space; zero where it is not.
    """

    layers: Layers
    groups: dict[str, Tensor]
    depth: Tensor
    normal: Tensor


def render_frame(
    traced: tuple[PathTracerScene, PathTracerScene],
    scene: InsertionScene,
    light: EnvironmentMap,
    *,
    frame: int = 0,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Rendered:
    """Renders frame `frame` of the scene's camera under a light of one frame.

    Only a window of the picture about the object, and one about its shadow, are traced.

    Args:
        traced: `scene.traced()`.
        scene: the scene.
        light: any size; larger ones than 512 x 1024 are brought down to that.
        frame: of the camera.
        samples: paths a pixel.
        seed: of the random numbers.
    """
    camera = scene.camera.frame(frame)
    objects, stand_in = (set_camera(part, camera) for part in traced)
    if light.size[0] > _LARGEST_LIGHT[0]:
        light = light.resized(_LARGEST_LIGHT)
    window = _object_window(scene, camera)
    parts = light_groups(light, scene.plane)
    found = dict(zip(GROUPS, torch.zeros(3, 1, 3, *camera.size), strict=True))
    alpha, depth = torch.zeros(1, 1, *camera.size), torch.full((1, 1, *camera.size), torch.inf)
    normal = torch.zeros(1, 3, *camera.size)
    if window is not None:
        cut = set_camera(objects, _cropped(camera, window))
        lit = render_lights(
            cut, parts, samples=samples, seed=seed, background=False, indirect_roughness=INDIRECT_ROUGHNESS
        )
        for picture, part in zip(found.values(), lit.rgb, strict=True):
            picture[0][:, *window] = part
        alpha[..., *window] = lit.coverage
        surface = trace_gbuffer(cut)
        assert surface.depth is not None
        assert surface.normal is not None
        depth[..., *window], normal[..., *window] = surface.depth, surface.normal
    shadow = _shadow(objects, stand_in, light, samples, seed)
    return Rendered(Layers(torch.stack(tuple(found.values())).sum(0), alpha, shadow), found, depth, normal)


def light_groups(light: EnvironmentMap, plane: SupportPlane) -> list[EnvironmentMap]:
    """The light in as many parts as there are `GROUPS`, whose sum it is."""
    directions = texel_directions(light.size)
    above = directions @ plane.normal > 0
    coarse = light.resized((8, 16))
    bright = luminance(coarse.radiance)[0, 0] * (texel_directions((8, 16)) @ plane.normal > 0)
    key = texel_directions((8, 16)).reshape(-1, 3)[int(bright.argmax())]
    cone = above & (directions @ key > _KEY_CONE)
    return [replace(light, radiance=light.radiance * mask) for mask in (cone, above & ~cone, ~above)]


def _shadow(
    objects: PathTracerScene, stand_in: PathTracerScene, light: EnvironmentMap, samples: int, seed: int
) -> Tensor:
    """The shadow ratio (1, 3, H, W); traced finely only where a coarse look finds any."""
    camera = objects.camera
    height, width = camera.size
    small = camera.resized((max(1, height // _COARSE), max(1, width // _COARSE)))
    coarse = shadow_ratio(
        set_camera(objects, small), set_camera(stand_in, small), [light], samples=max(16, samples // 4), seed=seed
    )
    rows, columns = torch.nonzero(coarse[0].amin(0) < _SHADED, as_tuple=True)
    ratio = torch.ones(1, 3, height, width)
    if len(rows) == 0:
        return ratio
    scale = (height / small.size[0], width / small.size[1])
    box = torch.stack(
        (rows.min() * scale[0], columns.min() * scale[1], (rows.max() + 1) * scale[0], (columns.max() + 1) * scale[1])
    )
    window = _window(box, camera)
    if window is not None:
        near = _cropped(camera, window)
        part = shadow_ratio(set_camera(objects, near), set_camera(stand_in, near), [light], samples=samples, seed=seed)
        ratio[..., *window] = part
    return ratio


def _object_window(scene: InsertionScene, camera: Camera) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that the objects are in; None where they are not in it."""
    points = torch.cat([torch.from_numpy(thing.points).float() for thing in scene.objects])
    pixels, depth = project(points, camera)
    if bool((depth <= 1e-6).any()):  # some of it is beside or behind the camera: no box of pixels holds it
        return slice(0, camera.size[0]), slice(0, camera.size[1])
    low, high = pixels[0].amin(0), pixels[0].amax(0)
    return _window(torch.stack((low[1], low[0], high[1], high[0])), camera)


def _window(box: Tensor, camera: Camera) -> tuple[slice, slice] | None:
    """Top, left, bottom, right with a margin, within the picture; None where it is outside."""
    height, width = camera.size
    top, left, bottom, right = box.clamp(-1e6, 1e6).tolist()
    rows = slice(max(0, math.floor(top) - _MARGIN), min(height, math.ceil(bottom) + _MARGIN))
    columns = slice(max(0, math.floor(left) - _MARGIN), min(width, math.ceil(right) + _MARGIN))
    return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None


def _cropped(camera: Camera, window: tuple[slice, slice]) -> Camera:
    rows, columns = window
    return camera.cropped(rows.start, columns.start, (rows.stop - rows.start, columns.stop - columns.start))
