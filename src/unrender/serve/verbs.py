"""Each verb as one call of the public functions, its results as files in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from unrender.errors import UserError
from unrender.serve import requests
from unrender.serve.work import JobWork


def inverse(work: JobWork, request: requests.InverseRequest) -> None:
    """A picture to its maps."""
    from unrender.output import write_gbuffer_stream

    clip = work.frames(request.input)
    found = work.inverse(request.model, request.seed).stream(clip, request.maps)
    number = "" if len(clip) == 1 else ".####"
    write_gbuffer_stream(
        work.folder / f"{clip.name}{number}.exr",
        work.counted(found, len(clip), "estimating maps"),
        profile=request.profile,
        contact_sheet=work.folder / f"{clip.name}.maps.png",
    )


def forward(work: JobWork, request: requests.ForwardRequest) -> None:
    """A G-buffer to a picture."""
    from unrender.files.sequences import open_gbuffers
    from unrender.output import passes_paths, write_passes_stream

    gbuffers = open_gbuffers(work.file(request.gbuffer))
    light = work.light(request.light).exposed(request.exposure) if request.light else None
    renderer = work.forward(request.model, request.seed, request.samples)
    rendered = ((renderer(gbuffer, light, request.yaw), gbuffer.plate, None) for gbuffer in gbuffers)
    paths = passes_paths(work.folder, f"{gbuffers.name}.forward", len(gbuffers))
    write_passes_stream(paths, work.counted(rendered, len(gbuffers), "rendering"), fps=gbuffers.fps)


def relight(work: JobWork, request: requests.RelightRequest) -> None:
    """A picture or clip under another light."""
    from unrender.output import PictureFormat, RelitPaths, write_relit_stream
    from unrender.relight import RelightOptions, count_pictures, relight_stream

    clip, light = work.frames(request.input), work.light(request.light)
    options = RelightOptions(
        request.yaw,
        request.turn,
        request.frames if len(clip) > 1 or request.turn else None,
        request.detail,
        request.background,
        exposure=request.exposure,
        walls=request.walls,
        refine=request.refine,
    )
    renderer = work.forward(request.forward, request.seed, request.samples)
    relit = relight_stream(clip, light, work.inverse(request.model, request.seed), renderer, options)
    paths = RelitPaths.in_folder(work.folder, clip.name, len(clip), bool(request.turn))
    if len(clip) > 1:
        paths = replace(paths, gbuffer=None)
    pictures = count_pictures(clip, options) or len(clip)
    stored = PictureFormat(times=clip.times) if len(clip) > 1 and options.frames is None else PictureFormat()
    write_relit_stream(paths, work.counted(relit, pictures, "relighting"), fps=clip.fps, stored=stored)


def light(work: JobWork, request: requests.LightRequest) -> None:
    """The light that a picture was taken in."""
    from unrender.files.environments import write_environment
    from unrender.relight.light_estimate import WRITTEN_SIZE, estimate_light
    from unrender.scene.frames import Frames

    clip = work.frames(request.input)
    frames = Frames.concatenate(list(islice(clip, request.frames)))
    renderer = work.inverse(request.model, request.seed).renderer
    work.report(0.2, "estimating the light")
    found = estimate_light(frames, inverse=renderer)
    if not bool((found.radiance > 0).any()):
        raise UserError(f"{clip.name}: no surface that is neither black nor clipped says anything of its light")
    write_environment(work.folder / f"{clip.name}.light.exr", found.resized(WRITTEN_SIZE))


def edit(work: JobWork, request: requests.EditRequest) -> None:
    """Other materials in a picture, or an object over it."""
    from unrender.files.sequences import holds_gbuffers, open_gbuffers
    from unrender.output import RelitPaths, passes_paths, write_relit_stream
    from unrender.relight import Edit, MaterialChange, RelightOptions, decompose_gbuffers, decompose_stream, edit_stream

    if request.mask and request.where:
        raise UserError("a mask and a condition are both given; expected one of them")
    changes = tuple(MaterialChange.parse(text) for text in request.changes)
    inserted = next(iter(open_gbuffers(work.file(request.inserted)))) if request.inserted else None
    wanted = Edit(changes, _mask(work, request), inserted)
    new = work.light(request.light) if request.light else None
    options = RelightOptions(request.yaw, background=request.background)
    renderer = work.forward(request.forward, request.seed)
    if holds_gbuffers(work.file(request.input)):
        clip = open_gbuffers(work.file(request.input))
        parts = decompose_gbuffers(iter(clip), renderer, new, options)
    else:
        clip = work.frames(request.input)
        parts = decompose_stream(clip, work.inverse(request.model, request.seed), renderer, options)
    edited = work.counted(edit_stream(parts, wanted, renderer, new, options), len(clip), "editing")
    number, name = "" if len(clip) == 1 else ".####", f"{clip.name}.edited"
    passes = passes_paths(work.folder, name, len(clip))
    paths = RelitPaths(passes, work.folder / f"{name}.gbuffer{number}.exr", work.folder / f"{name}.maps.png")
    write_relit_stream(paths, edited, fps=clip.fps)


def _mask(work: JobWork, request: requests.EditRequest):
    if not request.mask:
        return request.where
    from unrender.files.masks import open_masks

    return next(iter(open_masks(work.file(request.mask)))).rgb[:, :1]


def insert(work: JobWork, request: requests.InsertRequest) -> None:
    """Virtual objects in a picture."""
    from unrender.files.environments import builtin_environment
    from unrender.files.images import write_image
    from unrender.insert import InsertOptions, Placement, Standing, insert_stream, place_objects, plan_insertion
    from unrender.insert.preview import draw_placement
    from unrender.output.insertion import InsertionPaths, write_insertion

    clip = work.frames(request.input)
    photo = next(iter(clip))
    height, width = photo.size
    standing = tuple(
        Standing(one.at and (one.at[0] * width, one.at[1] * height), one.height, one.turn, one.up)
        for one in request.objects
    )
    placement = Placement(standing, fov_degrees=request.fov)
    assets = [_asset(work, one.asset) for one in request.objects]
    look = work.inverse(request.model, request.seed)
    if request.preview:
        work.report(0.3, "placing the object")
        picture = draw_placement(
            place_objects(photo, assets, placement, look), photo.rgb, builtin_environment("studio")
        )
        write_image(work.folder / f"{clip.name}.preview.png", picture[0])
        return
    options = InsertOptions(request.exposure, request.samples, request.seed)
    if request.fit_steps is not None:
        options = replace(options, fit=replace(options.fit, steps=request.fit_steps))
    steps = options.fit.steps

    def fitting(step: int, loss: float) -> None:
        work.report(0.1 + 0.5 * min(1.0, step / steps), "fitting the light")

    given = work.light(request.light) if request.light else None
    plan = plan_insertion(photo, assets, given, placement=placement, options=options, inverse=look, report=fitting)
    frames = work.counted(insert_stream(clip, plan, options), len(clip), "rendering")
    write_insertion(InsertionPaths.in_folder(work.folder, clip.name, len(clip)), plan, frames, fps=clip.fps)


def _asset(work: JobWork, name: str) -> str:
    """A shipped object, or the file of an id: no path is looked at."""
    from unrender.insert import BUILTIN

    if name in work.files:
        return str(work.file(name))
    if name not in BUILTIN:
        raise UserError(f"there is no object {name!r}; expected the id of a file, or one of {', '.join(BUILTIN)}")
    return name


def multiview(work: JobWork, request: requests.MultiviewRequest) -> None:
    """Views of one thing along a path of cameras."""
    from unrender.multiview import MultiViewGenerator, PathOptions, ViewOptions, camera_path
    from unrender.output import write_views

    if not request.prompt.strip() and not request.image:
        raise UserError("neither words nor a picture; expected what to show")
    generator = MultiViewGenerator.from_pretrained(work.model(request.model))
    shape = PathOptions((request.size, request.size), elevation=request.elevation)
    path = camera_path(request.cameras, shape, generator.layers.distance)
    given = {0: next(iter(work.frames(request.image))).frame(0)} if request.image else {}
    options = ViewOptions(request.steps, request.seed)
    views: dict = {}
    for made in generator.stream(request.prompt, path, given, options):
        views |= made
        work.report(0.95 * len(views) / len(path.camera), f"making views, {len(views)} of {len(path.camera)}")
    write_views(work.folder, generator.finish(request.prompt, path, views, given), fps=request.fps)


def stage(work: JobWork, request: requests.StageRequest) -> None:
    """The first frame of a picture taken apart, small, to be shown on a page under one light after the other."""
    from unrender.files.state import save_state
    from unrender.relight import decompose
    from unrender.scene.frames import Frames
    from unrender.scene.resize import resize_picture

    photo = next(iter(work.frames(request.input))).frame(0)
    height, width = photo.size
    factor = min(1.0, request.side / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    mask = resize_picture(photo.mask, size).clamp(0, 1) if photo.mask is not None else None
    small = Frames(resize_picture(photo.rgb, size).clamp(min=0), mask, name=photo.name, hdr=photo.hdr)
    inverse = work.inverse(request.model)
    work.report(0.3, "taking the photo apart")
    save_state(work.folder / "stage.state", decompose([small], inverse, work.forward("deferred")))


def dome(work: JobWork, request: requests.DomeRequest) -> None:
    """A light as a page shows it, small."""
    from unrender.files.environments import read_environment
    from unrender.files.state import save_state

    light = read_environment(work.file(request.input))
    save_state(work.folder / "dome.state", light.resized((min(light.size[0], 256), min(light.size[0], 256) * 2)))


_VERBS: dict[str, Callable[..., None]] = {
    "inverse": inverse,
    "forward": forward,
    "relight": relight,
    "light": light,
    "edit": edit,
    "insert": insert,
    "multiview": multiview,
    "stage": stage,
    "dome": dome,
}


def run(work: JobWork) -> None:
    """Does a job.

    Raises:
        UserError: all that its functions raise.
    """
    _VERBS[work.verb](work, work.request)
