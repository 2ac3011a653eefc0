# SPDX-License-Identifier: GPL-3.0-or-later
"""The service `unrender serve`, spoken to by Python's standard library alone."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8420"
OVER = ("done", "failed", "cancelled")

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is behind no proxy


class Refused(Exception):
    """What the service would not do, or that there is none: one line."""


@dataclass(frozen=True)
class Job:
    """A verb, its settings, the files that are uploaded for them, and how far it is.

    Attributes:
        verb: of the service: inverse, forward, light, insert, ...
        settings: its JSON body, but for files.
        files: to upload, by the field that gets their id; "objects.0.asset" is one of a list.
    """

    verb: str
    settings: Mapping[str, object]
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Server:
    """Where the service is.

    Attributes:
        url: http://127.0.0.1:8420, for example.
        token: that it wants to see; "" for none.
    """

    url: str = DEFAULT_URL
    token: str = ""

    def call(self, method: str, route: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """The body of the answer. Raises `Refused`."""
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise Refused(f"the address {self.url} is none of a service; expected {DEFAULT_URL}, for example")
        request = urllib.request.Request(self.url.rstrip("/") + route, body, {"Content-Type": kind}, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(f"unrender: {_detail(error)}") from error
        except (OSError, ValueError) as error:
            raise Refused(f"no service at {self.url} ({error}); start one by `unrender serve`") from error

    def run(
        self,
        job: Job,
        folder: Path,
        report: Callable[[float, str], None] = lambda share, said: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, Path]:
        """Does a job, and puts its results into `folder`, by name. Raises `Refused`, where it is stopped, too."""
        body = json.loads(json.dumps(job.settings))
        for field, path in job.files.items():
            _put(body, field.split("."), self._upload(path))
        state = self._json("POST", f"/v1/jobs/{job.verb}", body)
        place = f"/v1/jobs/{state['id']}"
        while state["state"] not in OVER:
            if stopped():
                self.call("DELETE", place)
                raise Refused(f"{job.verb} was stopped")
            time.sleep(0.1)
            state = self._json("GET", place)
            report(float(state["progress"]), str(state.get("message", "")))
        if state["state"] != "done":
            raise Refused(f"unrender {job.verb}: {state.get('message') or state['state']}")
        results = {}
        for result in state["results"]:
            results[result["name"]] = folder / Path(result["name"]).name
            results[result["name"]].write_bytes(self.call("GET", f"/v1/files/{result['id']}"))
        return results

    def _upload(self, path: Path) -> str:
        name = urllib.parse.quote(path.name)
        answer = self.call("POST", f"/v1/files?name={name}", path.read_bytes(), "application/octet-stream")
        return json.loads(answer)["id"]

    def _json(self, method: str, route: str, body: object = None) -> dict:
        return json.loads(self.call(method, route, None if body is None else json.dumps(body).encode()))


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read())["detail"]
    except (ValueError, KeyError, OSError):
        said = f"{error.code} {error.reason}"
    return " ".join(str(said).split())


def _put(body: object, where: list[str], value: str) -> None:
    """Puts a value into nested objects and lists."""
    for step in where[:-1]:
        body = body[int(step)] if isinstance(body, list) else body[step]  # type: ignore[index]
    body[where[-1]] = value  # type: ignore[index]
