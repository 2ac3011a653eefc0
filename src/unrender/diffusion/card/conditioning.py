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
class DomainEmbedding:
    """A row of the network's own table, by each target's `domain`: DiffusionRenderer asks for its buffers so.

    The network's `config.json` says where the row goes: beside a token of zeros, or to the time embedding.
    """

    kind: Literal["domain"] = "domain"


@dataclass(frozen=True)
class MicroConditioning:
    """Numbers of a clip that are added to the time embedding, as Stable Video Diffusion has them.

    Attributes:
        fps: frames a second; the network is told one less, as in training.
        motion_bucket: how much moves.
        noise_augmentation: of the noise that the input was given; official renderers give none.
    """

    fps: int = 7
    motion_bucket: int = 127
    noise_augmentation: float = 0.0
    kind: Literal["micro"] = "micro"

    @property
    def numbers(self) -> tuple[float, float, float]:
        """As the network is told them."""
        return self.fps - 1.0, float(self.motion_bucket), self.noise_augmentation


@dataclass(frozen=True)
class LightTokens:
    """Cross-attention tokens of an environment map, by an `EnvironmentEncoder` (`forward.lighting`), or by
    DiffusionRenderer's `EnvEncoder`, level by level.

    Attributes:
        size: (height, width) of the encoded map, in texels; multiples of 4, for a token stands for 4 x 4.
        encoding: how the map becomes the pictures that are encoded.
        encoder: the folder of the encoder.
        by_levels: the pictures go through the VAE, and every level of the UNet attends to the same level of the encoder
            (DiffusionRenderer); else one small encoder sees the pictures themselves.
        exposed: light and scene are exposed by a radiance hint, and the answer is brought back; else the network is
            shown the light as it is, and answers with a display's picture of the whole view.
        inverted_elevation: a camera that is raised by `ForwardOptions.elevation` turns the light the wrong way, as if
            it were lowered: the official script hands over the inverse of its camera.
    """

    size: tuple[int, int] = (16, 32)
    encoding: EnvironmentEncoding = MINI
    encoder: str = "environment_encoder"
    by_levels: bool = False
    exposed: bool = True
    inverted_elevation: bool = False
    kind: Literal["light"] = "light"

    def __post_init__(self) -> None:
        if min(self.size) < 4 or any(side % 4 for side in self.size):
            height, width = self.size
            raise UserError(f"card: a light of {height} x {width} texels; expected multiples of 4")


Conditioner = TextPrompt | TaskNumbers | ImageTokens | LightTokens | DomainEmbedding | MicroConditioning
