"""Small films with sound, for tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def with_sound(path: Path, seconds: float, codec: str = "aac", times: list[int] | None = None) -> Path:
    """A film of 12 frames a second, or of frames at `times` in ms, with a tone."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=12, options={"bf": "0"})
        picture.width, picture.height, picture.pix_fmt = 48, 32, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 1000)
        sound = out.add_stream(codec, rate=48000)
        sound.layout = "mono"
        for index, at in enumerate(times or [round(1000 * i / 12) for i in range(round(12 * seconds))]):
            codes = np.full((32, 48, 3), 40 + 10 * (index % 16), np.uint8)
            codes[8:24, index % 32 : index % 32 + 12] = 220
            made = av.VideoFrame.from_ndarray(codes, format="rgb24")
            made.pts, made.time_base = at, Fraction(1, 1000)
            out.mux(picture.encode(made))
        out.mux(picture.encode(None))
        tone = np.sin(np.arange(round(48000 * seconds)) / 20).astype(np.float32)[None] * 0.3
        for start in range(0, tone.shape[1] - 1023, 1024):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[:, start : start + 1024]), "fltp", "mono")
            part.sample_rate, part.pts = 48000, start
            out.mux(sound.encode(part))
        out.mux(sound.encode(None))
    return path
