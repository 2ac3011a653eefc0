"""Tone curves: monotone rational-quadratic splines, the identity at first, invertible always."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError

BINS = 5
"""As DiPIR has them (Liang et al. 2024)."""

_LEAST = 1e-3  # of widths, heights and slopes: what keeps a curve strictly monotone
_UNIT = math.log(math.expm1(1 - _LEAST))  # whose softplus, with the least added, is a slope of 1


@dataclass(frozen=True)
class ToneCurves:
    """C curves from [0, 1] to [0, 1] with f(0) = 0 and f(1) = 1, straight beyond.

    Monotone rational-quadratic splines (Gregory and Delbourgo 1982; Durkan et al. 2019, Neural Spline Flows, eq. 4 and
    section 3.1), in parameters that may be any numbers; where all are 0 a curve is the identity.

    Attributes:
        widths: (C, BINS) of the bins along x, before a softmax.
        heights: (C, BINS) along y, before a softmax.
        slopes: (C, BINS + 1) at the knots, before a softplus.
    """

    widths: Tensor
    heights: Tensor
    slopes: Tensor

    @staticmethod
    def identity(count: int) -> ToneCurves:
        """`count` curves that change nothing."""
        return ToneCurves(torch.zeros(count, BINS), torch.zeros(count, BINS), torch.zeros(count, BINS + 1))

    @staticmethod
    def power(exponent: float, count: int) -> ToneCurves:
        """`count` curves near x^exponent for exponents from 0.4 to 1: within 0.02 where x is 0.02 or more."""
        xs = torch.linspace(0, 1, BINS + 1).square()
        ys = xs**exponent
        slopes = exponent * torch.cat((xs[1:2] / 16, xs[1:])) ** (exponent - 1)
        raw = torch.log(torch.expm1((slopes - _LEAST).clamp(min=_LEAST))) - _UNIT
        widths, heights = (((edges.diff() - _LEAST) / (1 - _LEAST * BINS)).log() for edges in (xs, ys))
        return ToneCurves(*(value.expand(count, -1).clone() for value in (widths, heights, raw)))

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that can be learnt."""
        return self.widths, self.heights, self.slopes

    def trainable(self) -> ToneCurves:
        """The same curves as leaves that want gradients."""
        return ToneCurves(*(value.detach().clone().requires_grad_() for value in self.parameters))

    def detached(self) -> ToneCurves:
        """The same curves without a history."""
        return ToneCurves(*(value.detach() for value in self.parameters))


def apply(curves: ToneCurves, values: Tensor) -> Tensor:
    """The curves of values (T, C, H, W), each channel by its own, or all by one curve. Differentiable in both.

    Beyond 0 and 1 a curve goes on straight, at its slope there, so that it stays smooth, monotone and invertible.
    """
    x, (xs, ys, slopes) = _by_curve(curves, values)
    bin_, inside = _bin(xs, x)
    x0, width = _pick(xs, bin_), _pick(xs.diff(dim=1), bin_)
    y0, height = _pick(ys, bin_), _pick(ys.diff(dim=1), bin_)
    d0, d1, mean = _pick(slopes, bin_), _pick(slopes, bin_ + 1), height / width
    t = ((x - x0) / width).clamp(0, 1)
    # Durkan et al. 2019, eq. 4.
    value = y0 + height * (mean * t**2 + d0 * t * (1 - t)) / (mean + (d1 + d0 - 2 * mean) * t * (1 - t))
    straight = torch.where(x < 0, x * slopes[:, :1], 1 + (x - 1) * slopes[:, -1:])
    return _in_place(torch.where(inside, value, straight), values)


def invert(curves: ToneCurves, values: Tensor) -> Tensor:
    """What `apply` makes `values` of: its inverse, of the same shapes."""
    y, (xs, ys, slopes) = _by_curve(curves, values)
    bin_, inside = _bin(ys, y)
    x0, width = _pick(xs, bin_), _pick(xs.diff(dim=1), bin_)
    y0, height = _pick(ys, bin_), _pick(ys.diff(dim=1), bin_)
    d0, d1, mean = _pick(slopes, bin_), _pick(slopes, bin_ + 1), height / width
    rise, bend = (y - y0).clamp(min=0), d1 + d0 - 2 * mean
    # Durkan et al. 2019, eq. 6-8 and appendix A.3: the root without cancellation.
    a, b, c = height * (mean - d0) + rise * bend, height * d0 - rise * bend, -mean * rise
    t = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt()).clamp(max=-1e-12)
    straight = torch.where(y < 0, y / slopes[:, :1], 1 + (y - 1) / slopes[:, -1:])
    return _in_place(torch.where(inside, x0 + width * t.clamp(0, 1), straight), values)


def _knots(curves: ToneCurves) -> tuple[Tensor, Tensor, Tensor]:
    """x and y of the knots and the slopes there, each (C, BINS + 1)."""

    def edges(raw: Tensor) -> Tensor:
        sizes = _LEAST + (1 - _LEAST * BINS) * raw.softmax(1)
        inner = sizes.cumsum(1)[:, :-1]
        return torch.cat((torch.zeros_like(inner[:, :1]), inner, torch.ones_like(inner[:, :1])), 1)

    return edges(curves.widths), edges(curves.heights), _LEAST + functional.softplus(curves.slopes + _UNIT)


def _by_curve(curves: ToneCurves, values: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Values as (C, N), a row for each curve, and the knots."""
    count = len(curves.widths)
    if count not in (1, values.shape[1]):
        raise UserError(f"{count} tone curves for pictures of {values.shape[1]} channels; expected 1 or one for each")
    rows = values.transpose(0, 1).reshape(count, -1)
    return rows, _knots(curves)


def _in_place(rows: Tensor, values: Tensor) -> Tensor:
    frames, channels, *size = values.shape
    return rows.reshape(channels, frames, *size).transpose(0, 1)


def _bin(edges: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Which bin each of (C, N) is in, and whether it is in any."""
    index = torch.searchsorted(edges.detach().contiguous(), x.detach().contiguous(), right=True) - 1
    return index.clamp(0, BINS - 1), (x >= 0) & (x <= 1)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index)
