"""Films, folders, cameras, meshes and weights that were read wrongly once, and generated sisters of each kind."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from cases import case
from unrender.cli import main
from unrender.cli.outputs import Destination, parse_destination
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.hub.recognise import card_of
from unrender.diffusion.checkpoints.published import PUBLISHED
from unrender.diffusion.checkpoints.tensors import tensor_shapes
from unrender.errors import UserError
from unrender.files.cameras import read_colmap, read_transforms
from unrender.files.images import read_image
from unrender.files.meshes import read_meshes
from unrender.files.numbering import literal, numbered, plain
from unrender.files.sequences import GBufferWriter, ImageWriter, open_frames
from unrender.files.video import VideoWriter, open_video
from unrender.raytrace.assets import load_asset, read_asset
from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer
from unrender.synth.sources import Sources


def codes(path: Path) -> torch.Tensor:
    """(3, H, W) 8-bit codes of the first frame."""
    return linear_to_srgb(next(iter(open_frames(path))).rgb[0]) * 255


def refused(read: Callable[[Path], Any], path: Path, *said: str) -> str:
    """The one line that `path` is refused with; it names the file, and what was `said`."""
    with pytest.raises(UserError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    for part in (path.name, *said):
        assert part in line
    return line


def film(
    path: Path, pictures: Iterator[np.ndarray] | list[np.ndarray], times: list[int] | None = None, **how: Any
) -> Path:
    """A film of (H, W, 3) pictures; `times` in ms, `matrix` a display matrix, `codec`, `rate`."""
    with av.open(str(path), "w", format=how.get("format")) as container:
        stream = container.add_stream(how.get("codec", "libx264"), rate=how.get("rate", 25))
        pictures = list(pictures)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = how.get("pix_fmt", "yuv420p")
        stream.options = how.get("options", {})
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if picture.shape[2] == 3 else "rgba")
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def corner(height: int = 32, width: int = 64) -> np.ndarray:
    """Black, with a bright block at the upper left."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 4, : width // 4] = 255
    return picture


# Films.


def test_the_film_is_read_and_not_its_cover():
    clip = open_frames(case("clips", "cover-first.mp4"))
    assert (len(clip), clip.size, clip.fps) == (6, (96, 128), 25)
    right = codes(case("right", "ball-96x128.png"))
    assert (codes(case("clips", "cover-first.mp4")) - right).abs().mean() < 4


def test_a_cover_after_the_film_and_one_without_a_film(tmp_path: Path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        still = container.add_stream("mjpeg", rate=1)
        still.height, still.width, still.pix_fmt = 256, 256, "yuvj420p"
        moving = container.add_stream("ffv1", rate=25)
        moving.height, moving.width, moving.pix_fmt = 32, 64, "yuv444p"
        container.mux(still.encode(av.VideoFrame.from_ndarray(np.zeros((256, 256, 3), np.uint8))))
        for _ in range(4):
            container.mux(moving.encode(av.VideoFrame.from_ndarray(corner())))
        for stream in (still, moving):
            container.mux(stream.encode(None))
    clip = open_frames(tmp_path / "a.mkv")
    assert (len(clip), clip.size, clip.fps) == (4, (32, 64), 25)


def test_recorded_without_a_duration():
    clip = open_frames(case("clips", "recorded.webm"))
    assert (len(clip), clip.fps) == (8, pytest.approx(30, rel=0.02))


@pytest.mark.parametrize(("rate", "count"), [(Fraction(24000, 1001), 48), (Fraction(15), 9), (Fraction(60), 31)])
def test_sisters_recorded_at_other_rates(tmp_path: Path, rate: Fraction, count: int):
    # As browsers record: time stamps in whole milliseconds with jitter, no default duration.
    times = [round(index * 1000 / rate) for index in range(count)]
    path = film(tmp_path / "a.mkv", [corner()] * count, times, codec="ffv1", pix_fmt="yuv444p", rate=1000)
    clip = open_frames(path)
    assert len(clip) == count
    assert clip.fps == pytest.approx(float(rate), rel=0.01)


def test_uneven_frames_keep_the_duration_and_it_is_said(caplog: pytest.LogCaptureFixture):
    clip = open_frames(case("clips", "variable.mkv"))
    assert len(clip) == 12
    assert 12 / clip.fps == pytest.approx(1.33, abs=0.01)
    assert "33 to 500 ms" in caplog.text


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_sisters_of_uneven_frames(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture):
    times = [0, 40, 80, 1080, 1120, 3120, 3160]
    path = film(tmp_path / f"a.{suffix}", [corner()] * 7, times, options={"bf": "0"})
    clip = open_frames(path)
    assert len(list(clip)) == len(clip) == 7
    assert 7 / clip.fps == pytest.approx(3.2, abs=0.05)
    assert "equally long" in caplog.text


def frame_times(path: Path) -> list[float]:
    """The seconds at which the frames of a film begin, the first at 0."""
    with av.open(str(path)) as container:
        times = sorted(float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size)
    return [time - times[0] for time in times]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_frames_last_as_long_as_they_did(tmp_path: Path, suffix: str):
    times = [0, 40, 80, 1080, 1120, 3120, 3160]
    source = open_frames(film(tmp_path / "a.mkv", [corner()] * 7, times, options={"bf": "0"}))
    assert [float(time) for time in source.times[:-1]] == [time / 1000 for time in times]
    out = tmp_path / f"b.{suffix}"
    with VideoWriter(out, source.fps or 0, times=source.times) as writer:
        for frame in source:
            writer.write(frame.rgb)
    assert frame_times(out) == pytest.approx([time / 1000 for time in times], abs=0.002)
    with av.open(str(out)) as made:
        assert made.duration == pytest.approx(3.2e6, abs=50_000)


def test_a_rate_that_is_asked_for_takes_the_place_of_times(tmp_path: Path):
    source = film(tmp_path / "a.mkv", [corner()] * 3, [0, 40, 1080], options={"bf": "0"})
    command = ["relight", str(source), "-o", str(tmp_path / "b.mov"), "--light", "city", "--fps", "25"]
    assert main(command) == 0
    assert frame_times(tmp_path / "b.mov") == pytest.approx([0, 0.04, 0.08], abs=0.002)


def test_relight_keeps_the_duration(tmp_path: Path):
    assert main(["relight", str(case("clips", "variable.mkv")), "-o", str(tmp_path), "--light", "sunset"]) == 0
    with av.open(str(tmp_path / "variable.relit.mp4")) as container:
        assert container.streams.video[0].frames == 12
        assert container.duration / av.time_base == pytest.approx(1.33, abs=0.02)
    begins = frame_times(tmp_path / "variable.relit.mp4")
    assert begins == pytest.approx(frame_times(case("clips", "variable.mkv")), abs=0.002)
    assert "equally long" in json.loads((tmp_path / "run.json").read_text())["notes"][0]


def test_a_display_matrix_that_mirrors():
    right = codes(case("right", "ball-96x128.png")).flip(2)
    assert (codes(case("clips", "mirrored.mp4")) - right).abs().mean() < 4


@pytest.mark.parametrize(
    ("matrix", "size", "bright"),
    [
        ((1, 0, 0, 1), (32, 64), (2, 2)),
        ((-1, 0, 0, 1), (32, 64), (2, -3)),
        ((1, 0, 0, -1), (32, 64), (-3, 2)),
        ((-1, 0, 0, -1), (32, 64), (-3, -3)),
        ((0, 1, 1, 0), (64, 32), (2, 2)),
        ((0, 1, -1, 0), (64, 32), (2, -3)),
        ((0, -1, 1, 0), (64, 32), (-3, 2)),
        ((0, -1, -1, 0), (64, 32), (-3, -3)),
    ],
)
def test_all_eight_display_matrices(
    tmp_path: Path, matrix: tuple[int, ...], size: tuple[int, int], bright: tuple[int, int]
):
    path = film(tmp_path / "a.mp4", [corner()] * 2)
    stored = bytearray(path.read_bytes())
    # The matrix of the track header: a, b, u, c, d, v, x, y, w, after 40 bytes of other fields (ISO 14496-12, 8.3.2).
    at = stored.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in matrix)
    struct.pack_into(">9i", stored, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(stored)
    clip = open_frames(path)
    picture = next(iter(clip)).rgb[0].mean(0)
    assert clip.size == tuple(picture.shape) == size
    assert picture[bright] > 0.8
    assert picture.mean() < 0.12


def test_webm_alpha_is_the_mask():
    for frame in open_frames(case("clips", "alpha.webm")):
        assert frame.mask is not None
        assert frame.mask[..., :60].max() < 0.02
        assert frame.mask[..., 68:].min() > 0.98


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.webm", "libvpx", "yuva420p"),
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgba"),
        ("a.mkv", "ffv1", "yuva444p"),
    ],
)
def test_sisters_with_alpha(tmp_path: Path, name: str, codec: str, layout: str):
    rgba = np.dstack((corner(), np.full((32, 64), 255, np.uint8)))
    rgba[:, 32:, 3] = 0
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"auto-alt-ref": "0"} if "vpx" in codec else {})
        stream.height, stream.width, stream.pix_fmt = 32, 64, layout
        if "vpx" in codec:
            stream.metadata["alpha_mode"] = "1"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=layout)))
        container.mux(stream.encode(None))
    clip = open_frames(path)
    assert len(list(clip)) == len(clip) == 3
    mask = next(iter(clip)).mask
    assert mask is not None
    assert mask[..., :28].min() > 0.95
    assert mask[..., 36:].max() < 0.05


def test_frames_that_change_size_are_refused(tmp_path: Path):
    parts = [film(tmp_path / f"{size}.ts", [corner(size, 64)] * 3, format="mpegts").read_bytes() for size in (32, 48)]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))

    def read(path: Path) -> None:
        list(open_frames(path))

    refused(read, tmp_path / "a.ts", "expected one size")


def test_sound_alone_and_with_a_cover_is_refused(tmp_path: Path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    refused(open_frames, path, "no video")


def test_what_a_damaged_film_lacks_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
    path = film(tmp_path / "a.mkv", list(noise))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    clip = open_frames(path)
    assert len(clip) == 12
    assert 4 < len(list(clip)) < 12
    assert any("truncated" in record.getMessage() for record in caplog.records)


def test_of_a_film_that_is_cut_while_it_is_read_the_rest_is_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
    path = film(tmp_path / "a.mkv", list(noise))
    clip = open_frames(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(list(clip)) < len(clip) == 12
    assert "of its 12 frames" in caplog.text


# What FFmpeg would open, and must not.

HOSTILE = {
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/hostname\nhttp://127.0.0.1:9/a.ts\n",
    "concat": "ffconcat version 1.0\nfile /etc/hostname\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic"><Period/></MPD>',
    "text": "a letter to a friend\n" * 200,
    "ansi": "\x1b[2J\x1b[31mhello\x1b[0m\n" * 50,
    "lavfi": "testsrc=size=64x64",
    "eps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.png", "a.ts", "a"])
def test_playlists_and_text_are_no_films(tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch):
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("FFmpeg was asked")

    monkeypatch.setattr(av, "open", never)
    (tmp_path / name).write_text(HOSTILE[kind])
    refused(open_frames, tmp_path / name)
    refused(open_video, tmp_path / name)


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "pipe:0", "subfile,,start,0,end,9,,:a.mp4"]
)
def test_addresses_are_names_of_files(name: str):
    with pytest.raises(UserError, match="does not exist"):
        open_frames(name)


def test_pipes_and_devices_are_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "a.mp4")
    for read in (open_frames, open_video, read_image, read_meshes, read_transforms):
        refused(read, tmp_path / "a.mp4", "regular file") if read is not read_meshes else None
    refused(open_frames, Path("/dev/zero"), "regular file")
    path = film(tmp_path / "b.mp4", [corner()] * 2)
    (tmp_path / "link.mp4").symlink_to(path)
    assert len(open_frames(tmp_path / "link.mp4")) == 2


def test_no_reader_unpickles():
    sources = Path(main.__code__.co_filename).parents[1].rglob("*.py")
    for path in sources:
        text = path.read_text()
        assert "allow_pickle" not in text
        assert "pickle.load" not in text
        assert text.count("torch.load(") == text.count("weights_only=True")


def test_a_film_by_any_name(tmp_path: Path):
    path = film(tmp_path / "a.mp4", [corner()] * 3)
    for name in ("a.png", "a", "a.jpg", "a.mkv"):
        shutil.copy(path, tmp_path / "copy" / name) if (tmp_path / "copy").is_dir() else (tmp_path / "copy").mkdir()
        shutil.copy(path, tmp_path / "copy" / name)
        assert len(open_frames(tmp_path / "copy" / name)) == 3
    Image.fromarray(corner()).save(tmp_path / "still.mp4", "PNG")
    assert len(open_frames(tmp_path / "still.mp4")) == 1


# Folders and names.


@pytest.mark.parametrize("name", ["shot#2.mp4", "50%d.mp4"])
def test_names_with_pattern_characters(tmp_path: Path, name: str):
    assert main(["inverse", str(case("folders-and-names", name)), "-o", str(tmp_path)]) == 0
    stem = name.removesuffix(".mp4")
    assert sorted(path.name for path in tmp_path.glob("*.exr")) == [f"{stem}.{index:04d}.exr" for index in (1, 2, 3)]


@pytest.mark.parametrize("name", ["a#b", "100%d", "x.####.y", "[#]", "%04d", "a%%d", "plain"])
def test_sisters_with_pattern_characters(tmp_path: Path, name: str):
    Image.fromarray(corner()).save(tmp_path / f"{name}.png")
    clip = open_frames(tmp_path / f"{name}.png")
    assert (clip.name, len(clip)) == (name, 1)
    assert plain(literal(name)).name == name
    assert numbered(f"{literal(name)}.####.exr", 7).name == f"{name}.0007.exr"
    (tmp_path / "out").mkdir()
    with GBufferWriter(tmp_path / "out" / f"{literal(name)}.exr") as writer:
        writer.write(GBuffer(depth=torch.ones(1, 1, 2, 2)))
    with ImageWriter(tmp_path / "out" / f"{literal(name)}.####.png") as pictures:
        pictures.write(torch.ones(2, 3, 2, 2))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.exr",
        f"{name}.0001.png",
        f"{name}.0002.png",
    }


def test_the_last_number_of_a_pattern_counts(tmp_path: Path):
    for number in (1, 2):
        Image.fromarray(corner()).save(tmp_path / f"shot#2.{number:04d}.png")
    clip = open_frames(tmp_path / "shot#2.####.png")
    assert (clip.name, len(clip)) == ("shot#2", 2)


def test_a_folder_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(case("folders-and-names", "frames"))
    assert open_frames(".").name == "frames"
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".hidden").mkdir()
    Image.fromarray(corner()).save(tmp_path / ".hidden" / "a.png")
    assert open_frames(".hidden").name == "hidden"
    (tmp_path / "sub").mkdir()
    Image.fromarray(corner()).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path / "sub")
    assert open_frames("..").name == tmp_path.name


def test_results_are_named_after_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(case("folders-and-names", "frames"))
    assert main(["inverse", ".", "-o", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"frames.000{index}.exr" for index in (1, 2, 3)),
        "frames.maps.png",
        "run.json",
    }


@pytest.mark.parametrize("name", ["shot.v001", "2026.11.27-run", "kitchen.take2", "my.project", "v1.2", ".hidden"])
def test_dots_in_a_folder_that_is_not_there_yet(tmp_path: Path, name: str):
    assert parse_destination(tmp_path / name, (".exr", ".png")) == Destination(tmp_path / name)


def test_unlike_photos_are_refused_before_any_work():
    refused(open_frames, case("folders-and-names", "photos"), "128 x 96", "96 x 128", "for photo in")


def test_turned_photos_of_one_size_are_a_clip(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(corner(64, 32)).save(tmp_path / "a1.jpg")
    Image.fromarray(corner(32, 64)).save(tmp_path / "a2.jpg", exif=exif)
    assert [frame.size for frame in open_frames(tmp_path)] == [(64, 32), (64, 32)]


def test_two_sequences_in_one_folder_are_named():
    refused(open_frames, case("folders-and-names", "render"), "beauty.####.png", "depth.####.png", "2 sequences")
    assert len(open_frames(case("folders-and-names", "render", "beauty.####.png"))) == 3


@pytest.mark.parametrize(
    ("names", "clip"),
    [
        (["f1", "f2", "f10"], True),
        (["0.033", "0.066", "1.000"], True),
        (["2026-11-27_0001", "2026-11-27_0002", "2026-11-28_0001"], True),
        (["left", "right", "up"], True),
        (["a.0001", "a.0002", "b.0001", "b.0002"], False),
        (["shot1_01", "shot1_02", "shot2_01", "shot2_02"], False),
        (["a.0001.rgb", "a.0002.rgb", "a.0001.z", "a.0002.z"], False),
        (["a.0001", "a.0002", "cover"], False),
    ],
)
def test_sisters_of_folders(tmp_path: Path, names: list[str], clip: bool):
    for name in names:
        Image.fromarray(corner()).save(tmp_path / f"{name}.png")
    if clip:
        assert len(open_frames(tmp_path)) == len(names)
    else:
        refused(open_frames, tmp_path, "sequence")


def test_far_numbers_are_told_at_once(tmp_path: Path):
    for number in (1, 10**9):
        Image.fromarray(corner()).save(tmp_path / f"a.{number:04d}.png")
    refused(open_frames, tmp_path / "a.####.png", "999999998 frames missing")
    assert len(open_frames(tmp_path)) == 2
    Image.fromarray(corner()).save(tmp_path / "\u00b21.png")
    refused(open_frames, tmp_path, "sequence")
    with pytest.raises(UserError):
        open_frames(tmp_path / "a.%0999999999d.png")


# Cameras.


@pytest.mark.parametrize("folder", ["binary", "text-blank-end"])
def test_colmap_models(folder: str):
    cameras = read_colmap(case("cameras", folder))
    assert cameras.names == ({"binary": "a.png", "text-blank-end": "a photo.png"}[folder], "b.png")
    assert cameras.camera.size == (48, 64)
    assert torch.equal(cameras.camera.intrinsics[0], torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]))
    assert torch.allclose(cameras.camera.pose[0, :3, 3], torch.tensor([0.0, 0, -2]), atol=1e-6)


LENSES = [
    ("SIMPLE_PINHOLE", 0, 3),
    ("PINHOLE", 1, 4),
    ("OPENCV", 4, 8),
    ("OPENCV_FISHEYE", 5, 8),
    ("FULL_OPENCV", 6, 12),
]
LENSES += [("FOV", 7, 5), ("SIMPLE_RADIAL_FISHEYE", 8, 4), ("THIN_PRISM_FISHEYE", 10, 12)]


@pytest.mark.parametrize(("model", "number", "count"), LENSES)
@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_sisters_of_colmap_models(tmp_path: Path, model: str, number: int, count: int, distorted: bool, binary: bool):
    focal = 1 if model.startswith("SIMPLE") else 2
    values = [50.0] * focal + [32.0, 24.0] + [0.0] * (count - focal - 2)
    if distorted and count > focal + 2:
        values[-1] = 0.01
    if binary:
        (tmp_path / "cameras.bin").write_bytes(struct.pack(f"<QiiQQ{count}d", 1, 7, number, 64, 48, *values))
        image = struct.pack("<Qi7di", 1, 3, 1, 0, 0, 0, 1, 2, 3, 7) + b"x y.png\0" + struct.pack("<Q2dq", 1, 1, 2, -1)
        (tmp_path / "images.bin").write_bytes(image)
    else:
        numbers = " ".join(map(str, values))
        (tmp_path / "cameras.txt").write_text(f"# c\n7 {model} 64 48 {numbers}\n")
        (tmp_path / "images.txt").write_text("# c\n\n3 1 0 0 0 1 2 3 7 x y.png\n\n\n")
    if "FISHEYE" in model or model == "FOV":
        with pytest.raises(UserError, match=model):
            read_colmap(tmp_path)
    elif distorted and count > focal + 2:
        with pytest.raises(UserError, match="distortion"):
            read_colmap(tmp_path)
    else:
        cameras = read_colmap(tmp_path)
        assert cameras.names == ("x y.png",)
        assert cameras.camera.intrinsics[0, 0].tolist() == [50, 0, 32]
        assert cameras.camera.pose[0, :3, 3].tolist() == [-1, -2, -3]


@pytest.mark.parametrize("name", ["is-fisheye", "camera-model-fisheye", "camera-model-equirectangular"])
def test_cameras_that_are_no_pinholes(name: str):
    refused(read_transforms, case("cameras", f"{name}.json"), "pinhole")


def test_matrices_of_three_rows():
    pose = read_transforms(case("cameras", "three-rows.json")).camera.pose
    assert pose.shape == (1, 4, 4)
    assert pose[0, 3].tolist() == [0, 0, 0, 1]


EYE = np.eye(4).tolist()
GOOD: dict[str, Any] = {"fl_x": 50, "w": 64, "h": 48, "frames": [{"file_path": "a.png", "transform_matrix": EYE}]}


def transforms(tmp_path: Path, **changed: Any) -> Path:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({**GOOD, **changed}))
    return path


@pytest.mark.parametrize(
    "changed",
    [
        {"camera_model": "FISHEYE"},
        {"camera_model": "fisheye624"},
        {"camera_model": 7},
        {"is_fisheye": 1},
        {"latlong": True},
        {"k6": 0.1},
        {"distortion_params": [0, 0, 0.1]},
        {"frames": [{**GOOD["frames"][0], "camera_model": "EQUIRECTANGULAR"}]},
        {"fl_x": "fifty"},
        {"fl_x": float("inf")},
        {"fl_x": float("nan")},
        {"fl_x": -3},
        {"fl_x": 10**400},
        {"w": 10**30},
        {"w": True},
        {"h": 0},
        {"w": 64.5},
        {"cx": None},
        {"camera_angle_x": 4, "fl_x": 0},
        {"frames": []},
        {"frames": {"a": 1}},
        {"frames": [7]},
        {"frames": [{"file_path": 3, "transform_matrix": EYE}]},
        {"frames": [{"file_path": "a", "transform_matrix": "x"}]},
        {"frames": [{"file_path": "a", "transform_matrix": [[1, 2], [3, 4]]}]},
        {"frames": [{"file_path": "a", "transform_matrix": np.zeros((4, 4)).tolist()}]},
        {"frames": [{"file_path": "a", "transform_matrix": np.diag([-1.0, 1, 1, 1]).tolist()}]},
        {"frames": [{"file_path": "a", "transform_matrix": np.full((4, 4), 1e300).tolist()}]},
        {"applied_transform": [[0] * 4] * 3},
    ],
)
def test_sisters_that_are_no_cameras(tmp_path: Path, changed: dict[str, Any]):
    refused(read_transforms, transforms(tmp_path, **changed))


def test_cameras_that_say_more_than_they_need(tmp_path: Path):
    told = {"camera_model": "OPENCV", "k1": 0, "k2": 0.0, "is_fisheye": False, "w": 64.0}
    assert read_transforms(transforms(tmp_path, **told)).camera.size == (48, 64)


# Meshes.


def asset(path: Path) -> tuple[np.ndarray, float, float]:
    """The mean base colour, roughness and metallic of what is rendered."""
    load_asset.cache_clear()
    _, material = read_asset(path, 64)
    return material.base_color.mean((0, 1)), float(material.roughness.mean()), float(material.metallic.mean())


@pytest.mark.parametrize(("name", "right"), [("colour-bytes.glb", 128 / 255), ("colour-and-factor.glb", 0.251)])
def test_vertex_colours_multiply(name: str, right: float):
    (mesh,) = read_meshes(case("meshes", name))
    assert mesh.color is not None
    assert torch.allclose(mesh.color * torch.tensor(mesh.material.base_color), torch.tensor(right), atol=1e-3)
    assert asset(case("meshes", name))[0] == pytest.approx([right] * 3, abs=1e-3)


def test_a_texture_transform_is_honoured():
    (mesh,) = read_meshes(case("meshes", "transform-required.glb"))
    assert mesh.uv is not None
    assert mesh.uv[:, 0].aminmax() == (0.5, 1)
    assert mesh.uv[:, 1].aminmax() == (0, 0.5)
    texture = mesh.material.base_color_texture
    assert texture is not None
    quarter = texture[:, texture.shape[1] // 2 :, texture.shape[2] // 2 :].mean((1, 2))
    assert (linear_to_srgb(quarter) * 255).argmax() == 1
    assert linear_to_srgb(quarter)[1] * 255 == pytest.approx(200, abs=1)


def test_a_compression_is_refused_by_name():
    refused(read_meshes, case("meshes", "draco.glb"), "KHR_draco_mesh_compression")


def test_pbr_maps_of_an_obj():
    path = case("meshes", "obj-with-pbr-maps", "crate.obj")
    (mesh,) = read_meshes(path)
    assert mesh.material.normal_texture is not None
    assert mesh.material.normal_texture.mean((1, 2)).tolist() == pytest.approx([0, 0, 1], abs=0.01)
    _, roughness, metallic = asset(path)
    assert (roughness, metallic) == pytest.approx((64 / 255, 1), abs=1e-3)


def test_assets_in_folders_and_what_lies_beside_them(tmp_path: Path):
    folder = case("meshes", "assets")
    assert [path.name for path in Sources.of_folders(folder).assets] == ["CHAIR.GLB", "lamp.glb"]
    assert all(read_meshes(path) for path in Sources.of_folders(folder).assets)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "._a.glb").write_bytes(b"x")
    (tmp_path / "__MACOSX" / "b.glb").write_bytes(b"x")
    with pytest.raises(UserError, match="has no file in"):
        Sources.of_folders(tmp_path)


def glb(said: dict[str, Any], chunk: bytes) -> bytes:
    text = json.dumps(said).encode()
    text += b" " * (-len(text) % 4)
    chunk += b"\0" * (-len(chunk) % 4)
    parts = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(chunk), b"BIN\0") + chunk
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts


def quad(**changed: Any) -> tuple[dict[str, Any], bytes]:
    """A unit square with texture coordinates, as a glTF; `attributes` (arrays) and `material` are added to it."""
    arrays: dict[str, np.ndarray] = {
        "POSITION": np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32),
        "TEXCOORD_0": np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32),
        **changed.pop("attributes", {}),
        "indices": np.array([0, 1, 2, 0, 2, 3], np.uint16),
    }
    kinds = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
    chunk, views, accessors = b"", [], []
    for values in arrays.values():
        chunk += b"\0" * (-len(chunk) % 4)
        views.append({"buffer": 0, "byteOffset": len(chunk), "byteLength": values.nbytes})
        width = {1: "SCALAR", 2: f"VEC{values.shape[-1]}"}[values.ndim]
        accessor = {"bufferView": len(accessors), "componentType": kinds[str(values.dtype)], "count": len(values)}
        accessors.append({**accessor, "type": width, "normalized": values.ndim == 2 and values.dtype != np.float32})
        chunk += values.tobytes()
    images = changed.pop("images", [])
    for image in images:
        chunk += b"\0" * (-len(chunk) % 4)
        views.append({"buffer": 0, "byteOffset": len(chunk), "byteLength": len(image)})
        chunk += image
    attributes = {name: index for index, name in enumerate(arrays) if name != "indices"}
    primitive = {"attributes": attributes, "indices": len(arrays) - 1, "material": 0}
    said = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [changed.pop("material", {"pbrMetallicRoughness": {"metallicFactor": 0}})],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(chunk)}],
        "images": [{"bufferView": len(arrays) + index, "mimeType": "image/png"} for index in range(len(images))],
        "textures": [{"source": index} for index in range(len(images))],
        **changed,
    }
    return said, chunk


def write_glb(tmp_path: Path, **changed: Any) -> Path:
    path = tmp_path / "a.glb"
    path.write_bytes(glb(*quad(**changed)))
    return path


def png(colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    stored = BytesIO()
    Image.new("RGB", (8, 8), colour).save(stored, "PNG")
    return stored.getvalue()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_sisters_with_vertex_colours(tmp_path: Path, kind: type, channels: int):
    values = np.full((4, channels), 0.25 if kind is np.float32 else np.iinfo(kind).max // 4, kind)
    if kind is not np.float32 and channels == 3 and kind is np.uint8:
        values = np.ascontiguousarray(values)
    material = {"pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 0, 1], "metallicFactor": 0}}
    (mesh,) = read_meshes(write_glb(tmp_path, attributes={"COLOR_0": values}, material=material))
    assert mesh.color is not None
    assert mesh.color.shape == (4, 3)
    assert torch.allclose(mesh.color, torch.tensor(0.25), atol=4e-3)
    assert mesh.material.base_color == (1, 0.5, 0)


@pytest.mark.parametrize(
    ("transform", "right"),
    [
        ({"offset": [0.25, 0]}, [[0.25, 0], [1.25, 0], [1.25, 1], [0.25, 1]]),
        ({"scale": [2, 3]}, [[0, -2], [2, -2], [2, 1], [0, 1]]),
        # The specification's example: the lower left quarter, turned.
        (
            {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]},
            [[0.5, 0], [0.5, 0.5], [0, 0.5], [0, 0]],
        ),
        ({"texCoord": 1}, [[0.5, 0.5]] * 4),
    ],
)
def test_sisters_with_texture_transforms(tmp_path: Path, transform: dict[str, Any], right: list[list[float]]):
    info = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    material = {"pbrMetallicRoughness": {"baseColorTexture": info}}
    second = {"TEXCOORD_1": np.full((4, 2), 0.5, np.float32)}
    path = write_glb(tmp_path, material=material, images=[png()], attributes=second)
    (mesh,) = read_meshes(path)
    assert mesh.uv is not None
    assert torch.allclose(mesh.uv, torch.tensor(right).float(), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["EXT_meshopt_compression", "KHR_texture_basisu", "VENDOR_secret", "KHR_materials_glass"]
)
def test_sisters_that_require_what_is_not_known(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture):
    refused(read_meshes, write_glb(tmp_path, extensionsRequired=[name], extensionsUsed=[name]), name)
    assert read_meshes(write_glb(tmp_path, extensionsUsed=[name]))
    assert (name in caplog.text) == name.startswith(("EXT_meshopt", "KHR_materials"))


def test_strips_fans_and_spares(tmp_path: Path):
    said, chunk = quad()
    said["meshes"][0]["primitives"][0]["mode"] = 5
    del said["meshes"][0]["primitives"][0]["indices"]
    (tmp_path / "a.glb").write_bytes(glb(said, chunk))
    (mesh,) = read_meshes(tmp_path / "a.glb")
    assert mesh.faces.tolist() == [[0, 1, 2], [1, 3, 2]]
    said["meshes"][0]["primitives"][0]["mode"] = 6
    (tmp_path / "a.glb").write_bytes(glb(said, chunk))
    assert read_meshes(tmp_path / "a.glb")[0].faces.tolist() == [[1, 2, 0], [2, 3, 0]]


@pytest.mark.parametrize("name", ["eps.glb", "eps.gltf", "eps.obj", "eps.ply"])
def test_a_texture_that_a_program_would_open_is_never_opened(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from PIL import EpsImagePlugin

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("Ghostscript was asked")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", never)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    path = tmp_path / name
    (tmp_path / "t.png").write_bytes(eps)
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    if name == "eps.glb":
        path.write_bytes(glb(*quad(material=material, images=[eps])))
    elif name == "eps.gltf":
        said, chunk = quad(material=material)
        (tmp_path / "b.bin").write_bytes(chunk)
        said |= {"images": [{"uri": "t.png"}], "textures": [{"source": 0}]}
        said["buffers"][0]["uri"] = "b.bin"
        path.write_text(json.dumps(said))
    elif name == "eps.obj":
        (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
        path.write_text("mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    else:
        header = (
            "ply\nformat ascii 1.0\ncomment TextureFile t.png\nelement vertex 3\nproperty float x\nproperty float y\n"
        )
        header += "property float z\nproperty float s\nproperty float t\nelement face 1\n"
        header += "property list uchar int vertex_indices\nend_header\n"
        path.write_text(header + "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n")
    if name in ("eps.glb", "eps.gltf"):
        refused(read_meshes, path, "texture")
    else:
        (mesh,) = read_meshes(path)
        assert mesh.material.base_color_texture is None


def test_files_that_a_mesh_names_lie_beside_it(tmp_path: Path):
    said, chunk = quad()
    (tmp_path / "secret.bin").write_bytes(chunk)
    (tmp_path / "sub").mkdir()
    for uri in ("../secret.bin", "/etc/hostname", "%2e%2e/secret.bin", "http://127.0.0.1:9/a.bin"):
        said["buffers"][0]["uri"] = uri
        (tmp_path / "sub" / "a.gltf").write_text(json.dumps(said))
        with pytest.raises(UserError):
            read_meshes(tmp_path / "sub" / "a.gltf")


@pytest.mark.parametrize("suffix", ["GLB", "Glb", "OBJ", "PLY"])
def test_endings_in_capitals(tmp_path: Path, suffix: str):
    path = tmp_path / f"A.{suffix}"
    if suffix.lower() == "glb":
        path.write_bytes(glb(*quad()))
    elif suffix == "OBJ":
        path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    else:
        properties = "property float x\nproperty float y\nproperty float z\n"
        header = f"ply\nformat ascii 1.0\nelement vertex 3\n{properties}element face 1\n"
        path.write_text(f"{header}property list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    assert len(read_meshes(path)[0].faces) == (2 if suffix.lower() == "glb" else 1)


@pytest.mark.parametrize(
    "text",
    [
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
        "f 1 2 3\n",
        "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 1e999 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    ],
)
def test_faces_without_vertices_and_vertices_that_are_no_numbers(tmp_path: Path, text: str):
    (tmp_path / "a.obj").write_text(text)
    refused(read_meshes, tmp_path / "a.obj")


def test_a_glb_of_faces_without_vertices(tmp_path: Path):
    said, chunk = quad()
    said["accessors"][0]["count"] = 2
    (tmp_path / "a.glb").write_bytes(glb(said, chunk))
    refused(read_meshes, tmp_path / "a.glb", "not there")
    said["accessors"][0] |= {"count": 10**9}
    del said["accessors"][0]["bufferView"]
    (tmp_path / "a.glb").write_bytes(glb(said, chunk))
    refused(read_meshes, tmp_path / "a.glb")
    (tmp_path / "a.ply").write_text("ply\nformat ascii 1.0\nelement vertex 1000000000\nproperty float x\nend_header\n")
    refused(read_meshes, tmp_path / "a.ply", "promises")


def test_pbr_maps_of_other_names(tmp_path: Path):
    normal = np.full((8, 8, 3), (128, 128, 255), np.uint8)
    Image.fromarray(normal).save(tmp_path / "flat normal map.png")
    Image.new("RGB", (8, 8), (10, 51, 255)).save(tmp_path / "orm.png")
    (tmp_path / "my stuff.mtl").write_text(
        "newmtl some paint\nKd 1 1 1\nmap_Pr -imfchan g orm.png\nmap_Pm -imfchan b orm.png\nnorm flat normal map.png\n"
    )
    lines = ["mtllib my stuff.mtl", "usemtl some paint", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "f 1/1 2/1 3/1"]
    (tmp_path / "a.obj").write_text("\n".join(lines) + "\n")
    (mesh,) = read_meshes(tmp_path / "a.obj")
    assert mesh.material.roughness_texture is not None
    assert mesh.material.metallic_texture is not None
    assert mesh.material.normal_texture is not None
    assert float(mesh.material.roughness_texture.mean()) * mesh.material.roughness == pytest.approx(0.2)
    assert float(mesh.material.metallic_texture.mean()) * mesh.material.metallic == pytest.approx(1)


# Weights.


def test_a_pointer_in_the_place_of_weights(tmp_path: Path):
    pointer = case("checkpoints", "diffusion_pytorch_model.safetensors")
    refused(tensor_shapes, pointer, "Git LFS", "git lfs pull")
    shutil.copy(pointer, tmp_path / "photo.png")
    refused(read_image, tmp_path / "photo.png", "Git LFS")


def published(model: str) -> ModelCard:
    return next(card for card in PUBLISHED if card.id == model)


def test_a_clone_without_its_companion(tmp_path: Path):
    card = published("Y-Research-Group/Ouroboros")
    with pytest.raises(UserError, match=r"takes it from zheng95z/rgb-to-x: clone that as .*, or run") as caught:
        ModelLocation(card, tmp_path / "Ouroboros").component("vae")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://huggingface.co/{}", "https://huggingface.co/{}.git", "git@hf.huggingface.co:{}"]
)
def test_a_clone_that_was_renamed(tmp_path: Path, url: str):
    for model in ("prs-eth/marigold-depth-v1-1", "zheng95z/x-to-rgb"):
        folder = tmp_path / model.replace("/", "-") / "my weights"
        (folder / ".git").mkdir(parents=True)
        (folder / ".git" / "config").write_text(
            f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {url.format(model)}\n'
        )
        assert card_of(folder).id == model
    (tmp_path / "else").mkdir()
    with pytest.raises(UserError, match="models adopt"):
        card_of(tmp_path / "else")


def test_notes_are_one_line(caplog: pytest.LogCaptureFixture):
    from unrender.files.notes import note

    note("a.mp4", "is\none line")
    assert caplog.record_tuples == [("unrender.files", logging.WARNING, "a.mp4: is one line")]
