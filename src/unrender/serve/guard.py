"""What every request passes before anything looks at it: who speaks, from which page, how much and how slowly.

A browser lets any page speak to this machine. So the Host has to be one of ours (against DNS rebinding), a page that
speaks has to be ours (against cross-site requests), and beyond loopback everyone has to show the token.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from unrender.serve.settings import LOOPBACK_NAMES, ServeSettings, is_loopback

LOGGER = logging.getLogger("unrender.serve")
JSON_BYTES = 1 << 20
UPLOADS = "/v1/files"
TOKEN_COOKIE = "unrender-token"

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "style-src 'self'; script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}


class Refusal(Exception):
    """A request that is not answered: its status and the one line that says why."""

    def __init__(self, status: int, says: str) -> None:
        super().__init__(says)
        self.status, self.says = status, says


@dataclass(frozen=True)
class Guard:
    """Refuses what may not pass to `app`, in one line of JSON, and logs it."""

    app: FastAPI
    settings: ServeSettings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            check_host(headers, self.settings)
            check_page(headers, scope["path"], scope["method"])
            check_token(headers, scope, self.settings)
            body = _Body(receive, self._most_bytes(scope), self.settings.limits.upload_seconds)
            body.check_length(headers)
        except Refusal as refusal:
            return await refuse(refusal, scope)(scope, receive, send)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    told.setdefault(name, value)
                told.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self.app(scope, body.receive, answered)
        except ClientDisconnect:
            LOGGER.info("%s %s: the caller went away", scope["method"], _shown(scope["path"]))

    def _most_bytes(self, scope: Scope) -> int:
        return self.settings.limits.upload_bytes + JSON_BYTES if scope["path"] == UPLOADS else JSON_BYTES


@dataclass
class _Body:
    """The body of a request, counted and timed while it comes."""

    source: Receive
    most: int
    seconds: float
    taken: int = 0
    until: float = 0.0

    def check_length(self, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise Refusal(400, "the length of the request is no number")
        if int(length) > self.most:
            raise Refusal(413, f"{length} bytes; expected at most {self.most}")

    async def receive(self) -> Message:
        self.until = self.until or time.monotonic() + self.seconds
        if self.taken < 0:  # the body is whole: what may still come is that the caller goes away
            return await self.source()
        try:
            message = await asyncio.wait_for(self.source(), max(0.001, self.until - time.monotonic()))
        except TimeoutError:
            raise Refusal(408, f"the request took longer than {self.seconds:g} s") from None
        if message["type"] == "http.request":
            self.taken += len(message.get("body", b""))
            if self.taken > self.most:
                raise Refusal(413, f"more than {self.most} bytes; expected at most that many")
            if not message.get("more_body"):
                self.taken = -1
        return message


def check_host(headers: Mapping[str, str], settings: ServeSettings) -> None:
    """Refuses a Host that is not this machine's: a page of elsewhere whose name was made to lead here."""
    if not is_loopback(settings.host):
        return  # the token says who speaks, and no page of elsewhere has it
    name = headers.get("host", "").lower()
    bare = name.rpartition(":")[0] if name.rpartition(":")[2].isdecimal() and not name.endswith("]") else name
    if bare not in (*LOOPBACK_NAMES, settings.host.lower()):
        raise Refusal(421, f"the host {_shown(name)!r} is not this service; expected localhost")


def check_page(headers: Mapping[str, str], path: str, method: str) -> None:
    """Refuses what the page of another site asks a browser to do; a link to the first page may be followed."""
    followed = method == "GET" and path == "/" and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed:
        raise Refusal(403, "asked for by the page of another site; expected this service's own, or a program")
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{headers.get('host', '').lower()}":
        raise Refusal(403, f"asked for by {_shown(origin)!r}; expected this service's own page, or a program")


def check_token(headers: Mapping[str, str], scope: Scope, settings: ServeSettings) -> None:
    """Refuses who does not show the token, as a bearer's, or as the cookie that the page was given for it."""
    scope.setdefault("state", {})["owner"] = "local"
    if not settings.token:
        return
    kind, _, shown = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        shown = cookie_parser(headers.get("cookie", "")).get(TOKEN_COOKIE, "")
    right = secrets.compare_digest(shown.strip().encode(), settings.token.encode())
    if not right and not scope["path"] == "/":  # the first page asks for it itself
        raise Refusal(401, "no token, or a wrong one; expected the header Authorization: Bearer TOKEN")
    scope["state"]["known"] = right


def refuse(refusal: Refusal, scope: Scope) -> JSONResponse:
    """The answer to a request that is refused, in the middle of its body, too; logs it."""
    LOGGER.warning("%s %s refused: %d, %s", scope["method"], _shown(scope["path"]), refusal.status, refusal.says)
    headers = HEADERS | {"connection": "close"}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"detail": refusal.says}, refusal.status, headers)


def _shown(text: str) -> str:
    """What a caller sent, as one short line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:120])
