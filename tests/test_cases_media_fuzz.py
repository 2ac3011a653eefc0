"""Any change of a camera file, a COLMAP model, a mesh or a film gives a result, or one line; never anything else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from test_cases_media import corner, film, glb, png, quad
from unrender.errors import UserError
from unrender.files.cameras import read_colmap, read_transforms
from unrender.files.meshes import read_meshes
from unrender.files.sequences import open_frames

ODD = st.sampled_from(
    [
        None,
        True,
        "x",
        "",
        [],
        {},
        -1,
        0,
        0.5,
        3,
        2**31,
        2**63,
        10**400,
        float("nan"),
        float("inf"),
        -1e300,
        [[1]],
        [None] * 4,
    ]
)
bounded = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
few = settings(bounded, max_examples=25)


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    import logging

    logging.getLogger("unrender").setLevel(logging.ERROR)
    yield
    logging.getLogger("unrender").setLevel(logging.NOTSET)


def survives(read: Callable[[Path], Any], path: Path) -> None:
    try:
        read(path)
    except UserError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 2000
        assert line.isprintable()


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something could be changed in a JSON value."""
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*at, key))
    return found


def changed(said: Any, where: tuple[Any, ...], odd: Any, drop: bool) -> Any:
    copy = json.loads(json.dumps(said))
    inner = copy
    for key in where[:-1]:
        inner = inner[key]
    if drop:
        del inner[where[-1]]
    else:
        inner[where[-1]] = odd
    return copy


def bytes_changed(data: st.DataObject, stored: bytes) -> bytes:
    """Some bytes of a file put in the place of others, or its end cut off."""
    mutable = bytearray(stored)
    for _ in range(data.draw(st.integers(0, 4))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(
            st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x2D])
        )
    cut = data.draw(st.integers(0, len(mutable)))
    return bytes(mutable[:cut] if data.draw(st.booleans()) else mutable)


FRAME = {"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}
TRANSFORMS = {
    "camera_model": "OPENCV",
    "fl_x": 50.0,
    "fl_y": 50.0,
    "cx": 32,
    "cy": 24,
    "w": 64,
    "h": 48,
    "k1": 0,
    "camera_angle_x": 0.7,
    "applied_transform": np.eye(4)[:3].tolist(),
    "frames": [FRAME, {**FRAME, "w": 64}],
}


@seed(1)
@bounded
@given(data=st.data())
def test_any_change_of_transforms(tmp_path: Path, data: st.DataObject):
    said = TRANSFORMS
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(places(said)))
        said = changed(said, where, data.draw(ODD), data.draw(st.booleans()))
    (tmp_path / "t.json").write_bytes(json.dumps(said).encode())
    survives(read_transforms, tmp_path / "t.json")
    (tmp_path / "t.json").write_bytes(bytes_changed(data, json.dumps(TRANSFORMS).encode()))
    survives(read_transforms, tmp_path / "t.json")


@seed(2)
@bounded
@given(data=st.data())
def test_any_change_of_a_text_model(tmp_path: Path, data: st.DataObject):
    cameras, images = b"1 PINHOLE 64 48 50 50 32 24\n", b"1 1 0 0 0 1 2 3 1 a.png\n1 2 -1\n2 1 0 0 0 0 0 0 1 b.png\n\n"
    (tmp_path / "cameras.txt").write_bytes(bytes_changed(data, cameras))
    (tmp_path / "images.txt").write_bytes(bytes_changed(data, images))
    survives(read_colmap, tmp_path)


@seed(3)
@bounded
@given(data=st.data())
def test_any_change_of_a_binary_model(tmp_path: Path, data: st.DataObject):
    image = struct.pack("<i7di", 1, 1, 0, 0, 0, 1, 2, 3, 1) + b"a.png\0" + struct.pack("<Q2dq", 1, 1, 2, -1)
    (tmp_path / "cameras.bin").write_bytes(
        bytes_changed(data, struct.pack("<QiiQQ4d", 1, 1, 1, 64, 48, 50, 50, 32, 24))
    )
    (tmp_path / "images.bin").write_bytes(bytes_changed(data, struct.pack("<Q", 2) + image + image))
    survives(read_colmap, tmp_path)


@seed(4)
@bounded
@given(data=st.data())
def test_any_change_of_a_glb(tmp_path: Path, data: st.DataObject):
    placed = {"index": 0, "extensions": {"KHR_texture_transform": {"offset": [0.5, 0], "rotation": 0.1}}}
    material = {"pbrMetallicRoughness": {"baseColorTexture": placed}, "normalTexture": placed}
    color = {"COLOR_0": np.full((4, 4), 128, np.uint8)}
    said, chunk = quad(material=material, images=[png()], attributes=color)
    said["nodes"][0] |= {"rotation": [0, 0, 0, 1], "scale": [1, 2, 3], "children": []}
    if data.draw(st.booleans()):
        stored = bytes_changed(data, glb(said, chunk))
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            where = data.draw(st.sampled_from(places(said)))
            said = changed(said, where, data.draw(ODD), data.draw(st.booleans()))
        stored = glb(said, chunk)
    (tmp_path / "a.glb").write_bytes(stored)
    survives(read_meshes, tmp_path / "a.glb")


@seed(5)
@few
@given(data=st.data(), suffix=st.sampled_from(["obj", "ply"]))
def test_any_change_of_an_obj_or_ply(tmp_path: Path, data: st.DataObject, suffix: str):
    (tmp_path / "a.mtl").write_bytes(bytes_changed(data, b"newmtl m\nKd 1 1 1\nPr 0.5\nmap_Pr -o 1 1 t.png\nNs 10\n"))
    (tmp_path / "t.png").write_bytes(png())
    obj = b"mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1\n"
    xyz = b"".join(b"property float %c\n" % axis for axis in b"xyz")
    xyz += b"element face 1\nproperty list uchar int vertex_indices\n"
    ply = b"ply\nformat ascii 1.0\nelement vertex 3\n" + xyz + b"end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(bytes_changed(data, obj if suffix == "obj" else ply))
    survives(read_meshes, path)


@seed(6)
@few
@given(data=st.data(), suffix=st.sampled_from(["mp4", "mkv"]))
def test_any_change_of_a_film(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
):
    whole = tmp_path_factory.getbasetemp() / f"whole.{suffix}"
    if not whole.exists():
        film(whole, [corner()] * 3)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(bytes_changed(data, whole.read_bytes()))
    survives(lambda path: list(open_frames(path)), path)
