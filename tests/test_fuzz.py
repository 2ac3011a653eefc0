"""Every reader, whatever its file was changed into: a result that is sound, or one line. `make fuzz` goes on.

Here cases run in this process, so traps, and what takes memory, hangs or opens sockets, are left to `make fuzz`, which
watches. Below are the kinds that it has found.
"""

from __future__ import annotations

import logging
import random
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fuzz import mutation
from fuzz.cases import attempt
from fuzz.seeds import SEEDS
from fuzz.traps import TRAPS, Elsewhere
from unrender.errors import UserError
from unrender.files import open_dataset, open_frames, read_image, read_transforms, write_image
from unrender.files.cameras import read_colmap
from unrender.files.datasets.hypersim import SPLIT_FILE, open_hypersim

SLOW = {"run state", "model", "claims", "dataset hypersim", "dataset vkitti2"}  # a tenth of a second a case


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("unrender").setLevel(logging.ERROR)
    yield
    logging.getLogger("unrender").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The folder of every seed, and the path in it that is read."""
    place = tmp_path_factory.mktemp("seeds")
    found = {}
    for index, (name, one) in enumerate(SEEDS.items()):
        folder = place / str(index)
        folder.mkdir()
        found[name] = folder, one.write(folder).relative_to(folder)
    return found


def test_every_seed_is_read_whole(wholes: dict[str, tuple[Path, Path]], tmp_path: Path):
    for name, (folder, path) in wholes.items():
        case = shutil.copytree(folder, tmp_path / name.replace(" ", "_"), symlinks=True)
        assert attempt(name, case / path).kind == "clean", name


@pytest.mark.parametrize("name", SEEDS)
def test_any_change_is_read_or_refused_in_a_line(
    name: str, wholes: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
):
    folder, path = wholes[name]
    files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    place = tmp_path_factory.mktemp("case")
    mutation.names = ("../x.png", "/etc/passwd", "a" * 5000, "x\0y", "http://127.0.0.1:9/x", "..")

    @seed(20261127)
    @settings(
        max_examples=2 if name in SLOW else 5,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(number=st.integers(0, 2**32), which=st.sampled_from(files))
    def holds(number: int, which: Path) -> None:
        case = place / "case"
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(folder, case, symlinks=True)
        file = case / which
        file.write_bytes(mutation.mutated(file.read_bytes(), random.Random(number)))
        outcome = attempt(name, case / path)
        assert outcome.kind != "fault", outcome

    holds()


def refused(read, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 1200
    return line


@pytest.mark.parametrize("device", ["/proc/kmsg", "/proc/self/environ", "/dev/zero", "/dev/tty"])
def test_files_of_the_kernel_are_not_opened(tmp_path: Path, device: str):
    (tmp_path / "a.png").symlink_to(device)
    (tmp_path / "cameras.bin").symlink_to(device)
    (tmp_path / "images.bin").symlink_to(device)
    refused(read_image, tmp_path / "a.png")
    refused(open_frames, tmp_path / "a.png")
    refused(read_colmap, tmp_path)


@pytest.mark.parametrize("white", [(0.3, 0.0), (0.0, 0.0), (float("nan"), 0.3)])
def test_chromaticities_of_no_colours(tmp_path: Path, white: tuple[float, float]):
    header = {"chromaticities": (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, *white), "type": OpenEXR.scanlineimage}
    pixels = np.ones((4, 8), np.float32)
    OpenEXR.File(header, {c: pixels.copy() for c in "RGB"}).write(str(tmp_path / "a.exr"))
    assert "chromaticities" in refused(read_image, tmp_path / "a.exr")


def test_a_palette_that_lacks_colours(tmp_path: Path):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header, rows = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0), zlib.compress(b"\0\xff\xff")
    parts = (chunk(b"IHDR", header), chunk(b"PLTE", b"\1\2\3"), chunk(b"tRNS", b"\0"), chunk(b"IDAT", rows))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join((*parts, chunk(b"IEND", b""))))
    assert attempt("png palette", tmp_path / "a.png").kind in ("clean", "refused")


def test_transforms_do_not_look_outside_their_folder(tmp_path: Path):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "a.png", torch.rand(3, 4, 4))  # it would have a size
    frame = '{"camera_angle_x": 0.7, "frames": [{"file_path": "../a.png", "transform_matrix": %s}]}'
    (tmp_path / "in" / "t.json").write_text(frame % [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert "expected a file in the same folder" in refused(read_transforms, tmp_path / "in" / "t.json")


@pytest.mark.parametrize("scene", ["../../x", "/etc", "a/../../b"])
def test_lists_of_datasets_do_not_climb_out(tmp_path: Path, scene: str):
    inner = tmp_path / "dataset_85"
    inner.mkdir()
    (inner / "train.txt").write_text(f"{scene}\n")
    assert "names" in refused(open_dataset, "interiorverse", tmp_path)
    columns = "scene_name,camera_name,frame_id,included_in_public_release,split_partition_name"
    (tmp_path / SPLIT_FILE).write_text(f"{columns}\n{scene},cam_00,0,True,train\n")
    assert "names" in refused(open_hypersim, tmp_path)


@pytest.mark.parametrize("kind", ["external link", "external storage", "soft link", "text", "bomb"])
def test_hdf5_has_its_own_numbers(tmp_path: Path, kind: str):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra: datasets)")
    from unrender.files.datasets.hypersim import _dataset

    path = tmp_path / "a.hdf5"
    (tmp_path / "raw").write_bytes(b"\0" * 64)
    with h5py.File(path, "w") as file:
        if kind == "external link":
            file["dataset"] = h5py.ExternalLink("other.hdf5", "/dataset")
        elif kind == "external storage":
            file.create_dataset("dataset", (16,), np.float32, external=[(str(tmp_path / "raw"), 0, 64)])
        elif kind == "soft link":
            file["x"], file["dataset"] = np.ones(3), h5py.SoftLink("/x")
        elif kind == "text":
            file["dataset"] = "words"
        else:
            file.create_dataset("dataset", (60_000, 60_000), np.float32, chunks=True, compression="gzip")
    refused(_dataset, path)


def test_a_sparse_member_is_no_shard(tmp_path: Path):
    sparse = next(trap for trap in TRAPS if trap.__name__ == "_sparse_tar")
    sparse(tmp_path / "shard-000000.tar", random.Random(0), Elsewhere(tmp_path, 9))
    assert "no plain file" in refused(SEEDS["shards"].read, tmp_path)
