"""Video: counts, rates and sizes exactly; colour by the tags; flat memory."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorPrimaries, ColorTrc

from unrender.errors import UserError
from unrender.files.video import VideoWriter, open_video
from unrender.scene.color import linear_to_srgb, srgb_to_linear

SHARED = Path(__file__).parents[1].parent / "shared/data"


def smooth(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack((x, y, (1 - x) * y))


def encode_yuv(path: Path, yuv: tuple[float, ...], size: tuple[int, int] = (64, 64), **tags: int) -> Path:
    """One lossless frame of one colour, 16-bit code values in [0, 1]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p16le"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        planes = np.stack([np.full(size, round(65535 * value), np.uint16) for value in yuv], axis=-1)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p16le")
        for name, value in tags.items():
            setattr(frame, name, value)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def limited_yuv(rgb: tuple[float, float, float], kr: float, kb: float) -> tuple[float, ...]:
    """Y'CbCr code values of R'G'B', limited range of 16 bits (BT.709, BT.601, BT.2100: 219 and 224 steps of 8 bits)."""
    r, g, b = rgb
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    return tuple(256 * value / 65535 for value in (16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr))


@pytest.mark.parametrize(
    ("clip", "count", "fps", "size"),
    [("clip-lighthouse.mp4", 57, 24.0, (704, 1280)), ("clip-clock.mp4", 24, 7.0, (512, 512))],
)
def test_real_clips(clip: str, count: int, fps: float, size: tuple[int, int]) -> None:
    if not (SHARED / clip).exists():
        pytest.skip(f"the shared clip {clip} is not beside this checkout")
    reader = open_video(SHARED / clip)
    assert (len(reader), reader.fps, reader.size) == (count, fps, size)
    decoded = [(frame.size, len(frame), frame.fps) for frame in reader]
    assert decoded == [(size, 1, fps)] * count


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("fps", [7, 12.5, 24, Fraction(24000, 1001), 30000 / 1001, 60])
def test_count_rate_and_size_come_back(tmp_path: Path, suffix: str, fps: float | Fraction) -> None:
    with VideoWriter(tmp_path / f"a.{suffix}", fps) as writer:
        writer.write(smooth(48, 64).expand(5, 3, 48, 64))
    reader = open_video(tmp_path / f"a.{suffix}")
    assert (len(reader), reader.fps, reader.size) == (5, float(fps), (48, 64))
    assert sum(1 for _ in reader) == 5


@pytest.mark.parametrize(("suffix", "error"), [("mp4", 0.05), ("mov", 4e-3), ("mkv", 3e-5)])
def test_pictures_come_back(tmp_path: Path, suffix: str, error: float) -> None:
    picture = smooth(64, 96)
    with VideoWriter(tmp_path / f"a.{suffix}", 24) as writer:
        for _ in range(3):
            writer.write(picture)
    for frame in open_video(tmp_path / f"a.{suffix}"):
        difference = (linear_to_srgb(frame.rgb[0]) - linear_to_srgb(picture)).abs()
        assert difference.mean() < error / 3
        assert difference.quantile(0.99) < error


def test_odd_sizes_are_padded_for_players_and_kept_for_work(tmp_path: Path) -> None:
    picture = smooth(33, 47)
    for suffix, size in (("mp4", (34, 48)), ("mkv", (33, 47)), ("mov", (33, 47))):
        with VideoWriter(tmp_path / f"a.{suffix}", 24) as writer:
            writer.write(picture)
        reader = open_video(tmp_path / f"a.{suffix}")
        assert reader.size == size
        assert (linear_to_srgb(next(iter(reader)).rgb[0, :, :33, :47]) - linear_to_srgb(picture)).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("tags", "size", "weights"),
    [
        ({"colorspace": 1}, (64, 64), (0.2126, 0.0722)),
        ({"colorspace": 5}, (720, 64), (0.299, 0.114)),
        ({}, (720, 64), (0.2126, 0.0722)),
        ({}, (576, 64), (0.299, 0.114)),
    ],
)
def test_matrix_by_tag_else_by_height(
    tmp_path: Path, tags: dict[str, int], size: tuple[int, int], weights: tuple[float, float]
) -> None:
    coded = (0.8, 0.3, 0.1)
    path = encode_yuv(tmp_path / "a.mkv", limited_yuv(coded, *weights), size, **tags)
    rgb = linear_to_srgb(next(iter(open_video(path))).rgb[0, :, 5, 5])
    assert rgb.tolist() == pytest.approx(coded, abs=1e-4)


def test_full_range(tmp_path: Path) -> None:
    path = encode_yuv(tmp_path / "a.mkv", (0.5, 32768 / 65535, 32768 / 65535), color_range=2, colorspace=1)
    assert next(iter(open_video(path))).rgb[0, :, 5, 5].tolist() == pytest.approx([0.2140] * 3, abs=2e-3)


@pytest.mark.parametrize(
    ("transfer", "code"),
    # BT.2408: reference white is 58 % of PQ and 75 % of HLG.
    [(ColorTrc.SMPTE2084, 0.5806), (ColorTrc.ARIB_STD_B67, 0.75)],
)
def test_hdr_transfers(tmp_path: Path, transfer: ColorTrc, code: float) -> None:
    tags = {"color_trc": int(transfer), "colorspace": 9, "color_primaries": int(ColorPrimaries.BT2020)}
    path = encode_yuv(tmp_path / "a.mkv", limited_yuv((code, code, code), 0.2627, 0.0593), **tags)
    frame = next(iter(open_video(path)))
    assert frame.hdr
    assert frame.rgb[0, :, 5, 5].tolist() == pytest.approx([1.0] * 3, abs=0.005)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:8, :8] = 255
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode(None))
    reader = open_video(tmp_path / "a.mp4")
    picture = next(iter(reader)).rgb[0].mean(0)
    assert reader.size == tuple(picture.shape) == ((32, 64) if degrees % 180 == 0 else (64, 32))
    # Counter-clockwise, the bright corner goes from top left to bottom left, bottom right, top right.
    row, column = {0: (2, 2), 90: (-3, 2), 180: (-3, -3), 270: (2, -3)}[degrees]
    assert picture[row, column] > 0.9
    assert picture.mean() < 0.1


def test_alpha_of_prores_is_the_mask(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("prores_ks", rate=24, options={"profile": "4444"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuva444p10le"
        rgba = np.full((64, 64, 4), 65535, np.uint16)
        rgba[:, :32, 3] = 0
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba64le").reformat(format="yuva444p10le"))
        )
        container.mux(stream.encode(None))
    mask = next(iter(open_video(tmp_path / "a.mov"))).mask
    assert mask is not None
    assert mask[..., :28].max() < 0.01
    assert mask[..., 36:].min() > 0.99


@pytest.mark.parametrize(("suffix", "codec", "layout"), [(".mpg", "mpeg2video", "vob"), (".mp4", "libx264", "mp4")])
def test_pixels_that_are_not_square_are_said_once(
    tmp_path: Path, suffix: str, codec: str, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w", format=layout) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    clip = open_video(path)
    assert (len(list(clip)), clip.size, clip.fps) == (3, (48, 64), 25)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "has pixels 1.333 times as wide as high; they are kept as they are stored"
    ]


def test_long_clips_stream(tmp_path: Path) -> None:
    count, picture = 200, smooth(128, 128)
    tracemalloc.start()
    with VideoWriter(tmp_path / "a.mkv", 24) as writer:
        for index in range(count):
            writer.write(picture * (index / count))
    reader = open_video(tmp_path / "a.mkv")
    assert len(reader) == count
    seen = sum(1 for _ in reader)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == count
    # Torch's memory is not traced, numpy's is: every frame passes through it. A whole clip would be 39 MB and more.
    assert peak < 5e6


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_of_truncated_clips_what_is_there_is_read(
    tmp_path: Path, suffix: str, part: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"bad.{suffix}"
    noise = torch.rand(12, 3, 64, 64) * 0.04 + torch.arange(12)[:, None, None, None] / 12 - 0.02
    with VideoWriter(path, 24) as writer:
        writer.write(srgb_to_linear(noise.clamp(0, 1)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    if suffix == "mp4" and part == 0.2:  # its first frame is not whole
        with pytest.raises(UserError, match=r"truncated|no frame"):
            open_video(path)
        return
    clip = open_video(path)
    frames = list(clip)
    assert 0 < len(frames) < len(clip) <= 13
    said = [record.getMessage() for record in caplog.records]
    assert any("frames can be decoded" in line for line in said)
    for index, frame in enumerate(frames):
        assert float((linear_to_srgb(frame.rgb) - index / 12).abs().mean()) < 0.05  # in order, and right


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "audio only", "no frames", "folder"])
def test_bad_videos_are_one_line(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not a video\n" * 50)
    elif kind == "folder":
        path.mkdir()
    elif kind == "no frames":
        with VideoWriter(path, 24) as writer:
            writer.write(torch.rand(8, 3, 64, 64))
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.index(b"mdat") + 4])
    elif kind == "audio only":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate = 44100
            container.mux(stream.encode(sound))
            container.mux(stream.encode(None))
    with pytest.raises(UserError) as caught:
        open_video(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / "a.mp4", 24) as writer:
            writer.write(torch.rand(3, 32, 32))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(UserError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 24):
        pass

    def change_size() -> None:
        with VideoWriter(tmp_path / "a.mp4", 24) as writer:
            writer.write(torch.rand(3, 32, 32))
            writer.write(torch.rand(3, 16, 32))

    with pytest.raises(UserError, match="one size"):
        change_size()
    with pytest.raises(UserError, match="does not exist"), VideoWriter(tmp_path / "no/a.mp4", 24):
        pass
    with pytest.raises(UserError, match="videos end in"):
        VideoWriter(tmp_path / "a.avi", 24)
    with pytest.raises(UserError, match="positive rate"):
        VideoWriter(tmp_path / "a.mp4", 0)
    assert not list(tmp_path.iterdir())


def test_srgb_is_what_display_clips_decode_to(tmp_path: Path) -> None:
    path = encode_yuv(tmp_path / "a.mkv", limited_yuv((0.5, 0.5, 0.5), 0.2126, 0.0722), colorspace=1)
    grey = next(iter(open_video(path))).rgb[0, :, 5, 5]
    assert torch.allclose(grey, srgb_to_linear(torch.tensor(0.5)), atol=1e-4)
