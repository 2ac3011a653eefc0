"""The kernel distance between two sets of features (KID, Binkowski et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from unrender.errors import UserError


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of features (N, D) and (M, D) under k(x, y) = (x y / D + 1)^3
    (eq. 4); below 0 where sets are more alike than two of one kind are by chance. Raises UserError where one has fewer
    than 2."""
    if min(len(a), len(b)) < 2:
        raise UserError(f"a kernel distance of {len(a)} and {len(b)} pictures; expected at least 2 of each")
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    own = [(gram.sum() - gram.diagonal().sum()) / (len(x) * (len(x) - 1)) for x in (a, b) for gram in [kernel(x, x)]]
    return float(own[0] + own[1] - 2 * kernel(a, b).mean())
