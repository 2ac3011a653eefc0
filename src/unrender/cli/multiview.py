"""`unrender multiview`: views of one thing, from words or from pictures, along a path of cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.options import ColourOptions, ComputeOptions, Steps
from unrender.cli.outputs import atomic_outputs, check_results, parse_destination
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.multiview.paths import CameraPath
    from unrender.scene.camera import Camera
    from unrender.scene.frames import Frames


@dataclass(frozen=True)
class ViewsJob:
    """What to show, from where."""

    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A folder.")]
    prompt: Annotated[str, typer.Argument(metavar="[WORDS]", help="What is seen; may be left out with --image.")] = ""
    cameras: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="orbit:N, spiral:N, ellipse:N, dolly:N, a transforms.json, or a COLMAP folder."
        ),
    ] = "orbit:24"
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture of it; again for more.")] = None
    image_camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHERE",
            help="Of each --image: the number of its view, from 1, or AZIMUTH,ELEVATION[,DISTANCE].  [default: 1]",
        ),
    ] = None
    model: Annotated[
        str, typer.Option(help="A model's id, or a folder of `train viewdiff`; mini-mv knows colours, no shapes.")
    ] = "mini-mv"
    exr: Annotated[bool, typer.Option("--exr", help="Write every view as float EXR, too.")] = False
    fps: Annotated[float, typer.Option(min=1, max=240, help="Of the film.")] = 12.0
    splat: Annotated[
        Path | None, typer.Option(metavar="FILE.ply", help="Fit 3D Gaussians to the views: what they agree on.")
    ] = None
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep views here as they come; stopped, the same command goes on."),
    ] = None


@dataclass(frozen=True)
class PathShape:
    """The shape of a path that is named, and where the subject of a file's cameras is."""

    size: Annotated[int, typer.Option(min=16, metavar="PIXELS", help="Height and width of the pictures.")] = 256
    fov: Annotated[
        float | None, typer.Option(min=1, max=150, metavar="DEG", help="Vertical field of view; so that it fits.")
    ] = None
    elevation: Annotated[float, typer.Option(metavar="DEG", help="Above the horizon.")] = 20.0
    start: Annotated[float, typer.Option(metavar="DEG", help="Azimuth of the first view.")] = 0.0
    distance: Annotated[
        float | None, typer.Option(metavar="RADII", help="Of the cameras, in the subject's radii; the model's.")
    ] = None
    subject_radius: Annotated[
        float | None, typer.Option(metavar="UNITS", help="Of a file's subject; found from its cameras.")
    ] = None


@dataclass(frozen=True)
class ViewSchedule:
    """How many views are made together."""

    steps: Steps = None
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="G",
            help="How much words count in the first batch: 1 no guidance, 0 no words at all; the model's.",
        ),
    ] = None
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Most views made together.")] = 10
    together: Annotated[int, typer.Option(min=1, metavar="N", help="Most views seen together, known ones too.")] = 30
    strategy: Annotated[
        Literal["anchored", "nearest", "interpolating"], typer.Option(help="Which known views new ones see.")
    ] = "anchored"


def multiview(
    job: ViewsJob, shape: PathShape, schedule: ViewSchedule, colour: ColourOptions, compute: ComputeOptions
) -> None:
    """Make views of one thing that agree in space.

    Writes pictures, a film, a contact sheet, transforms.json and a COLMAP model, and, of models with projection layers,
    depth and masks.
    """
    if not job.prompt.strip() and not job.image:
        raise UserError("neither words nor a picture; expected what to show, or --image FILE")
    destination = parse_destination(job.out, ())
    record = RunRecord("multiview", (job, shape, schedule, colour, compute))
    record.facts |= colour.check(destination)
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.diffusion.options import InferenceOptions
            from unrender.multiview import MultiViewGenerator, ViewOptions
            from unrender.multiview.state import read_state, state_key, write_state
            from unrender.output.views import write_views

            sources = [*(job.image or ()), *([Path(job.cameras)] if Path(job.cameras).exists() else [])]
            inputs = InputFiles(*sources, models=(job.model,))
            generator = MultiViewGenerator.from_pretrained(job.model, InferenceOptions(compute.device, compute.dtype))
            record.facts["model"] = {"id": generator.card.id, "licence": generator.card.identity.licence}
            path, given = _path(job, shape, generator.layers.distance, colour.colorspace_in)
            options = ViewOptions(
                schedule.steps, compute.seed, schedule.guidance, schedule.batch, schedule.together, schedule.strategy
            )
            names = [f"view.{index:04d}.png" for index in range(1, len(path.camera) + 1)]
            extra = [job.splat] if job.splat else []
            check_results(destination, [*map(Path, names), Path("transforms.json"), *extra], inputs)
            if job.keep is not None:
                inputs.refuse(job.keep)
            key = state_key(generator.card, job.prompt, path, given, options)
            views = read_state(job.keep, key) if job.keep else {}
        with record.timed("generate"), progress_bar("making views") as show:
            for made in generator.stream(job.prompt, path, given, options, views):
                views |= made
                if job.keep:
                    write_state(job.keep, key, views)
                show(min(len(views), len(path.camera)), len(path.camera))
            found = generator.finish(job.prompt, path, views, given)
        with record.timed("write"):
            write_views(work_dir, found, exr=job.exr, fps=job.fps, colorspace=colour.colorspace_out)
        if job.splat is not None:
            with record.timed("splat"):
                record.facts["splat"] = _splat(job.splat, found.frames.rgb, path)
        record.facts["views"] = len(path.camera)
        record.write(work_dir / destination.record_name)
    destination.report()


def _path(
    job: ViewsJob, shape: PathShape, distance: float, colorspace: str | None
) -> tuple[CameraPath, dict[int, Frames]]:
    """The path, with the cameras of given pictures that are on none of its views before it."""
    from dataclasses import replace

    from unrender.files.images import read_image
    from unrender.multiview.paths import PathOptions, camera_path
    from unrender.scene.camera import Camera

    side = (shape.size, shape.size)
    options = PathOptions(side, shape.fov, shape.elevation, shape.start, shape.distance)
    path = camera_path(job.cameras, options, distance, shape.subject_radius)
    wheres = list(job.image_camera or [])
    if len(wheres) > len(job.image or []) or (wheres and len(wheres) < len(job.image or [])):
        raise UserError(
            f"{len(job.image or [])} of --image and {len(wheres)} of --image-camera; expected one camera for each, "
            "or none"
        )
    if not wheres:
        if len(job.image or []) > 1:
            raise UserError(f"{len(job.image or [])} of --image; expected --image-camera for each of them")
        wheres = ["1"] * len(job.image or [])
    given: dict[int, Frames] = {}
    extra: list[Camera] = []
    for file, where in zip(job.image or [], wheres, strict=True):
        index = _view_number(where, len(path.camera))
        if index is None:
            extra.append(_camera_at(where, path, shape.distance or distance))
            index = len(path.camera) + len(extra) - 1
        if index in given:
            raise UserError(f"two pictures for view {index + 1}; expected one for each view")
        given[index] = read_image(file, colorspace).frame(0)
    if extra:
        camera = Camera.concatenate([path.camera, *extra])
        names = (*path.names, *(f"given.{number:04d}.png" for number in range(1, len(extra) + 1)))
        path = replace(path, camera=camera, names=names)
    return path, given


def _view_number(where: str, count: int) -> int | None:
    if not where.strip().isdigit():
        return None
    if not 1 <= int(where) <= count:
        raise UserError(f"--image-camera {where}; expected a view from 1 to {count}")
    return int(where) - 1


def _camera_at(where: str, path: CameraPath, distance: float) -> Camera:
    """A camera by AZIMUTH,ELEVATION[,DISTANCE] about the path's subject, with the lens of its first view."""
    import math

    import torch

    from unrender.scene.camera import Camera
    from unrender.scene.trajectory import look_at

    try:
        azimuth, elevation, *rest = (float(part) for part in where.split(","))
        (away,) = rest or (distance,)
    except ValueError:
        azimuth, elevation, away = math.nan, math.nan, math.nan
    if not (math.isfinite(azimuth + elevation + away) and abs(elevation) <= 89 and away > 1):
        raise UserError(
            f"--image-camera {where}; expected the number of a view, or AZIMUTH,ELEVATION[,DISTANCE] in degrees and "
            "radii"
        )
    azimuth, elevation = math.radians(azimuth), math.radians(elevation)
    flat = away * math.cos(elevation)
    eye = torch.tensor([flat * math.sin(azimuth), away * math.sin(elevation), flat * math.cos(azimuth)])
    pose = look_at(eye, torch.zeros(3))
    pose[:, :3, 3] *= path.subject.radius
    first = path.camera.frame(0)
    return Camera(first.intrinsics, path.subject.pose @ pose, first.size)


def _splat(file: Path, rgb: object, path: CameraPath) -> dict[str, float]:
    from unrender.evaluate.splats import fit_splats, write_ply

    fitted = fit_splats(rgb, path.camera, path.subject)  # ty: ignore[invalid-argument-type]
    write_ply(file, fitted.splats)
    return {"psnr": round(fitted.psnr, 3), "gaussians": len(fitted.splats.place)}
