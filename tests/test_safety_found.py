"""What later runs of the fuzz found, each as it was: refused in a line, or read as it can be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiny_models import tiny_folder
from unrender.cli.run_record import put_away
from unrender.device import choose_compute
from unrender.diffusion.card.maps import MapCodec
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.errors import UserError
from unrender.evaluate.claims.models import Models
from unrender.files.colour_statements import SRGB
from unrender.files.datasets.pictures import open_present
from unrender.files.decoding import _film_plate
from unrender.files.lock import LOCK_FILE, locked


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / LOCK_FILE).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is a link and no lock file"), locked(tmp_path):
        pass


def test_a_run_record_whose_place_a_folder_has(tmp_path: Path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(UserError, match="is a folder; expected the record of a run"):
        put_away(tmp_path / "run.json", tmp_path / "new.json")
    assert (tmp_path / "run.json").is_dir()


def test_a_model_of_a_contest_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match="no model inverse-multi among those"):
        Models(tmp_path, None).place("inverse-multi")


def test_names_of_scenes_with_control_bytes(tmp_path: Path):
    with pytest.raises(UserError) as raised:
        open_present("InteriorVerse", ["L\x01D"], lambda key: tmp_path / key, lambda key: None)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(("rate", "expected"), [(1e-9, None), (24.0, (24, 1)), (float("nan"), None)])
def test_a_film_of_hardly_any_frames_a_second_says_nothing_of_its_rate(rate: float, expected):
    plate = _film_plate((24, 48), {"dpx:TemporalFrameRate": rate, "PixelAspectRatio": 2.0})
    assert plate.fps == expected


def test_a_profile_s_curve_that_goes_below_0_is_cut_there():
    planes = replace(SRGB, curves=(lambda codes: codes - 100.0,)).planes(np.full((2, 2, 3), 200, np.uint8))
    assert planes.min() == 0


def test_a_map_with_an_endless_name_is_told_in_short():
    with pytest.raises(UserError) as raised:
        MapCodec("9" * 100_000)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("layers", [2**32, [1, [2, 2**31]]])
def test_a_network_of_endless_layers_of_any_kind_is_refused(tmp_path: Path, layers):
    folder = tiny_folder(tmp_path)
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformer_layers_per_block": layers}))
    with pytest.raises(UserError, match="blocks of 32 layers"):
        load_checkpoint(find(str(folder)), choose_compute("cpu", "float32"))
