"""The preview of a placement: quick, because it loads next to nothing."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from skimage import data

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.files.environments import builtin_environment
from unrender.files.images import read_image
from unrender.insert.objects import Standing
from unrender.insert.placement import Placement, place_objects
from unrender.insert.plane import SupportPlane
from unrender.insert.preview import draw_placement
from unrender.scene.frames import Frames

SLOW_TO_IMPORT = ("mitsuba", "drjit", "trimesh", "scipy", "diffusers", "transformers", "peft", "OpenImageIO")
PLACE = Placement((Standing((48.0, 40.0), "50%"),), plane=SupportPlane(torch.tensor([0.0, 1.0, 0.0]), -1.0))


def test_it_finds_the_plane_and_draws_without_what_is_slow_to_import(tmp_path):
    Image.fromarray(data.coffee()).save(tmp_path / "photo.png")
    arguments = ["insert", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out"), "--asset", "ball", "--preview"]
    code = (
        "import json, sys\nfrom unrender.cli import main\n"
        f"status = main({[*arguments, '--at', '520,300']!r})\n"
        f"print(json.dumps([status, [name for name in {SLOW_TO_IMPORT!r} if name in sys.modules]]))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said.splitlines()[-1]) == [0, []]
    assert read_image(tmp_path / "out" / "photo.preview.png").size == (400, 600)


@pytest.mark.parametrize("name", ["grey", "chrome"])
def test_the_object_is_drawn_where_it_stands_and_nowhere_else(name):
    photo = Frames(torch.full((1, 3, 64, 96), 0.2))
    scene = place_objects(photo, name, PLACE)
    picture = draw_placement(scene, photo.rgb, builtin_environment("studio"))
    assert picture.shape == (1, 3, 64, 96)
    middle = picture[0, :, 20:36, 44:52]
    assert float(middle.std()) > 0.02  # shaded
    assert not torch.allclose(middle, torch.tensor(0.2))
    torch.testing.assert_close(picture[..., :6, :], photo.rgb[..., :6, :])  # above the horizon: neither grid nor object


def test_an_object_that_comes_too_near_is_drawn_as_far_as_it_is_seen():
    photo = Frames(torch.full((1, 3, 48, 64), 0.2))
    near = Placement((Standing((32.0, 47.0), "200%"),), plane=PLACE.plane)
    picture = draw_placement(place_objects(photo, "crate", near), photo.rgb, builtin_environment("studio"))
    assert picture.isfinite().all()
