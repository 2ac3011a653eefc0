"""A small fit of 3D Gaussians to posed pictures (Kerbl et al. 2023, with round Gaussians), in plain torch: proof that
views agree, not a renderer for everyday use. Every Gaussian is looked at for every pixel; hundreds do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unrender.files.atomic import atomic_write
from unrender.multiview.subject import Subject
from unrender.scene.camera import Camera
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.resize import resize_picture

HARMONIC_0 = 0.28209479177387814
"""The constant spherical harmonic, by which files of splats scale colours."""
_NEAR = 0.05  # planar depth, in the subject's radii
_DENSEST = 0.99


@dataclass(frozen=True, eq=False)
class Splats:
    """N round Gaussians on white, or on what `background` says.

    Attributes:
        place: (N, 3) in the world.
        size: (N,) standard deviations.
        opacity: (N,) in (0, 1).
        colour: (N, 3) sRGB-encoded.
        background: (3,) sRGB-encoded.
    """

    place: Tensor
    size: Tensor
    opacity: Tensor
    colour: Tensor
    background: Tensor


@dataclass(frozen=True, eq=False)
class FittedSplats:
    """Splats, and how well they show the pictures that they were fitted to: PSNR in dB, sRGB, at the fit's size."""

    splats: Splats
    psnr: float


def fit_splats(
    rgb: Tensor,
    camera: Camera,
    subject: Subject,
    *,
    count: int = 800,
    steps: int = 200,
    side: int = 48,
    seed: int = 0,
) -> FittedSplats:
    """Fits Gaussians to pictures by Adam, a view a step in random order.

    Args:
        rgb: (T, 3, H, W) linear.
        camera: of each.
        subject: where Gaussians start.
        count: of Gaussians.
        side: long side in pixels of what is compared.
        seed: of their places and the order.
    """
    g = torch.Generator().manual_seed(seed)
    scale = side / max(camera.size)
    size = (max(1, round(camera.size[0] * scale)), max(1, round(camera.size[1] * scale)))
    small = camera.resized(size)
    wanted = linear_to_srgb(resize_picture(rgb.clamp(0, 1), size).clamp(0, 1))
    border = torch.cat((wanted[:, :, 0], wanted[:, :, -1], wanted[:, :, :, 0], wanted[:, :, :, -1]), dim=2)
    background = border.transpose(0, 1).flatten(1).median(1).values
    start = (torch.rand(count, 3, generator=g) * 2 - 1) * subject.radius
    place = start @ subject.pose[:3, :3].T + subject.pose[:3, 3]
    width = math.log(subject.radius * 1.2 / count ** (1 / 3))
    parameters = [
        (place / subject.radius).requires_grad_(),
        torch.full((count,), width - math.log(subject.radius)).requires_grad_(),
        torch.full((count,), -1.0).requires_grad_(),
        torch.zeros(count, 3).requires_grad_(),
    ]
    optimiser = torch.optim.Adam(
        [{"params": [p], "lr": rate} for p, rate in zip(parameters, (0.01, 0.02, 0.05, 0.05), strict=True)]
    )

    def current() -> Splats:
        places, sizes, opacities, colours = parameters
        return Splats(
            places * subject.radius, sizes.exp() * subject.radius, opacities.sigmoid(), colours.sigmoid(), background
        )

    with torch.enable_grad():
        for view in torch.randint(len(rgb), (steps,), generator=g).tolist():
            loss = (render_splats(current(), small.frame(view)) - wanted[view]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        splats = current()
        shown = torch.stack([render_splats(splats, small.frame(view)) for view in range(len(rgb))])
        error = float((shown - wanted).square().mean())
    return FittedSplats(
        Splats(*(value.detach() for value in (splats.place, splats.size, splats.opacity, splats.colour)), background),
        -10 * math.log10(max(error, 1e-12)),
    )


def render_splats(splats: Splats, camera: Camera) -> Tensor:
    """(3, H, W) sRGB-encoded picture of one camera: Gaussians projected as discs, nearest first (eq. 3)."""
    height, width = camera.size
    pose, k = camera.pose[0], camera.intrinsics[0]
    x, y, z = ((splats.place - pose[:3, 3]) @ pose[:3, :3]).unbind(-1)
    depth = (-z).clamp(min=1e-6)
    kept = (-z > _NEAR * splats.size.detach().median()) & (-z > 1e-4)
    order = torch.where(kept, depth, torch.inf).argsort()[: max(1, int(kept.sum()))]
    u, v = k[0, 2] + k[0, 0] * x / depth, k[1, 2] - k[1, 1] * y / depth
    spread = (splats.size * k[0, 0] / depth).square() + 0.3  # as if seen through a pixel's window
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    across = torch.exp(-0.5 * (columns - u[order, None]).square() / spread[order, None])
    down = torch.exp(-0.5 * (rows - v[order, None]).square() / spread[order, None])
    alpha = (splats.opacity[order, None, None] * down[:, :, None] * across[:, None]).clamp(max=_DENSEST)
    left = torch.cumprod(1 - alpha, dim=0)
    weight = alpha * torch.cat((torch.ones_like(left[:1]), left[:-1]))
    seen = torch.einsum("nhw,nc->chw", weight, splats.colour[order])
    return seen + left[-1] * splats.background[:, None, None]


def write_ply(path: Path, splats: Splats) -> None:
    """Writes Gaussians in the layout of 3D Gaussian Splatting's viewers: logit opacity, logarithmic sizes, one
    quaternion, colours as the constant harmonic."""
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    names += [f"scale_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]
    count = len(splats.place)
    harmonic = (splats.colour - 0.5) / HARMONIC_0
    turn = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
    sizes = splats.size.log()[:, None].expand(count, 3)
    opacity = splats.opacity.clamp(1e-6, 1 - 1e-6).logit()[:, None]
    rows = torch.cat((splats.place, torch.zeros(count, 3), harmonic, opacity, sizes, turn), dim=1)
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    head += [*(f"property float {name}" for name in names), "end_header", ""]
    with atomic_write(path) as partial:
        partial.write_bytes("\n".join(head).encode() + rows.float().contiguous().numpy().astype("<f4").tobytes())


def splat_pictures(splats: Splats, camera: Camera) -> Tensor:
    """(T, 3, H, W) linear pictures."""
    return srgb_to_linear(torch.stack([render_splats(splats, camera.frame(i)) for i in range(len(camera))]))
