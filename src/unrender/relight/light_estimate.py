"""The light a picture was taken in: robust non-negative least squares on the light transport of its G-buffer, held to
what a network guesses, the more so the less they explain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unrender.files.natural import FramesLike, as_frames
from unrender.forward.surface import coverage
from unrender.forward.transport import transport_matrix
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.light_guess import guess_light
from unrender.relight.options import Inverse
from unrender.relight.surface import soft_surface
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.strips import in_strips

LIGHT_SIZE = (8, 16)
WRITTEN_SIZE = (64, 128)  # of a light in a file: texels of 22 degrees would show their edges in reflections
WORKING_SIDE = 48  # pixels of the longer side: 128 unknowns need no more than these equations
CLIPPED = 0.99  # a display picture says nothing of how bright such a pixel was
TRUSTED = 0.1  # pixels of the working size with less of a surface in them than this are left out
SMOOTHNESS = 0.02  # s below, in units of the mean diagonal of the normal equations
PERSISTENCE = 0.2  # p below, in the same units, for the light of the frames before
BELIEF = 16.0  # the same for a network's guess, where pixels are explained to no better than a factor of e
UNEXPLAINED = 0.3  # the relative error of pixels before the first solution
DRIFT_FRAMES = 48.0  # in so many frames the light of a clip goes all but a third of the way to a new estimate
ROBUST_ROUNDS = 5
HUBER = 1.345  # residuals beyond so many deviations weigh less: 95 % efficient on Gaussian noise
SOLVER_STEPS = 150


def estimate_light(
    frames: FramesLike,
    gbuffer: GBuffer | None = None,
    previous: EnvironmentMap | None = None,
    *,
    inverse: Inverse | str | Path = "mini",
    guess: bool = True,
) -> EnvironmentMap:
    """The environment map that best explains a picture, given what it is made of.

    Light is linear: picture = transport @ light, with one column per texel of an 8 x 16 map. The least squares are
    robust (pixels that the G-buffer gets wrong, such as cast shadows, weigh little), smooth (directions that no pixel
    sees take their neighbours' light) and non-negative; clipped pixels of display pictures are left out. They are held
    to a network's guess (`light_guess`) by the square of the relative error that they leave: exact maps decide alone.

    Args:
        frames: the picture, (T, 3, H, W) scene-linear, or what `files.as_frames` takes; all its frames share the light.
        gbuffer: its G-buffer, at the same size; needs base_color and normal. None for what `inverse` finds.
        previous: the light of the frames before, which a clip's light stays close to.
        inverse: an `InverseRenderer`, anything that is called alike, or the id of one; where no G-buffer is given.
        guess: False for least squares alone.

    Returns:
        Radiance (1, 3, 8, 16) in the units of the picture, in the world of the G-buffer's camera (level where it has
        none, looking at the middle of the map); black where no pixel says anything.

    Raises:
        UserError: a G-buffer with no base colour or normals, and what `as_frames` and the inverse renderer raise.
    """
    frames = as_frames(frames)
    if gbuffer is None:
        inverse = InverseRenderer.from_pretrained(inverse) if isinstance(inverse, str | Path) else inverse
        gbuffer, _ = soft_surface(frames, inverse(frames, None))
    gbuffer.require("base_color", "normal", by="the light estimate")
    small, picture, weights = working_copy(frames, gbuffer)
    transport = torch.cat([transport_matrix(small.frame(i), LIGHT_SIZE) for i in range(len(small))], dim=1)
    trusted = weights > TRUSTED
    if trusted.any():
        held = LightPrior(
            previous.radiance.reshape(3, -1) if previous is not None else None,
            guess_light(frames, gbuffer).reshape(3, -1) if guess else None,
        )
        light = solve_light(transport[:, trusted], picture[:, trusted], weights[trusted], LIGHT_SIZE, held)
    else:
        light = transport.new_zeros(3, transport.shape[2])
    return EnvironmentMap(light.reshape(1, 3, *LIGHT_SIZE), name=f"light of {frames.name}", hdr=frames.hdr)


def drifted(estimate: EnvironmentMap, previous: EnvironmentMap | None, frames: int) -> EnvironmentMap:
    """The light of each of the next `frames` frames of a clip, (T, 3, H, W): from that of the frame before towards a
    new estimate, which it comes closer to by 1 / `DRIFT_FRAMES` of the way with every frame. The first estimate is
    taken as it is, (1, 3, H, W)."""
    if previous is None:
        return estimate
    left = (1 - 1 / DRIFT_FRAMES) ** torch.arange(1, frames + 1).to(estimate.radiance)
    share = 1 - left[:, None, None, None]
    return replace(estimate, radiance=torch.lerp(previous.radiance, estimate.radiance, share))


@dataclass(frozen=True)
class LightPrior:
    """What a light is held to.

    Attributes:
        previous: (3, N) the light of the frames before; None for none.
        guess: (3, N) what is believed the more, the less the picture is explained; None for nothing.
    """

    previous: Tensor | None = None
    guess: Tensor | None = None


NO_PRIOR = LightPrior()


def solve_light(
    transport: Tensor,
    picture: Tensor,
    weights: Tensor,
    light_size: tuple[int, int],
    prior: LightPrior = NO_PRIOR,
) -> Tensor:
    """min over x >= 0 of |W^(1/2) (A x - b)|^2 + s |D x|^2 + p |x - x_previous|^2 + g r^2 |x - x_guess|^2, for each
    colour by itself; r is the deviation of the relative residuals.

    Iteratively reweighted, deterministic: W holds the squared inverse of the value expected at each pixel, and Huber's
    weights of the relative residuals.

    Args:
        transport: A, (3, P, N).
        picture: b, (3, P).
        weights: (P,) in [0, 1], trust in each pixel beforehand.
        light_size: (height, width) with height * width = N.
        prior: what it is held to.

    Returns:
        x, (3, N) >= 0.
    """
    smooth = _roughness_penalty(light_size).to(transport)
    floor = 0.5 * picture.mean() + 1e-6
    x = torch.zeros(3, transport.shape[2], dtype=transport.dtype, device=transport.device)
    robust = weights.expand_as(picture)
    spread = picture.new_full((3, 1), UNEXPLAINED)
    for _ in range(ROBUST_ROUNDS):
        weighted = transport * robust[..., None]
        gram = weighted.transpose(1, 2) @ transport
        right = (weighted.transpose(1, 2) @ picture[..., None])[..., 0]
        scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        gram = gram + SMOOTHNESS * scale * smooth
        for held, pull in ((prior.previous, PERSISTENCE), (prior.guess, BELIEF * spread.clamp(max=1).square())):
            if held is not None:
                pull = pull * scale[..., 0]
                gram = gram + pull[..., None] * torch.eye(gram.shape[1]).to(gram)
                right = right + pull * held
        x = _non_negative_minimum(gram, right, x)
        explained = (transport @ x[..., None])[..., 0]
        # Errors count by their share of what is expected there, as in a ratio. Taken from the noisy picture itself,
        # that share would favour pixels that happen to be dark.
        expected = explained.mean(dim=0) + floor
        residual = (explained - picture).abs() / expected
        spread = 1.4826 * residual.median(dim=1, keepdim=True).values + 1e-6
        robust = weights / expected**2 * (HUBER * spread / residual.clamp(min=1e-9)).clamp(max=1)
    return x


def _non_negative_minimum(gram: Tensor, right: Tensor, start: Tensor) -> Tensor:
    """argmin over x >= 0 of x'Gx / 2 - r'x, with G (3, N, N), r (3, N) and x from `start` (3, N), by accelerated
    projected gradient (FISTA: Beck and Teboulle 2009, eq. 4.1-4.3)."""
    step = 1 / torch.linalg.matrix_norm(gram, ord=2).clamp(min=1e-12)[:, None]
    x = y = start
    momentum = 1.0
    for _ in range(SOLVER_STEPS):
        gradient = (gram @ y[..., None])[..., 0] - right
        following = (y - step * gradient).clamp(min=0)
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        y = following + (momentum - 1) / next_momentum * (following - x)
        x, momentum = following, next_momentum
    return x


def _roughness_penalty(light_size: tuple[int, int]) -> Tensor:
    """D'D of differences between neighbouring texels, (N, N): around in azimuth, not across the poles."""
    height, width = light_size
    index = torch.arange(height * width).reshape(height, width)
    pairs = torch.cat(
        (
            torch.stack((index, index.roll(-1, 1))).flatten(1),
            torch.stack((index[:-1], index[1:])).flatten(1),
        ),
        dim=1,
    )
    difference = torch.zeros(pairs.shape[1], height * width)
    rows = torch.arange(pairs.shape[1])
    difference[rows, pairs[0]] = 1
    difference[rows, pairs[1]] = -1
    return difference.T @ difference


def working_copy(frames: Frames, gbuffer: GBuffer) -> tuple[GBuffer, Tensor, Tensor]:
    """The G-buffer at working size, with the picture (3, P) and each pixel's trust (P,), P over all frames."""
    height, width = gbuffer.size
    factor = min(1.0, WORKING_SIDE / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    trust = coverage(gbuffer)
    if not frames.hdr:
        trust = in_strips(lambda trust, rgb: trust * (rgb.amax(1, keepdim=True) < CLIPPED), trust, frames.rgb)
    # A trust of exactly nothing would divide by zero; this much changes no pixel that is trusted at all.
    trust = trust + 1e-6
    share = functional.adaptive_avg_pool2d(trust, size)

    def shrink(value: Tensor) -> Tensor:  # one channel at a time: of a large picture all would be another copy
        sums = [functional.adaptive_avg_pool2d(part * trust, size) for part in value.split(1, dim=1)]
        return torch.cat(sums, dim=1) / share

    names = ("base_color", "normal", "roughness", "metallic")
    maps = {name: shrink(value) for name, value in gbuffer.maps.items() if name in names}
    normal = functional.normalize(maps.pop("normal"), dim=1)
    camera = gbuffer.camera_or_default()
    small = GBuffer(normal=normal, camera=camera.resized(size)).with_maps(**maps)
    return small, shrink(frames.rgb).transpose(0, 1).flatten(1), share.flatten()
