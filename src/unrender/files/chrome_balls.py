"""Lights by chrome balls: exposures of a mirror ball, or maps made of them, as DiffusionLight's scripts write them.

A light of the name NAME in a folder is one of

    NAME.exr, NAME.hdr                            a finished environment map
    NAME_ev-00.png, NAME_ev-25.png, NAME_ev-50.png, ...   exposures: the number is tenths of a stop

Exposures are square crops of a ball as a far camera sees it, or maps twice as wide as high. They are display pictures
of gamma 2.4. In maps the middle column is what the camera looks at, and the right half what is on its right.

Source: Phongthawee et al. 2024 (DiffusionLight), section 4.3; the mirror ball is Debevec 1998.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.files.environments import read_environment
from unrender.files.images import decode
from unrender.files.paths import existing_file
from unrender.scene.color import luminance, power_to_linear
from unrender.scene.environment import EnvironmentMap, texel_directions

GAMMA = 2.4
"""Of DiffusionLight's exposures."""

HEIGHT = 128
"""Rows of the map that a ball is unwrapped to; a ball of 1024 pixels holds no more away from its middle."""

FORWARD_IN_THE_MIDDLE = 180.0
"""Degrees of yaw that bring DiffusionLight's maps, whose middle is -Z, to those of this house, whose left edge is."""

_EXPOSURE = re.compile(r"_ev(-?\d{1,4})\.(?:png|jpg|jpeg)$", re.IGNORECASE)


def read_chrome_ball(folder: str | Path, name: str) -> EnvironmentMap:
    """The light called `name` in a folder, in the axes of the camera that saw it: (1, 3, H, 2 H) linear Rec.709.

    Raises:
        UserError: no such light, exposures that differ in size or shape, or files that cannot be read.
    """
    folder = Path(folder)
    for ending in (".exr", ".hdr"):
        if (folder / f"{name}{ending}").is_file():
            return read_environment(folder / f"{name}{ending}").rotated(FORWARD_IN_THE_MIDDLE)
    exposures = {}
    for path in sorted(folder.glob(f"{_escaped(name)}_ev*")):
        found = _EXPOSURE.search(path.name)
        if found and path.name[: found.start()] == name:
            exposures[-abs(int(found[1])) / 10] = _exposure(path)
    if not exposures:
        raise UserError(f"{folder} has no light of {name}; expected {name}.exr, or {name}_ev-00.png, _ev-25.png, ...")
    if len({tuple(picture.shape) for picture in exposures.values()}) > 1:
        raise UserError(f"the exposures {folder / name}_ev* have several sizes; expected one")
    radiance = merge_exposures(exposures)
    height, width = radiance.shape[2:]
    if height == width:
        return EnvironmentMap(unwrap_ball(radiance), name=name)
    if width != 2 * height:
        raise UserError(
            f"the exposures {folder / name}_ev* are {width}x{height}; expected a square ball, or maps of 2:1"
        )
    return EnvironmentMap(radiance, name=name).rotated(FORWARD_IN_THE_MIDDLE)


def merge_exposures(exposures: dict[float, Tensor]) -> Tensor:
    """One linear picture of several exposures: of each pixel the brightest in which no channel is clipped.

    Args:
        exposures: linear (1, 3, H, W) in [0, 1] by stops, 0 and below: a picture of -5 was taken 32 times darker.

    Returns:
        (1, 3, H, W), in the units of the exposure of 0 stops.
    """
    stops = sorted(exposures)
    merged = exposures[stops[0]] / 2 ** stops[0]
    for stop in stops[1:]:
        own = exposures[stop]
        # Near white a display picture says nothing more; it hands over between 90 % and all of it, and only to what is
        # brighter: exposures that a network drew are not always those of one scene.
        clipped = ((own.amax(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1)
        brighter = luminance(merged) > luminance(own) / 2**stop
        merged = torch.lerp(own / 2**stop, merged, (clipped * brighter).expand_as(merged))
    return merged


def unwrap_ball(ball: Tensor, height: int = HEIGHT) -> Tensor:
    """The environment (1, 3, height, 2 height) that a mirror ball (1, 3, S, S) reflects to a camera far away.

    Light from direction d reaches the camera from where the ball's normal is halfway between d and the way to the
    camera, +Z; the picture of the ball shows that normal at (x, y).
    """
    directions = texel_directions((height, 2 * height)).to(ball)
    normal = functional.normalize(directions + directions.new_tensor([0.0, 0.0, 1.0]), dim=-1)
    grid = torch.stack((normal[..., 0], -normal[..., 1]), dim=-1)
    return functional.grid_sample(ball, grid[None], mode="bilinear", padding_mode="border", align_corners=False)


def _exposure(path: Path) -> Tensor:
    """A display picture under DiffusionLight's gamma, linear, (1, 3, H, W)."""
    pixels = decode(existing_file(path)).pixels
    if pixels.dtype.kind == "f" or pixels.shape[2] < 3:
        raise UserError(f"{path} is no colour picture of a display; expected an exposure of 8 or 16 bits")
    most = torch.iinfo(torch.uint8 if pixels.dtype.itemsize == 1 else torch.uint16).max
    codes = torch.from_numpy(pixels[..., :3].astype("float32")) / most
    return power_to_linear(codes.permute(2, 0, 1)[None], GAMMA)


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)
