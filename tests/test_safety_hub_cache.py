"""A hub cache that is damaged is one line, never a traceback."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from model_folders import NEW, WORDS, snapshot
from unrender.cli import main
from unrender.diffusion.checkpoints.hub.cache import pin, pinned, store

MARIGOLD = "prs-eth/marigold-depth-v1-1"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of a model that looks whole, in a cache of the test's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = snapshot(MARIGOLD, NEW, "unet", "vae", *WORDS)
    pin(MARIGOLD, NEW)
    return folder


DAMAGED = [b"", b"\xff\xfe\x00", b"[]", b"null", b'{"in_channels": "many"}', b"[" * 100_000, b'{"sample_size": 1e999}']


def said(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    status = main(list(command))
    told = capsys.readouterr()
    assert status == 2, told.err
    assert told.err.count("\n") == 1, told.err
    return told.err


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize(
    "file",
    [
        "unet/config.json",
        "vae/config.json",
        "model_index.json",
        "unrender.json",
        "unet/diffusion_pytorch_model.safetensors",
    ],
)
def test_a_damaged_file(file: str, content: bytes, cached: Path, capsys: pytest.CaptureFixture[str]):
    (cached / file).write_bytes(content)
    said(capsys, "models", "check", MARIGOLD)
    said(capsys, "models", "check", str(cached))
    assert main(["models", "list"]) == 0


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"../../../etc", b"/", b"..", b"x" * 5000])
def test_a_damaged_reference_leads_nowhere(content: bytes, cached: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("unrender", "main"):
        (store(MARIGOLD) / "refs" / name).write_bytes(content)
    assert pinned(MARIGOLD) == ""
    said(capsys, "models", "check", MARIGOLD)


def test_files_where_folders_should_be(cached: Path, capsys: pytest.CaptureFixture[str]):
    for path in (cached, store(MARIGOLD) / "snapshots", store(MARIGOLD)):
        path.rename(path.with_name("aside"))
        path.touch()
        said(capsys, "models", "check", MARIGOLD)
        path.unlink()
        path.with_name("aside").rename(path)
    loop = cached / "unet" / "config.json"
    loop.unlink()
    loop.symlink_to("config.json")
    said(capsys, "models", "check", MARIGOLD)
    (cached / "vae" / "config.json").unlink()
    (cached / "vae" / "config.json").symlink_to("../../blobs/gone")
    said(capsys, "models", "check", MARIGOLD)
