"""The page and its routes, on the service of `serve`."""

from __future__ import annotations

import mimetypes
import secrets
from functools import lru_cache
from importlib import import_module, resources
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from unrender.errors import UserError
from unrender.serve.answers import FileAnswer, JobAnswer
from unrender.serve.app import create_app
from unrender.serve.guard import TOKEN_COOKIE, Guard
from unrender.serve.jobs import Full, JobQueue
from unrender.serve.requests import DomeRequest, FileId, StageRequest
from unrender.serve.requests import Request as Asked
from unrender.serve.settings import ServeSettings
from unrender.serve.store import FileStore
from unrender.studio.command import LIGHT_FILE, Screen, command_of
from unrender.studio.look import Look, Rig
from unrender.studio.visits import COOKIE, Visits
from unrender.version import VERSION

if TYPE_CHECKING:
    from unrender.scene.environment import EnvironmentMap
    from unrender.studio.stage import OpenPhoto

PAGE = "index.html"
LIGHTS = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset", "even")
OBJECTS = ("ball", "chair", "chrome", "cone", "crate", "grey", "teapot", "vase")
SHOWN = (
    "base_color", "normal", "depth", "roughness", "metallic", "irradiance", "mask",
    "diffuse_albedo", "disparity", "shading", "residual",
)  # fmt: skip
"""Maps that the page shows, in this order, as far as a model gives them."""


class Opened(Asked):
    """A job of this page that is done, to be opened."""

    job: FileId


class StageAnswer(BaseModel):
    """A photo that is open."""

    id: str
    width: int
    height: int
    maps: list[str]


def create_studio(settings: ServeSettings) -> Guard:
    """The service with the page on it, as an ASGI application."""
    visits = Visits(settings.limits.keep_seconds)

    def owner_of(request: Request) -> str:
        return visits.owner(request.cookies.get(COOKIE, "")) or "local"

    def extend(app: FastAPI, store: FileStore, jobs: JobQueue) -> None:
        Thread(target=_warm_up, daemon=True, name="warm up").start()
        _add_page(app, visits, settings)
        _add_jobs(app, owner_of, visits, store, jobs)
        _add_pictures(app, owner_of, visits, store)

    return create_app(settings, owner_of, extend)


def _warm_up() -> None:
    """Imports what takes seconds while the page is looked at."""
    import_module("unrender.studio.stage")


def _add_page(app: FastAPI, visits: Visits, settings: ServeSettings) -> None:
    @app.get("/", include_in_schema=False)
    def page(request: Request, token: str = "") -> Response:
        if settings.token and not request.state.known:
            if not secrets.compare_digest(token.encode(), settings.token.encode()):
                says = "This page asks for the token that was printed when it was started: open it as /?token=TOKEN"
                return HTMLResponse(says, 401)
            answer = RedirectResponse("/", 303)
            answer.set_cookie(TOKEN_COOKIE, settings.token, httponly=True, samesite="strict")
            return answer
        answer = Response(_files()[PAGE], media_type="text/html; charset=utf-8")
        if visits.owner(request.cookies.get(COOKIE, "")) is None:
            answer.set_cookie(COOKIE, visits.welcome(), httponly=True, samesite="strict")
        return answer

    @app.get("/page/{name}", include_in_schema=False)
    def part(name: str) -> Response:
        if name not in _files():
            raise HTTPException(404, "there is no such part of the page")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(_files()[name], media_type=kind)

    @app.get("/studio/about", include_in_schema=False)
    def about() -> dict[str, Any]:
        insert = find_spec("mitsuba") is not None
        return {"version": VERSION, "lights": LIGHTS, "objects": OBJECTS, "insert": insert}


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    """Every part of the page, by its name: nothing else can be asked for."""
    folder = resources.files("unrender.studio").joinpath("page")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _add_jobs(app: FastAPI, owner_of, visits: Visits, store: FileStore, jobs: JobQueue) -> None:
    def submit(request: Request, verb: str, body: Asked) -> JobAnswer:
        try:
            return JobAnswer.of(jobs.submit(owner_of(request), verb, body))
        except KeyError:
            raise HTTPException(404, "there is no such file") from None
        except Full as full:
            raise HTTPException(429, str(full)) from None

    @app.post("/studio/stages", status_code=202, include_in_schema=False)
    def stage(body: StageRequest, request: Request) -> JobAnswer:
        return submit(request, "stage", body)

    @app.post("/studio/domes", status_code=202, include_in_schema=False)
    def dome(body: DomeRequest, request: Request) -> JobAnswer:
        return submit(request, "dome", body)

    def result(request: Request, body: Opened, name: str):
        try:
            job = jobs.get(owner_of(request), body.job)
            return next(file.path for file in job.results if file.name == name)
        except (KeyError, StopIteration):
            raise HTTPException(404, "there is no such job, or it is not done") from None

    @app.post("/studio/stages/open", include_in_schema=False)
    def open_stage(body: Opened, request: Request) -> StageAnswer:
        from unrender.studio.stage import OpenPhoto

        opened = OpenPhoto.load(result(request, body, "stage.state"))
        visits.keep_stage(owner_of(request), body.job, opened)
        jobs.cancel(owner_of(request), body.job)
        height, width = opened.size
        maps = [name for name in SHOWN if name in opened.whole.gbuffer.maps]
        return StageAnswer(id=body.job, width=width, height=height, maps=maps)

    @app.post("/studio/domes/open", include_in_schema=False)
    def open_dome(body: Opened, request: Request) -> dict[str, str]:
        from unrender.files.state import load_state
        from unrender.scene.environment import EnvironmentMap

        opened = load_state(result(request, body, "dome.state"), (EnvironmentMap,))
        visits.keep_light(owner_of(request), body.job, opened)
        jobs.cancel(owner_of(request), body.job)
        return {"id": body.job}


@lru_cache(maxsize=16)
def shipped(name: str) -> EnvironmentMap:
    """A shipped light, small, as pictures on the page are lit by it."""
    from unrender.files.environments import resolve_light

    light = resolve_light(name)
    return light.resized((256, 512)) if light.size[0] > 256 else light


def _add_pictures(app: FastAPI, owner_of, visits: Visits, store: FileStore) -> None:
    def known(request: Request, id: str) -> OpenPhoto:
        try:
            return visits.stage(owner_of(request), id)
        except KeyError:
            raise HTTPException(404, "this photo is no longer open; expected it to be opened again") from None

    def base_of(request: Request, rig: Rig) -> EnvironmentMap | None:
        if rig.base in LIGHTS:
            return shipped(rig.base)
        if rig.base in ("own", "none"):
            return None
        try:
            return visits.light(owner_of(request), rig.base)
        except KeyError:
            raise HTTPException(404, "there is no such light") from None

    @app.post("/studio/stages/{id}/picture", include_in_schema=False)
    def picture(id: str, look: Look, request: Request) -> Response:
        from unrender.studio.stage import as_jpeg

        return Response(as_jpeg(known(request, id).show(look, base_of(request, look.rig))), media_type="image/jpeg")

    @app.get("/studio/stages/{id}/photo.jpg", include_in_schema=False)
    def photo(id: str, request: Request) -> Response:
        from unrender.studio.stage import as_jpeg

        return Response(as_jpeg(known(request, id).whole.frames.rgb[0].clamp(0, 1)), media_type="image/jpeg")

    @app.get("/studio/stages/{id}/maps/{name}.png", include_in_schema=False)
    def map_picture(id: str, name: str, request: Request) -> Response:
        from unrender.studio.stage import map_as_png

        return Response(map_as_png(name, known(request, id).map(name)), media_type="image/png")

    @app.get("/studio/stages/{id}/maps/{name}.f16", include_in_schema=False)
    def map_values(id: str, name: str, request: Request) -> Response:
        from unrender.studio.stage import as_half

        return Response(as_half(known(request, id).map(name)), media_type="application/octet-stream")

    @app.post("/studio/stages/{id}/material", status_code=204, include_in_schema=False)
    async def material(
        id: str, request: Request, change: Annotated[list[str] | None, Query(max_length=8)] = None
    ) -> Response:
        import torch

        opened, painted = known(request, id), await request.body()
        height, width = opened.size
        if painted and len(painted) != height * width:
            raise UserError(f"a mask of {len(painted)} bytes; expected {height * width}, one a pixel")
        mask = torch.frombuffer(bytearray(painted), dtype=torch.uint8) if painted else None
        where = mask.reshape(1, 1, height, width).float() / 255 if mask is not None else None
        changed = await run_in_threadpool(opened.changed, change or [], where)
        visits.keep_stage(owner_of(request), id, changed)
        return Response(status_code=204)

    @app.post("/studio/stages/{id}/light", status_code=201, include_in_schema=False)
    def light(id: str, rig: Rig, request: Request) -> FileAnswer:
        from unrender.files.environments import write_environment
        from unrender.studio.rig import light_of

        base = known(request, id).whole.light if rig.base == "own" else base_of(request, rig)
        made, yaw = light_of(rig, base)
        path = store.folder() / LIGHT_FILE
        write_environment(path, made.rotated(yaw))
        kept = store.add(owner_of(request), path.name, path)
        return FileAnswer(id=kept.id, name=kept.name, bytes=kept.bytes)

    @app.get("/studio/lights/{id}.jpg", include_in_schema=False)
    def light_picture(id: str, request: Request, stage: str = "") -> Response:
        from unrender.studio.stage import light_as_jpeg

        own = known(request, stage).whole.light if id == "own" else None
        base = own if own is not None else base_of(request, Rig(base=id))
        if base is None:
            raise HTTPException(404, "there is no such light")
        return Response(light_as_jpeg(base), media_type="image/jpeg")

    @app.post("/studio/command", include_in_schema=False)
    def command(screen: Screen) -> dict[str, str]:
        return {"line": command_of(screen)}
