"""What the added layers of a network of views know during one evaluation, beyond the features that they are handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unrender.diffusion.networks.views.cameras import Up, camera_code, poses
from unrender.errors import UserError


@dataclass
class ViewContext:
    """Shared by all added layers of one network; filled anew before every evaluation.

    Attributes:
        up: the axis of the subject's frame that is up.
        vectors: (B, WIDTH) camera vectors (`cameras`), the views of a set one after the other.
        group_size: N, views of a set.
        times: (B,) timesteps, as the network was called with.
        time_embedding: (B, T) their embedding.
        code: (B, CODE) the camera code z.
        seen: (sets, N, M) which views of its set each view attends to; None for all of them.
        size: (height, width) of the network's latents.
        surfaces: rendered depth and coverage (B, 1, h, w) of each projection layer, by its number.
    """

    up: Up = "y"
    vectors: Tensor | None = None
    group_size: int = 1
    times: Tensor | None = None
    time_embedding: Tensor | None = None
    code: Tensor | None = None
    seen: Tensor | None = None
    size: tuple[int, int] = (1, 1)
    surfaces: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def begin(self, vectors: Tensor, group_size: int, others: int | None, own: bool) -> None:
        """Prepares for the next evaluation.

        Args:
            vectors: (B, WIDTH), float32.
            group_size: consecutive views that make a set.
            others: how many other views each view attends to, the nearest on the sphere; None for all.
            own: whether a view attends to itself, too.
        """
        self.vectors, self.group_size = vectors, group_size
        self.code = camera_code(vectors, self.up)
        self.seen = seen_views(vectors.unflatten(0, (-1, group_size)), others, own)
        self.surfaces.clear()

    def remember_size(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook before the first convolution."""
        height, width = arguments[0].shape[2:]
        self.size = (height, width)

    def remember_times(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook before the sinusoids of the time, which all timesteps of a batch go through."""
        self.times = arguments[0]

    def remember_embedding(self, module: nn.Module, arguments: tuple[Any, ...], embedding: Tensor) -> None:
        """A hook after the time embedding."""
        self.time_embedding = embedding

    def require(self, name: str) -> Tensor:
        """One of the tensors. Raises UserError where the network was called without cameras."""
        value = getattr(self, name)
        if value is None:
            raise UserError("a network of views was called without cameras; expected a camera vector for each view")
        return value


def seen_views(vectors: Tensor, others: int | None, own: bool) -> Tensor | None:
    """Which views of its set each view attends to: itself where `own`, and the `others` nearest on the sphere about the
    subject, so that the order of the views does not matter.

    Args:
        vectors: (sets, N, WIDTH).

    Returns:
        (sets, N, M) indices; None where each attends to all of them, itself included. A view that is alone always sees
        itself.
    """
    count = vectors.shape[1]
    kept = count - 1 if others is None else min(others, count - 1)
    if count == 1 or (own and kept == count - 1):
        return None
    _, place = poses(vectors)
    direction = nn.functional.normalize(place, dim=-1)
    nearness = direction @ direction.mT
    nearness = nearness.masked_fill(torch.eye(count, dtype=torch.bool, device=vectors.device), -torch.inf)
    nearest = nearness.topk(kept, dim=-1).indices
    itself = torch.arange(count, device=vectors.device)[None, :, None].expand(len(vectors), -1, -1)
    return torch.cat((itself, nearest), dim=-1) if own else nearest
