"""A triangle mesh in world space with the textures of its material: what both renderers of this room read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TexturedMesh:
    """A triangle mesh in world space with the textures of its material.

    Attributes:
        vertices: (V, 3) float32 positions.
        normals: (V, 3) float32 unit normals, outward: the back of a face is black.
        uv: (V, 2) float32 in [0, 1]; v = 0 is the first row of a texture.
        faces: (F, 3) uint32, counter-clockwise from outside.
        base_color: (H, W, 3) float32 linear [0, 1].
        roughness: (H, W) float32 perceptual, [0, 1].
        metallic: (H, W) float32, [0, 1].
        slope: (H, W, 2) float32, how steeply the surface rises along u and along v, see `height_slopes`; None is flat.
        emission: (F, 3) float32 linear radiance that the outside of each face sends out; None is none.
        opacity: (H, W) float32 [0, 1], the share of rays that a front of the surface stops; None stops all.
    """

    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    base_color: np.ndarray
    roughness: np.ndarray
    metallic: np.ndarray
    slope: np.ndarray | None = None
    emission: np.ndarray | None = None
    opacity: np.ndarray | None = None


def height_slopes(height: np.ndarray) -> np.ndarray:
    """Slopes (H, W, 2) along u and v, rise per length, of a (H, W) `height` in multiples of the texture's side.

    By central differences, at the edges by one-sided ones. An atlas holds slopes rather than heights, for heights of
    neighbouring tiles would make cliffs between them.
    """
    rows, columns = height.shape
    down, across = np.gradient(height.astype(np.float32))
    return np.stack((across * columns, down * rows), -1)
