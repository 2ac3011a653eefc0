"""A set of views, whole."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unrender.scene.camera import Camera
from unrender.scene.frames import Frames


@dataclass(frozen=True, eq=False)
class GeneratedView:
    """What is kept of a view until all of them are there.

    Attributes:
        latent: (C, h, w) clean, float32.
        depth, coverage: (h', w') of the finest projection layer, planar depth in the subject's radii and coverage in
            [0, 1]; None where the network has no projection layer, or the picture was given.
    """

    latent: Tensor
    depth: Tensor | None = None
    coverage: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ViewSet:
    """Views of one subject.

    Attributes:
        frames: (T, 3, H, W) scene-linear pictures.
        camera: of each, in the world of the path.
        names: of the pictures.
        depth: (T, 1, H, W) planar, in the world's units, as the projection layers render it: coarse; None where the
            network has none.
        coverage: (T, 1, H, W) in [0, 1], likewise.
        given: (T,) which of them were given.
        prompt, model: what they were made from, and by.
    """

    frames: Frames
    camera: Camera
    names: tuple[str, ...]
    depth: Tensor | None
    coverage: Tensor | None
    given: Tensor
    prompt: str = ""
    model: str = ""
