"""What `mini` imports, and how much memory a large photo takes."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image
from skimage import data

HEAVY = {
    "accelerate",
    "diffusers",
    "huggingface_hub",
    "imageio",
    "mitsuba",
    "peft",
    "rich",
    "scipy",
    "sympy",
    "tokenizers",
    "torch._dynamo",
    "transformers",
}
"""Slow to import, and of no use to an embedded model."""

PROGRAM = """
import json, sys
from unrender.cli import main
for verb in json.loads(sys.argv[1]):
    assert main(verb) == 0
print(json.dumps(sorted(set(json.loads(sys.argv[2])) & sys.modules.keys())))
"""


def imported(*verbs: list[str]) -> list[str]:
    """Which of the `HEAVY` are there when these commands have ended."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(verbs), json.dumps(sorted(HEAVY))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_mini_imports_nothing_heavy(tmp_path):
    Image.fromarray(data.astronaut()).resize((64, 64)).save(tmp_path / "photo.png")
    photo, out = str(tmp_path / "photo.png"), str(tmp_path / "out")
    relight = ["relight", photo, "-o", out, "--light", "sunset"]
    assert imported(["inverse", photo, "-o", out], relight, [*relight, "--forward", "mini"]) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="a child's memory is not told here")
@pytest.mark.parametrize("verb", [["inverse"], ["relight", "--light", "sunset"]], ids=lambda verb: verb[0])
def test_twelve_megapixels_take_two_gigabytes_at_most(verb, tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(data.coffee()).resize((4000, 3000)).save(path)
    command = [sys.executable, "-m", "unrender", verb[0], str(path), "-o", str(tmp_path / "out"), *verb[1:]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) < 2 * 2**30
