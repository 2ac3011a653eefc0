"""What was relit, with all that it was made from, to files as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unrender.files.layers import Profile
from unrender.files.numbering import literal
from unrender.files.preview import sheet_step
from unrender.files.sequences import GBufferWriter
from unrender.files.video import DEFAULT_FPS, VideoWriter
from unrender.forward import RenderPasses
from unrender.output.contact_sheet import display_thumbnail, write_thumbnails
from unrender.output.passes import DEFAULT_FORMAT, PassesWriter, PictureFormat, check_frames, passes_paths
from unrender.relight import Relit
from unrender.relight.large import LargeRelit


@dataclass(frozen=True)
class RelitPaths:
    """The files of a relit picture or clip; what is empty or None is not written.

    Attributes:
        passes: the relit frames, each file as `PassesWriter` has it.
        gbuffer: the G-buffers, name.exr of a still, name.####.exr of a clip.
        contact_sheet: the first frame's maps, and how it was relit, .png.
        turn: a video of a still whose light turns. Where it is given, the other files show the first picture only,
            before the light has turned.
    """

    passes: tuple[Path, ...] = ()
    gbuffer: Path | None = None
    contact_sheet: Path | None = None
    turn: Path | None = None

    @staticmethod
    def in_folder(folder: str | Path, name: str, frames: int, turning: bool = False) -> RelitPaths:
        """All of them in a folder: name.relit.png (of a clip .mp4), name.relit.exr, name.gbuffer.exr, name.maps.png
        and, of a still (`frames` is 1) whose light is `turning`, name.turn.mp4."""
        folder, still, pictures = Path(folder), frames == 1, literal(name)
        return RelitPaths(
            passes_paths(folder, f"{name}.relit", frames),
            folder / (f"{pictures}.gbuffer.exr" if still else f"{pictures}.gbuffer.####.exr"),
            folder / f"{name}.maps.png",
            folder / f"{name}.turn.mp4" if still and turning else None,
        )


def write_relit_stream(
    paths: RelitPaths,
    relit: Iterable[Relit | LargeRelit],
    layers: bool = True,
    fps: float | None = None,
    number: int = 1,
    profile: Profile = "unrender",
    stored: PictureFormat = DEFAULT_FORMAT,
) -> None:
    """Writes what `relight_stream` gives, as it comes; each file appears whole or not at all.

    Args:
        paths: what to write, and where.
        relit: in order, of one or several frames each.
        layers: whether an .exr of relit frames has the passes.
        fps: of videos, 24 where nobody says.
        number: of the first frame, where files are numbered.
        profile: whose channel names the G-buffers have.
        stored: bits of PNG, compression and colour space of EXR.

    Raises:
        UserError: several frames for one file, or an output that cannot be written.
    """
    with ExitStack() as stack:
        passes = stack.enter_context(PassesWriter(paths.passes, layers, fps, number, stored))
        gbuffers = None
        if paths.gbuffer:
            gbuffers = stack.enter_context(
                GBufferWriter(paths.gbuffer, profile=profile, first=number, colorspace=stored.colorspace)
            )
        turn = stack.enter_context(VideoWriter(paths.turn, fps or DEFAULT_FPS)) if paths.turn else None
        first = True
        for part in relit:
            if isinstance(part, LargeRelit):
                _write_large(passes, gbuffers, paths.contact_sheet, part)
                continue
            sheet = paths.contact_sheet if first else None
            # Made anew for each: of a large picture, none is held beside the others.
            shown = display_thumbnail(part.display) if sheet else None
            if turn is not None:
                turn.write(part.display)
            if turn is None or first:
                _write_frames(passes, part)
            gbuffer = part.decomposition.gbuffer
            del part  # of a large picture the passes need not be kept beside what writing the rest takes
            if sheet is not None:
                write_thumbnails(sheet, gbuffer, shown)
            if gbuffers is not None and (turn is None or first):
                gbuffers.write(gbuffer)
            first = False


def _write_large(writer: PassesWriter, gbuffers: GBufferWriter | None, sheet: Path | None, relit: LargeRelit) -> None:
    """A large still, some rows at a time; of all of it only every few pixels are kept, for the contact sheet."""
    rows, shown = 0, []
    step = sheet_step(relit.size[1])

    def strips() -> Iterator[tuple[RenderPasses, Tensor]]:
        nonlocal rows
        for part in relit.strips():
            display = part.display
            shown.append(display[0, :, -rows % step :: step, ::step].clone())
            rows += display.shape[2]
            yield part.passes, display

    decomposition = relit.decomposition
    writer.write_strips(relit.size, strips(), decomposition.frames.plate, _metadata(relit, relit.options.yaw))
    if sheet is not None:
        write_thumbnails(sheet, decomposition.gbuffer, display_thumbnail(torch.cat(shown, dim=1)[None]))
    if gbuffers is not None:
        gbuffers.write(decomposition.gbuffer)


def _write_frames(writer: PassesWriter, relit: Relit) -> None:
    """Each frame with its own plate."""
    frames, display, told = relit.decomposition.frames, relit.display, relit_metadata(relit)
    if not frames.plates:
        writer.write(relit.passes, display, frames.plate, told)
        return
    for index, plate in enumerate(frames.plates):
        writer.write(relit.passes.frame(index), display[index : index + 1], plate, told[index])


def relit_metadata(relit: Relit) -> list[dict[str, str]]:
    """What the .exr of each frame says: the light, the degrees that it is turned by, "auto" or the stops that it is
    brighter by, and the factor that shows the linear values as the display picture does, before the shoulder."""
    yaws = relit.yaws if len(relit.yaws) == len(relit.passes) else (0.0,) * len(relit.passes)
    return [_metadata(relit, yaw) for yaw in yaws]


def _metadata(relit: Relit | LargeRelit, yaw: float) -> dict[str, str]:
    said = {"light": relit.light, "exposure": str(relit.exposure), "display_gain": f"{relit.gain:.9g}"}
    return {**said, "yaw": f"{yaw:.9g}"}


def write_relit(path: str | Path, relit: Relit, colorspace: str | None = None) -> None:
    """Writes what was relit whole: to .exr the passes as they are, with the gain in the header; to any other format the
    display picture. `colorspace` and errors as of `write_passes`."""
    check_frames(path, len(relit.passes))
    frames = relit.decomposition.frames
    with PassesWriter([path], fps=frames.fps, stored=PictureFormat(colorspace=colorspace)) as writer:
        writer.write(relit.passes, relit.display, frames.plate, relit_metadata(relit))
