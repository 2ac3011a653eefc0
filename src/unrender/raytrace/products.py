"""Products with large matrices that are kept in half precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_BYTES = 1 << 25  # of float32 made of the matrix at once: about what a processor's last cache holds


def row_product(row: Tensor, matrix: Tensor) -> Tensor:
    """`row` (N,) float32 times `matrix` (N, P) of any float type: (P,) float32. Differentiable in `row`.

    The matrix is made float32 piece by piece: summed in half precision, small terms would be lost.
    """
    return _RowProduct.apply(row, matrix)


class _RowProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        return torch.cat([row @ matrix[:, part].float() for part in _parts(matrix)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (matrix,), (gradient,) = ctx.saved_tensors, gradients
        total = gradient.new_zeros(len(matrix))
        for part in _parts(matrix):
            total += matrix[:, part].float() @ gradient[part]
        return total, None


def _parts(matrix: Tensor) -> list[slice]:
    rows, columns = matrix.shape
    step = max(1, _BYTES // (4 * rows))
    return [slice(start, min(start + step, columns)) for start in range(0, columns, step)] or [slice(0, 0)]
