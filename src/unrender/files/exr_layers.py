"""Any layer of an EXR, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrender.files.exr import read_channels
from unrender.files.paths import existing_file
from unrender.files.radiance import to_rec709

_ORDER = {letter: place for place, letter in enumerate("RGBAXYZUVW")}
_LONG = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}


def read_layers(path: str | Path) -> dict[str, Tensor]:
    """Every layer of an EXR, (C, H, W) float32, by name; the picture that has none is called "".

    Components come in the order R, G, B, A or X, Y, Z. Layers of R, G, B, with A or without, are brought to linear
    Rec.709 from what the file says of its colour; all others, and alpha, are as they are stored.

    Raises:
        UserError: a missing or damaged file.
    """
    path = existing_file(path)
    image = read_channels(path)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for full, pixels in image.channels.items():
        layer, _, component = full.rpartition(".")
        parts.setdefault(layer, {})[_LONG.get(component.lower(), component)] = pixels
    layers = {}
    for name, components in parts.items():
        letters = sorted(components, key=lambda one: (_ORDER.get(one.upper(), len(_ORDER)), one))
        planes = np.stack([components[one].astype(np.float32) for one in letters])
        if letters[:3] == ["R", "G", "B"]:
            planes = np.concatenate((to_rec709(planes[:3], image.chromaticities), planes[3:]))
        layers[name] = torch.from_numpy(np.ascontiguousarray(planes))
    return layers
