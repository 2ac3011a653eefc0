"""Code values of video frames to R'G'B' and back.

FFmpeg's scaler only resamples chroma and shifts bits here: its own conversion between YUV and RGB, at more than
8 bits, takes white for 255/256 of the full scale (65280 of 65535), which would darken every clip.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from unrender.files.radiance import Array
from unrender.scene.strips import strips

BT709 = 1
"""The AVColorSpace number of the BT.709 matrix, the one that is written."""

_BT601 = 5
# (K_R, K_B) by AVColorSpace number: BT.709, FCC, BT.470 and 170M (BT.601), 240M, BT.2020.
_WEIGHTS = {
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    _BT601: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_HD_HEIGHT = 720
# Zero points and steps of Y, Cb, Cr at 16 bits in limited range: 219 steps of luma above 16 and 224 of chroma around
# 128 at 8 bits (BT.709, item 4.6).
_LIMITED = ((16 * 256, 128 * 256, 128 * 256), (219 * 256, 224 * 256, 224 * 256))
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def decode_rgb(frame: av.VideoFrame) -> tuple[NDArray[np.uint16], Array | None]:
    """A frame's R'G'B', (H, W, 3) as 16-bit codes, and its alpha, (H, W, 1) in [0, 1], where it has one.

    The matrix and range are those of the frame's tags; where it has none, BT.709 from 720 lines up, BT.601 below, and
    limited range.
    """
    has_alpha = any(component.is_alpha for component in frame.format.components)
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return _from_rgb_formats(frame, has_alpha)
    bits = frame.format.components[0].bits
    full_scale = ((1 << bits) - 1) << (16 - bits)
    zero, steps = _LIMITED if frame.color_range != ColorRange.JPEG else ((0, 32768, 32768), (full_scale,) * 3)
    fallback = BT709 if frame.height >= _HD_HEIGHT else _BT601
    matrix = _ycbcr_to_rgb(_WEIGHTS.get(frame.colorspace, _WEIGHTS[fallback])) / steps * 65535
    codes = _shifted_to_16_bits(frame, has_alpha)
    rgb = np.empty((*codes.shape[:2], 3), np.uint16)
    for rows in strips((frame.height, frame.width)):
        # One matrix product; half a step is added because the cast to integers truncates.
        strip = codes[rows, :, :3].astype(np.float32) @ matrix.T.astype(np.float32)
        strip += (0.5 - matrix @ zero).astype(np.float32)
        rgb[rows] = np.clip(strip, 0, 65535, out=strip)
    return rgb, (codes[..., 3:] / np.float32(full_scale)).clip(0, 1) if has_alpha else None


def encode_yuv(rgb: Array, layout: str) -> av.VideoFrame:
    """R'G'B' (H, W, 3) in [0, 1] as a frame of a YUV `layout`, BT.709, limited range."""
    zero, steps = _LIMITED
    matrix = np.linalg.inv(_ycbcr_to_rgb(_WEIGHTS[BT709])) * np.array(steps)[:, None]
    codes = rgb @ matrix.T.astype(np.float32) + np.array(zero, np.float32)
    frame = av.VideoFrame.from_ndarray(np.rint(codes).astype(np.uint16), format="yuv444p16le")
    frame.color_range, frame.colorspace = ColorRange.MPEG, BT709
    return frame.reformat(format=layout, interpolation=_ACCURATE)


def _ycbcr_to_rgb(weights: tuple[float, float]) -> NDArray[np.float64]:
    """Y in [0, 1], Cb and Cr in [-0.5, 0.5] to R'G'B' (ITU-R BT.709, item 3.2 and 3.3, solved for R'G'B')."""
    red, blue = weights
    green = 1 - red - blue
    cb, cr = 2 - 2 * blue, 2 - 2 * red
    return np.array([[1, 0, cr], [1, -cb * blue / green, -cr * red / green], [1, cb, 0]])


def _from_rgb_formats(frame: av.VideoFrame, has_alpha: bool) -> tuple[NDArray[np.uint16], Array | None]:
    high_bit_depth = any(component.bits > 8 for component in frame.format.components)
    layout = ("rgba64le" if high_bit_depth else "rgba") if has_alpha else ("rgb48le" if high_bit_depth else "rgb24")
    codes: NDArray[Any] = frame.reformat(format=layout).to_ndarray()
    codes = codes if high_bit_depth else codes.astype(np.uint16) * 257
    return codes[..., :3], codes[..., 3:] / np.float32(65535) if has_alpha else None


def _shifted_to_16_bits(frame: av.VideoFrame, has_alpha: bool) -> NDArray[Any]:
    """Codes at full chroma resolution, (H, W, 3 or 4), shifted left to 16 bits, their range untouched."""
    layout = "yuva444p16le" if has_alpha else "yuv444p16le"
    if frame.format.name.startswith("yuvj"):
        return frame.reformat(format=layout, interpolation=_ACCURATE).to_ndarray()
    same = ColorRange.MPEG
    return frame.reformat(
        format=layout, src_color_range=same, dst_color_range=same, interpolation=_ACCURATE
    ).to_ndarray()
