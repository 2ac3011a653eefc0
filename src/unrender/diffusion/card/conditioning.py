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
        one_level: with `by_levels`, all levels attend to the coarsest level of the encoder alone: an ablation, which
            networks are trained with.
        inverted_elevation: a camera that is raised by `ForwardOptions.elevation` turns the light the wrong way, as if
            it were lowered: the official script hands over the inverse of its camera.
    """

    size: tuple[int, int] = (16, 32)
    encoding: EnvironmentEncoding = MINI
    encoder: str = "environment_encoder"
    by_levels: bool = False
    exposed: bool = True
    inverted_elevation: bool = False
    one_level: bool = False
    kind: Literal["light"] = "light"

    def __post_init__(self) -> None:
        if min(self.size) < 4 or any(side % 4 for side in self.size):
            height, width = self.size
            raise UserError(f"card: a light of {height} x {width} texels; expected multiples of 4")


Projection = Literal["released", "paper", "none"]


@dataclass(frozen=True)
class ViewLayers:
    """The layers that make a picture's UNet one of the views of a set (ViewDiff, Höllein et al. 2024), each view told
    its camera; see `networks.views`.

    Attributes:
        others: how many other views a view attends to, the nearest on the sphere; None for all.
        own: whether a view attends to itself, too. The paper's eq. 3 leaves it out, the released code keeps it.
        rank: of the low-rank additions that know the camera; 0 for none, and so no camera codes.
        times: whether attention and the voxels are told each view's timestep.
        projection: where projection layers are: in all blocks of the UNet but the first and the last (`paper`), in the
            deepest alone (`released`), or nowhere.
        grid: cells a side where the UNet is finest; half as many where it has twice the channels.
        inner: channels of the voxels.
        levels: of the 3D network; 0 for none.
        samples: along a ray, once for the subject and once for what is behind it.
        background: part of the grid's side that is for what lies around the subject; 0 for none.
        end: the last sample lies at far / end.
        compression: one convolution of 1 x 1, as in the paper, or two of 3 x 3 before it, as in the released code.
        joining: how what is rendered joins the features: it replaces them, is added, or is added through a layer that
            is zero at first.
        distance: how far from the subject's middle cameras are, in half sides of the subject's cube.
        up: the axis of the subject's frame that is up.
        released_grid: whether the cells lie as the released code's do (`networks.views.contraction`).
        intensity: what views that are made are told as the mean and variance that every training picture tells of
            itself: zeros, as the released code does, or those of the given pictures.
    """

    others: int | None = 4
    own: bool = True
    rank: int = 64
    times: bool = True
    projection: Projection = "released"
    grid: int = 128
    inner: int = 16
    levels: int = 2
    samples: int = 128
    background: float = 0.5
    end: float = 0.5
    compression: Literal["single", "multiple"] = "single"
    joining: Literal["replace", "add", "zero"] = "replace"
    distance: float = 4.0
    up: Literal["y", "z"] = "y"
    released_grid: bool = False
    intensity: Literal["zero", "given"] = "zero"
    kind: Literal["views"] = "views"

    def __post_init__(self) -> None:
        if (self.others is not None and self.others < 0) or self.rank < 0 or self.levels < 0:
            raise UserError("card: views with a negative number of others, rank or levels; expected 0 or more")
        if min(self.grid, self.inner, self.samples) < 1 or self.inner % 2:
            raise UserError(
                f"card: a grid of {self.grid} cells, {self.inner} channels and {self.samples} samples; expected 1 or "
                "more of each, channels even"
            )
        if not (0 <= self.background < 1 and 0 < self.end < 1 and self.distance > 1):
            raise UserError(
                f"card: background {self.background}, end {self.end} and distance {self.distance}; expected a part of "
                "1, a part of 1, and more than 1"
            )


Conditioner = TextPrompt | TaskNumbers | ImageTokens | LightTokens | DomainEmbedding | MicroConditioning | ViewLayers
