"""Photos whose maps nobody knows, as training pictures."""

from __future__ import annotations

from pathlib import Path

from unrender.files.datasets.photos import open_photos
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_picture
from unrender.train.data import Stills, load_stills

SIDE = 160


def load_photos(folder: Path, side: int = SIDE) -> Stills:
    """The middle squares of the photos in a folder, `side` pixels a side.

    Raises:
        UserError: there are none, or one cannot be read.
    """
    squares = []
    for gbuffer in open_photos(folder):
        rgb = gbuffer.maps["rgb"]
        height, width = rgb.shape[2:]
        shorter = min(height, width)
        top, left = (height - shorter) // 2, (width - shorter) // 2
        square = rgb[:, :, top : top + shorter, left : left + shorter]
        squares.append(GBuffer(rgb=resize_picture(square, (side, side))))
    return load_stills(squares, required=())
