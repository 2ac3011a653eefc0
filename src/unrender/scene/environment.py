"""Light from all around: equirectangular environment maps in the OpenEXR layout (see `conventions`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.conventions import direction_to_uv, uv_to_direction
from unrender.errors import UserError
from unrender.scene import readers
from unrender.scene.color import luminance
from unrender.scene.records import same, summary

ASPECT_TOLERANCE = 0.02
"""By how much of its height a light may be wider or narrower than twice as wide as high, to either side."""


@dataclass(frozen=True, eq=False, repr=False)
class EnvironmentMap:
    """Distant light, over time.

    Attributes:
        radiance: (T, 3, H, W) linear HDR radiance >= 0, OpenEXR layout; T = 1 for a light that stands still.
        name: what to call it in messages and file names.
        hdr: False where it came from a display picture, whose sun is clipped.
        grid: whether it was brought to a shape of its own for a network (see `resized`). Every other light is twice as
            wide as high.

    Raises:
        UserError: another shape: a photo, say, or a cube map.
    """

    radiance: Tensor
    name: str = "light"
    hdr: bool = True
    grid: bool = False

    def __post_init__(self) -> None:
        if self.radiance.ndim != 4 or self.radiance.shape[1] != 3:
            raise UserError(f"EnvironmentMap.radiance has shape {tuple(self.radiance.shape)}; expected (T, 3, H, W)")
        if not self.radiance.is_floating_point():
            kind = str(self.radiance.dtype).removeprefix("torch.")
            raise UserError(f"EnvironmentMap.radiance holds {kind} numbers; expected linear floats")
        if not self.grid:
            require_equirectangular(self)

    @staticmethod
    def read(path: str | Path) -> EnvironmentMap:
        """Reads a light from a file, or by the name of a shipped one ("sunset" or "sunset.exr"); the same as
        `files.environments.resolve_light`, which see."""
        return readers.read("EnvironmentMap", path)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return self.radiance.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in texels."""
        return self.radiance.shape[2], self.radiance.shape[3]

    def to(self, device: torch.device | str) -> EnvironmentMap:
        """The same light on `device`."""
        return replace(self, radiance=self.radiance.to(device))

    def frame(self, index: int) -> EnvironmentMap:
        """The light of one frame; a light of one frame serves every index."""
        i = 0 if len(self) == 1 else range(len(self))[index]
        return replace(self, radiance=self.radiance[i : i + 1])

    def rotated(self, degrees: float) -> EnvironmentMap:
        """The light turned about +Y by `degrees` (see `conventions`: Yaw), between texels by linear interpolation.

        Conserves energy exactly, being a circular shift of every row.
        """
        shift = degrees / 360 * self.radiance.shape[3]
        whole = math.floor(shift)
        part = shift - whole
        rolled = torch.roll(self.radiance, -whole, dims=3)
        if part > 1e-6:
            rolled = torch.lerp(rolled, torch.roll(self.radiance, -whole - 1, dims=3), part)
        return replace(self, radiance=rolled)

    def transformed(self, rotation: Tensor) -> EnvironmentMap:
        """The light turned by any `rotation` (3, 3), or one per frame (T, 3, 3): light from d now comes from R d.

        Looked up bilinearly, so a sun smaller than a texel may gain or lose a little; `rotated` is exact for yaw.
        """
        per_frame = rotation.ndim == 3
        if per_frame and len(rotation) != len(self) and len(self) > 1:
            raise UserError(f"{len(rotation)} rotations for a light of {len(self)} frames; give one, or one per frame")
        # A row vector times R is the column vector R^T d: where the light that arrives from d came from.
        directions = texel_directions(self.size).to(rotation) @ rotation.reshape(-1, 1, 3, 3)
        return replace(self, radiance=sample_frames(self, directions))

    def resized(self, size: tuple[int, int]) -> EnvironmentMap:
        """The light on a (height, width) grid of any shape, every texel's flux (radiance x solid angle) kept; see
        `resize`."""
        return replace(self, radiance=resize(self.radiance, size), grid=not _is_equirectangular(size))

    def exposed(self, stops: float) -> EnvironmentMap:
        """The light made brighter by `stops` (EV): radiance times 2 ** stops."""
        return replace(self, radiance=self.radiance * 2.0**stops)


def require_equirectangular(light: EnvironmentMap) -> None:
    """Raises UserError for a light that is not twice as wide as high: a photo, say, or a cube map. Lights that were
    brought to a grid of another shape for a network (`EnvironmentMap.resized`) are no business of this."""
    height, width = light.size
    if not _is_equirectangular(light.size):
        raise UserError(f"the light {light.name} is {width}x{height}; expected a map twice as wide as high")


def _is_equirectangular(size: tuple[int, int]) -> bool:
    height, width = size
    return abs(width - 2 * height) <= max(2, 2 * ASPECT_TOLERANCE * height)


def turned(light: EnvironmentMap, frames: int, degrees: float = 360.0) -> Iterator[EnvironmentMap]:
    """The light of each of `frames` frames (T = 1 each, made one at a time) while it turns about +Y by `degrees`.

    Frame i has turned by `degrees * i / frames`, so a full turn played in a loop repeats no frame.
    """
    if len(light) not in (1, frames):
        raise UserError(f"a light of {len(light)} frames for a turn of {frames}; expected 1 or {frames}")
    for i in range(frames):
        yield light.frame(i).rotated(degrees * i / frames)


def texel_directions(size: tuple[int, int]) -> Tensor:
    """Unit world directions of the texel centres of a (height, width) map, (H, W, 3)."""
    height, width = size
    v, u = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return uv_to_direction(u, v)


def texel_solid_angles(size: tuple[int, int]) -> Tensor:
    """Solid angle of each row's texels in steradians, (H, 1), exact: W times their sum is 4 pi."""
    height, width = size
    edges = _row_edges(height)
    return ((edges[:-1] - edges[1:]) * (2 * math.pi / width)).float()[:, None]


def mean_radiance(light: EnvironmentMap) -> Tensor:
    """Radiance averaged over the sphere, linear rgb (T, 3): the flux divided by 4 pi."""
    weights = texel_solid_angles(light.size).to(light.radiance) / (4 * math.pi)
    return (light.radiance * weights).sum((2, 3))


def mean_luminance(light: EnvironmentMap) -> Tensor:
    """Rec.709 luminance averaged over the sphere, (T,): how bright the light is altogether."""
    return luminance(mean_radiance(light))[:, 0]


def mean_direction(light: EnvironmentMap) -> Tensor:
    """World direction that the light comes from on the whole, (T, 3), weighted by luminance and solid angle.

    Its length says how directed the light is: 1 for a single point of light, 0 for the same light from everywhere
    (and for no light at all).
    """
    weights = luminance(light.radiance) * texel_solid_angles(light.size).to(light.radiance)
    directions = texel_directions(light.size).to(weights)
    total = weights.sum((1, 2, 3)).clamp(min=torch.finfo(weights.dtype).tiny)
    return torch.einsum("tchw,hwd->td", weights, directions) / total[:, None]


def sample(radiance: Tensor, direction: Tensor) -> Tensor:
    """Bilinear look-up of (T, C, H, W) radiance in world directions (..., 3): gives (T, C, ...).

    Wraps around the seam; at the poles the outermost row is repeated. Differentiable in `radiance` and `direction`.
    """
    width = radiance.shape[3]
    u, v = direction_to_uv(direction)
    # One wrapped column on either side lets the seam be an ordinary place.
    padded = torch.cat((radiance[..., -1:], radiance, radiance[..., :1]), dim=3)
    x = (u * width + 1.0) * (2 / (width + 2)) - 1
    y = v * 2 - 1
    grid = torch.stack((x, y), dim=-1).reshape(1, 1, -1, 2).expand(len(radiance), -1, -1, -1)
    looked_up = torch.nn.functional.grid_sample(padded, grid, padding_mode="border", align_corners=False)
    return looked_up.reshape(*radiance.shape[:2], *direction.shape[:-1])


def sample_frames(light: EnvironmentMap, directions: Tensor) -> Tensor:
    """What comes from world directions (T, ..., 3), those of every frame of the light: (T, 3, ...). Of light and
    directions either may have one frame, which serves all of the other's; see `sample`."""
    if len(directions) == 1:
        return sample(light.radiance, directions[0])
    return torch.cat([sample(light.frame(i).radiance, frame) for i, frame in enumerate(directions)])


def resize(radiance: Tensor, size: tuple[int, int]) -> Tensor:
    """(T, C, H, W) radiance on another equirectangular grid, (T, C, *size).

    Every source texel hands on all of its flux (radiance x solid angle) and a constant stays that constant. Where an
    axis shrinks, texels are averaged over the area they share; where it grows, they are joined linearly and averaged
    over the new texels. Radiance >= 0 stays so. Linear, and differentiable in `radiance`.
    """
    height, width = radiance.shape[2:]
    if min(size) < 1:
        raise UserError(f"an environment map of size {size[0]} x {size[1]}; expected at least 1 x 1")
    if size[0] != height:
        radiance = _mix(_latitude_weights(height, size[0]), radiance, dim=2)
    if size[1] != width:
        radiance = _mix(_longitude_weights(width, size[1]), radiance, dim=3)
    return radiance


def _mix(weights: Tensor, values: Tensor, dim: int) -> Tensor:
    """`values` with dimension `dim` replaced by the sums that `weights` (target, source) makes of it."""
    rows = values.movedim(dim, 0)
    # All but a few weights of each row are zero: on a 4k map, sparse costs a quarter of the time of dense.
    mixed = torch.sparse.mm(weights.to(values).to_sparse(), rows.reshape(len(rows), -1))
    return mixed.reshape(-1, *rows.shape[1:]).movedim(0, dim).contiguous()


def _row_edges(height: int) -> Tensor:
    """Cosines of the polar angles between rows, from the top, (H + 1,), float64: equal steps are equal areas."""
    return torch.cos(torch.linspace(0, math.pi, height + 1, dtype=torch.float64))


def _latitude_weights(source: int, target: int) -> Tensor:
    """Weights (target, source) of resampling rows: a constant stays, and so does every source row's flux.

    Growing, rows are joined linearly in the cosine c of the polar angle. A tent between nodes c[j-1], c[j], c[j+1] has
    the area (c[j+1] - c[j-1]) / 2, which is the solid angle of row j exactly when neighbouring nodes lie evenly about
    the edge between them; with rows of height h centred at t[j], c[j] = cos t[j] / cos(h / 2) does that.
    """
    if target < source or source == 1:
        return _area_weights(-_row_edges(source), -_row_edges(target))
    step = math.pi / source
    centers = (torch.arange(source, dtype=torch.float64) + 0.5) * step
    return _linear_weights(-torch.cos(centers) / math.cos(step / 2), -_row_edges(target))


def _longitude_weights(source: int, target: int) -> Tensor:
    """Weights (target, source) of resampling columns, which wrap around: as `_latitude_weights`."""
    edges = torch.linspace(0, source, target + 1, dtype=torch.float64)
    if target < source:
        return _area_weights(torch.arange(source + 1, dtype=torch.float64), edges)
    wrapped = _linear_weights(torch.arange(-1, source + 1, dtype=torch.float64) + 0.5, edges)
    weights = wrapped[:, 1:-1].clone()
    weights[:, -1] += wrapped[:, 0]
    weights[:, 0] += wrapped[:, -1]
    return weights


def _area_weights(source: Tensor, target: Tensor) -> Tensor:
    """The part of each target interval that each source interval covers; both given by rising edges (n + 1,)."""
    start = torch.maximum(target[:-1, None], source[:-1])
    end = torch.minimum(target[1:, None], source[1:])
    return (end - start).clamp(min=0) / (target[1:] - target[:-1])[:, None]


def _linear_weights(nodes: Tensor, target: Tensor) -> Tensor:
    """The mean over each target interval (rising edges) of the tents that join values at rising `nodes` linearly."""
    gaps = nodes[1:] - nodes[:-1]
    position = ((target[:, None] - nodes[:-1]) / gaps).clamp(0, 1)
    rising, falling = gaps * position**2 / 2, gaps * (position - position**2 / 2)
    integral = torch.nn.functional.pad(rising, (1, 0)) + torch.nn.functional.pad(falling, (0, 1))
    return (integral[1:] - integral[:-1]) / (target[1:] - target[:-1])[:, None]
