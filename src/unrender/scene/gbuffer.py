"""The G-buffer: geometry, material and irradiance, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene import compositing
from unrender.scene.camera import Camera
from unrender.scene.plate import Plate, Plates, join_plates
from unrender.scene.records import same, summary

DepthKind = Literal["metric", "relative"]
IrradianceKind = Literal["metric", "relative"]

CHANNELS: dict[str, int] = {
    "base_color": 3,
    "diffuse_albedo": 3,
    "normal": 3,
    "depth": 1,
    "disparity": 1,
    "roughness": 1,
    "metallic": 1,
    "irradiance": 3,
    "shading": 3,
    "residual": 3,
    "mask": 1,
    "sky": 1,
    "instance": 1,
    "base_color_deviation": 1,
    "normal_deviation": 1,
    "depth_deviation": 1,
    "roughness_deviation": 1,
    "metallic_deviation": 1,
    "rgb": 3,
}
"""Every map a GBuffer can carry, with its number of channels; `conventions` says what each one means."""


@dataclass(frozen=True, eq=False, repr=False)
class GBuffer:
    """Geometry and material of every pixel, over time. Any map may be None; those present share T, H and W.

    Attributes:
        base_color: (T, 3, H, W) linear [0, 1]; a metal keeps its colour.
        diffuse_albedo: (T, 3, H, W) linear [0, 1]; black for metals.
        normal: (T, 3, H, W) unit, camera space (OpenGL); the zero vector means "none".
        depth: (T, 1, H, W) planar Z > 0, +inf where there is nothing.
        disparity: (T, 1, H, W) [0, 1] inverse depth, known up to scale and shift; larger is nearer.
        roughness: (T, 1, H, W) perceptual, [0, 1].
        metallic: (T, 1, H, W) [0, 1].
        irradiance: (T, 3, H, W) linear diffuse irradiance, HDR, not divided by pi.
        shading: (T, 3, H, W) linear diffuse shading, known up to a scale that it shares with `residual`.
        residual: (T, 3, H, W) linear, the picture less diffuse_albedo * shading: highlights, emission.
        mask: (T, 1, H, W) [0, 1], 1 where there is a surface (or the subject, where the source had an alpha).
        sky: (T, 1, H, W) [0, 1], 1 where the open sky is seen; where neither it nor `mask` is 1 there is another
            background.
        instance: (T, 1, H, W) whole numbers from 1 to 2048, which object; 0 where there is nothing. Never interpolated.
        base_color_deviation, normal_deviation, depth_deviation, roughness_deviation, metallic_deviation: (T, 1, H, W)
            [0, 1], how far off a model takes its map of that name to be: the mean absolute error that it expects, of
            colours on the display curve, of normals in the angle's share of 90 degrees, of relative depth in its range.
        rgb: (T, 3, H, W) the picture itself, scene-linear.
        depth_kind: "metric", or "relative" where depth is known up to scale and shift only.
        irradiance_kind: "metric" on the scale of rgb, or "relative": scaled into [0, 1] by an unknown exposure.
        camera: the camera of the frames, None where it is unknown.
        fps: frames per second of a clip, None for a still.
        model: id of the model that made it, "" where none did.
        plate: windows and numbers of a film plate, None where there are none; of a clip those of its first frame.
        plates: those of each frame of a clip, where they are not all the same; else ().
    """

    base_color: Tensor | None = None
    diffuse_albedo: Tensor | None = None
    normal: Tensor | None = None
    depth: Tensor | None = None
    disparity: Tensor | None = None
    roughness: Tensor | None = None
    metallic: Tensor | None = None
    irradiance: Tensor | None = None
    shading: Tensor | None = None
    residual: Tensor | None = None
    mask: Tensor | None = None
    sky: Tensor | None = None
    instance: Tensor | None = None
    base_color_deviation: Tensor | None = None
    normal_deviation: Tensor | None = None
    depth_deviation: Tensor | None = None
    roughness_deviation: Tensor | None = None
    metallic_deviation: Tensor | None = None
    rgb: Tensor | None = None
    depth_kind: DepthKind = "relative"
    irradiance_kind: IrradianceKind = "metric"
    camera: Camera | None = None
    fps: float | None = None
    model: str = ""
    plate: Plate | None = None
    plates: Plates = ()

    def __post_init__(self) -> None:
        maps = self.maps
        if not maps:
            raise UserError(f"a GBuffer with no map; give at least one of {', '.join(CHANNELS)}")
        first = next(iter(maps))
        frames, _, *size = maps[first].shape if maps[first].ndim == 4 else (0, 0, 0, 0)
        for name, value in maps.items():
            expected = (frames, CHANNELS[name], *size)
            if value.ndim != 4 or tuple(value.shape) != expected:
                raise UserError(
                    f"GBuffer.{name} has shape {tuple(value.shape)}; expected {expected}, beside {first}"
                    if frames
                    else f"GBuffer.{name} has shape {tuple(value.shape)}; expected (T, {CHANNELS[name]}, H, W)"
                )
        if self.camera is not None and (self.camera.size != tuple(size) or len(self.camera) not in (1, frames)):
            raise UserError(
                f"GBuffer.camera has {len(self.camera)} frames of size {self.camera.size}; "
                f"expected 1 or {frames} of size {tuple(size)}, beside {first}"
            )

    @staticmethod
    def concatenate(parts: Sequence[GBuffer]) -> GBuffer:
        """Joins G-buffers of the same maps, size and depth kind along time; their cameras too, where all have one."""
        return concatenate(parts)

    @property
    def maps(self) -> dict[str, Tensor]:
        """The maps that are present, by name, in the order of `CHANNELS`."""
        return {name: value for name in CHANNELS if (value := getattr(self, name)) is not None}

    @property
    def kinds(self) -> tuple[DepthKind, IrradianceKind]:
        """The kinds of depth and of irradiance: whether their scale is known."""
        return self.depth_kind, self.irradiance_kind

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return next(iter(self.maps.values())).shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = next(iter(self.maps.values())).shape[2:]
        return height, width

    def camera_or_default(self) -> Camera:
        """The camera of the frames; where nothing is known of it, a level one with `Camera.perspective`'s field of
        view."""
        return Camera.perspective(self.size) if self.camera is None else self.camera

    def require(self, *names: str, by: str) -> None:
        """Raises UserError, naming what is missing, unless every map in `names` is present."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise UserError(f"{by} needs the map {', '.join(missing)}; this G-buffer has {', '.join(self.maps)}")

    def with_maps(self, **maps: Tensor | None) -> GBuffer:
        """The same G-buffer with some maps replaced (or, given None, taken out)."""
        return replace(self, **maps)

    def over(self, back: GBuffer) -> GBuffer:
        """This G-buffer, of an object with a mask, before that of a scene, and hidden by it where it is farther away:
        see `compositing.over`."""
        return compositing.over(self, back)[0]

    def frame(self, index: int) -> GBuffer:
        """Frame `index` alone, as a G-buffer with T = 1."""
        i = range(len(self))[index]
        return self.part(i, i + 1)

    def part(self, start: int, stop: int) -> GBuffer:
        """Frames `start` to `stop`, the last one left out."""
        camera = self.camera
        if camera is not None and len(camera) > 1:
            camera = Camera.concatenate([camera.frame(i) for i in range(start, stop)])
        plates = self.plates[start:stop]
        maps = {name: value[start:stop] for name, value in self.maps.items()}
        return replace(self, camera=camera, plate=plates[0] if plates else self.plate, plates=plates, **maps)

    def to(self, device: torch.device | str) -> GBuffer:
        """The same G-buffer with every map, and the camera, on `device`."""
        camera = self.camera.to(device) if self.camera is not None else None
        return replace(self, camera=camera, **{name: value.to(device) for name, value in self.maps.items()})


def concatenate(parts: Sequence[GBuffer]) -> GBuffer:
    """Joins G-buffers of the same maps, size and depth kind along time; their cameras too, where all have one."""
    first = parts[0]
    names = set(first.maps)
    if any(set(part.maps) != names for part in parts):
        raise UserError("G-buffers with different maps cannot be joined; give the same maps for every frame")
    if any((part.size, *part.kinds) != (first.size, *first.kinds) for part in parts):
        raise UserError("G-buffers of different size or depth kind cannot be joined; give the same for every frame")
    if len(parts) == 1:
        return first
    maps = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    # A camera of one frame serves all frames of its part, so repeat it.
    cameras = [part.camera.frame(i) for part in parts if part.camera is not None for i in range(len(part))]
    camera = Camera.concatenate(cameras) if all(part.camera is not None for part in parts) else None
    plates = join_plates([(part.plate, part.plates, len(part)) for part in parts])
    return replace(first, camera=camera, plates=plates, **maps)
