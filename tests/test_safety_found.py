"""What later runs of the fuzz found, each as it was: refused in a line, or read as it can be."""

import json
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ImageCms

from fuzz.worker import forget_peak, peak
from test_cases_media import corner, film
from tiny_models import tiny_folder
from unrender.cli.run_record import put_away
from unrender.device import choose_compute
from unrender.diffusion.card.maps import MapCodec
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.errors import UserError
from unrender.evaluate.claims.models import Models
from unrender.files import open_frames
from unrender.files.colour_statements import SRGB, of_matrix_profile
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


def _avi_with_an_endless_text(path: Path) -> Path:
    stored = bytearray(film(path, [corner(32, 48)] * 3, codec="mpeg4").read_bytes())
    at = stored.index(b"INFO")
    struct.pack_into("<I", stored, at - 4, 0x7FFF_FFFF)
    struct.pack_into("<I", stored, at + 8, 0x7000_0000)
    path.write_bytes(stored)
    return path


def _flv_with_a_large_frame(path: Path) -> Path:
    """Sorenson's H.263: a start code, version 0, time 0, a size of two 16-bit numbers, a whole picture."""
    bits = f"{1:017b}{0:05b}{0:08b}{1:03b}{16000:016b}{16000:016b}{0:02b}0{8:05b}0".ljust(1024, "0")
    body = b"\x12" + int(bits, 2).to_bytes(128)
    tag = b"\x09" + len(body).to_bytes(3) + bytes(7) + body
    path.write_bytes(b"FLV\x01\x01\0\0\0\x09\0\0\0\0" + tag + len(tag).to_bytes(4))
    return path


def _webm_with_a_large_alpha(path: Path) -> Path:
    film(path, [corner(32, 48)] * 3, codec="libvpx-vp9", pix_fmt="yuva420p", rate=25)
    stored = bytearray(path.read_bytes())
    at = stored.index(b"\x49\x83\x42", stored.index(b"\x49\x83\x42") + 3)
    # After three bits of colour space and one of range: width - 1 and height - 1, 16 bits each (VP9, 6.2 and 6.2.3).
    said = int.from_bytes(stored[at + 3 : at + 8])
    stored[at + 3 : at + 8] = (said & 0xF << 36 | 16383 << 20 | 16383 << 4 | said & 0xF).to_bytes(5)
    path.write_bytes(stored)
    return path


def _mp4_of_endless_samples(path: Path) -> Path:
    stored = bytearray(film(path, [corner(32, 48)] * 3).read_bytes())
    at = stored.index(b"stsz")
    struct.pack_into(">II", stored, at + 8, 1, 20_000_000)
    struct.pack_into(">I", stored, stored.index(b"stsc") + 16, 20_000_000)
    path.write_bytes(stored)
    return path


def _mp4_of_endless_parts(path: Path) -> Path:
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corner(32, 48))))
        container.mux(stream.encode(None))
    stored = bytearray(path.read_bytes())
    struct.pack_into(">II", stored, stored.index(b"trun") + 4, 0, 20_000_000)
    path.write_bytes(stored)
    return path


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is watched by Linux alone")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.avi", _avi_with_an_endless_text),
        ("a.flv", _flv_with_a_large_frame),
        ("a.webm", _webm_with_a_large_alpha),
        ("a.mp4", _mp4_of_endless_samples),
        ("a.mp4", _mp4_of_endless_parts),
    ],
)
def test_a_film_takes_no_more_memory_than_its_frames_may_have(name: str, write, tmp_path: Path):
    path = write(tmp_path / name)
    forget_peak()
    before = peak()
    with suppress(UserError):
        list(open_frames(path))
    assert peak() - before < 2**28


def test_a_profile_whose_curve_leads_out_of_all_bounds_is_a_broken_one():
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert of_matrix_profile(bytes(profile)) is not None
    struct.pack_into(">2i", profile, profile.index(b"para") + 12, 30_000 << 16, 100 << 16)  # (100 x) ^ 30000
    assert of_matrix_profile(bytes(profile)) is None
