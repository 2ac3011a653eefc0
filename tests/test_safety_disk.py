"""A disk that is full: one line, status 1, and nothing under a final name. A limit on file sizes stands for the disk; a
small tmpfs is one, where the tests may mount it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from tiny_task import Line
from unrender.cli.messages import storage_trouble
from unrender.errors import UserError
from unrender.files.gbuffers import write_gbuffer
from unrender.scene.gbuffer import GBuffer
from unrender.train.loop import run
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder

resource = pytest.importorskip("resource", reason="limits are POSIX's")

LIMITED = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
from unrender.cli import main
for number, command in enumerate(json.loads(sys.argv[2])):
    print(number, main(command), flush=True)
    print(number, file=sys.stderr, flush=True)
"""

CONFIG = TrainConfig(
    steps=3, stages=(Stage(1.0, 8, 4),), lr=1e-2, warmup=1, precision="no", save_every=1, validate_every=0
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    Image.fromarray(data.astronaut()).resize((96, 64)).save(tmp_path / "photo.png")
    write_gbuffer(
        tmp_path / "g.exr",
        GBuffer(base_color=torch.rand(1, 3, 32, 32), normal=torch.nn.functional.normalize(torch.rand(1, 3, 32, 32))),
    )
    return tmp_path


def test_full_in_every_verb_that_writes_pictures(here: Path):
    light = ["--light", "sunset"]
    commands = [
        ["inverse", "photo.png", "-o", "out"],
        ["inverse", "photo.png", "-o", "a.exr"],
        ["relight", "photo.png", "-o", "out", *light],
        ["relight", "photo.png", "-o", "out", *light, "--turn", "90", "--frames", "3"],
        ["relight", "photo.png", "-o", "a.mp4", *light, "--turn", "90", "--frames", "3"],
        ["forward", "g.exr", "-o", "out", *light],
        ["evaluate", "pictures", "photo.png", "photo.png", "--json", "r.json"],
    ]
    before = sorted(here.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "1000", json.dumps(commands)],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [line for line in done.stdout.splitlines() if line[:2].strip().isdigit()]
    assert answers == [f"{number} 1" for number in range(len(commands))], done.stderr
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("unrender: no space is left")]) == len(commands), lines
    assert "Traceback" not in done.stderr
    assert sorted(here.rglob("*")) == before


def test_a_training_that_finds_the_disk_full_can_go_on(tmp_path: Path):
    program = (
        "import resource, sys; from pathlib import Path; from test_safety_disk import *\n"
        "folder = RunFolder(Path(sys.argv[1])); folder.claim(CONFIG)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))\n"
        "try:\n    run(Line(), CONFIG, folder)\n"
        "except BaseException as error:\n    print(storage_trouble(error))\n"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("no space is left on the disk"), done
    assert not (out / "state.pt").exists()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    run(Line(), CONFIG, RunFolder(out))
    assert (out / "model").is_dir()


def test_a_refusal_that_quotes_those_words_is_the_callers():
    assert storage_trouble(UserError("a.png: no space left on device")) is None
    assert storage_trouble(OSError(28, "No space left on device", "a.png")) is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(
    "options",
    ["size=40k", "size=40k,ro", *(pytest.param(f"size={k}k", marks=pytest.mark.slow) for k in (8, 100, 300))],
)
def test_a_real_disk(options: str, here: Path):
    disk = here / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        command = ["relight", str(here / "photo.png"), "-o", str(disk / "out"), "--light", "sunset"]
        done = subprocess.run([sys.executable, "-m", "unrender", *command], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if line.startswith("unrender: ")]  # a slow machine says more
        assert (done.returncode, done.stdout, len(said)) == (1, "", 1), done.stderr
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)
