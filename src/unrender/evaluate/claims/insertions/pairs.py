"""Pairs of `unrender synth --insertion`, as what an insertion is asked for and what it is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.files.cameras import read_object_poses, read_transforms
from unrender.files.environments import read_environment
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.insert import Placement, SupportPlane
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames

SHADED = 0.95
"""Of the luminance without the object; a pixel that has less with it is in its shadow."""
_NOISE = 5  # pixels square, over which the noise of both pictures is averaged away

GROUND = SupportPlane(torch.tensor([0.0, 1.0, 0.0]), 0.0)


@dataclass(frozen=True, eq=False)
class InsertionCase:
    """One pair.

    Attributes:
        photo: T = 1, without the object, scene-referred.
        truth: (1, 3, H, W) linear, with it.
        mask: (1, 1, H, W), the object's coverage.
        light: the true one, in the units of the pictures.
        asset: the object's file.
        placement: camera, ground and the object's pose, all true.
        class_name: what the object is, in a word.
    """

    photo: Frames
    truth: Tensor
    mask: Tensor
    light: EnvironmentMap
    asset: Path
    placement: Placement
    class_name: str

    @property
    def region(self) -> Tensor:
        """(1, 1, H, W) bool: the object and its shadow, by the true pictures alone."""
        before, after = (
            functional.avg_pool2d(luminance(rgb), _NOISE, stride=1, padding=_NOISE // 2, count_include_pad=False)
            for rgb in (self.photo.rgb, self.truth)
        )
        return (self.mask > 0) | (after < SHADED * before)


def read_pairs(folder: Path) -> Iterator[InsertionCase]:
    """The pairs of a folder, in the order of their names.

    Raises:
        UserError: there are none, or one is damaged.
    """
    places = sorted(path for path in folder.glob("*") if (path / "truth.exr").is_file())
    if not places:
        raise UserError(f"no pairs in {folder}; expected a folder that `unrender synth --insertion` wrote")
    return (_read_pair(place) for place in places)


def _read_pair(place: Path) -> InsertionCase:
    truth = read_gbuffer(place / "truth.exr").maps
    if "mask" not in truth or "rgb" not in truth:
        raise UserError(f"{place / 'truth.exr'} has no rgb and mask; expected a pair of `unrender synth --insertion`")
    where, named = place / "transforms.json", place / "class.txt"
    return InsertionCase(
        read_image(place / "background.exr"),
        truth["rgb"],
        truth["mask"],
        read_environment(place / "light.exr"),
        place / "object.glb",
        Placement(poses=read_object_poses(where), plane=GROUND, camera=read_transforms(where).camera),
        named.read_text(encoding="utf-8").strip() if named.is_file() else "object",
    )
