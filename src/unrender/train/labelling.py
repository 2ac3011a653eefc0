"""Real footage into training shards: maps by an inverse renderer, lights by a fit or by chrome balls.

Every video is cut into segments; each is labelled by itself and written as a shard of one clip, whose name is a hash of
the video's bytes, the model's weights and the settings. So what is done is known by its name: a killed run goes on, a
video that was moved or renamed is not labelled twice, and one with other weights is.

Source: Liang et al. 2025 (DiffusionRenderer), section 4.3: real videos labelled by the inverse model, with estimated
lights; the forward model learns from them through LoRA.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from unrender.diffusion.checkpoints.fingerprint import weights_hash
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.chrome_balls import read_chrome_ball
from unrender.files.hashes import content_hash
from unrender.files.leftovers import clean_leftovers
from unrender.files.sequences import open_frames
from unrender.files.shards import Clip, write_shard
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.light_estimate import estimate_light
from unrender.scale import WHOLE, Executor, Inline, Needs, Part
from unrender.scale.work import Tell
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_frames
from unrender.train.label_gate import gate

VERSION = 1
"""Of labels; a change to what a segment's label is makes another name of it."""

LIGHT_FRAMES = 6
"""Frames of a segment that its light is fitted to."""

REJECTED = ".rejected.json"

MAPS = ("base_color", "normal", "depth", "roughness", "metallic")
"""What a segment is labelled with, beside its mask. Irradiance of a network is known up to a scale, which shards do not
tell."""


@dataclass(frozen=True)
class LabelRecipe:
    """How footage is labelled.

    Attributes:
        frames: of a segment; a shorter video is one segment.
        segments: of a video, at most; they do not overlap, and are spread over it.
        resolution: side of the squares that are kept, pixels; the middle of each frame.
        lights: a folder of chrome balls by the names of the videos (see `files.chrome_balls`); None for the fit.
        part: which of all segments, by their numbers; for several machines beside one another.

    Raises:
        UserError: numbers that are no counts.
    """

    frames: int = 24
    segments: int = 15
    resolution: int = 160
    lights: Path | None = None
    part: Part = WHOLE

    def __post_init__(self) -> None:
        if min(self.frames, self.segments) < 1 or self.resolution < 16:
            raise UserError(
                f"labels of {self.frames} frames, {self.segments} segments and {self.resolution} pixels; expected at "
                "least 1, 1 and 16"
            )


@dataclass(frozen=True)
class LabelSegment:
    """A part of a video that becomes one clip.

    Attributes:
        video: its path.
        start, frames: which frames.
        key: what its shard is called.
    """

    video: Path
    start: int
    frames: int
    key: str


@dataclass(frozen=True)
class LabelItem:
    """A video, with its segments as (first frame, number of frames)."""

    video: Path
    length: int
    segments: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LabelReport:
    """What became of the segments, or of whole videos: what was labelled now, was there before, was rejected by the
    gate, and could not be read; the latter two with their reasons."""

    labelled: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: LabelReport) -> LabelReport:
        return LabelReport(
            self.labelled + other.labelled,
            self.before + other.before,
            self.rejected + other.rejected,
            self.failed + other.failed,
        )


def label_footage(
    videos: Iterable[Path | str],
    out: Path | str,
    renderer: InverseRenderer | Callable[[], InverseRenderer],
    recipe: LabelRecipe,
    progress: Callable[[int, int], None] | None = None,
    *,
    executor: Executor | None = None,
    needs: Needs = Needs(),  # noqa: B008 - frozen
) -> LabelReport:
    """Labels videos into shards in the folder `out`, without what is there already.

    Args:
        videos: files, folders of frames, or `name.####.png`.
        out: a folder; several runs of different parts may write into it at once.
        renderer: gives base colour, normals, depth, roughness and metallic at least; or what loads it, where other
            processes are to.
        recipe: how.
        progress: called with (segments done, segments in all).
        executor: where; by default in this process, video by video.
        needs: what a worker needs, for other processes.

    Raises:
        UserError: no video at all, or none that can be opened, the renderer lacks a map, or `out` cannot be written to.
            A video that cannot be read is set aside in the report, and does not stop the others.
    """
    if isinstance(renderer, InverseRenderer):
        _require_maps(renderer)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clean_leftovers(folder)
    items, failed = _plan([Path(video) for video in videos], recipe)
    if failed and not items:
        raise UserError(failed[0][1])
    done, total = 0, sum(len(item.segments) for item in items)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, total)

    tell(0)
    reports: dict[LabelItem, LabelReport] = {}
    for outcome in (executor or Inline()).run(LabelWork(folder, renderer, recipe, needs), items, tell):
        lost = LabelReport(failed=((str(outcome.item.video), outcome.reason),))
        reports[outcome.item] = outcome.result or lost
    report = sum((reports[item] for item in items), LabelReport(failed=tuple(failed)))
    if report.failed and not report.labelled + report.before + report.rejected:
        raise UserError(report.failed[0][1])
    return report


@dataclass(frozen=True)
class LabelWork:
    """Labelling the segments of videos into a folder.

    Attributes:
        folder: gets the shards.
        renderer: of the maps, or what loads it.
        recipe: how.
        needs: of a worker.
    """

    folder: Path
    renderer: InverseRenderer | Callable[[], InverseRenderer]
    recipe: LabelRecipe
    needs: Needs = field(default_factory=Needs)

    def begin(self, tell: Tell) -> Callable[[LabelItem], LabelReport]:
        """See `Work.begin`."""
        renderer = self.renderer if isinstance(self.renderer, InverseRenderer) else self.renderer()
        _require_maps(renderer)
        clean_leftovers(self.folder)
        checkpoint = renderer.engine.checkpoint
        weights = weights_hash(checkpoint.card, checkpoint.home)
        return partial(_label_video, self.folder, renderer, weights, self.recipe, tell)


def _label_video(
    folder: Path, renderer: InverseRenderer, weights: str, recipe: LabelRecipe, tell: Tell, item: LabelItem
) -> LabelReport:
    """Labels the segments of a video that are not there; one that cannot be read to its end has those before."""
    report = LabelReport()
    try:
        segments = _keyed(item, weights, recipe)
        before = [segment for segment in segments if _is_done(folder, segment.key)]
        report += LabelReport(before=tuple(segment.key for segment in before))
        tell(len(before))
        for segment, frames in _read(item, [segment for segment in segments if segment not in before]):
            reason = _label(segment, frames, folder, renderer, recipe)
            name = f"{item.video.name} from frame {segment.start}"
            report += LabelReport(rejected=((name, reason),)) if reason else LabelReport(labelled=(segment.key,))
            tell(1)
    except UserError as error:
        report += LabelReport(failed=((str(item.video), str(error)),))
    return report


def _plan(videos: Sequence[Path], recipe: LabelRecipe) -> tuple[list[LabelItem], list[tuple[str, str]]]:
    """The segments of every video that this machine labels, and the videos that cannot be opened."""
    if not videos:
        raise UserError("no video to label; expected files, folders of frames, or name.####.png")
    items, failed, number = [], [], 0
    for video in videos:
        try:
            length = len(open_frames(video))
        except UserError as error:
            failed.append((str(video), str(error)))
            continue
        segments = list(enumerate(_cut(length, recipe), number))
        number += len(segments)
        ours = tuple(segment for index, segment in segments if recipe.part.has(index))
        if ours:
            items.append(LabelItem(video, length, ours))
    return items, failed


def _keyed(item: LabelItem, weights: str, recipe: LabelRecipe) -> list[LabelSegment]:
    """The segments of a video with what their shards are called."""
    content = content_hash(item.video)
    segments = []
    for start, frames in item.segments:
        light = _light_facts(recipe, item.video, start)
        facts = [VERSION, content, weights, start, frames, recipe.resolution, light]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
        segments.append(LabelSegment(item.video, start, frames, key))
    return segments


def _cut(length: int, recipe: LabelRecipe) -> Iterator[tuple[int, int]]:
    """(start, frames) of the segments of a video: as many as fit, `segments` at most, evenly over it."""
    frames = min(recipe.frames, length)
    count = min(recipe.segments, length // frames) if frames else 0
    for index in range(count):
        yield round(index * (length - frames) / max(1, count - 1)), frames


def _light_facts(recipe: LabelRecipe, video: Path, start: int) -> str:
    """What a segment's light depends on beside its pictures: the bytes of its chrome balls."""
    if recipe.lights is None:
        return "fit"
    light = _chrome_ball(recipe.lights, video, start)
    return hashlib.sha256(light.radiance.numpy().tobytes()).hexdigest()


def _chrome_ball(folder: Path, video: Path, start: int) -> EnvironmentMap:
    """The light NAME.0024 of the segment that begins at frame 24, or else NAME, for all of the video."""
    try:
        return read_chrome_ball(folder, f"{video.stem}.{start:04d}")
    except UserError:
        return read_chrome_ball(folder, video.stem)


def _is_done(folder: Path, key: str) -> bool:
    return (folder / f"label-{key}.tar").exists() or (folder / f"label-{key}{REJECTED}").exists()


def _read(item: LabelItem, segments: Sequence[LabelSegment]) -> Iterator[tuple[LabelSegment, Frames]]:
    """The segments of a video with their frames; no more than one is held."""
    if not segments:
        return
    waiting, held, index = list(segments), [], -1
    for index, frame in enumerate(open_frames(item.video)):
        if index >= waiting[0].start:
            held.append(frame)
        if len(held) == waiting[0].frames:
            yield waiting.pop(0), Frames.concatenate(held)
            held = []
        if not waiting:
            return
    raise UserError(f"{item.video} ended after {index + 1} frames; expected {item.length}, as it promised")


def _label(segment: LabelSegment, frames: Frames, folder: Path, renderer: InverseRenderer, recipe: LabelRecipe) -> str:
    """Labels one segment, and writes its shard; or the reason why the gate rejects it, which is given back."""
    small, camera = _square(frames, recipe.resolution)
    gbuffer = GBuffer.concatenate([renderer(small.frame(i), MAPS) for i in range(len(small))])
    gbuffer = replace(gbuffer, camera=camera, fps=frames.fps, plate=None)
    light = _light(segment, small, gbuffer, recipe)
    reason = gate(gbuffer, light)
    if reason:
        facts = {"video": segment.video.name, "start": segment.start, "frames": segment.frames, "reason": reason}
        with atomic_write(folder / f"label-{segment.key}{REJECTED}") as path:
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        return reason
    clip = Clip(gbuffer, light, segment.video.stem, int(segment.key[:8], 16))
    write_shard(folder / f"label-{segment.key}.tar", [(segment.key, clip)])
    return ""


def _light(segment: LabelSegment, frames: Frames, gbuffer: GBuffer, recipe: LabelRecipe) -> EnvironmentMap:
    if recipe.lights is not None:
        return replace(_chrome_ball(recipe.lights, segment.video, segment.start), name=segment.video.stem)
    chosen = sorted({round(i * (len(frames) - 1) / (LIGHT_FRAMES - 1)) for i in range(LIGHT_FRAMES)})
    some = Frames.concatenate([frames.frame(i) for i in chosen])
    return estimate_light(some, GBuffer.concatenate([gbuffer.frame(i) for i in chosen]))


def _square(frames: Frames, side: int) -> tuple[Frames, Camera]:
    """The middle squares of the frames, and their camera, whose field of view is assumed for the whole frame."""
    height, width = frames.size
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    window = (..., slice(top, top + shorter), slice(left, left + shorter))
    mask = frames.mask[window] if frames.mask is not None else None
    square = resize_frames(replace(frames, rgb=frames.rgb[window], mask=mask), (side, side))
    camera = Camera.perspective(frames.size).cropped(top, left, (shorter, shorter)).resized((side, side))
    return square, Camera(
        camera.intrinsics.expand(len(frames), 3, 3), camera.pose.expand(len(frames), 4, 4), camera.size
    )


def _require_maps(renderer: InverseRenderer) -> None:
    missing = [name for name in MAPS if name not in renderer.card.map_names]
    if missing:
        raise UserError(f"{renderer.card.id} gives no {', '.join(missing)}, which labels need; expected another model")
