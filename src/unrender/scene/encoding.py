"""Environment maps as neural renderers are shown them: an LDR, a log and a direction picture in the camera's axes.

The three pictures are those of DiffusionRenderer (Liang et al. 2025). Families of checkpoints differ in curves, grids,
layout and filtering; all of that is data, an `EnvironmentEncoding`, and `encode` is the one function that reads it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unrender.conventions import uv_to_direction, yaw_matrix
from unrender.errors import UserError
from unrender.scene.color import linear_to_log, linear_to_srgb, reinhard
from unrender.scene.cube import cube_of, sample_cube
from unrender.scene.environment import EnvironmentMap, mean_radiance, resize, sample_frames

Picture = Literal["ldr", "log", "direction"]

_OVERSAMPLING = 8


@dataclass(frozen=True)
class EnvironmentEncoding:
    """How one family of checkpoints wants its light.

    Attributes:
        white: radiance that the LDR picture's extended Reinhard curve brings to 1; None for x / (1 + x),
            which never reaches it.
        log_peak: radiance that the logarithmic curve brings to 1; beyond it all are alike.
        transfer: what both radiance pictures end in: the sRGB curve, or none.
        radiance_limit: radiance is clipped here before all curves; None for no limit.
        columns: which way columns turn from left to right, seen from above. The camera's -Z is at both edges and its
            +Z in the middle. "clockwise": its +X is at a quarter of the width, as in an environment map (see
            `conventions`). "counterclockwise": at three quarters.
        rows: polar angles of the rows. "centers": pi (j + 0.5) / H. "inset": pi linspace(1/H, 1 - 1/H, H), off the
            texel centres by up to half a row, which the checkpoint has learned.
        mirror_x: the checkpoint was trained in a world mirrored left to right: what it takes to come from camera +X is
            what the map holds at -X.
        direction_range: how unit vectors are fed: "signed" as they are, in [-1, 1], or "unit" as v / 2 + 1/2, in
            [0, 1].
        filtering: "point": one bilinear look-up a texel, in a map that was brought down to the picture's size, so that
            no sun is missed. "cube": the official look-ups, in the map as it is, through the faces of a cube
            (`scene.cube`). "area": the mean radiance over the texel's solid angle, with the flux of the whole map kept
            exactly however the camera is held; for rows at texel centres.
        channels: the order in which the pictures are joined.
    """

    white: float | None = None
    log_peak: float = 10_000.0
    transfer: Literal["srgb", "linear"] = "linear"
    radiance_limit: float | None = None
    columns: Literal["clockwise", "counterclockwise"] = "clockwise"
    rows: Literal["centers", "inset"] = "centers"
    mirror_x: bool = False
    direction_range: Literal["signed", "unit"] = "signed"
    filtering: Literal["point", "cube", "area"] = "point"
    channels: tuple[Picture, ...] = ("ldr", "log", "direction")

    def __post_init__(self) -> None:
        if self.filtering == "area" and self.rows != "centers":
            raise UserError(f'encoding: area filtering with rows "{self.rows}"; expected rows "centers"')


DIFFUSION_RENDERER_SVD = EnvironmentEncoding(
    white=16.0,
    transfer="srgb",  # in the released code, of all checkpoints; the paper leaves it out
    radiance_limit=65504.0,
    columns="counterclockwise",
    rows="inset",
    direction_range="unit",
)
DIFFUSION_RENDERER_COSMOS = replace(DIFFUSION_RENDERER_SVD, mirror_x=True, direction_range="signed")
MINI = EnvironmentEncoding(filtering="area")


@dataclass(frozen=True)
class EncodedEnvironment:
    """The three pictures of a light, in the camera's axes, each (T, 3, H, W); +Y is at the top.

    Attributes:
        ldr: [0, 1], what a display shows.
        log: [0, 1], all of the range: how bright the sun is.
        direction: unit vectors of the texels in camera axes, the same for every light; [-1, 1] or [0, 1].
        encoding: how they were made.
    """

    ldr: Tensor
    log: Tensor
    direction: Tensor
    encoding: EnvironmentEncoding

    @property
    def picture(self) -> Tensor:
        """All of it, (T, 3 * pictures, H, W), in the order of `encoding.channels`."""
        return torch.cat([getattr(self, name) for name in self.encoding.channels], dim=1)


def encode(
    light: EnvironmentMap,
    encoding: EnvironmentEncoding,
    size: tuple[int, int],
    rotation: Tensor | None = None,
    *,
    yaw: float | Tensor = 0.0,
    gain: Tensor | None = None,
) -> EncodedEnvironment:
    """The light as `encoding` wants it, differentiable in its radiance.

    Light, rotations and yaws are of T frames, or of one that serves all.

    Args:
        light: linear radiance.
        encoding: of the checkpoint that is conditioned on it.
        size: (height, width) of the pictures.
        rotation: (3, 3) or (T, 3, 3) camera-to-world, identity by default. It turns the radiance pictures; the
            direction picture is of the camera and never turns.
        yaw: degrees that the light is turned by about world +Y, one number or (T,).
        gain: (T, 1, 1, 1) exposure, that radiance is multiplied by; None for 1.

    Raises:
        UserError: light, rotations and yaws are of different numbers of frames.
    """
    turns = _turns(light, encoding, rotation, yaw)
    radiance = {"area": _area, "point": _point, "cube": _cube}[encoding.filtering](light, encoding, turns, size)
    exposed = (radiance if gain is None else radiance * gain).clamp(0, encoding.radiance_limit)
    white = math.inf if encoding.white is None else encoding.white
    ldr, log = reinhard(exposed, white), linear_to_log(exposed, encoding.log_peak)
    if encoding.transfer == "srgb":
        ldr, log = linear_to_srgb(ldr), linear_to_srgb(log)
    directions = encoded_directions(encoding, size).permute(2, 0, 1).to(exposed)
    fed = directions if encoding.direction_range == "signed" else directions / 2 + 0.5
    return EncodedEnvironment(ldr, log.clamp(max=1), fed.expand(len(exposed), -1, -1, -1), encoding)


def encoded_directions(encoding: EnvironmentEncoding, size: tuple[int, int]) -> Tensor:
    """Unit camera-space directions of the texels of an encoded map, (H, W, 3)."""
    height, width = size
    if encoding.rows == "inset":
        rows = torch.linspace(1 / height, 1 - 1 / height, height)
    else:
        rows = (torch.arange(height) + 0.5) / height
    v, u = torch.meshgrid(rows, (torch.arange(width) + 0.5) / width, indexing="ij")
    return uv_to_direction(u, v) * torch.tensor([1.0 if encoding.columns == "clockwise" else -1.0, 1.0, 1.0])


def mirror_encoded(picture: Tensor, encoding: EnvironmentEncoding) -> Tensor:
    """The picture (T, 3 * pictures, H, W) of `EncodedEnvironment.picture` of a scene that is mirrored left to right in
    camera axes: what came from (x, y, z) comes from (-x, y, z), column j from column W - 1 - j. A texel keeps its
    direction, for it stays where it is."""
    parts = zip(encoding.channels, picture.split(3, dim=1), strict=True)
    return torch.cat([part if name == "direction" else part.flip(3) for name, part in parts], dim=1)


def _turns(
    light: EnvironmentMap, encoding: EnvironmentEncoding, rotation: Tensor | None, yaw: float | Tensor
) -> Tensor:
    """(T, 3, 3) what row vectors in the camera's axes are multiplied by to look up the light that they see; T is 1
    where neither camera nor yaw change."""
    rotations = torch.eye(3)[None] if rotation is None else rotation.reshape(-1, 3, 3)
    yaws = torch.as_tensor(yaw, dtype=torch.float32).reshape(-1)
    counts = (len(light), len(rotations), len(yaws))
    if set(counts) - {1, max(counts)}:
        raise UserError(
            f"{counts[1]} camera rotations and {counts[2]} yaws for a light of {counts[0]} frames; "
            "expected one, or one each"
        )
    count = max(counts[1:])
    mirror = torch.diag(torch.tensor([-1.0 if encoding.mirror_x else 1.0, 1.0, 1.0]))
    return torch.stack(
        [
            turn.T @ (mirror @ yaw_matrix(degrees)).to(turn)
            for turn, degrees in zip(rotations.expand(count, 3, 3), yaws.expand(count).tolist(), strict=True)
        ]
    ).to(light.radiance)


def _look_up(light: EnvironmentMap, directions: Tensor, turns: Tensor) -> Tensor:
    """Radiance (T, 3, H, W) in camera-space directions (H, W, 3)."""
    return sample_frames(light, directions.to(turns) @ turns[:, None])


def _point(light: EnvironmentMap, encoding: EnvironmentEncoding, turns: Tensor, size: tuple[int, int]) -> Tensor:
    # Brought down first with its energy kept, so that no sun falls between the samples.
    light = light.resized((min(light.size[0], size[0]), min(light.size[1], size[1])))
    return _look_up(light, encoded_directions(encoding, size), turns)


def _cube(light: EnvironmentMap, encoding: EnvironmentEncoding, turns: Tensor, size: tuple[int, int]) -> Tensor:
    faces = cube_of(light.radiance.clamp(0, encoding.radiance_limit))
    directions = encoded_directions(encoding, size).to(turns)
    count = max(len(faces), len(turns))
    one_each = zip(faces.expand(count, -1, -1, -1).split(1), turns.expand(count, 3, 3), strict=True)
    return torch.cat([sample_cube(face, directions @ turn) for face, turn in one_each])


def _area(light: EnvironmentMap, encoding: EnvironmentEncoding, turns: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    # First down to twice the size, so that no sun is narrower than what is looked up; then so many look-ups a texel
    # that the little which they gain or lose is small, and is put right.
    coarse = light.resized((2 * height, 2 * width))
    dense = (_OVERSAMPLING * height, _OVERSAMPLING * width)
    fine = replace(coarse, radiance=resize(_widened_at_the_poles(coarse.radiance), dense), grid=True)
    seen = resize(_look_up(fine, encoded_directions(encoding, dense), turns), size)
    flux, found = mean_radiance(coarse), mean_radiance(replace(light, radiance=seen, grid=True))
    return seen * (flux / found.clamp(min=torch.finfo(found.dtype).tiny))[..., None, None]


def _widened_at_the_poles(radiance: Tensor) -> Tensor:
    """(T, 3, H, W) radiance, averaged along each row until its texels are as wide as those of the equator: near the
    poles they are slivers, which a turned grid of look-ups would miss. Every row keeps its flux."""
    height, width = radiance.shape[2:]
    sine = torch.sin((torch.arange(height) + 0.5) * (math.pi / height))
    column = torch.arange(width)
    apart = (column[:, None] - column).abs()
    apart = torch.minimum(apart, width - apart)
    weights = ((0.5 / sine)[:, None, None] + 0.5 - apart).clamp(0, 1)
    weights = weights / weights.sum(2, keepdim=True)
    return torch.einsum("hvw,tchw->tchv", weights.to(radiance), radiance)
