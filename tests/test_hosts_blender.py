"""The Blender add-on: what of it needs no Blender here, and all of it in `blender --background` against a running
`unrender serve` (slow; `make blender`)."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import OpenEXR
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unrender as ur

ADDON = Path(__file__).parent.parent / "hosts" / "blender" / "unrender_addon"


def alone(name: str) -> ModuleType:
    """A module of the add-on that knows nothing of Blender."""
    spec = importlib.util.spec_from_file_location(f"addon_{name}", ADDON / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


exr, client = alone("exr"), alone("client")


def test_the_manifest_is_what_blender_asks_for() -> None:
    said = tomllib.loads((ADDON / "blender_manifest.toml").read_text())
    asked = {
        "schema_version",
        "id",
        "version",
        "name",
        "tagline",
        "maintainer",
        "type",
        "blender_version_min",
        "license",
    }
    assert asked | {"blender_version_min"} <= set(said)
    assert said["schema_version"] == "1.0.0"
    assert said["type"] == "add-on"
    assert len(said["tagline"]) <= 64
    assert not said["tagline"].endswith(".")
    assert tuple(map(int, said["blender_version_min"].split("."))) >= (4, 2, 0)
    assert all(one.startswith("SPDX:") for one in said["license"])
    assert set(said["permissions"]) <= {"files", "network", "clipboard", "camera", "microphone"}
    assert all(len(reason) <= 64 and not reason.endswith(".") for reason in said["permissions"].values())
    assert all(said.values())
    legacy = (ADDON / "__init__.py").read_text()
    assert f'"version": ({", ".join(said["version"].split("."))})' in legacy


def test_the_addon_needs_nothing_but_what_blender_has() -> None:
    known = set(sys.stdlib_module_names) | {"bpy", "bpy_extras", "mathutils", "numpy"}
    for path in ADDON.glob("*.py"):
        for name in re.findall(r"^\s*(?:import|from) ([a-z_]\w*)", path.read_text(), re.M):
            assert name in known, (path.name, name)


NAMES = st.lists(st.sampled_from(["R", "G", "normal.X", "a.b.Z"]), min_size=1, unique=True)


@given(st.integers(1, 40), st.integers(1, 40), NAMES, st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_what_it_writes_openexr_reads(tmp_path_factory, height: int, width: int, names: list[str], seed: int) -> None:
    path = tmp_path_factory.mktemp("exr") / "a.exr"
    random = np.random.default_rng(seed)
    planes = {name: (random.standard_normal((height, width)) * 100).astype(np.float32) for name in names}
    exr.write(path, exr.Exr(planes, {"unrender:axes": "opengl", "a_name_of_more_than_thirty_one_letters": "é"}))
    part = OpenEXR.File(str(path), separate_channels=True).parts[0]
    assert set(part.channels) == set(names)
    assert all(np.array_equal(part.channels[name].pixels, planes[name]) for name in names)
    assert part.header["unrender:axes"] == "opengl"
    back = exr.read(path)
    assert all(np.array_equal(back.channels[name], planes[name]) for name in names)
    assert back.text["a_name_of_more_than_thirty_one_letters"] == "é"


def test_it_reads_what_we_write(tmp_path: Path) -> None:
    gbuffer = ur.GBuffer(
        base_color=torch.rand(1, 3, 35, 21), depth=torch.rand(1, 1, 35, 21) + 0.1, rgb=torch.zeros(1, 3, 35, 21)
    )
    ur.write(tmp_path / "a.exr", gbuffer, "ACEScg")
    read, stored = exr.read(tmp_path / "a.exr"), ur.files.read_layers(tmp_path / "a.exr")
    assert np.array_equal(read.channels["depth.Z"], stored["depth"][0].numpy())
    part = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True).parts[0]
    assert np.array_equal(read.channels["base_color.R"], part.channels["base_color.R"].pixels.astype(np.float32))
    assert read.chromaticities[:2] == pytest.approx((0.713, 0.293))
    assert read.text["unrender:color_space"] == "ACEScg"


@pytest.mark.parametrize("compression", [OpenEXR.NO_COMPRESSION, OpenEXR.ZIPS_COMPRESSION, OpenEXR.ZIP_COMPRESSION])
def test_it_reads_every_way_of_zip(tmp_path: Path, compression) -> None:
    values = np.random.default_rng(1).random((33, 5)).astype(np.float16)
    header = {"compression": compression, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"a.Y": values, "id.Y": values.astype(np.uint32)}).write(str(tmp_path / "a.exr"))
    assert np.array_equal(exr.read(tmp_path / "a.exr").channels["a.Y"], values.astype(np.float32))


def test_other_files_are_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_bytes(b"\x89PNG" + b"0" * 40)
    with pytest.raises(exr.Unreadable, match=r"a\.exr is no OpenEXR file"):
        exr.read(tmp_path / "a.exr")
    header = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Y": np.zeros((8, 8), np.float16)}).write(str(tmp_path / "b.exr"))
    with pytest.raises(exr.Unreadable, match="another way than ZIP"):
        exr.read(tmp_path / "b.exr")


class Service(BaseHTTPRequestHandler):
    """A service that answers as `docs/serve.md` says."""

    asked: list[tuple[str, str, dict, bytes]] = []  # noqa: RUF012
    state = "done"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Service.asked.append((self.command, self.path, dict(self.headers), body))
        if self.headers.get("Authorization") != "Bearer secret":
            return self._say(401, {"detail": "no token,\n or a wrong one"})
        if self.path.startswith("/v1/files?"):
            return self._say(201, {"id": f"file{len(Service.asked)}"})
        if self.path.startswith("/v1/files/"):
            return self._say(200, b"bytes of " + self.path.encode())
        results = [{"name": "../a b.exr", "id": "r1", "bytes": 3}]
        self._say(200, {"id": "j1", "state": Service.state, "progress": 1.0, "message": "why", "results": results})

    do_GET = do_POST = do_DELETE = _any

    def _say(self, status: int, said: object) -> None:
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    Service.asked, Service.state = [], "done"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_job_is_uploaded_asked_for_and_fetched(service: str, tmp_path: Path) -> None:
    (tmp_path / "my ball.glb").write_bytes(b"glTF")
    job = client.Job("insert", {"objects": [{"height": "25%"}]}, {"objects.0.asset": tmp_path / "my ball.glb"})
    results = client.Server(service, "secret").run(job, tmp_path)
    assert results == {"../a b.exr": tmp_path / "a b.exr"}, "a result stays in its folder"
    assert (tmp_path / "a b.exr").read_bytes() == b"bytes of /v1/files/r1"
    upload, asked, *_ = Service.asked
    assert upload[:2] == ("POST", "/v1/files?name=my%20ball.glb")
    assert upload[3] == b"glTF"
    assert json.loads(asked[3]) == {"objects": [{"height": "25%", "asset": "file1"}]}


def test_refusals_are_one_line(service: str, tmp_path: Path) -> None:
    job = client.Job("light", {}, {})
    with pytest.raises(client.Refused, match=r"^unrender: no token, or a wrong one$"):
        client.Server(service).run(job, tmp_path)
    Service.state = "failed"
    with pytest.raises(client.Refused, match=r"^unrender light: why$"):
        client.Server(service, "secret").run(job, tmp_path)
    Service.state = "running"
    with pytest.raises(client.Refused, match="stopped"):
        client.Server(service, "secret").run(job, tmp_path, stopped=lambda: True)
    assert Service.asked[-1][:2] == ("DELETE", "/v1/jobs/j1")
    with pytest.raises(client.Refused, match="expected http"):
        client.Server("file:///etc/passwd").run(job, tmp_path)


# In Blender.


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real service on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("serve") / "log.txt").open("w")
    command = [sys.executable, "-c", "import sys; from unrender.cli import main; sys.exit(main())", "serve"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, Path(log.name).read_text()
            try:
                urllib.request.urlopen(f"{url}/v1/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def with_numpy(blender: list[str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the environment in which Blender's Python has numpy, as in all releases of Blender. Debian's is
    the system's, which may be without; it takes that of the tests then."""
    probe = [*blender, "--python-exit-code", "3", "--python-expr", "import numpy"]
    if subprocess.run(probe, capture_output=True, timeout=120, check=False).returncode == 0:
        return blender, dict(os.environ)
    installed = Path(np.__file__).parent
    for one in (installed, installed.with_name("numpy.libs")):
        if one.exists():
            (folder / one.name).symlink_to(one)
    return [*blender, "--python-use-system-env"], os.environ | {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def made(running: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Blender made and said; see `blender/addon.py`."""
    blender = shutil.which("blender")
    assert blender is not None, "Blender is not installed; it is for this test"
    from PIL import Image
    from skimage import data

    out = tmp_path_factory.mktemp("blender")
    photo = out / "coffee.png"
    Image.fromarray(data.coffee()).resize((300, 200), Image.Resampling.BOX).save(photo)
    script = Path(__file__).parent / "blender" / "addon.py"
    command, environment = with_numpy([blender, "--background", "--factory-startup"], tmp_path_factory.mktemp("numpy"))
    command += ["--python-exit-code", "3", "--python", str(script), "--", str(ADDON), running, str(photo), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


def said_of(made: Path) -> dict:
    return json.loads((made / "said.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_photo_comes_back_as_float_maps(made: Path) -> None:
    said = said_of(made)
    assert {"base_color", "normal", "depth", "roughness", "metallic"} <= set(said)
    for name in ("normal", "depth", "roughness"):
        assert said[name] == {"space": "Non-Color", "float": True}
    assert said["base_color"]["space"].startswith("Linear")
    normal = np.load(made / "normal.npy")
    assert normal.shape == (200, 300, 4)
    length = np.linalg.norm(normal[..., :3], axis=-1)
    assert (np.abs(length[length > 0.1] - 1) < 1e-3).all()
    assert normal[..., :3].min() < -0.2
    ours = ur.InverseRenderer.from_pretrained("mini")(made / "coffee.png")
    assert np.abs(np.load(made / "base_color.npy")[..., :3] - ours.base_color[0].movedim(0, -1).numpy()).max() < 2e-3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mistakes_are_said_in_a_line(made: Path) -> None:
    said = said_of(made)
    assert "start one by `unrender serve`" in said["no service"]
    assert "no-such-model" in said["no model"]
    assert "nothing was rendered yet; expected a render" in said["not set up"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_render_becomes_a_gbuffer_with_its_camera(made: Path) -> None:
    """Points by depth and camera lie on the ball and the floor, whose normals are those of the maps."""
    gbuffer = ur.read_gbuffer(made / "gbuffer.exr")
    assert gbuffer.depth_kind == "metric"
    assert gbuffer.camera is not None
    seen = gbuffer.mask[0, 0] > 0.5
    from unrender.scene.camera import unproject

    pose = gbuffer.camera.pose[0]
    points = unproject(gbuffer.depth.masked_fill(~seen, 1.0), gbuffer.camera)[0]
    world = torch.einsum("ij,jhw->ihw", pose[:3, :3], points) + pose[:3, 3, None, None]
    normal = torch.einsum("ij,jhw->ihw", pose[:3, :3], gbuffer.normal[0])
    from_middle = (world - torch.tensor([0.0, 1.0, 0.0])[:, None, None]).norm(dim=0)
    red = (gbuffer.base_color[0, 0] > 0.7) & seen
    assert red.sum() > 100
    assert (from_middle[red] - 1).abs().mean() < 0.02
    outwards = torch.nn.functional.normalize(world - torch.tensor([0.0, 1.0, 0.0])[:, None, None], dim=0)
    assert (outwards * normal).sum(0)[red].mean() > 0.99
    floor = (gbuffer.base_color[0, 0] < 0.45) & seen
    assert world[1][floor].abs().mean() < 0.02
    assert normal[1][floor].mean() > 0.99
    assert gbuffer.roughness[0, 0][red].median() == pytest.approx(0.6, abs=0.01)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_render_relit_by_its_own_world_is_the_render(made: Path) -> None:
    """The light comes from where Cycles has it: turned by any other quarter, it fits far worse."""
    rendered = exr.read(made / "render.exr").channels
    cycles = np.stack([rendered[f"ViewLayer.Combined.{c}"] for c in "RGB"], axis=-1)
    gbuffer = ur.read_gbuffer(made / "gbuffer.exr")
    seen = gbuffer.mask[0, 0].numpy() > 0.5
    relit = np.load(made / "relit.npy")[..., :3]

    def error(picture: np.ndarray) -> float:
        return float(np.abs(picture - cycles)[seen].mean())

    assert error(relit) < 0.12 * cycles[seen].mean()
    light = ur.EnvironmentMap.read(made / "sun.exr")
    render = ur.DeferredRenderer("auto")
    for turned in (90.0, 180.0, 270.0):
        other = render(gbuffer, light, 30.0 + turned).beauty[0].movedim(0, -1).numpy()
        assert error(other) > 3 * error(relit), turned


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_inserted_object_stands_in_blender_where_the_picture_has_it(made: Path) -> None:
    said = said_of(made)
    assert said["resolution"] == [200, 300]
    corners = np.array(said["ball in the picture"]) * (300, 200)
    rows, columns = np.nonzero(np.load(made / "mask.npy")[..., 0] > 0.5)
    assert len(rows) > 50
    assert corners[:, 0].min() == pytest.approx(columns.min(), abs=2.5)
    assert corners[:, 0].max() == pytest.approx(columns.max() + 1, abs=2.5)
    assert corners[:, 1].min() == pytest.approx(rows.min(), abs=2.5)
    assert corners[:, 1].max() == pytest.approx(rows.max() + 1, abs=2.5)
    assert said["inserted"]["float"]
