"""Pictures over time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from unrender.errors import UserError


@dataclass(frozen=True)
class Frames:
    """A picture or a clip.

    Attributes:
        rgb: (T, 3, H, W) float32, scene-linear Rec.709, >= 0; a still has T = 1.
        mask: (T, 1, H, W) in [0, 1], the source's alpha, or None where it had none.
        fps: frames per second, None for stills and folders of frames.
        name: for messages and file names.
        hdr: True where the source was scene-referred (EXR, HDR), False for display pictures.
        metadata: from the file (ICC profile name, focal length, decoder, ...).
    """

    rgb: Tensor
    mask: Tensor | None = None
    fps: float | None = None
    name: str = "picture"
    hdr: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 4 or self.rgb.shape[1] != 3:
            raise UserError(f"Frames.rgb has shape {tuple(self.rgb.shape)}; expected (T, 3, H, W)")
        expected = (self.rgb.shape[0], 1, *self.rgb.shape[2:])
        if self.mask is not None and self.mask.shape != expected:
            raise UserError(f"Frames.mask has shape {tuple(self.mask.shape)}; expected {expected}")

    def __len__(self) -> int:
        return self.rgb.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[2], self.rgb.shape[3]

    def frame(self, index: int) -> Frames:
        """Frame `index` alone, as a still with T = 1."""
        i = range(len(self))[index]
        return replace(self, rgb=self.rgb[i : i + 1], mask=self.mask[i : i + 1] if self.mask is not None else None)
