"""Code values of video frames to R'G'B' and back.

FFmpeg's scaler resamples chroma and shifts bits here, and no more: its own conversion between YUV and RGB, at more than
8 bits, takes white for 255/256 of the full scale (65280 of 65535), which would darken every clip.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from unrender.files.radiance import Array

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
    codes = _shifted_to_16_bits(frame, has_alpha)
    if frame.color_range == ColorRange.JPEG:
        luma, chroma = codes[..., 0] / np.float32(full_scale), (codes[..., 1:3] - np.float32(32768)) / full_scale
    else:
        # BT.709, section 4: 219 steps of luma above 16, 224 of chroma around 128, at 8 bits.
        luma = (codes[..., 0] - np.float32(16 * 256)) / (219 * 256)
        chroma = (codes[..., 1:3] - np.float32(32768)) / (224 * 256)
    fallback = BT709 if frame.height >= _HD_HEIGHT else _BT601
    red_weight, blue_weight = _WEIGHTS.get(frame.colorspace, _WEIGHTS[fallback])
    blue = luma + (2 - 2 * blue_weight) * chroma[..., 0]
    red = luma + (2 - 2 * red_weight) * chroma[..., 1]
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    rgb = np.rint(np.stack((red, green, blue), axis=-1).clip(0, 1) * 65535).astype(np.uint16)
    return rgb, (codes[..., 3:] / np.float32(full_scale)).clip(0, 1) if has_alpha else None


def encode_yuv(rgb: Array, layout: str) -> av.VideoFrame:
    """R'G'B' (H, W, 3) in [0, 1] as a frame of a YUV `layout`, BT.709, limited range."""
    red_weight, blue_weight = _WEIGHTS[BT709]
    luma = rgb @ np.array([red_weight, 1 - red_weight - blue_weight, blue_weight], np.float32)
    blue = (rgb[..., 2] - luma) / (2 - 2 * blue_weight)
    red = (rgb[..., 0] - luma) / (2 - 2 * red_weight)
    codes = np.stack((16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red), axis=-1) * 256
    frame = av.VideoFrame.from_ndarray(np.rint(codes).astype(np.uint16), format="yuv444p16le")
    frame.color_range, frame.colorspace = ColorRange.MPEG, BT709
    return frame.reformat(format=layout, interpolation=_ACCURATE)


def _from_rgb_formats(frame: av.VideoFrame, has_alpha: bool) -> tuple[NDArray[np.uint16], Array | None]:
    deep = any(component.bits > 8 for component in frame.format.components)
    layout = ("rgba64le" if deep else "rgba") if has_alpha else ("rgb48le" if deep else "rgb24")
    codes: NDArray[Any] = frame.reformat(format=layout).to_ndarray()
    codes = codes if deep else codes.astype(np.uint16) * 257
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
