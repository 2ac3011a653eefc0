"""The conditioning part of a card: what conditions the network besides latents, as a tagged union. A card lists those
that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unrender.errors import UserError
from unrender.scene.encoding import MINI, EnvironmentEncoding


@dataclass(frozen=True)
class TextPrompt:
    """Cross-attention tokens of each target's prompt, by a text encoder or kept beside the weights.

    Attributes:
        padded: whether prompts are padded to the text encoder's full length.
        domains: kinds of scene that the caller can name in the prompt, the first by default; () for none.
    """

    padded: bool = False
    domains: tuple[str, ...] = ()
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class TaskNumbers:
    """Sine and cosine of each target's `task`, through the UNet's class projection.

    Attributes:
        domains: kinds of scene that the caller can name, added as one-hot numbers; () for none.
    """

    domains: tuple[str, ...] = ()
    kind: Literal["task"] = "task"


@dataclass(frozen=True)
class ImageTokens:
    """Cross-attention tokens of the photo itself, by CLIP's image encoder."""

    kind: Literal["image"] = "image"


@dataclass(frozen=True)
class LightTokens:
    """Cross-attention tokens of an environment map, by an `EnvironmentEncoder` (`forward.lighting`).

    Attributes:
        size: (height, width) of the encoded map, in texels; multiples of 4, for a token stands for 4 x 4.
        encoding: how the map becomes the pictures that are encoded.
    """

    size: tuple[int, int] = (16, 32)
    encoding: EnvironmentEncoding = MINI
    kind: Literal["light"] = "light"

    def __post_init__(self) -> None:
        if min(self.size) < 4 or any(side % 4 for side in self.size):
            height, width = self.size
            raise UserError(f"card: a light of {height} x {width} texels; expected multiples of 4")


Conditioner = TextPrompt | TaskNumbers | ImageTokens | LightTokens
