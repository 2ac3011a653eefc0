"""`unrender light`: the light of a photo, as a file that --light takes."""

import json

import numpy as np
import torch
from PIL import Image

import unrender as ur
from unrender.cli import main
from unrender.scene.environment import mean_direction


def test_a_photo_gives_a_light_that_relights(tmp_path, capsys):
    rows, columns = np.mgrid[0:48, 0:64] / 48
    ball = np.clip(1 - np.hypot(rows - 0.5, columns - 0.66) ** 2 * 3, 0.15, 1)
    Image.fromarray((ball[..., None] * (210, 160, 120)).astype(np.uint8)).save(tmp_path / "ball.png")
    assert main(["light", str(tmp_path / "ball.png"), "-o", str(tmp_path / "sky.exr")]) == 0
    light = ur.EnvironmentMap.read(tmp_path / "sky.exr")
    assert light.size == (64, 128)
    assert float(light.radiance.max()) > 0
    record = json.loads((tmp_path / "sky.run.json").read_text())
    torch.testing.assert_close(torch.tensor(record["direction"]), mean_direction(light)[0], atol=0.05, rtol=0)
    found = ur.estimate_light(tmp_path / "ball.png")
    torch.testing.assert_close(found.resized((64, 128)).radiance, light.radiance, atol=2e-3, rtol=2e-3)
    used = ["relight", str(tmp_path / "ball.png"), "-o", str(tmp_path / "out"), "--light", str(tmp_path / "sky.exr")]
    assert main(used) == 0


def test_what_a_light_cannot_be_found_of_is_one_line(tmp_path, capsys):
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    assert main(["light", str(tmp_path / "black.png"), "-o", str(tmp_path / "sky.exr")]) == 2
    assert not (tmp_path / "sky.exr").exists()
    assert main(["light", str(tmp_path / "black.png"), "-o", str(tmp_path / "sky.png")]) == 2
    assert main(["light", str(tmp_path / "black.png"), "-o", str(tmp_path / "sky.exr"), "--frames", "3"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert "says anything of its light" in lines[0]
    assert ".exr" in lines[1]
    assert "still" in lines[2]
