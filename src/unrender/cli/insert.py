"""`unrender insert`: a virtual object in a real picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.guidance import GuidanceOptions, guidance_recipe, guiding_model
from unrender.cli.options import ColourOptions, ComputeOptions, NetworkOptions, Out, SceneOptions
from unrender.cli.outputs import Destination, atomic_outputs, check_results, parse_destination
from unrender.cli.progress import progress_bar, track
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from unrender.diffusion.score_distillation import ScoreDistillation
    from unrender.files.readers import FrameReader
    from unrender.insert import InsertionPlan, InsertOptions, Placement, SupportPlane
    from unrender.output.insertion import InsertionPaths
    from unrender.relight import Inverse
    from unrender.scene.camera import Camera
    from unrender.scene.environment import EnvironmentMap
    from unrender.scene.frames import Frames
    from unrender.scene.gbuffer import GBuffer

Value = TypeVar("Value")

STILL = "still"
"""What `--camera` says of a clip whose camera does not move."""


@dataclass(frozen=True)
class InsertJob:
    """What to insert, and into what."""

    input: Annotated[
        Path, typer.Argument(metavar="BACKGROUND", help="An image, a video, a folder of frames, or name.####.exr.")
    ]
    out: Out
    asset: Annotated[
        list[str],
        typer.Option(
            metavar="A",
            help="A .glb, .gltf, .obj or .ply, or a shipped object: ball, chair, chrome, cone, crate, grey, teapot, "
            "vase. Again for several objects; so are --at, --height, --turn and --pose.",
        ),
    ]
    class_name: Annotated[
        str, typer.Option(metavar="WORDS", help="What the object is, in a word or two, as chair: --guidance needs it.")
    ] = ""
    light: Annotated[
        str | None,
        typer.Option(metavar="HDRI", help="The picture's light where it is known: a file, or a shipped one."),
    ] = None
    exposure: Annotated[
        str,
        typer.Option(metavar="auto|EV", help="Of --light: auto, so that the ground is as bright as it is; or stops."),
    ] = "auto"
    fit_steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of the fit of the light.  [default: 100; 600 by a diffusion model]"),
    ] = None
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="Light paths a pixel of the result.")] = 128
    model: Annotated[str, typer.Option(help="The inverse model that finds plane and light: an id, or a folder.")] = (
        "mini"
    )
    preview: Annotated[
        bool, typer.Option("--preview", help="Only draw where the object would stand, without any light search.")
    ] = False


@dataclass(frozen=True)
class PlacementOptions:
    """Where it goes."""

    at: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="The pixel that its foot is in, or X%,Y% of the picture; found if not given."),
    ] = None
    height: Annotated[
        list[str] | None,
        typer.Option(metavar="H", help="Its height: metres (0.9), or of the picture's (25%).  [default: 25%]"),
    ] = None
    turn: Annotated[
        list[float] | None, typer.Option(metavar="DEG", help="Turn it about its upright axis; 0 faces the camera.")
    ] = None
    up: Annotated[
        Literal["y", "-y", "z", "-z", "x", "-x"], typer.Option(help="Which of the asset's own axes points up.")
    ] = "y"
    pose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="16 NUMBERS|FILE", help="Object-to-world, row by row, or the transforms.json of an insertion."
        ),
    ] = None
    plane: Annotated[
        str | None,
        typer.Option(metavar="X,Y,Z,D", help="What it stands on, x X + y Y + z Z = D; found in the picture, or y = 0."),
    ] = None
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|still",
            help="transforms.json: one camera, or one for each frame. Of a clip without it the camera is followed on "
            "the plane, unless it is said to stand `still`.",
        ),
    ] = None
    world_up: Annotated[Literal["z", "y"], typer.Option(help="Of --camera's and --pose's transforms.json.")] = "z"
    shadow_on: Annotated[
        Path | None, typer.Option(metavar="MESH", help="What shadows fall on, in the world, in place of the plane.")
    ] = None
    fov: Annotated[
        float | None, typer.Option(metavar="DEG", help="Vertical field of view.  [default: of EXIF, else 50]")
    ] = None
    camera_height: Annotated[
        float | None,
        typer.Option(metavar="M", help="Metres of the camera above the plane.  [default: 1.6 where nothing tells]"),
    ] = None


def insert(
    job: InsertJob,
    placement: PlacementOptions,
    guiding: GuidanceOptions,
    scene: SceneOptions,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
) -> None:
    """Put a virtual object into a picture, in the picture's own light.

    Writes the composite as PNG (of a clip an mp4), every layer as EXR (foreground, light groups, coverage, shadow
    ratio, depth, normal), the light that was found, cameras and poses as transforms.json, and run.json.
    """
    destination = parse_destination(job.out, (".exr", ".mp4", ".png", ".jpg"))
    tally = FrameTally(job.input)
    record = RunRecord("insert", (job, placement, guiding, scene, colour, network, compute))
    record.facts |= colour.check(destination)
    recipe = guidance_recipe(guiding, job.class_name, light_given=job.light is not None)
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.files.environments import resolve_light
            from unrender.files.sequences import open_frames

            clip = tally.counted(open_frames(job.input, colour.colorspace_in))
            paths = _paths(job, destination, work_dir, clip)
            inputs = InputFiles(
                job.input,
                *job.asset,
                *(placement.pose or []),
                None if placement.camera == STILL else placement.camera,
                placement.shadow_on,
                models=(job.model, network.decoder, guiding.base),
                light=job.light,
            )
            check_results(destination, paths.all, inputs)
            light = None if job.light is None else resolve_light(job.light)
            photo = next(iter(clip))
            places = _placement(job, placement, photo)
            exposure = _exposure(job)
            inverse = _inverse(job, scene, network, compute, record)
        if job.preview:
            _preview(paths, photo, job.asset, places, inverse, record)
        else:
            from unrender.insert import follow_camera, insert_stream, place_objects
            from unrender.output.insertion import write_insertion

            options = _options(job, compute, exposure, guided=recipe is not None)
            guidance = None
            if recipe is not None:
                # What cannot be placed is said now, and not after the model was taught the picture.
                with record.timed("plan"):
                    place_objects(photo, job.asset, places, inverse)
                guidance = guiding_model(recipe, guiding, photo, compute, record)
            plan = _plan(photo, job.asset, light, places, options, (guidance, inverse), record)
            if len(clip) > 1 and places.follow and places.camera is None:
                with record.timed("follow"):
                    plan = follow_camera(plan, clip, lambda: inverse(photo, None))
            frames = track(insert_stream(clip, plan, options), "inserting", len(clip))
            with record.timed("write"):
                made = record.timed_items("render", frames)
                space = colour.colorspace_out
                write_insertion(paths, plan, made, fps=clip.fps, first=clip.first, colorspace=space)
        tally.note(record)
        record.write(work_dir / destination.record_name)
    destination.report()
    tally.tell()


def _paths(job: InsertJob, destination: Destination, work_dir: Path, clip: FrameReader) -> InsertionPaths:
    """The files that were asked for."""
    from unrender.output.insertion import InsertionPaths

    frames = 1 if job.preview else len(clip)
    if job.preview and destination.ending not in ("", ".png", ".jpg"):
        raise UserError(f"-o {job.out}: a preview is a picture; expected a folder, or a file ending in .png or .jpg")
    destination.check_frames(frames)
    if frames == 1 and destination.ending == ".mp4":
        raise UserError(f"-o {job.out}: {job.input} is a still; expected a folder, or an OUT ending in .png")
    if frames > 1 and destination.ending in (".png", ".jpg"):
        raise UserError(f"-o {job.out}: {job.input} is a clip; expected a folder, .mp4, or name.####.exr")
    if destination.file is not None:
        file = work_dir / destination.file
        return InsertionPaths(layers=file) if destination.ending == ".exr" else InsertionPaths(picture=file)
    if job.preview:
        return InsertionPaths(picture=work_dir / f"{clip.name}.preview.png")
    return InsertionPaths.in_folder(work_dir, clip.name, frames)


def _exposure(job: InsertJob) -> float | Literal["auto"]:
    exposure = "auto" if job.exposure == "auto" else _number(job.exposure, f"--exposure {job.exposure}", "auto, or EV")
    if job.light is None and job.exposure != "auto":
        raise UserError(f"--exposure {job.exposure}: it is that of --light, which is not given")
    return exposure


def _options(
    job: InsertJob, compute: ComputeOptions, exposure: float | Literal["auto"], *, guided: bool
) -> InsertOptions:
    from unrender.insert import InsertOptions

    options = InsertOptions(exposure, job.samples, compute.seed)
    if job.fit_steps is None:
        return options
    if guided:
        return replace(options, guided=replace(options.guided, steps=job.fit_steps))
    return replace(options, fit=replace(options.fit, steps=job.fit_steps))


def _placement(job: InsertJob, given: PlacementOptions, photo: Frames) -> Placement:
    from unrender.insert import Placement, Standing

    poses = _poses(given)
    count = len(job.asset)
    spots = [_spot(text, photo.size) for text in given.at or []]
    if len(poses) + len(spots) > count:
        raise UserError(f"{len(poses)} --pose and {len(spots)} --at for {count} --asset; expected one of them for each")
    # Those with poses come first, so the spots are those of the others.
    spots = [None] * len(poses) + spots + [None] * (count - len(poses) - len(spots))
    heights = _for_each(given.height, count, "25%", "--height")
    turns = _for_each(given.turn, count, 0.0, "--turn")
    return Placement(
        tuple(Standing(at, high, turn, given.up) for at, high, turn in zip(spots, heights, turns, strict=True)),
        poses,
        _plane(given.plane) if given.plane is not None else None,
        _camera(given),
        given.shadow_on,
        given.fov,
        given.camera_height,
        follow=given.camera != STILL,
    )


def _for_each(values: Sequence[Value] | None, count: int, default: Value, name: str) -> list[Value]:
    """One value for each object; one that is given serves all."""
    if not values:
        return [default] * count
    if len(values) not in (1, count):
        raise UserError(f"{len(values)} {name} for {count} --asset; expected one for each, or one for all")
    return list(values) * (count if len(values) == 1 else 1)


def _poses(given: PlacementOptions) -> tuple[np.ndarray, ...]:
    import numpy as np

    from unrender.files.cameras import read_object_poses

    poses: list[np.ndarray] = []
    for text in given.pose or []:
        if Path(text).suffix.lower() == ".json":
            poses += read_object_poses(text, world_up=given.world_up)
        else:
            poses.append(np.array(_numbers(text, 16, f"--pose {text}", "a transforms.json")).reshape(4, 4))
    return tuple(poses)


def _camera(given: PlacementOptions) -> Camera | None:
    if given.camera in (None, STILL):
        return None
    from unrender.files.cameras import read_transforms

    return read_transforms(given.camera, world_up=given.world_up).camera


def _plane(text: str) -> SupportPlane:
    import torch

    from unrender.insert import SupportPlane

    *normal, offset = _numbers(text, 4, f"--plane {text}", "the normal and the offset, 0,1,0,0 for level ground")
    return SupportPlane(torch.tensor(normal), offset)


def _spot(text: str, size: tuple[int, int]) -> tuple[float, float]:
    """A pixel (x, y), of "X,Y" or "X%,Y%"."""
    parts = text.split(",")
    if len(parts) != 2:
        raise UserError(f"--at {text}; expected X,Y in pixels, or X%,Y%")
    x, y = (
        _number(part.removesuffix("%"), f"--at {text}", "X,Y in pixels, or X%,Y%")
        * (side / 100 if part.endswith("%") else 1)
        for part, side in zip(parts, size[::-1], strict=True)
    )
    if not (0 <= x < size[1] and 0 <= y < size[0]):
        raise UserError(f"--at {text} is outside the picture, which is {size[1]} x {size[0]}; expected a pixel of it")
    return x, y


def _numbers(text: str, count: int, what: str, expected: str) -> list[float]:
    parts = text.replace(",", " ").split()
    if len(parts) != count:
        raise UserError(f"{what}: {len(parts)} numbers; expected {count}, or {expected}")
    return [_number(part, what, f"{count} numbers, or {expected}") for part in parts]


def _number(text: str, what: str, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:
        raise UserError(f"{what}; expected {expected}")
    return value


def _inverse(
    job: InsertJob, scene: SceneOptions, network: NetworkOptions, compute: ComputeOptions, record: RunRecord
) -> Inverse:
    """The inverse renderer, loaded when it is first needed: a placement that is given whole needs none. It is asked of
    the first frame alone, and looks at it once."""
    from unrender.cli.engines import Engines, inverse_renderer

    seen: list[GBuffer] = []

    def look(frames: Frames, maps: Sequence[str] | None) -> GBuffer:
        with record.timed("inverse"):
            if not seen:
                seen.append(inverse_renderer(job.model, Engines(network, compute, record), scene)(frames, maps))
        return seen[0]

    return look


def _preview(
    paths: InsertionPaths,
    photo: Frames,
    assets: Sequence[str],
    placement: Placement,
    inverse: Inverse,
    record: RunRecord,
) -> None:
    """Writes a picture of the placement."""
    from unrender.files.environments import builtin_environment
    from unrender.files.images import write_image
    from unrender.insert import place_objects
    from unrender.insert.preview import draw_placement

    with record.timed("preview"):
        placed = place_objects(photo, assets, placement, inverse, quick=True)
        picture = draw_placement(placed, photo.rgb, builtin_environment("studio"))
        assert paths.picture is not None
        write_image(paths.picture, picture[0])


def _plan(
    photo: Frames,
    assets: Sequence[str],
    light: EnvironmentMap | None,
    placement: Placement,
    options: InsertOptions,
    models: tuple[ScoreDistillation | None, Inverse],
    record: RunRecord,
) -> InsertionPlan:
    """Scene and light, by the model that guides and the one that looks at the photo."""
    from unrender.insert import plan_insertion

    guidance, inverse = models
    steps = (options.fit if guidance is None else options.guided).steps
    with record.timed("plan"), progress_bar("placing and lighting") as show:
        plan = plan_insertion(
            photo,
            assets,
            light,
            placement=placement,
            options=options,
            guidance=guidance,
            inverse=inverse,
            report=lambda step, loss: show(step + 1, steps),
        )
    _note_plan(plan, record, guided=guidance is not None)
    return plan


def _note_plan(plan: InsertionPlan, record: RunRecord, *, guided: bool) -> None:
    """What was found, for the record. The loss of a guidance by a model has a gradient and no meaning: none is told."""
    import math

    from unrender.scene.environment import mean_direction, mean_luminance

    direction = mean_direction(plan.fit.light)[0]
    losses = () if guided else plan.fit.losses
    record.facts["insertion"] = {
        "objects": [{"asset": thing.name, "pose": thing.pose.tolist()} for thing in plan.scene.objects],
        "plane": [*plan.scene.plane.normal.tolist(), plan.scene.plane.offset],
        "light": {
            "from": direction.tolist(),
            "degrees_above_horizon": math.degrees(math.asin(float(direction[1] / direction.norm().clamp(min=1e-9)))),
            "mean_luminance": float(mean_luminance(plan.fit.light)[0]),
            "first_loss": losses[0] if losses else None,
            "last_loss": losses[-1] if losses else None,
        },
    }
