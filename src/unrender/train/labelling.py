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
from dataclasses import dataclass, replace
from pathlib import Path

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.chrome_balls import read_chrome_ball
from unrender.files.leftovers import clean_leftovers
from unrender.files.numbering import find_numbered, natural_order
from unrender.files.readers import FrameReader
from unrender.files.sequences import open_frames
from unrender.files.shards import Clip, write_shard
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.light_estimate import estimate_light
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
        shard: (i, n): of all segments, those whose number is i - 1 modulo n; for n machines beside one another.

    Raises:
        UserError: numbers that are no counts, or i outside 1 to n.
    """

    frames: int = 24
    segments: int = 15
    resolution: int = 160
    lights: Path | None = None
    shard: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if min(self.frames, self.segments) < 1 or self.resolution < 16:
            raise UserError(
                f"labels of {self.frames} frames, {self.segments} segments and {self.resolution} pixels; expected at "
                "least 1, 1 and 16"
            )
        if not 1 <= self.shard[0] <= self.shard[1]:
            raise UserError(f"shard {self.shard[0]}/{self.shard[1]}; expected i/n with i from 1 to n")


@dataclass(frozen=True)
class LabelSegment:
    """A part of a video that becomes one clip.

    Attributes:
        video: its path.
        start, frames: which frames.
        number: of all segments of all videos, from 0.
        key: what its shard is called.
    """

    video: Path
    start: int
    frames: int
    number: int
    key: str


@dataclass(frozen=True)
class LabelReport:
    """What became of the segments, or of whole videos: what was labelled now, was there before, was rejected by the
    gate, and could not be read; the latter two with their reasons."""

    labelled: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def label_footage(
    videos: Iterable[Path | str],
    out: Path | str,
    renderer: InverseRenderer,
    recipe: LabelRecipe,
    progress: Callable[[int, int], None] | None = None,
) -> LabelReport:
    """Labels videos into shards in the folder `out`, without what is there already.

    Args:
        videos: files, folders of frames, or `name.####.png`.
        out: a folder; several runs of different `shard`s may write into it at once.
        renderer: gives base colour, normals, depth, roughness and metallic at least.
        recipe: how.
        progress: called with (segments done, segments in all).

    Raises:
        UserError: no video at all, or none that can be opened, the renderer lacks a map, or `out` cannot be written to.
            A video that cannot be read is set aside in the report, and does not stop the others.
    """
    _require_maps(renderer)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clean_leftovers(folder)
    plan, failed = _plan([Path(video) for video in videos], weights_hash(renderer), recipe)
    if failed and not plan:
        raise UserError(failed[0][1])
    tell = progress or (lambda done, total: None)
    total = sum(len(parts) for _, parts in plan)
    before = [part.key for _, parts in plan for part in parts if _is_done(folder, part.key)]
    labelled: list[str] = []
    rejected: list[tuple[str, str]] = []
    for video, parts in plan:
        tell(len(before) + len(labelled) + len(rejected), total)
        try:
            for part, frames in _read(video, [part for part in parts if part.key not in before]):
                reason = _label(part, frames, folder, renderer, recipe)
                if reason:
                    rejected.append((f"{video.name} from frame {part.start}", reason))
                else:
                    labelled.append(part.key)
                tell(len(before) + len(labelled) + len(rejected), total)
        except UserError as error:
            failed.append((str(video), str(error)))
    return LabelReport(tuple(labelled), tuple(before), tuple(rejected), tuple(failed))


def weights_hash(renderer: InverseRenderer) -> str:
    """A hash of a model's card and weights, wherever they lie."""
    checkpoint = renderer.engine.checkpoint
    home = checkpoint.home
    digest = hashlib.sha256(checkpoint.card.id.encode())
    places = (home.folder, home.fallback) if home is not None else ()
    for place in (place for place in places if place is not None):
        for path in sorted(place.rglob("*.safetensors")):
            digest.update(path.relative_to(place).as_posix().encode())
            digest.update(file_hash(path).encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plan(
    videos: Sequence[Path], weights: str, recipe: LabelRecipe
) -> tuple[list[tuple[Path, list[LabelSegment]]], list[tuple[str, str]]]:
    """The segments of every video that this machine labels, and the videos that cannot be opened."""
    if not videos:
        raise UserError("no video to label; expected files, folders of frames, or name.####.png")
    plan, failed, number = [], [], 0
    for video in videos:
        try:
            clip = open_frames(video)
            content = _content_hash(video)
        except UserError as error:
            failed.append((str(video), str(error)))
            continue
        parts = []
        for start, length in _cut(len(clip), recipe):
            facts = [VERSION, content, weights, start, length, recipe.resolution, _light_facts(recipe, video, start)]
            key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
            if number % recipe.shard[1] == recipe.shard[0] - 1:
                parts.append(LabelSegment(video, start, length, number, key))
            number += 1
        plan.append((video, parts))
    return plan, failed


def _content_hash(video: Path) -> str:
    """Of a video's bytes; of a folder or sequence, of the bytes of its files in order."""
    if video.is_file():
        return file_hash(video)
    files = (
        sorted((path for path in video.iterdir() if path.is_file() and path.name[0] != "."), key=natural_order)
        if video.is_dir()
        else find_numbered(video)[0]
    )
    return hashlib.sha256("".join(file_hash(path) for path in files).encode()).hexdigest()


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


def _read(video: Path, segments: Sequence[LabelSegment]) -> Iterator[tuple[LabelSegment, Frames]]:
    """The segments of a video with their frames; no more than one is held."""
    if not segments:
        return
    clip: FrameReader = open_frames(video)
    waiting, held, index = list(segments), [], -1
    for index, frame in enumerate(clip):
        if index >= waiting[0].start:
            held.append(frame)
        if len(held) == waiting[0].frames:
            yield waiting.pop(0), Frames.concatenate(held)
            held = []
        if not waiting:
            return
    raise UserError(f"{video} ended after {index + 1} frames; expected {len(clip)}, as it promised")


def _label(part: LabelSegment, frames: Frames, folder: Path, renderer: InverseRenderer, recipe: LabelRecipe) -> str:
    """Labels one segment, and writes its shard; or the reason why the gate rejects it, which is given back."""
    small, camera = _square(frames, recipe.resolution)
    gbuffer = GBuffer.concatenate([renderer(small.frame(i), MAPS) for i in range(len(small))])
    gbuffer = replace(gbuffer, camera=camera, fps=frames.fps, plate=None)
    light = _light(part, small, gbuffer, recipe)
    reason = gate(gbuffer, light)
    if reason:
        facts = {"video": part.video.name, "start": part.start, "frames": part.frames, "reason": reason}
        with atomic_write(folder / f"label-{part.key}{REJECTED}") as path:
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        return reason
    clip = Clip(gbuffer, light, part.video.stem, int(part.key[:8], 16))
    write_shard(folder / f"label-{part.key}.tar", [(part.key, clip)])
    return ""


def _light(part: LabelSegment, frames: Frames, gbuffer: GBuffer, recipe: LabelRecipe) -> EnvironmentMap:
    if recipe.lights is not None:
        return replace(_chrome_ball(recipe.lights, part.video, part.start), name=part.video.stem)
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
