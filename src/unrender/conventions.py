"""Axes, colour, depth and the yaw of light: named once, here. `docs/conventions.md` says the same in pictures and
`tests/test_conventions_rendered.py` renders them.

Tensors        float32, (T, C, H, W); a still has T = 1. Files and numpy views are (H, W, C).
Colour         scene-linear Rec.709 in memory, always. Transfer curves live in `files` and in model codecs only.
Camera axes    OpenGL: +X right, +Y up, +Z towards the viewer; world +Y up; poses are camera-to-world 4x4.
Pixels         the centre of the first pixel is at (0.5, 0.5); x runs right, y runs down.
normal         unit, camera space, [-1, 1]; the zero vector means "none".
depth          planar Z, positive, +inf where there is nothing; `metric` or `relative` (up to scale and shift).
base_color     linear [0, 1], metals keep theirs; diffuse_albedo is another map.
roughness      perceptual, [0, 1]; GGX alpha = roughness^2.
irradiance     linear, HDR, E = integral of L cos dw, not divided by pi: a Lambertian surface sends out albedo E / pi.
Environment    equirectangular, linear HDR, OpenEXR/USD/Mitsuba layout: -Z at u = 0, +X at 1/4, +Z at 1/2, -X at 3/4,
               +Y in the top row; texel centres at (i + 0.5) / W, (j + 0.5) / H.
Yaw            degrees about +Y, right-handed (counter-clockwise seen from above): a light in direction d moves to
               R_y(yaw) d, so the picture of the map moves left by yaw / 360 of its width.
"""

import math

import torch
from torch import Tensor

COLOR_SPACE = "lin_rec709"
CAMERA_AXES = "opengl: +X right, +Y up, +Z towards the viewer"
REC709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
REC709_LUMINANCE = (0.2126, 0.7152, 0.0722)
DEFAULT_FOV_DEGREES = 50.0  # vertical; assumed where a picture says nothing of its camera


def direction_to_uv(direction: Tensor) -> tuple[Tensor, Tensor]:
    """World directions (..., 3), any length > 0, to equirectangular (u, v), each (...), u in [0, 1), v in [0, 1]."""
    x, y, z = direction.unbind(-1)
    u = torch.remainder(torch.atan2(x, -z) / (2 * math.pi), 1.0)
    # The remainder of a tiny negative number rounds to 1.0 in float32, one texel off the map.
    u = torch.where(u >= 1.0, torch.zeros_like(u), u)
    # atan2 rather than acos: exact near the poles, and its gradient stays finite there. A norm is ten times slower.
    from_axis = torch.sqrt((x * x + z * z).clamp(min=1e-30))
    return u, torch.atan2(from_axis, y) / math.pi


def uv_to_direction(u: Tensor, v: Tensor) -> Tensor:
    """Equirectangular (u, v), each (...), to unit world directions (..., 3)."""
    phi, theta = 2 * math.pi * u, math.pi * v
    sin_theta = torch.sin(theta)
    return torch.stack((torch.sin(phi) * sin_theta, torch.cos(theta), -torch.cos(phi) * sin_theta), dim=-1)


def yaw_matrix(degrees: float) -> Tensor:
    """The 3x3 rotation about world +Y by `degrees`, right-handed."""
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
