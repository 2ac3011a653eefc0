"""Camera rays in Dr.Jit, from unrender's cameras: any principal point, any pixel aspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unrender.raytrace.packed import opaque
from unrender.scene.camera import Camera


@dataclass(frozen=True)
class CameraRays:
    """The first frame of a camera as arguments of kernels; Dr.Jit.

    Attributes:
        origin: world position of the pinhole, Point3f.
        axes: world right, up and back, three Vector3f.
        intrinsics: fx, fy, cx, cy in pixels.
        width: of the picture, UInt32.
    """

    origin: Any
    axes: list[Any]
    intrinsics: list[Any]
    width: Any

    def along(self, pixel: Any, offset: tuple[Any, Any]) -> Any:
        """World direction, scaled to camera-space z = -1, through `offset` in [0, 1)^2 of pixel y * width + x."""
        import mitsuba as mi

        fx, fy, cx, cy = self.intrinsics
        x = mi.Float(pixel % self.width) + offset[0]
        y = mi.Float(pixel // self.width) + offset[1]
        right, up, back = self.axes
        return right * ((x - cx) / fx) + up * ((cy - y) / fy) - back

    def direction(self, pixel: Any, offset: tuple[Any, Any]) -> Any:
        """The same as a unit vector."""
        import drjit as dr

        return dr.normalize(self.along(pixel, offset))


def camera_rays(camera: Camera) -> CameraRays:
    """The rays of the first frame of `camera`."""
    import mitsuba as mi

    k, pose = camera.intrinsics[0].double().numpy(), camera.pose[0].double().numpy()
    return CameraRays(
        origin=mi.Point3f(*(opaque(mi.Float, n) for n in pose[:3, 3])),
        axes=[mi.Vector3f(*(opaque(mi.Float, n) for n in pose[:3, i])) for i in range(3)],
        intrinsics=[opaque(mi.Float, n) for n in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])],
        width=opaque(mi.UInt32, camera.size[1]),
    )


def tiled(size: tuple[int, int]) -> np.ndarray:
    """Pixel indices (H * W,) uint32 of a (height, width) picture by tiles of 4 x 4: neighbouring lanes of a kernel
    then trace coherent rays."""
    y, x = np.divmod(np.arange(size[0] * size[1]), size[1])
    return np.lexsort((x % 4, y % 4, x // 4, y // 4)).astype(np.uint32)
