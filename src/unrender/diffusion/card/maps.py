"""The maps part of a card: which maps go in and come out, and how the pictures of a checkpoint carry them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unrender.errors import UserError
from unrender.scene.gbuffer import CHANNELS, DepthKind
from unrender.scene.resize import Filter

Transfer = Literal["linear", "srgb", "gamma22", "code22"]
Vectors = Literal["unit", "clipped_unit", "clipped"]
Clipping = Literal["mean", "channels"]
Exposure = Literal["none", "percentile", "log_average", "log_average_lit", "log_average_yxy"]
Region = Literal["all", "edit", "keep"]
RadianceHint = Literal["", "split_sum", "screen_space"]
Fit = Literal["pad", "stretch", "cut"]
Rounding = Literal["nearest", "down", "down_by_scale", "down_by_ratio", "up_by_scale"]
ResizeSpace = Literal["linear", "encoded", "bytes"]


@dataclass(frozen=True)
class MapCodec:
    """How one map lies in the channels of a picture whose values are in [-1, 1].

    Attributes:
        map: name of the GBuffer map.
        channels: channels of the picture that carry it; a single-valued map with several channels is their mean.
        clipped: of such a map, whether the `mean` is brought into range, or all `channels` before it is taken.
        transfer: curve of its values in [0, 1] before they are stretched to [-1, 1]; vectors have none. `code22` is
            what RGB<->X calls linear: the sRGB code value to the power 2.2.
        signs: for normals, +1 or -1 for each axis that the checkpoint keeps or mirrors.
        vectors: for normals, how they are read: made `unit`; clipped to [-1, 1] first; or clipped, and unit only once
            they are back at the size of the input.
        half_z: for normals, the checkpoint's z is in [0, 1], stretched to [-1, 1].
        none: for normals, what the network is shown where there is none.
        stretched: for depth, every picture is stretched to the whole of [0, 1].
        back: the filter that brings it back to the size of the input; None for that of the size rule.
        rounded: the picture is rounded to 8 bits before it is read, as by a script that writes PNGs of it.
    """

    map: str
    channels: tuple[int, ...] = (0, 1, 2)
    clipped: Clipping = "mean"
    transfer: Transfer = "linear"
    signs: tuple[int, int, int] = (1, 1, 1)
    vectors: Vectors = "unit"
    half_z: bool = False
    none: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stretched: bool = False
    back: Filter | None = None
    rounded: bool = False

    def __post_init__(self) -> None:
        if self.map not in CHANNELS:
            raise UserError(f"card: no map is called {self.map[:40]}; expected one of {', '.join(CHANNELS)}")


@dataclass(frozen=True)
class InputMap:
    """A map that the network is conditioned on: latents concatenated with the noisy target.

    Attributes:
        codec: how it becomes a picture in [-1, 1].
        scale: what its latent is multiplied by; None for the scale of the card's latents.
        encoded: whether the VAE encodes it; if not, the picture itself, at the size of the latent, bypasses the VAE.
        exposure: how scene-referred values are brought into [0, 1]: their 90th `percentile` to 0.6; or the
            `log_average` of their luminance to 0.18 (RGB<->X), of all pixels, of those that are `lit` at all, or, as
            official code has it, of all by way of `yxy`.
        scene_transfer: curve of scene-referred values once they are exposed; None for the codec's.
        region: which part of it is shown where only a part of the picture is rendered; the rest is 0 before it is
            stretched to [-1, 1].
        on_black: a photo with alpha is put on black; else what its alpha leaves out is filled from around it.
        resized: whether it follows the card's size rule; if not, the VAE takes it at its own size.
        radiance_hint: instead of a map of the G-buffer, its surfaces shaded under the light by the deferred renderer of
            this quality, on black, for the network to correct (DiLightNet, Zeng et al. 2024). Its codec's map is rgb.
    """

    codec: MapCodec
    scale: float | None = None
    encoded: bool = True
    exposure: Exposure = "none"
    scene_transfer: Transfer | None = None
    region: Region = "all"
    on_black: bool = False
    resized: bool = True
    radiance_hint: RadianceHint = ""

    def __post_init__(self) -> None:
        if self.radiance_hint and self.codec.map != "rgb":
            raise UserError(f"card: a radiance hint carries {self.codec.map}; expected rgb")

    @property
    def name(self) -> str:
        """The name it has among the inputs of a run: that of its map, or `radiance_hint`."""
        return "radiance_hint" if self.radiance_hint else self.codec.map


@dataclass(frozen=True)
class TargetPicture:
    """One picture that the VAE decodes, with the maps it carries.

    Attributes:
        name: the picture's name.
        maps: the maps in its channels.
        prompt: the text that asks the network for it; `{domain}` stands for the caller's domain.
        task: numbers whose sine and cosine ask the network for it (class projection of Lotus and GeoWizard).
        domain: its row in the network's own table (`DomainEmbedding`); None where there is none.
    """

    name: str
    maps: tuple[MapCodec, ...]
    prompt: str = ""
    task: tuple[float, ...] = ()
    domain: int | None = None


@dataclass(frozen=True)
class SizeRule:
    """The sizes a network works at. Results always come back at the size of the input.

    Attributes:
        long_side: the picture is resized so that its long side is this many pixels; 0 keeps its size.
        short_side: where it is not 0, the short side is brought to this many pixels instead.
        multiple: both sides are brought to a multiple of this.
        fit: `pad` replicates the border and takes it off again; `stretch` resizes; `cut` leaves it to the VAE, which
            drops the rows and columns that are over, and stretches what comes out back to the whole.
        rounding: of the resized sides, and of the multiple where the fit is `stretch`. Official scripts round down what
            they have multiplied in floating point, by a factor (`down_by_scale`: 49 pixels brought to 64 are 63), or
            the long side by height / width (`down_by_ratio`); DiffusionRenderer's goes on to the multiple above
            (`up_by_scale`).
        min_side: the shortest side, in pixels after resizing, that the network can take.
        guided: maps that are upsampled along the picture's edges; the others are interpolated. For colours and masks:
            the texture of the picture says nothing of normals.
        space: what is resized, in and back: `linear` light, the `encoded` values that the network sees, or those in
            `bytes`, rounded to 8 bits.
        back_space: what is resized on the way back; None for `space`.
        inward, back: the filters, into the network and out of it.
    """

    long_side: int = 768
    short_side: int = 0
    multiple: int = 8
    fit: Fit = "pad"
    rounding: Rounding = "nearest"
    min_side: int = 16
    guided: tuple[str, ...] = ()
    space: ResizeSpace = "linear"
    back_space: ResizeSpace | None = None
    inward: Filter = "bilinear"
    back: Filter = "bilinear"


@dataclass(frozen=True)
class DetailCard:
    """The network that brings the answer to the picture's own resolution (`networks.detail`).

    Attributes:
        long_side: it sees pictures at their own size, but no larger than this; what is beyond is upsampled.
    """

    long_side: int = 768


PHOTO = InputMap(MapCodec("rgb", transfer="srgb"), exposure="percentile")
"""A photo on the sRGB curve, as most inverse renderers take it."""


@dataclass(frozen=True)
class MapsCard:
    """Which maps go in and come out.

    Attributes:
        targets: the pictures it predicts, in latent order.
        inputs: the maps it is conditioned on, in latent order: the photo alone for an inverse renderer.
        size: the sizes it works at.
        depth_kind: what its depth is.
        edits: whether it renders a part of the picture, and takes the mask of what it keeps.
        composite: whether an edit leaves the rest of the picture as it was.
        detail: what brings the answer to the picture's own resolution; None where it is only enlarged.
        flip_tta: test-time augmentation by a horizontal flip: the mirrored picture is run too and the predictions are
            averaged, at twice the time.
    """

    targets: tuple[TargetPicture, ...]
    inputs: tuple[InputMap, ...] = (PHOTO,)
    size: SizeRule = field(default_factory=SizeRule)
    depth_kind: DepthKind = "relative"
    edits: bool = False
    composite: bool = True
    detail: DetailCard | None = None
    flip_tta: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every map it predicts, in the order of its targets."""
        return tuple(codec.map for target in self.targets for codec in target.maps)
