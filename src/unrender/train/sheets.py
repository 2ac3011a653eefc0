"""Pictures side by side, as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sheet(rows: Sequence[Tensor]) -> Tensor:
    """Rows of pictures, (B, 3, H, W) each, in [0, 1], as one picture (3, rows H, B W)."""
    return torch.cat([torch.cat(list(row.float().cpu()), dim=2) for row in rows], dim=1).clamp(0, 1)
