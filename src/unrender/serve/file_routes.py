"""Files to the service and back."""

from __future__ import annotations

import logging
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from unrender.errors import UserError
from unrender.serve.answers import FileAnswer
from unrender.serve.store import FileStore, safe_name

LOGGER = logging.getLogger("unrender.serve")
CHUNK = 1 << 20
router = APIRouter(prefix="/v1/files", tags=["files"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}
_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "mp4": "video/mp4"}
"""What a browser may show by itself; everything else is bytes to be saved, a page or a script above all."""


@router.post("", response_model=FileAnswer, status_code=201, openapi_extra=_BODY, operation_id="upload")
async def upload(
    request: Request,
    name: Annotated[str, Query(max_length=1000, description="What the file is called, of a raw body.")] = "",
) -> FileAnswer:
    """Keeps a file, sent raw with its `name`, or as `multipart/form-data`."""
    store: FileStore = request.app.state.store
    store.check_room(int(request.headers.get("content-length", "0")))
    folder = store.folder()
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            said = await _from_form(request, folder / "upload")
        else:
            said = name
            await _from_body(request, folder / "upload")
        path = folder / safe_name(name or said)
        (folder / "upload").rename(path)
        if path.stat().st_size == 0:
            raise UserError("the file is empty; expected a picture, a clip, a light or a mesh")
        store.check_room(path.stat().st_size)
        kept = store.add(request.app.state.owner_of(request), path.name, path)
    except BaseException:
        for left in (*folder.iterdir(),):
            left.unlink(missing_ok=True)
        folder.rmdir()
        raise
    return FileAnswer(id=kept.id, name=kept.name, bytes=kept.bytes)


async def _from_body(request: Request, path) -> None:
    with path.open("xb") as file:
        async for chunk in request.stream():
            await run_in_threadpool(file.write, chunk)


async def _from_form(request: Request, path) -> str:
    async with request.form(max_files=1, max_fields=4) as form:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise UserError("the form has no file; expected one in the field 'file'")
        with path.open("xb") as file:
            while chunk := await sent.read(CHUNK):
                await run_in_threadpool(file.write, chunk)
        return sent.filename or ""


@router.get("/{id}", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def download(id: str, request: Request) -> FileResponse:
    """The bytes of a file."""
    file = _found(request, id)
    last = file.name.rpartition("/")[2]
    kind = _TYPES.get(last.rpartition(".")[2].lower(), "application/octet-stream")
    shown = "inline" if kind != "application/octet-stream" else "attachment"
    headers = {"content-disposition": f"{shown}; filename*=UTF-8''{quote(last)}"}
    return FileResponse(file.path, media_type=kind, headers=headers)


@router.delete("/{id}", status_code=204, response_class=Response)
def delete(id: str, request: Request) -> Response:
    """Deletes a file."""
    file = _found(request, id)
    request.app.state.store.forget(file.owner, [id])
    return Response(status_code=204)


def _found(request: Request, id: str):
    try:
        return request.app.state.store.get(request.app.state.owner_of(request), id)
    except KeyError:
        raise HTTPException(404, "there is no such file") from None
