"""What a run of the engine starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from unrender.scene.frames import Frames


@dataclass(frozen=True)
class Inputs:
    """Maps and conditioning of T frames (of a clip, or views of a set), in unrender's conventions.

    Attributes:
        size: (height, width) of the maps, and of what comes out.
        frames: T.
        maps: by name, (T, 1 or 3, H, W): the photo as `rgb`, its alpha as `mask`, maps of a G-buffer, a
            `radiance_hint`. One that the card takes and that is not here is zeros to the network.
        scene_referred: names of the maps that are exposed for display first.
        edit: (T, 1, H, W) in [0, 1], 1 where the picture is rendered anew, for cards that edit.
        tokens: (N, D) cross-attention tokens in place of the card's prompts; (T, N, D) where each frame has its own;
            a tuple of these, one a level of the network, finest first, where its levels attend to tokens of their own.
        time_ids: (T, K) numbers added to the time embedding, for networks that take them.
        cameras: (T, K) camera vectors (`networks.views.cameras`), for networks that take them.
        clean: (T,) bool: frames whose targets are known, in `maps`, and held at t = 0; None for none.
        clean_latents: (T, targets x C, h, w) theirs, in place of encoding their maps; whatever is in the others is
            ignored.
        name: what to call them in messages.
    """

    size: tuple[int, int]
    frames: int = 1
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    scene_referred: frozenset[str] = frozenset()
    edit: Tensor | None = None
    tokens: Tensor | tuple[Tensor, ...] | None = None
    time_ids: Tensor | None = None
    cameras: Tensor | None = None
    clean: Tensor | None = None
    clean_latents: Tensor | None = None
    name: str = "the picture"

    @classmethod
    def of_photo(cls, photo: Frames) -> Inputs:
        """A picture or clip."""
        scene_referred = frozenset({"rgb"} if photo.hdr else ())
        maps = {"rgb": photo.rgb} if photo.mask is None else {"rgb": photo.rgb, "mask": photo.mask}
        return cls(photo.size, len(photo), maps, scene_referred, name=photo.name)

    def part(self, frames: slice) -> Inputs:
        """Some of the frames."""
        cut = {
            name: None if value is None else value[frames]
            for name in ("edit", "time_ids", "cameras", "clean", "clean_latents")
            for value in [getattr(self, name)]
        }
        tokens = self.tokens
        if isinstance(tokens, tuple):
            cut["tokens"] = tuple(_part(level, frames) for level in tokens)
        elif tokens is not None:
            cut["tokens"] = _part(tokens, frames)
        maps = {name: values[frames] for name, values in self.maps.items()}
        return replace(self, frames=len(range(self.frames)[frames]), maps=maps, **cut)

    def flipped(self) -> Inputs:
        """The same mirrored left to right. For pictures alone: maps of directions would need more."""
        return replace(self, maps={name: values.flip(3) for name, values in self.maps.items()})


def _part(tokens: Tensor, frames: slice) -> Tensor:
    """The tokens of some frames: of one sequence for all of them, all."""
    return tokens if tokens.ndim == 2 else tokens[frames]
