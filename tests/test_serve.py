"""`unrender serve`: jobs over HTTP, and what it refuses."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unrender.errors import UserError
from unrender.serve import Limits, ServeSettings, create_app
from unrender.serve.requests import VERBS
from unrender.serve.settings import is_loopback
from unrender.serve.store import FileStore, safe_name

HERE = "http://127.0.0.1:8420"
SMALL = Limits(upload_bytes=200_000, pixels=40_000, waiting=2)


def picture(width: int = 48, height: int = 32) -> bytes:
    ramp = np.linspace(40, 220, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    kept = io.BytesIO()
    Image.fromarray(ramp).save(kept, format="PNG")
    return kept.getvalue()


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_app(ServeSettings(limits=SMALL)), base_url=HERE) as opened:
        yield opened


@pytest.fixture(scope="module")
def working() -> Iterator[TestClient]:
    """One service for the tests whose jobs are done, since its process takes seconds to start."""
    with TestClient(create_app(ServeSettings(limits=SMALL)), base_url=HERE) as opened:
        yield opened


def root(client: TestClient) -> Path:
    return client.app.app.state.store.root


def upload(client: TestClient, body: bytes | None = None, name: str = "photo.png") -> str:
    answer = client.post("/v1/files", params={"name": name}, content=picture() if body is None else body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def over(client: TestClient, id: str, seconds: float = 240) -> dict:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = client.get(f"/v1/jobs/{id}").json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job} is not over")


def test_a_photo_comes_apart_and_is_relit_as_the_command_does_it(working, tmp_path):
    from unrender.cli import main

    photo = upload(working)
    asked = working.post("/v1/jobs/relight", json={"input": photo, "light": "sunset", "yaw": 40})
    assert asked.status_code == 202
    assert asked.json()["state"] in ("queued", "running")
    again = working.post("/v1/jobs/inverse", json={"input": photo, "maps": ["normal"]})
    job, apart = over(working, asked.json()["id"]), over(working, again.json()["id"])
    assert (job["state"], job["progress"]) == ("done", 1.0), job
    assert [result["name"] for result in apart["results"]] == ["photo.exr", "photo.maps.png"]
    results = {result["name"]: result for result in job["results"]}
    assert sorted(results) == ["photo.gbuffer.exr", "photo.maps.png", "photo.relit.exr", "photo.relit.png"]
    (tmp_path / "photo.png").write_bytes(picture())
    assert main(["relight", str(tmp_path / "photo.png"), "-o", str(tmp_path), "--light", "sunset", "--yaw", "40"]) == 0
    sent = working.get(f"/v1/files/{results['photo.relit.png']['id']}")
    shown, expected = (
        np.asarray(Image.open(io.BytesIO(data))) for data in (sent.content, (tmp_path / "photo.relit.png").read_bytes())
    )
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert working.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert working.get(f"/v1/files/{results['photo.relit.exr']['id']}").status_code == 404


def test_a_callers_mistake_fails_the_job_in_one_line_without_a_folder_in_it(working):
    photo, text = upload(working), upload(working, b"no picture at all", "notes.png")
    for asked in (
        {"input": text, "light": "sunset"},
        {"input": photo, "light": "susnet"},
        {"input": photo, "light": "sunset", "model": "../../etc"},
        {"input": photo, "light": "/etc/passwd"},
        {"input": photo, "light": "sunset", "forward": "deferred:rays"},
    ):
        job = over(working, working.post("/v1/jobs/relight", json=asked).json()["id"])
        assert job["state"] == "failed"
        assert len(job["message"].splitlines()) == 1
        assert str(root(working)) not in job["message"]
        assert job["results"] == []


def test_a_decompression_bomb_and_a_picture_of_too_many_pixels_are_refused(working):
    kept = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(kept, format="PNG")
    bomb, large = kept.getvalue(), picture(250, 250)
    for body in (bomb[:190_000], large):
        job = over(working, working.post("/v1/jobs/inverse", json={"input": upload(working, body)}).json()["id"])
        assert job["state"] == "failed"
        assert "too large" in job["message"] or "expected at most" in job["message"]


def test_jobs_are_cancelled_and_more_than_may_wait_are_refused(client):
    photo = upload(client)
    ask = {"input": photo, "light": "sunset", "turn": 360, "frames": 5000}
    running = client.post("/v1/jobs/relight", json=ask).json()["id"]
    until = time.monotonic() + 60
    while client.get(f"/v1/jobs/{running}").json()["state"] != "running" and time.monotonic() < until:
        time.sleep(0.02)
    waiting = [client.post("/v1/jobs/relight", json=ask) for _ in range(3)]
    assert [answer.status_code for answer in waiting] == [202, 202, 429]
    assert waiting[2].headers["retry-after"]
    assert client.delete(f"/v1/jobs/{waiting[0].json()['id']}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{waiting[1].json()['id']}").json()["state"] == "cancelled"
    client.delete(f"/v1/jobs/{running}")
    assert over(client, running, 20)["state"] == "cancelled"
    assert sorted(path.name for path in root(client).rglob("*") if path.is_file()) == ["photo.png"]


def test_a_job_that_takes_too_long_or_too_much_memory_is_ended():
    for limits, says in ((Limits(job_seconds=0.01), "longer than"), (Limits(job_bytes=1 << 20), "MiB of memory")):
        with TestClient(create_app(ServeSettings(limits=limits)), base_url=HERE) as client:
            asked = client.post("/v1/jobs/inverse", json={"input": upload(client)}).json()
            job = over(client, asked["id"], 30)
            assert job["state"] == "failed"
            assert says in job["message"]


def test_the_schema_is_published_and_says_what_the_verbs_take(client):
    schema = client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert set(schema["paths"]) == {
        *(f"/v1/jobs/{verb}" for verb in VERBS),
        "/v1/jobs/{id}",
        "/v1/files",
        "/v1/files/{id}",
        "/v1/models",
        "/v1/lights",
        "/v1/health",
    }
    fields = {name: list(kind.model_fields) for name, kind in VERBS.items()}
    for verb, kind in VERBS.items():
        body = schema["paths"][f"/v1/jobs/{verb}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        described = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        assert list(described["properties"]) == fields[verb]
        assert described["additionalProperties"] is False
        assert kind.__name__ == described["title"]
    job = schema["components"]["schemas"]["JobAnswer"]
    assert list(job["properties"]) == ["id", "verb", "state", "progress", "message", "results"]
    page = (Path(__file__).parent.parent / "docs" / "serve.md").read_text(encoding="utf-8")
    for verb, names in fields.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{verb}` |"))
        assert [name for name in names if f"`{name}`" not in row] == []


def test_lists_name_what_ships(client):
    assert "sunset" in [light["name"] for light in client.get("/v1/lights").json()]
    mini = next(model for model in client.get("/v1/models").json() if model["id"] == "mini")
    assert (mini["here"], mini["licence"], mini["commercial"]) == (True, "Apache-2.0", "yes")
    assert client.get("/v1/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:8420"}, 421),
        ({"host": "localhost:8420"}, 200),
        ({"host": "[::1]:8420"}, 200),
        ({"origin": HERE, "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused_and_logged(client, caplog, headers, status):
    with caplog.at_level(logging.WARNING, "unrender.serve"):
        answer = client.get("/v1/health", headers=headers)
    assert answer.status_code == status
    assert ("refused" in caplog.text) == (status != 200)
    if status != 200:
        assert set(answer.json()) == {"detail"}


def test_beyond_loopback_everyone_shows_the_token(caplog):
    with pytest.raises(UserError, match="token"):
        ServeSettings("0.0.0.0")
    app = create_app(ServeSettings("0.0.0.0", token="right"))
    with TestClient(app, base_url="http://studio.local:8420") as client:
        for wrong in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic right"}, {"cookie": "right"}):
            answer = client.post("/v1/files", params={"name": "a.png"}, content=picture(), headers=wrong)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert client.get("/openapi.json", headers=wrong).status_code == 401
        assert list(root(client).iterdir()) == []
        assert client.get("/v1/health", headers={"authorization": "Bearer right"}).status_code == 200
    assert "right" not in caplog.text


@pytest.mark.parametrize(
    "path",
    ["/v1/files/..%2f..%2fetc%2fpasswd", "/v1/files/%2e%2e", "/v1/jobs/..%2f..%2fx", "/v1/files/" + "A" * 22],
)
def test_ids_are_no_paths(client, path):
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code in (404, 405)


@pytest.mark.parametrize("name", ["../../evil.png", "C:\\x\\evil.png", "/etc/evil.png", "evil\0.png", "a/../evil.png"])
def test_names_of_uploads_lead_nowhere(client, name):
    id = upload(client, name=name)
    stored = client.app.app.state.store.get("local", id)
    assert stored.path.resolve().is_relative_to(root(client).resolve())
    assert stored.name == "evil.png"


def test_html_in_a_name_or_a_file_is_never_shown_as_a_page(client):
    page = b"<script>alert(1)</script>"
    id = upload(client, page, '"><img src=x onerror=alert(1)>.html')
    answer = client.get(f"/v1/files/{id}")
    assert answer.content == page
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    kept = client.app.app.state.store.get("local", id).name
    assert not set(kept) & set("<>\"'&")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_every_name_becomes_a_plain_one_or_is_refused(name):
    try:
        kept = safe_name(name)
    except UserError:
        return
    assert 0 < len(kept) <= 90
    assert not set(kept) & set("/\\<>\"'&#%*?|\0\n:;$`")
    assert not kept.startswith(".")
    assert Path(kept).name == kept


def test_an_upload_that_is_too_large_leaves_nothing(client, caplog):
    large = bytes(SMALL.upload_bytes + (2 << 20))

    def dripping() -> Iterator[bytes]:  # its length is not said beforehand
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    for content in (large, dripping()):
        answer = client.post("/v1/files", params={"name": "a.png"}, content=content)
        assert answer.status_code == 413
    form = client.post("/v1/files", files={"file": ("a.png", large)})
    assert form.status_code == 413
    assert client.post("/v1/files", params={"name": "a.png"}, content=b"").status_code == 400
    assert client.post("/v1/files", params={"name": "..."}, content=b"x").status_code == 400
    assert list(root(client).iterdir()) == []
    assert "refused: 413" in caplog.text


def test_a_full_store_takes_no_more_and_what_nobody_asks_for_goes():
    limits = Limits(stored_bytes=3000, keep_seconds=0.3)
    with TestClient(create_app(ServeSettings(limits=limits)), base_url=HERE) as client:
        id = upload(client, bytes(2000), "a.bin")
        assert client.post("/v1/files", params={"name": "b.bin"}, content=bytes(2000)).status_code == 507
        until = time.monotonic() + 10
        while list(root(client).iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        assert client.get(f"/v1/files/{id}").status_code == 404
        assert list(root(client).iterdir()) == []
        folder = root(client)
    assert not folder.exists()


def test_files_and_jobs_of_one_caller_are_unreadable_to_another():
    settings = ServeSettings(limits=SMALL)
    app = create_app(settings, owner_of=lambda request: request.headers.get("x-who", "nobody"))
    with TestClient(app, base_url=HERE) as client:
        mine, theirs = {"x-who": "me"}, {"x-who": "them"}
        id = client.post("/v1/files", params={"name": "a.png"}, content=picture(), headers=mine).json()["id"]
        assert client.get(f"/v1/files/{id}", headers=theirs).status_code == 404
        assert client.delete(f"/v1/files/{id}", headers=theirs).status_code == 404
        ask = {"input": id, "light": "sunset"}
        assert client.post("/v1/jobs/relight", json=ask, headers=theirs).status_code == 404
        job = client.post("/v1/jobs/relight", json=ask, headers=mine).json()["id"]
        assert client.get(f"/v1/jobs/{job}", headers=theirs).status_code == 404
        assert client.delete(f"/v1/jobs/{job}", headers=theirs).status_code == 404
        client.delete(f"/v1/jobs/{job}", headers=mine)
        assert client.get(f"/v1/files/{id}", headers=mine).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x", "light": "sunset"},
        {"input": "A" * 22},
        {"input": "A" * 22, "light": "sunset", "yaw": "NaN"},
        {"input": "A" * 22, "light": "sunset", "exposure": 1e9},
        {"input": "A" * 22, "light": "sunset", "turns": 3},
        [],
        "relight",
    ],
)
def test_bodies_that_are_not_what_the_schema_says_are_one_line(client, body):
    answer = client.post("/v1/jobs/relight", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


@pytest.fixture
def listening() -> Iterator[tuple[str, int, Path]]:
    """The service on a real socket, where uploads may be slow."""
    app = create_app(ServeSettings(limits=Limits(upload_seconds=0.6)))
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield "127.0.0.1", opened.getsockname()[1], app.app.state.store.root
        server.should_exit = True
        thread.join(10)


def test_a_slow_upload_is_ended_and_leaves_nothing(listening):
    host, port, folder = listening
    with socket.create_connection((host, port)) as caller:
        caller.sendall(
            f"POST /v1/files?name=a.png HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100000\r\n\r\n".encode()
        )
        began, answer = time.monotonic(), b""
        caller.settimeout(0.1)
        while time.monotonic() - began < 10 and b"\r\n\r\n" not in answer:
            try:
                caller.sendall(b"x")
                answer += caller.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 8
    assert list(folder.iterdir()) == []


def test_a_caller_that_goes_away_in_the_middle_leaves_nothing(listening):
    host, port, folder = listening
    with socket.create_connection((host, port)) as caller:
        head = f"POST /v1/files?name=a.png HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100000\r\n\r\n"
        caller.sendall(head.encode() + bytes(1000))
        time.sleep(0.1)
    until = time.monotonic() + 5
    while list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.1", False), ("x.y", False)],
)
def test_which_addresses_are_this_machines_alone(host, here):
    assert is_loopback(host) == here


def test_a_store_removes_its_folder_and_those_of_services_that_were_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = "import os, unrender.serve.store as s; s.FileStore(s.Limits()); os._exit(9)"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", gone], env=environment, check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    store = FileStore(Limits())
    folder = store.folder()
    (folder / "a").write_bytes(b"x")
    store.close()
    assert list(tmp_path.iterdir()) == []
