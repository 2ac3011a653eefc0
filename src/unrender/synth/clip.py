"""One random clip: a world, how it moves, and every frame with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from unrender.errors import UserError
from unrender.files.shards import Clip, LitClip, View
from unrender.scene.camera import Camera
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.synth import gate
from unrender.synth.compose import Sources, another_light, random_world
from unrender.synth.motion import other_cameras, random_motion
from unrender.synth.stage import Stage

Random = np.random.Generator

ATTEMPTS = 16
FPS = 24.0
_BRIGHTEST = {"rgb": 1000.0, "irradiance": 6e4, "light": 6e4}  # half floats end at 65504


@dataclass(frozen=True)
class Shot:
    """What to render of a world.

    Attributes:
        size: (height, width) in pixels.
        samples: paths a pixel.
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
    """The quality gate turned a draw down."""


def random_clip(key: Sequence[int], index: int, shot: Shot, sources: Sources, *, test: bool) -> Clip:
    """Draws a world and renders it with its truth; a draw that the quality gate refuses is replaced by the next.

    Args:
        key: what everything is drawn from, with the number of the attempt.
        index: what the clip is to be known by.
        shot: what to render.
        sources: what the worlds are made of.
        test: whether worlds and patterns are those held out of training.

    Returns:
        A clip. Each light, with its rgb and irradiance, is scaled by one gain, found in the first frame. World, motion,
        lights and cameras come from streams of their own: more frames, lights or cameras show the same scene.

    Raises:
        UserError: `ATTEMPTS` draws in a row were refused.
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
        f"clip {index}: {ATTEMPTS} draws in a row were refused, the last because {reason}; "
        "a larger resolution, more samples or other assets are right"
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
    views: list[list[_Frame]] = [[] for _ in cameras]
    stage = Stage(world)
    for t in range(shot.frames):
        stage.pose(motion.poses[t])
        turned = [light.rotated(motion.yaw[t]) if motion.yaw[t] else light for light in lights]
        frame = _frame(stage, motion.camera.frame(t), turned, shot.samples, render_rng, first=t == 0)
        gains = gains or [_exposure(render_rng, rgb[None], frame.mask) for rgb in frame.rgb]
        own.append(_exposed(frame, gains))
        for camera, seen in zip(cameras, views, strict=True):
            frame = _frame(stage, camera, turned[:1], shot.samples, render_rng, first=t == 0)
            seen.append(_exposed(frame, gains[:1]))
    lights = [
        replace(light, radiance=(light.radiance * gain).clamp(max=_BRIGHTEST["light"]))
        for light, gain in zip(lights, gains, strict=True)
    ]
    view = _view(own)
    return Clip(
        view.gbuffer,
        lights[0],
        world.caption,
        index,
        yaw=motion.yaw if any(motion.yaw) else (),
        instances=view.instances,
        things=tuple(thing.name for thing in world.things),
        lights=tuple(
            LitClip(light, torch.stack([f.rgb[k] for f in own]), torch.stack([f.irradiance[k] for f in own]))
            for k, light in enumerate(lights[1:], 1)
        ),
        views=tuple(_view(frames) for frames in views),
    )


@dataclass(frozen=True)
class _Frame:
    """One frame from one camera: maps and ids, and rgb and irradiance (K, 3, H, W) under each light."""

    gbuffer: GBuffer
    instances: Tensor
    rgb: Tensor
    irradiance: Tensor

    @property
    def mask(self) -> Tensor:
        return self.gbuffer.maps["mask"]


def _frame(
    stage: Stage, camera: Camera, lights: list[EnvironmentMap], samples: int, rng: Random, *, first: bool
) -> _Frame:
    """What `camera` sees under each light, before exposure; the gate looks at the geometry before light is traced."""
    stage.look(camera)
    gbuffer, instances = stage.trace()
    if fault := gate.seen(gbuffer, instances, stage.movable, first=first):
        raise _Refused(fault)
    rgb, irradiance = stage.light(lights, samples, int(rng.integers(2**31)))
    rgb = torch.cat([_without_fireflies(picture[None]) for picture in rgb])
    return _Frame(gbuffer, instances, rgb, irradiance)


def _exposed(frame: _Frame, gains: list[float]) -> _Frame:
    """The frame with each light's `gains` applied, if the gate lets it pass."""
    gain = torch.tensor(gains, dtype=torch.float32)[:, None, None, None]
    if not gate.finite(frame.rgb, frame.irradiance):
        raise _Refused("a pixel is not finite or below zero")
    rgb = (frame.rgb * gain).clamp(max=_BRIGHTEST["rgb"])
    if fault := gate.exposed(rgb[:1], frame.mask):
        raise _Refused(fault)
    return replace(frame, rgb=rgb, irradiance=(frame.irradiance * gain).clamp(max=_BRIGHTEST["irradiance"]))


def _view(frames: list[_Frame]) -> View:
    """Frames from one camera, under the first light."""
    gbuffer = concatenate([f.gbuffer.with_maps(rgb=f.rgb[:1], irradiance=f.irradiance[:1]) for f in frames])
    gbuffer = replace(gbuffer, fps=FPS if len(frames) > 1 else None)
    return View(gbuffer, torch.cat([f.instances for f in frames]))


def _without_fireflies(rgb: Tensor) -> Tensor:
    """Pixels four times as bright as the third brightest around them take their 3 x 3 median."""
    picture = rgb[0].numpy()
    light = luminance(rgb)[0, 0].numpy()
    padded = np.pad(light, 1, mode="edge")
    around = np.stack([padded[i : i + light.shape[0], j : j + light.shape[1]] for i in range(3) for j in range(3)])
    third = np.partition(around, -3, axis=0)[-3]
    outlier = light > 4 * third + 1e-3
    median = np.stack([median_filter(channel, 3, mode="nearest") for channel in picture])
    return torch.from_numpy(np.where(outlier, median, picture))[None]


def _exposure(rng: Random, rgb: Tensor, mask: Tensor) -> float:
    """The gain that brings a bright percentile of the surfaces near white, give or take a stop."""
    surface = luminance(rgb)[mask > 0.5].numpy()
    key = float(np.percentile(surface, rng.uniform(80, 95))) if len(surface) else 1.0
    mean = float(surface.mean()) if len(surface) else 1.0
    return float(0.55 * 2 ** rng.normal(0, 0.45) / max(key, 0.5 * mean, 1e-4))
