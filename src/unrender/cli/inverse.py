"""`unrender inverse`: a picture to its G-buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.inputs import parse_maps
from unrender.cli.options import ComputeOptions, NetworkOptions, Out, SceneOptions
from unrender.cli.outputs import atomic_outputs, check_results, parse_destination
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.cli.engines import Inverse
    from unrender.files.posed import PosedPictures
    from unrender.files.readers import FrameReader
    from unrender.scene.gbuffer import GBuffer


@dataclass(frozen=True)
class InverseJob:
    """What to estimate the maps of, and which."""

    input: Annotated[
        Path, typer.Argument(metavar="INPUT", help="An image, a video, a folder of frames, or name.####.exr.")
    ]
    out: Out
    model: Annotated[
        str, typer.Option(help="A model's id, or the folder of a checkpoint; several with commas, for all their maps.")
    ] = "mini"
    maps: Annotated[str | None, typer.Option(metavar="A,B,...", help="The maps wanted; all that the model gives.")] = (
        None
    )
    profile: Annotated[
        Literal["unrender", "blender", "arnold", "nuke"], typer.Option(help="Whose channel names the EXR carries.")
    ] = "unrender"
    cameras: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="transforms.json or COLMAP model of INPUT, a folder: views that agree."),
    ] = None
    attend: Annotated[
        bool, typer.Option("--attend/--no-attend", help="With --cameras: let the views attend to one another.")
    ] = False


def inverse(job: InverseJob, scene: SceneOptions, network: NetworkOptions, compute: ComputeOptions) -> None:
    """Take a picture apart into its maps.

    Writes base colour, normals, depth, roughness and metallic as one multi-layer float EXR (one for every frame of a
    clip), a contact sheet, and run.json.
    """
    maps = parse_maps(job.maps)
    if job.attend and job.cameras is None:
        raise UserError("--attend is of a set of views; expected --cameras with it")
    destination = parse_destination(job.out, (".exr", ".png"))
    tally = FrameTally(job.input)
    record = RunRecord("inverse", (job, scene, network, compute))
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.cli.engines import Engines, inverse_renderer
            from unrender.files.numbering import literal
            from unrender.files.sequences import open_frames
            from unrender.output import write_gbuffer_stream

            posed = _posed(job) if job.cameras else None
            frames = tally.counted(open_frames(job.input) if posed is None else _as_reader(posed))
            destination.check_frames(len(frames))
            number = "" if len(frames) == 1 else ".####"
            exr = destination.path(work_dir, f"{literal(frames.name)}{number}.exr")
            sheet = destination.path(work_dir, f"{frames.name}.maps.png")
            inputs = InputFiles(job.input, job.cameras, models=(job.model, network.decoder))
            check_results(destination, (exr, sheet), inputs)
            engines = Engines(network, compute, record)
            renderer = inverse_renderer(job.model, engines, scene, len(frames), attend=job.attend)
        if posed is None:
            gbuffers = (renderer(picture, maps) for picture in track(frames, "estimating maps", len(frames)))
        else:
            gbuffers = _agreeing(renderer, posed, frames, maps)
        with record.timed("write"):
            write_gbuffer_stream(
                exr,
                record.timed_items("inverse", gbuffers),
                profile=job.profile,
                contact_sheet=sheet,
                first=frames.first,
            )
        tally.note(record)
        record.write(work_dir / destination.record_name)
    destination.report()
    tally.tell()


def _posed(job: InverseJob) -> PosedPictures:
    from unrender.files.posed import read_posed

    assert job.cameras is not None
    if not job.input.is_dir():
        raise UserError(f"{job.input} with --cameras; expected the folder of the pictures that the cameras name")
    posed = read_posed(job.cameras, job.input)
    if len(posed.frames) < 2:
        raise UserError(f"{job.cameras} has one camera; expected two views at least, or no --cameras")
    return posed


def _as_reader(posed: PosedPictures) -> FrameReader:
    """The pictures in the order of their cameras."""
    from unrender.files.readers import Reader

    return Reader("views", posed.frames.size, None, len(posed.frames), lambda: iter(posed.frames))


def _agreeing(
    renderer: Inverse, posed: PosedPictures, frames: FrameReader, maps: Sequence[str] | None
) -> Iterator[GBuffer]:
    """The G-buffers of a set whose materials agree, one by one; depth is estimated to tell surfaces by, wanted or
    not."""
    from unrender.inverse.posed_set import invert_set
    from unrender.scene.frames import Frames

    for picture in track(frames, "reading", len(frames)):  # counted, as all frames that are read
        del picture
    whole = Frames(posed.frames.rgb, mask=posed.frames.mask, name="views", hdr=posed.frames.hdr)
    found = invert_set(lambda seen: renderer(seen, None), whole, posed.camera)
    if maps is not None:
        found = replace(found, **{name: None for name in found.maps if name not in (*maps, "rgb", "mask")})
    return iter([found.frame(i) for i in range(len(found))])
