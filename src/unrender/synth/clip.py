"""One random clip: a world, its motion, and every frame with ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.shards import Clip, LitClip
from unrender.raytrace.atlas import move_vertices, pack_atlas
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.mesh import Array
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import PathTracerScene, build_path_tracer_scene, move, set_camera
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.synth import gate
from unrender.synth.compose import another_light, random_world
from unrender.synth.denoise import denoised
from unrender.synth.lights import OUTDOORS
from unrender.synth.motion import Motion, other_cameras, random_motion
from unrender.synth.sources import Sources
from unrender.synth.world import World

Random = np.random.Generator

ATTEMPTS = 16
FPS = 24.0
MAX_DEPTH = 4  # path vertices: up to three bounces
ROOM_SAMPLES = 4  # times as many paths a pixel in rooms, where most of them find no window
_BRIGHTEST = {"rgb": 1000.0, "irradiance": 6e4, "light": 6e4}  # half floats end at 65504


@dataclass(frozen=True)
class Shot:
    """What to render of a world.

    Attributes:
        size: (height, width) in pixels.
        samples: paths a pixel; rooms get `ROOM_SAMPLES` times as many.
        frames: how many; 1 is a still.
        lights: other lights beside the clip's own.
        cameras: other cameras beside the clip's own.
    """

    size: tuple[int, int]
    samples: int
    frames: int = 1
    lights: int = 0
    cameras: int = 0


class _Refused(Exception):
    """The quality gate rejected an attempt."""


def random_clip(key: Sequence[int], index: int, shot: Shot, sources: Sources, *, test: bool) -> Clip:
    """Samples a world and renders it with ground truth; what the quality gate rejects is replaced by the next attempt.

    Args:
        key: seeds all sampling, together with the number of the attempt.
        index: of the clip, its `seed`.
        shot: what to render.
        sources: asset and light files.
        test: whether environment maps and patterns are those held out of training.

    Returns:
        A clip. Each light, with its rgb and irradiance, is scaled by one gain, found in the first frame. World, motion,
        lights and cameras have separate random streams: more frames, lights or cameras show the same scene.

    Raises:
        UserError: `ATTEMPTS` attempts in a row were rejected.
    """
    reason: _Refused | None = None
    for attempt in range(ATTEMPTS):
        try:
            clip = _attempt([*key, attempt], index, shot, sources, test)
        except _Refused as refused:
            reason = refused
        else:
            return replace(clip, replaced=attempt)
    raise UserError(
        f"clip {index}: {ATTEMPTS} attempts in a row were rejected, the last because {reason}; "
        "use a larger resolution, more samples or other assets"
    )


def _attempt(key: list[int], index: int, shot: Shot, sources: Sources, test: bool) -> Clip:
    world_rng, motion_rng, light_rng, camera_rng, render_rng = (
        np.random.default_rng([*key, part]) for part in range(5)
    )
    world = random_world(world_rng, shot.size, sources, test=test)
    motion = random_motion(motion_rng, world, shot.frames)
    lights = [world.light, *(another_light(light_rng, world, sources, test=test) for _ in range(shot.lights))]
    cameras = other_cameras(camera_rng, world, shot.cameras)
    gains: list[float] = []
    own: list[_Frame] = []
    views: list[list[GBuffer]] = [[] for _ in cameras]
    for t, (scene, subject) in enumerate(_posed(world, motion, shot.samples)):
        turned = [light.rotated(motion.yaw[t]) if motion.yaw[t] else light for light in lights]
        frame = _frame(scene, subject, motion.camera.frame(t), turned, render_rng, first=t == 0)
        gains = gains or [_exposure(render_rng, rgb[None], frame.gbuffer.maps["mask"]) for rgb in frame.rgb]
        own.append(_exposed(frame, gains))
        for camera, view in zip(cameras, views, strict=True):
            frame = _frame(scene, subject, camera, turned[:1], render_rng, first=t == 0)
            view.append(_exposed(frame, gains[:1]).gbuffer)
    lights = [
        replace(light, radiance=(light.radiance * gain).clamp(max=_BRIGHTEST["light"]))
        for light, gain in zip(lights, gains, strict=True)
    ]
    others = (
        LitClip(light, torch.stack([f.rgb[k] for f in own]), torch.stack([f.irradiance[k] for f in own]))
        for k, light in enumerate(lights[1:], 1)
    )
    return Clip(
        _joined([frame.gbuffer for frame in own]),
        lights[0],
        world.caption,
        index,
        yaw=motion.yaw if any(motion.yaw) else (),
        things=tuple(thing.name for thing in world.things),
        lights=tuple(others),
        views=tuple(_joined(view) for view in views),
    )


@dataclass(frozen=True)
class _Subject:
    """Which instance each face of the surface is (F,), from 1 on, and which instances are things, not scenery; the
    openings of the world, paths a pixel, and whether a sky is past all surfaces."""

    owners: Array
    things: tuple[bool, ...]
    openings: Array
    samples: int
    sky: bool


@dataclass(frozen=True)
class _Frame:
    """One frame from one camera: its maps, and rgb and irradiance (K, 3, H, W) under each light."""

    gbuffer: GBuffer
    rgb: Tensor
    irradiance: Tensor


def _posed(world: World, motion: Motion, samples: int) -> Iterator[tuple[PathTracerScene, _Subject]]:
    """The stage of each frame; only the latest may be used."""
    rest, owners = pack_atlas(world.things)
    subject = _Subject(
        owners[rest.faces[:, 0]] + 1,
        tuple(thing.group > 0 for thing in world.things),
        world.openings,
        samples * (ROOM_SAMPLES if world.enclosed else 1),
        world.under_sky or world.light.name in OUTDOORS,
    )
    back = np.stack([np.linalg.inv(thing.pose) for thing in world.things])
    scene = build_path_tracer_scene(rest, world.camera, max_depth=MAX_DEPTH, shading=world.shading)
    moves = bool(np.ptp(motion.poses, axis=0).any())
    for t, poses in enumerate(motion.poses):
        if moves and t > 0:
            scene = move(scene, *move_vertices(rest, owners, poses @ back))
        yield scene, subject


def _frame(
    scene: PathTracerScene, subject: _Subject, camera: Camera, lights: list[EnvironmentMap], rng: Random, *, first: bool
) -> _Frame:
    """What `camera` sees under each light, before exposure; the gate checks the geometry before light is traced."""
    scene = set_camera(scene, camera)
    gbuffer = trace_gbuffer(scene, owners=subject.owners)
    if subject.sky:
        gbuffer = gbuffer.with_maps(sky=_sky(gbuffer))
    if fault := gate.seen(gbuffer, subject.things, first=first):
        raise _Refused(fault)
    seed = int(rng.integers(2**31))
    lit = render_lights(scene, lights, samples=subject.samples, seed=seed, openings=subject.openings)
    rgb, irradiance = (_without_fireflies(pictures) for pictures in (lit.rgb, lit.irradiance))
    return _Frame(gbuffer, denoised(rgb, gbuffer), irradiance)


def _exposed(frame: _Frame, gains: list[float]) -> _Frame:
    """The frame with each light's `gains` applied, if it passes the gate; its G-buffer has the first rgb."""
    if not gate.finite(frame.rgb, frame.irradiance):
        raise _Refused("a pixel is not finite or below zero")
    gain = torch.tensor(gains, dtype=torch.float32)[:, None, None, None]
    rgb = (frame.rgb * gain).clamp(max=_BRIGHTEST["rgb"])
    irradiance = (frame.irradiance * gain).clamp(max=_BRIGHTEST["irradiance"])
    if fault := gate.exposed(rgb[:1], frame.gbuffer.maps["mask"]):
        raise _Refused(fault)
    return _Frame(frame.gbuffer.with_maps(rgb=rgb[:1], irradiance=irradiance[:1]), rgb, irradiance)


def _sky(gbuffer: GBuffer) -> Tensor:
    """(1, 1, H, W) how much of each pixel is sky: what is past the surfaces, above the horizon."""
    camera = gbuffer.camera_or_default()
    up = torch.einsum("ij,tjhw->tihw", camera.pose[0, :3, :3], pixel_rays(camera))[:, 1:2]
    return (1 - gbuffer.maps["mask"]) * (up > 0)


def _joined(frames: list[GBuffer]) -> GBuffer:
    return replace(concatenate(frames), fps=FPS if len(frames) > 1 else None)


def _without_fireflies(pictures: Tensor) -> Tensor:
    """Pixels of (K, 3, H, W) four times as bright as the third brightest around them take their 3 x 3 median."""
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    light = luminance(padded)[:, 0]
    left, right, up, down = light[:, 1:-1, :-2], light[:, 1:-1, 2:], light[:, :-2, 1:-1], light[:, 2:, 1:-1]
    # The third brightest of nine is at least the least of any three: this alone clears most pixels.
    at_least = torch.minimum(torch.minimum(left, right), torch.maximum(up, down))
    k, y, x = torch.where(light[:, 1:-1, 1:-1] > 4 * at_least + 1e-3)
    third = light.unfold(1, 3, 1).unfold(2, 3, 1)[k, y, x].flatten(1).topk(3).values[:, 2]
    stray = light[k, y + 1, x + 1] > 4 * third + 1e-3
    k, y, x = k[stray], y[stray], x[stray]
    mended = pictures.clone()
    mended[k, :, y, x] = padded.unfold(2, 3, 1).unfold(3, 3, 1)[k, :, y, x].flatten(2).median(dim=2).values
    return mended


def _exposure(rng: Random, rgb: Tensor, mask: Tensor) -> float:
    """The gain that brings a bright percentile of the surfaces near white, within about a stop."""
    surface = luminance(rgb)[mask > 0.5].numpy()
    key = float(np.percentile(surface, rng.uniform(80, 95))) if len(surface) else 1.0
    mean = float(surface.mean()) if len(surface) else 1.0
    return float(0.55 * 2 ** rng.normal(0, 0.45) / max(key, 0.5 * mean, 1e-4))
