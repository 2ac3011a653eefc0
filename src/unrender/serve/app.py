"""The service as an ASGI application: files, jobs, and what there is to name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from unrender.errors import UserError
from unrender.serve import answers, file_routes
from unrender.serve.guard import Guard, Refusal, refuse
from unrender.serve.jobs import Full, JobQueue, unused
from unrender.serve.listing import list_lights, list_models
from unrender.serve.requests import VERBS, Request
from unrender.serve.settings import ServeSettings
from unrender.serve.store import FileStore, NoRoom
from unrender.version import VERSION

LOGGER = logging.getLogger("unrender.serve")
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Mistake, "description": why}
    for status, why in {
        400: "The request is not what was expected.",
        401: "No token, or a wrong one.",
        403: "Asked for by the page of another site.",
        404: "No such file or job, or another's.",
        422: "A field is not what was expected.",
    }.items()
}


def create_app(
    settings: ServeSettings, owner_of: Callable[[HttpRequest], str] | None = None, extend: Callable | None = None
) -> Guard:
    """The service.

    Args:
        settings: how it listens, and how much it takes.
        owner_of: whose a request is; by default all callers that pass the guard are one.
        extend: is called with the application, its store and its queue, to add routes.
    """
    store = FileStore(settings.limits)
    jobs = JobQueue(settings, store)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        jobs.start()
        expiring = asyncio.create_task(_expire(store, jobs))
        try:
            yield
        finally:
            expiring.cancel()
            jobs.close()
            store.close()

    app = FastAPI(
        title="unrender",
        version=VERSION,
        summary="Take pictures apart, change their light, and put them together again.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.store, app.state.jobs, app.state.settings = store, jobs, settings
    app.state.owner_of = owner_of or (lambda request: "local")
    app.include_router(file_routes.router)
    _add_jobs(app, jobs)
    _add_lists(app, jobs, settings)
    _add_errors(app)
    if extend is not None:
        extend(app, store, jobs)
    return Guard(app, settings)


async def _expire(store: FileStore, jobs: JobQueue) -> None:
    while True:
        await asyncio.sleep(unused(store.limits))
        await asyncio.to_thread(store.expire)
        jobs.expire()


def _add_jobs(app: FastAPI, jobs: JobQueue) -> None:
    for verb, kind in VERBS.items():
        app.add_api_route(
            f"/v1/jobs/{verb}",
            _submitting(verb, kind, jobs),
            methods=["POST"],
            status_code=202,
            response_model=answers.JobAnswer,
            operation_id=verb,
            summary=(kind.__doc__ or verb).split(":")[0].replace("`", ""),
            description=kind.__doc__,
            responses=REFUSALS | {429: {"model": answers.Mistake, "description": "Too many jobs wait."}},
            tags=["jobs"],
        )

    @app.get("/v1/jobs/{id}", response_model=answers.JobAnswer, responses=REFUSALS, tags=["jobs"])
    def job(id: str, request: HttpRequest) -> answers.JobAnswer:
        """How far a job is."""
        return answers.JobAnswer.of(_known(jobs.get, request, id))

    @app.delete("/v1/jobs/{id}", response_model=answers.JobAnswer, responses=REFUSALS, tags=["jobs"])
    def cancel(id: str, request: HttpRequest) -> answers.JobAnswer:
        """Cancels a job that waits or runs; of one that is over, deletes what it made."""
        return answers.JobAnswer.of(_known(jobs.cancel, request, id))


def _submitting(verb: str, kind: type[Request], jobs: JobQueue) -> Callable[..., answers.JobAnswer]:
    def submit(body: Any, request: HttpRequest) -> answers.JobAnswer:
        try:
            return answers.JobAnswer.of(jobs.submit(request.app.state.owner_of(request), verb, body))
        except KeyError as missing:
            raise HTTPException(404, f"there is no file {missing.args[0]}; expected the id of an upload") from None
        except Full as full:
            raise HTTPException(429, str(full), {"retry-after": "5"}) from None

    submit.__annotations__["body"] = kind
    return submit


def _add_lists(app: FastAPI, jobs: JobQueue, settings: ServeSettings) -> None:
    @app.get("/v1/models", response_model=list[answers.ModelAnswer], tags=["lists"])
    def models() -> list[answers.ModelAnswer]:
        """The models that jobs may name, with their licence."""
        return list_models(jobs.models)

    @app.get("/v1/lights", response_model=list[answers.LightAnswer], tags=["lists"])
    def lights() -> list[answers.LightAnswer]:
        """The lights that ship."""
        return list_lights()

    @app.get("/v1/health", response_model=answers.HealthAnswer, tags=["lists"])
    def health() -> answers.HealthAnswer:
        """That the service is there, and how busy it is."""
        running, waiting = jobs.counts()
        return answers.HealthAnswer(
            version=VERSION, running=running, waiting=waiting, most_waiting=settings.limits.waiting
        )

    @app.get("/openapi.json", include_in_schema=False)
    def schema() -> JSONResponse:
        return JSONResponse(openapi_schema(app))


def openapi_schema(app: FastAPI) -> dict[str, Any]:
    """The schema that is published; only routes under /v1 are in it."""
    routes = [route for route in app.routes if getattr(route, "path", "/v1").startswith("/v1")]
    schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=routes)
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"token": []}]
    return schema


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    def mistake(request: HttpRequest, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(Refusal)
    def refused(request: HttpRequest, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return refuse(error, request.scope)

    @app.exception_handler(NoRoom)
    def full(request: HttpRequest, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 507)

    @app.exception_handler(RequestValidationError)
    def wrong(request: HttpRequest, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        lines = [f"{'.'.join(map(str, one['loc'][1:])) or 'the body'}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"detail": "; ".join(lines[:5])}, 422)


def _known(find: Callable[..., Any], request: HttpRequest, id: str) -> Any:
    try:
        return find(request.app.state.owner_of(request), id)
    except KeyError:
        raise HTTPException(404, "there is no such job") from None
