"""A hub on this machine: it answers what huggingface_hub asks of the real one, from a dictionary of files."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Request:
    """What was asked: method, path, and the range of bytes that was wanted ("" for all)."""

    method: str
    path: str
    range: str = ""


@dataclass
class LocalHub:
    """Repositories by id, each with its commits (the last is `main`); and what happened.

    Attributes:
        cut: how many bytes of a file (by the end of its path) are sent before the connection is closed, once.
        failing: whether a file that was cut is answered with 500 from then on.
        gated: ids that are shown to nobody.
        claimed_size: bytes that every file is said to have in listings; None for the truth.
        requests: everything that was asked.
    """

    repositories: dict[str, list[tuple[str, Files]]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    failing: bool = False
    gated: set[str] = field(default_factory=set)
    claimed_size: int | None = None
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def publish(self, model: str, files: Files) -> str:
        """Adds a commit to a repository and returns its hash."""
        listing = json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())})
        commit = hashlib.sha1((model + listing).encode()).hexdigest()
        self.repositories.setdefault(model, []).append((commit, files))
        return commit

    def sent(self) -> list[str]:
        """The files whose bytes were asked for, by the end of their path."""
        gets = [request.path for request in self.requests if request.method == "GET"]
        return [path.split("/", 5)[5] for path in gets if "/resolve/" in path]

    def commit(self, model: str, revision: str) -> tuple[str, Files] | None:
        """The commit that a revision stands for, and its files."""
        commits = self.repositories[model]
        if revision == "main":
            return commits[-1]
        return next((commit for commit in commits if commit[0] == revision), None)


@contextmanager
def serving(hub: LocalHub) -> Iterator[LocalHub]:
    """Serves `hub` on a free port of this machine while the block runs."""

    class Handler(_Handler):
        shown = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    shown: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.shown.requests.append(Request(self.command, path, self.headers.get("Range", "")))
        parts = path.strip("/").split("/")
        model, rest = ("/".join(parts[2:4]), parts[4:]) if parts[0] == "api" else ("/".join(parts[:2]), parts[2:])
        if model not in self.shown.repositories:
            return self._refuse(404, "RepoNotFound")
        if model in self.shown.gated:
            return self._refuse(403, "GatedRepo")
        found = self.shown.commit(model, rest[1])
        if found is None:
            return self._refuse(404, "RevisionNotFound")
        commit, files = found
        match rest[0]:
            case "revision":
                siblings = [{"rfilename": name, **self._listed(data)} for name, data in files.items()]
                return self._json({"id": model, "sha": commit, "siblings": siblings}, commit)
            case "tree":
                return self._json(
                    [{"type": "file", "path": name, **self._listed(data)} for name, data in files.items()], commit
                )
        name = "/".join(rest[2:])
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        return self._file(name, files[name], commit)

    def _listed(self, data: bytes) -> dict[str, object]:
        claimed = self.shown.claimed_size
        return {"size": len(data) if claimed is None else claimed, "oid": _oid(data), "blobId": _oid(data)}

    def _json(self, value: object, commit: str) -> None:
        self._head(200, json.dumps(value).encode(), {"X-Repo-Commit": commit, "Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._head(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _file(self, name: str, data: bytes, commit: str) -> None:
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_oid(data)}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        body = data[int(wanted) :] if wanted else data
        if wanted:
            headers["Content-Range"] = f"bytes {wanted}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and self.shown.cut.get(name) is not None:
            if self.shown.cut[name] < 0:
                return (
                    self._head(500, b"", {})
                    if self.shown.failing
                    else self._head(206 if wanted else 200, body, headers)
                )
            body_sent = body[: self.shown.cut[name]]
            self.shown.cut[name] = -1
            self._head(200, body, headers, body_sent)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)
            return None
        return self._head(206 if wanted else 200, body, headers)

    def _head(self, status: int, body: bytes, headers: dict[str, str], sent: bytes | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if sent is None else sent)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
