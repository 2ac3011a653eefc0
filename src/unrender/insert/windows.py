"""The parts of a picture that are worth rendering."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unrender.insert.scene import InsertionScene
from unrender.scene.camera import Camera, project

Window = tuple[slice, slice]
"""Rows and columns."""

_MARGIN = 4  # pixels about what is rendered


def object_window(scene: InsertionScene, camera: Camera) -> Window | None:
    """Rows and columns of the picture that the objects are in; None where they are not in it."""
    points = torch.cat([torch.from_numpy(thing.points).float() for thing in scene.objects])
    pixels, depth = project(points, camera)
    if bool((depth <= 1e-6).any()):  # some of it is beside or behind the camera: no box of pixels holds it
        return slice(0, camera.size[0]), slice(0, camera.size[1])
    low, high = pixels[0].amin(0), pixels[0].amax(0)
    return window_about(torch.stack((low[1], low[0], high[1], high[0])), camera)


def window_about(box: Tensor, camera: Camera) -> Window | None:
    """Top, left, bottom, right with a margin, within the picture; None where it is outside."""
    height, width = camera.size
    top, left, bottom, right = box.clamp(-1e6, 1e6).tolist()
    rows = slice(max(0, math.floor(top) - _MARGIN), min(height, math.ceil(bottom) + _MARGIN))
    columns = slice(max(0, math.floor(left) - _MARGIN), min(width, math.ceil(right) + _MARGIN))
    return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None


def cropped(camera: Camera, window: Window) -> Camera:
    """The camera of a window."""
    rows, columns = window
    return camera.cropped(rows.start, columns.start, (rows.stop - rows.start, columns.stop - columns.start))
