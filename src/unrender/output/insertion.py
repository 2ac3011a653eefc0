"""Insertions to files: pictures for display, every layer as EXR, lights, and where things stand."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unrender.conventions import CAMERA_AXES
from unrender.files.atomic import atomic_write
from unrender.files.cameras import NamedCameras, write_transforms
from unrender.files.environments import write_environment
from unrender.files.exr import write_channels
from unrender.files.gbuffers import DEPTH_OF_NOTHING
from unrender.files.images import write_image
from unrender.files.linear_spaces import REC709, LinearSpace
from unrender.files.numbering import is_pattern, literal, numbered, plain
from unrender.files.ocio import output_space
from unrender.files.radiance import clean
from unrender.files.video import DEFAULT_FPS, VideoWriter
from unrender.scene.tone import tone_map
from unrender.version import VERSION

if TYPE_CHECKING:
    from unrender.insert import InsertedFrame, InsertionPlan


@dataclass(frozen=True)
class InsertionPaths:
    """The files of an insertion; None for what is not wanted.

    Attributes:
        picture: for display: .png or .jpg of a still, .mp4 of a clip.
        layers: .exr, of a clip name.####.exr.
        light, foreground_light, shadow_light: .exr, see `Fit`.
        transforms: .json, cameras and objects.
    """

    picture: Path | None = None
    layers: Path | None = None
    light: Path | None = None
    foreground_light: Path | None = None
    shadow_light: Path | None = None
    transforms: Path | None = None

    @staticmethod
    def in_folder(folder: Path, name: str, frames: int) -> InsertionPaths:
        """All of them, called after the background."""
        still = frames == 1
        return InsertionPaths(
            folder / f"{name}.insert{'.png' if still else '.mp4'}",
            folder / f"{literal(name)}.insert{'.exr' if still else '.####.exr'}",
            folder / f"{name}.light.exr",
            folder / f"{name}.light.foreground.exr",
            folder / f"{name}.light.shadow.exr",
            folder / f"{name}.transforms.json",
        )

    @property
    def all(self) -> tuple[Path, ...]:
        """Those that are wanted."""
        lights = (self.light, self.foreground_light, self.shadow_light)
        several = (self.picture, self.layers, *lights, self.transforms)
        return tuple(path for path in several if path is not None)


def write_insertion(
    paths: InsertionPaths,
    plan: InsertionPlan,
    frames: Iterable[InsertedFrame],
    *,
    fps: float | None = None,
    first: int = 1,
    colorspace: str | None = None,
) -> None:
    """Writes an insertion frame by frame.

    The EXR has the composite as R, G, B; `background`, `foreground` (multiplied by its coverage), the light groups
    `foreground_key` and `foreground_fill` (which add up to it), `shadow_ratio`, all linear rgb in 32
    bits; `mask.A`, the object's coverage; `depth.Z` and `normal.X/Y/Z` of the object. Foreground and shadow ratio are
    before tone curves; where there are any, `foreground_toned` and `shadow_ratio_toned` are there, too, and

        R, G, B = (1 - mask) * shadow_ratio * background + foreground

    holds of the toned ones.

    Args:
        paths: what is written.
        plan: scene and light.
        frames: of `insert_stream`.
        fps: of a video.
        first: number of the first frame.
        colorspace: the linear space of every EXR, by OpenColorIO's name; Rec.709.
    """
    space = output_space(colorspace)
    names = []
    with ExitStack() as stack:
        video = None
        if paths.picture is not None and paths.picture.suffix.lower() == ".mp4":
            video = stack.enter_context(VideoWriter(paths.picture, fps or DEFAULT_FPS))
        for index, frame in enumerate(frames):
            if video is not None:
                video.write(display(frame))
            elif paths.picture is not None:
                write_image(paths.picture, display(frame)[0])
            if paths.layers is not None:
                file = numbered(paths.layers, first + index) if is_pattern(paths.layers) else plain(paths.layers)
                names.append(file.name)
                _write_layers(file, plan, frame, space)
    for path, light in (
        (paths.light, plan.fit.light),
        (paths.foreground_light, plan.fit.foreground_light),
        (paths.shadow_light, plan.fit.shadow_light),
    ):
        if path is not None:
            write_environment(path, light, colorspace)
    if paths.transforms is not None:
        camera, scene = plan.scene.camera, plan.scene
        pictures = names if len(names) == len(camera) else [paths.transforms.stem] * len(camera)
        objects = [(thing.name, thing.pose) for thing in scene.objects]
        write_transforms(paths.transforms, NamedCameras(tuple(pictures), camera), objects=objects)


def _write_layers(path: Path, plan: InsertionPlan, frame: InsertedFrame, space: LinearSpace) -> None:
    layers = frame.rendered.layers
    pictures = {"": frame.composite, "background": frame.background.rgb, "foreground": layers.foreground}
    pictures |= {f"foreground_{name}": picture for name, picture in frame.rendered.groups.items()}
    pictures = {name: space.of_rec709(picture) for name, picture in pictures.items()}
    pictures["shadow_ratio"] = _shadow_in(space, layers.shadow, frame.background.rgb)
    if not plan.fit.tones.neutral:
        toned = layers.toned(plan.fit.tones)
        pictures["foreground_toned"] = space.of_rec709(toned.foreground)
        pictures["shadow_ratio_toned"] = _shadow_in(space, toned.shadow, frame.background.rgb)
    channels: dict[str, np.ndarray] = {}
    for name, picture in pictures.items():
        for letter, values in zip("RGB", picture[0].numpy(), strict=True):
            channels[f"{name}.{letter}" if name else letter] = clean(values)
    depth = np.nan_to_num(frame.rendered.depth[0, 0].numpy(), posinf=DEPTH_OF_NOTHING)
    channels |= {"mask.A": layers.alpha[0, 0].numpy(), "depth.Z": depth}
    channels |= {
        f"normal.{letter}": values for letter, values in zip("XYZ", frame.rendered.normal[0].numpy(), strict=True)
    }
    said = {"version": VERSION, "color_space": space.name, "axes": CAMERA_AXES, "depth_kind": "metric"}
    header = {f"unrender:{key}": value for key, value in said.items()}
    with atomic_write(path) as partial:
        write_channels(partial, channels, header, frame.background.plate, space=space)


def _shadow_in(space: LinearSpace, shadow: Tensor, background: Tensor) -> Tensor:
    """A shadow's ratio for colours of a space: of the shaded background to the background there."""
    if space is REC709:
        return shadow
    before = space.of_rec709(background)
    return torch.where(before > 1e-6, space.of_rec709(shadow * background) / before.clamp(min=1e-6), shadow)


def display(frame: InsertedFrame) -> Tensor:
    """The composite as a display shows it, (1, 3, H, W) display-linear in [0, 1].

    A display picture stays what it is, and its own white is the object's, too; a scene-referred one is tone mapped.
    """
    return tone_map(frame.composite) if frame.background.hdr else frame.composite.clamp(0, 1)
