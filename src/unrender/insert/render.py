"""Final pictures of a virtual scene under a light of any size, path traced."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unrender.insert.composite import Layers
from unrender.insert.plane import SupportPlane
from unrender.insert.scene import InsertionScene
from unrender.insert.windows import Window, cropped, object_window, window_about
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import PathTracerScene, set_camera
from unrender.raytrace.shadows import sent_ratio, shadow_ratio
from unrender.scene.camera import Camera, project
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles
from unrender.scene.frames import Frames

GROUPS = ("key", "fill")
"""The light's parts, which the foreground is also rendered under one by one: a cone about where most light comes from,
and all other light. What the ground sends on counts with the light that it got."""

SAMPLES = 128
INDIRECT_ROUGHNESS = 0.3
"""The least roughness of surfaces seen by surfaces: an insert has no fireflies, and keeps their energy."""

_LARGEST_LIGHT = (512, 1024)
_KEY_CONE = math.cos(math.radians(30))
_COARSE = 4  # times smaller is the picture that says where shadows are
_SHADED = 0.998  # more than this is no shadow
_LIT = 0.004  # less than this is no light that an object sends on
_SMOOTH = 2  # times smaller is the picture in which that light is traced: it is soft
_RINGS = (0.8, 1.2, 1.6)  # radii, in an object's, of where its ground is looked at


@dataclass(frozen=True)
class TracedScene:
    """A scene ready for the path tracer.

    Attributes:
        objects: alone.
        stand_in: what shadows fall on, alone, as bright as the ground is.
        together: both, the stand-in last, as bright as the ground is.
    """

    objects: PathTracerScene
    stand_in: PathTracerScene
    together: PathTracerScene

    @staticmethod
    def of(scene: InsertionScene, albedo: Tensor) -> TracedScene:
        """`scene` on a ground of `albedo` (3,)."""
        return TracedScene(*scene.traced(albedo), scene.traced_together(albedo))


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
    traced: TracedScene,
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
        traced: of the scene.
        scene: the scene.
        light: any size; larger ones than 512 x 1024 are brought down to that.
        frame: of the camera.
        samples: paths a pixel.
        seed: of the random numbers.
    """
    camera = scene.camera.frame(frame)
    objects, stand_in, together = (
        set_camera(part, camera) for part in (traced.objects, traced.stand_in, traced.together)
    )
    if light.size[0] > _LARGEST_LIGHT[0]:
        light = light.resized(_LARGEST_LIGHT)
    window = object_window(scene, camera)
    parts = light_groups(light, scene.plane)
    found = dict(zip(GROUPS, torch.zeros(len(GROUPS), 1, 3, *camera.size), strict=True))
    alpha, depth = torch.zeros(1, 1, *camera.size), torch.full((1, 1, *camera.size), torch.inf)
    normal = torch.zeros(1, 3, *camera.size)
    if window is not None:
        near = cropped(camera, window)
        lit = render_lights(
            set_camera(together, near),
            parts,
            samples=samples,
            seed=seed,
            indirect_roughness=INDIRECT_ROUGHNESS,
            seen_faces=len(objects.surface.faces),
        )
        for picture, part in zip(found.values(), lit.rgb, strict=True):
            picture[0][:, *window] = part
        alpha[..., *window] = lit.coverage
        surface = trace_gbuffer(set_camera(objects, near))
        assert surface.depth is not None
        assert surface.normal is not None
        depth[..., *window], normal[..., *window] = surface.depth, surface.normal
    shadow = _shadow((objects, stand_in), light, samples, seed)
    return Rendered(Layers(torch.stack(tuple(found.values())).sum(0), alpha, shadow), found, depth, normal)


def ground_albedo(scene: InsertionScene, light: EnvironmentMap, photo: Frames) -> Tensor:
    """What the ground round the objects would have to reflect to look as it does in the photo, (3,) in [0.02, 0.9].

    DiPIR leaves out light from the scene to the object, for want of the scene's materials; under a light that is known
    the photo tells the one that matters, where the object stands.
    """
    falling = (texel_directions(light.size) @ scene.plane.normal.float()).clamp(min=0) * texel_solid_angles(light.size)
    irradiance = (light.radiance[0] * falling).sum((1, 2)).clamp(min=1e-6)
    return (math.pi * ground_radiance(scene, photo) / irradiance).clamp(0.02, 0.9)


def ground_radiance(scene: InsertionScene, photo: Frames) -> Tensor:
    """How bright the ground round the objects is in the photo, (3,) linear: the median over rings about them; the
    photo's mean where none of these is in view."""
    points = torch.cat([torch.from_numpy(thing.points).float() for thing in scene.objects])
    middle, normal = (points.amin(0) + points.amax(0)) / 2, scene.plane.normal.float()
    reach = float((points - middle).norm(dim=1).max())
    side = functional.normalize(torch.linalg.cross(normal, scene.camera.pose[0, :3, 2].float()), dim=0)
    angle = torch.linspace(0, 2 * math.pi, 48)
    spots = [
        middle
        + radius
        * reach
        * (torch.cos(angle)[:, None] * side + torch.sin(angle)[:, None] * torch.linalg.cross(side, normal))
        for radius in _RINGS
    ]
    ring = torch.cat(spots)
    ring = ring - ((ring @ normal) - scene.plane.offset)[:, None] * normal
    pixels, depth = project(ring, scene.camera.frame(0))
    height, width = photo.size
    x, y = pixels[0].floor().long().unbind(-1)
    there = (depth[0] > 1e-6) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return photo.rgb[0][:, y[there], x[there]].median(1).values if bool(there.any()) else photo.rgb[0].mean((1, 2))


def light_groups(light: EnvironmentMap, plane: SupportPlane) -> list[EnvironmentMap]:
    """The light in as many parts as there are `GROUPS`, whose sum it is."""
    directions = texel_directions(light.size)
    above = directions @ plane.normal > 0
    coarse = light.resized((8, 16))
    bright = luminance(coarse.radiance)[0, 0] * (texel_directions((8, 16)) @ plane.normal > 0)
    key = texel_directions((8, 16)).reshape(-1, 3)[int(bright.argmax())]
    cone = above & (directions @ key > _KEY_CONE)
    return [replace(light, radiance=light.radiance * mask) for mask in (cone, ~cone)]


def _shadow(scenes: tuple[PathTracerScene, PathTracerScene], light: EnvironmentMap, samples: int, seed: int) -> Tensor:
    """The shadow ratio (1, 3, H, W), with what objects send on; traced finely only where a coarse look finds any."""
    camera = scenes[0].camera
    height, width = camera.size
    small = camera.resized((max(1, height // _COARSE), max(1, width // _COARSE)))
    seen, few = [set_camera(part, small) for part in scenes], max(16, samples // 4)
    ratio, sent = torch.ones(1, 3, height, width), torch.zeros(1, 3, height, width)
    shaded = _window_of(shadow_ratio(*seen, [light], samples=few, seed=seed)[0].amin(0) < _SHADED, camera)
    if shaded is not None:
        near = [set_camera(part, cropped(camera, shaded)) for part in scenes]
        ratio[..., *shaded] = shadow_ratio(*near, [light], samples=samples, seed=seed)
    lit = _window_of(sent_ratio(*seen, [light], samples=few, seed=seed)[0][0].amax(0) > _LIT, camera)
    if lit is not None:
        near = cropped(camera, lit)
        half = near.resized((max(1, near.size[0] // _SMOOTH), max(1, near.size[1] // _SMOOTH)))
        found, known = sent_ratio(
            *(set_camera(part, half) for part in scenes), [light], samples=max(16, samples // 2), seed=seed
        )
        # Behind the objects nothing is known: the ground there is as the ground beside it.
        found, known = (
            functional.interpolate(values, near.size, mode="bilinear") for values in (found * known, known.float())
        )
        sent[..., *lit] = found / known.clamp(min=1e-3)
    return ratio + sent


def _window_of(there: Tensor, camera: Camera) -> Window | None:
    """The window of the camera's picture where a smaller mask (h, w) holds; None where it nowhere does."""
    rows, columns = torch.nonzero(there, as_tuple=True)
    if len(rows) == 0:
        return None
    down, across = camera.size[0] / there.shape[0], camera.size[1] / there.shape[1]
    box = torch.stack(
        (rows.min() * down, columns.min() * across, (rows.max() + 1) * down, (columns.max() + 1) * across)
    )
    return window_about(box, camera)
