"""The Fréchet distance between two sets of features, taken as Gaussians; with Inception's it is the FID."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.errors import UserError


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Of features (N, D); the covariance is the unbiased one. Raises UserError where N < 2."""
    if len(features) < 2:
        raise UserError(f"a Fréchet distance of {len(features)} pictures; expected at least 2, usually thousands")
    features = features.double()
    return Moments(features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1]))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017, eq. 6); 0 for equal moments.

    The trace of the root is that of (R S_b R)^(1/2) with R = S_a^(1/2): symmetric, so that no complex part and no
    failed root can appear where a covariance is singular, as it is of fewer pictures than features.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    between = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * between
    return max(0.0, float(distance))  # of equal moments, rounding may leave less
