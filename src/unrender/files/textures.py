"""Pictures that belong to meshes, of a few formats by name: never one that another program has to open (EPS, PDF)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unrender.errors import UserError
from unrender.files.paths import existing_file
from unrender.files.reading import reading

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF")
MOST_PIXELS = 1 << 26


def read_texture(path: Path) -> Tensor:
    """Code values of a texture file, (3, h, w) in [0, 1], grey repeated.

    Raises:
        UserError: a missing or damaged file, another format, or more than `MOST_PIXELS`.
    """
    return decode_texture(existing_file(path).read_bytes(), str(path))


def decode_texture(stored: bytes, name: str) -> Tensor:
    """As `read_texture`, of a file's bytes; `name` is for messages."""
    with (
        reading(name, f"a texture; expected {', '.join(FORMATS)}"),
        Image.open(BytesIO(stored), formats=FORMATS) as image,
    ):
        if image.width * image.height > MOST_PIXELS:
            raise UserError(f"{name} is {image.width} x {image.height}; expected {MOST_PIXELS} pixels or less")
        deep = image.mode.startswith("I;16") or image.mode == "I"
        pixels = np.asarray(image if deep else image.convert("RGB"), np.float32) / (65535 if deep else 255)
    pixels = np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def read_alpha(path: Path) -> Tensor | None:
    """The alpha of a texture file, (1, h, w) in [0, 1]; None where it has none, or is solid everywhere.

    Raises:
        UserError: as `read_texture`.
    """
    return decode_alpha(existing_file(path).read_bytes(), str(path))


def decode_alpha(stored: bytes, name: str) -> Tensor | None:
    """As `read_alpha`, of a file's bytes; `name` is for messages."""
    with (
        reading(name, f"a texture; expected {', '.join(FORMATS)}"),
        Image.open(BytesIO(stored), formats=FORMATS) as image,
    ):
        if image.width * image.height > MOST_PIXELS or not image.has_transparency_data:
            return None
        alpha = np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / 255
    return None if alpha.min() >= 1 else torch.from_numpy(alpha)[None]


def beside(folder: Path, name: str) -> Path:
    """The file that another file in `folder` calls `name`, in that folder or under it; backslashes are slashes.

    Raises:
        UserError: a name that leads out of the folder.
    """
    named = Path(name.replace("\\", "/"))
    leads_out = named.is_absolute() or ".." in named.parts or ":" in name[:2] or "\0" in name
    if leads_out or any(len(part) > 255 for part in named.parts):
        raise UserError(f"{folder} has a file that names {name[:80]!r}; expected a file in the same folder or under it")
    return folder / named
