"""Sets of views to learn from: of `synth`, CO3Dv2 and uCO3D, each in its subject's frame; and random views of them that
depend on nothing but a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import ViewLayers
from unrender.diffusion.networks.views.cameras import picture_intensity
from unrender.errors import UserError
from unrender.files.datasets.sequences import PosedSequence
from unrender.files.shards import Clip
from unrender.multiview.generator import fit_picture
from unrender.multiview.rendered import rendered_sets
from unrender.multiview.subject import Subject
from unrender.scene.camera import Camera
from unrender.train.loop import BatchSpec


@dataclass(frozen=True, eq=False)
class TrainingViews:
    """Views of one subject.

    Attributes:
        rgb: (N, 3, H, W) linear, float16, exposed for display.
        camera: of each, in the subject's frame.
        caption: in words.
    """

    rgb: Tensor
    camera: Camera
    caption: str


@dataclass(frozen=True, eq=False)
class ViewBatchData:
    """B sets of N views each, one after the other.

    Attributes:
        rgb: (B x N, 3, S, S) linear.
        camera: of each, in its subject's frame.
        intensity: (B x N, 2) mean and variance of each picture in [-1, 1].
        captions: (B,) of the sets.
    """

    rgb: Tensor
    camera: Camera
    intensity: Tensor
    captions: tuple[str, ...]


def synthetic_views(clips: Iterable[Clip], layers: ViewLayers) -> Iterator[TrainingViews]:
    """The first frames of clips with other cameras (`unrender synth --cameras K`), as sets; clips whose subject a
    camera stands in, or shows nothing of, are left out."""
    for one in rendered_sets(clips):
        assert one.views.camera is not None
        try:
            camera = one.subject.see(one.views.camera, layers)
        except UserError:  # a camera inside the subject
            continue
        yield TrainingViews(one.views.maps["rgb"].clamp(0, 1).half(), camera, one.caption)


def captured_views(
    sequences: Iterable[PosedSequence], layers: ViewLayers, side: int = 256, most: int = 100
) -> Iterator[TrainingViews]:
    """Captures as sets of at most `most` views, evenly from the whole of each, their middle squares at `side` pixels.
    The plane of the cameras is level, the box about the points in the middle; captures that cannot be brought there are
    left out."""
    for sequence in sequences:
        chosen = torch.linspace(0, len(sequence.camera) - 1, min(most, len(sequence.camera))).round().long().tolist()
        try:
            subject = Subject.of_plane(sequence.camera, sequence.points)
            camera = Camera(sequence.camera.intrinsics[chosen], sequence.camera.pose[chosen], sequence.camera.size)
            camera = subject.see(camera, layers)
        except UserError:
            continue
        pictures = [fit_picture(picture, (side, side)).rgb for picture in sequence.read(chosen)]
        height, width = camera.size
        short = min(height, width)
        square = camera.cropped((height - short) // 2, (width - short) // 2, (short, short)).resized((side, side))
        yield TrainingViews(torch.cat(pictures).clamp(0, 1).half(), square, sequence.caption)


def draw_views(sets: Sequence[TrainingViews], spec: BatchSpec, views: int) -> ViewBatchData:
    """The random batch of `spec`: `spec.count` sets of `views` each, cut to one window a set.

    Half of the sets have views from anywhere, half consecutive ones with a stride of 1 to 4 (ViewDiff's `mix`, without
    its stride of 0, which shows one picture again and again). Sets that are smaller than the batch's pictures are left
    out, unless all are.
    """
    generator = spec.generator(0)
    sets = [one for one in sets if min(one.camera.size) >= spec.side] or sets
    parts, cameras, captions = [], [], []
    for _ in range(spec.count):
        chosen = sets[int(torch.randint(len(sets), (), generator=generator))]
        count = len(chosen.camera)
        if float(torch.rand((), generator=generator)) < 0.5:
            index = torch.randperm(count, generator=generator)[:views]
        else:
            stride = int(torch.randint(1, 5, (), generator=generator))
            index = (int(torch.randint(count, (), generator=generator)) + stride * torch.arange(views)) % count
        index = index[torch.arange(views) % len(index)]
        rgb, camera = _windowed(chosen.rgb[index].float(), _some(chosen.camera, index), spec.side, generator)
        parts.append(rgb)
        cameras.append(camera)
        captions.append(chosen.caption)
    rgb = torch.cat(parts)
    return ViewBatchData(rgb, Camera.concatenate(cameras), picture_intensity(rgb), tuple(captions))


def whole_views(views: TrainingViews, side: int, count: int) -> TrainingViews:
    """The first views of a set, at `side` pixels, uncut: for validation."""
    index = torch.arange(min(count, len(views.camera)))
    rgb, camera = _windowed(views.rgb[index].float(), _some(views.camera, index), side, None)
    return TrainingViews(rgb, camera, views.caption)


def check_views(sets: Sequence[TrainingViews], views: int) -> None:
    """Raises UserError where there is nothing to learn from."""
    if not sets:
        raise UserError(
            "no sets of views; give folders of `unrender synth --cameras 5`, or --dataset co3d=ROOT/CATEGORY"
        )
    least = min(len(one.camera) for one in sets)
    if least < 2:
        raise UserError(f"a set of {least} view; expected {views}, or two at least")


def _windowed(rgb: Tensor, camera: Camera, side: int, generator: torch.Generator | None) -> tuple[Tensor, Camera]:
    """A random window of at least four fifths of the shorter side, or the middle square, at `side` pixels."""
    height, width = camera.size
    short = min(height, width)
    window, top, left = short, (height - short) // 2, (width - short) // 2
    if generator is not None:
        window = max(1, round(short * (1 - 0.2 * float(torch.rand((), generator=generator)))))
        top = int(torch.randint(height - window + 1, (), generator=generator))
        left = int(torch.randint(width - window + 1, (), generator=generator))
    part = rgb[:, :, top : top + window, left : left + window]
    part = torch.nn.functional.interpolate(part, size=(side, side), mode="bilinear", antialias=True)
    return part, camera.cropped(top, left, (window, window)).resized((side, side))


def _some(camera: Camera, index: Tensor) -> Camera:
    return Camera(camera.intrinsics[index], camera.pose[index], camera.size)
