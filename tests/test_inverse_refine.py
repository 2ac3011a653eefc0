"""`unrender inverse --refine`, from the shell."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unrender.cli import main
from unrender.files.gbuffers import read_gbuffer


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """A grey table under an evening sky: darker to the left, with a bright and a dark square on it."""
    x = np.mgrid[:64, :96][1]
    rgb = np.stack([90 + x, 85 + x, 80 + x], -1)
    rgb[30:50, 20:40], rgb[30:50, 60:80] = (40, 40, 60), (230, 220, 200)
    path = tmp_path_factory.mktemp("photo") / "table.png"
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return path


def test_the_base_colour_is_corrected_and_nothing_else(photo, tmp_path):
    plain, refined = tmp_path / "plain.exr", tmp_path / "refined.exr"
    assert main(["inverse", str(photo), "-o", str(plain)]) == 0
    assert main(["inverse", str(photo), "-o", str(refined), "--refine"]) == 0
    before, after = read_gbuffer(plain), read_gbuffer(refined)
    assert set(before.maps) == set(after.maps)
    assert float((before.base_color - after.base_color).abs().max()) > 0.005
    assert float((before.normal - after.normal).abs().max()) == 0


def test_only_the_maps_asked_for_are_written(photo, tmp_path):
    assert main(["inverse", str(photo), "-o", str(tmp_path / "a.exr"), "--refine", "--maps", "base_color,depth"]) == 0
    maps = set(read_gbuffer(tmp_path / "a.exr").maps)
    assert {"base_color", "depth"} <= maps
    assert main(["inverse", str(photo), "-o", str(tmp_path / "b.exr"), "--maps", "base_color,depth"]) == 0
    assert maps == set(read_gbuffer(tmp_path / "b.exr").maps)


def test_a_clip_is_refused(photo, tmp_path, capsys):
    for number in (1, 2):
        (tmp_path / f"shot.{number:04d}.png").write_bytes(photo.read_bytes())
    assert main(["inverse", str(tmp_path / "shot.####.png"), "-o", str(tmp_path / "out"), "--refine"]) == 2
    assert "is no still" in capsys.readouterr().err


def test_relighting_refines_unless_told_not_to(photo, tmp_path):
    for name, options in (("on", []), ("off", ["--no-refine"])):
        command = ["relight", str(photo), "--light", "studio", "-o", str(tmp_path / name), *options]
        assert main(command) == 0
    assert main(["inverse", str(photo), "-o", str(tmp_path / "plain.exr")]) == 0
    on, off = (read_gbuffer(tmp_path / name / "table.gbuffer.exr").base_color for name in ("on", "off"))
    plain = read_gbuffer(tmp_path / "plain.exr").base_color
    assert float((off - plain).abs().max()) < 2e-3
    assert float((on - plain).abs().max()) > 0.005
