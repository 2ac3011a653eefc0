"""The habits of a checkpoint, as data. A card lies beside the weights as `unrender.json`, or is known by its id."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from unrender.errors import UserError
from unrender.scene.gbuffer import CHANNELS, DepthKind
from unrender.scene.resize import Filter

Direction = Literal["inverse", "forward"]
Transfer = Literal["linear", "srgb", "gamma22", "code22"]
Vectors = Literal["unit", "clipped_unit", "clipped"]
Clipping = Literal["mean", "channels"]
Exposure = Literal["none", "percentile", "log_average", "log_average_lit", "log_average_yxy"]
Region = Literal["all", "edit", "keep"]
FirstRender = Literal["", "split_sum"]
Prediction = Literal["v_prediction", "epsilon", "sample"]
Spacing = Literal["leading", "trailing", "linspace"]
NoiseKind = Literal["none", "zeros", "gaussian", "multi_resolution"]
FinalStep = Literal["clean", "previous"]
Posterior = Literal["mode", "sample"]
Concatenation = Literal["given_first", "noise_first"]
Passes = Literal["stacked", "one_each"]
Fit = Literal["pad", "stretch", "cut"]
Rounding = Literal["nearest", "down", "down_by_scale", "down_by_ratio"]
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

    def __post_init__(self) -> None:
        if self.map not in CHANNELS:
            raise UserError(f"card: no map is called {self.map}; right is one of {', '.join(CHANNELS)}")


@dataclass(frozen=True)
class GivenMap:
    """A map that the network is given, beside the noisy target.

    Attributes:
        codec: how it becomes a picture in [-1, 1].
        scale: what its latent is multiplied by; None for the card's `latent_scale`.
        encoded: whether the autoencoder encodes it; else the picture itself is given, at the size of the latent.
        exposure: how scene-referred values are brought into [0, 1]: their 90th `percentile` to 0.6; or the
            `log_average` of their luminance to 0.18 (RGB<->X), of all pixels, of those that are `lit` at all, or, as
            official code has it, of all by way of `yxy`.
        scene_transfer: curve of scene-referred values once they are exposed; None for the codec's.
        region: which part of it is shown where only a part of the picture is rendered; the rest is 0 before it is
            stretched to [-1, 1].
        resized: whether it follows the card's size rule; if not, the autoencoder takes it at its own size.
        rendered: it is no map of the G-buffer, but its surfaces rendered under the light by the deferred `split_sum`,
            on black: a first guess that the network mends (DiLightNet's radiance hints, Zeng et al. 2024). Its codec's
            map is rgb.
    """

    codec: MapCodec
    scale: float | None = None
    encoded: bool = True
    exposure: Exposure = "none"
    scene_transfer: Transfer | None = None
    region: Region = "all"
    resized: bool = True
    rendered: FirstRender = ""

    def __post_init__(self) -> None:
        if self.rendered and self.codec.map != "rgb":
            raise UserError(f"card: a rendered {self.codec.map} is given; a rendered rgb is right")


@dataclass(frozen=True)
class LightCard:
    """How the light itself is told to a forward network: an `EnvironmentEncoder` makes tokens of a picture of it, and
    they take the place of a prompt's (`scene.encoding.encode`).

    Attributes:
        size: (height, width) of that picture, in texels; multiples of 4, for a token stands for 4 x 4.
    """

    size: tuple[int, int] = (16, 32)

    def __post_init__(self) -> None:
        if min(self.size) < 4 or any(side % 4 for side in self.size):
            height, width = self.size
            raise UserError(f"card: a light of {height} x {width} texels; multiples of 4 are right")


@dataclass(frozen=True)
class TargetPicture:
    """One picture that the autoencoder decodes, with the maps it carries.

    Attributes:
        name: the picture's name.
        maps: the maps in its channels.
        prompt: what the network is told in words; `{domain}` stands for the caller's domain.
        task: numbers of which the network is told sine and cosine (class projection of Lotus and GeoWizard).
    """

    name: str
    maps: tuple[MapCodec, ...]
    prompt: str = ""
    task: tuple[float, ...] = ()


@dataclass(frozen=True)
class ScheduleCard:
    """The noise schedule (DDPM family) and how it is walked.

    Attributes:
        prediction: what the network's output is.
        spacing: where the timesteps of few steps lie; only `trailing` (and `linspace`) start at t = T.
        zero_terminal_snr: betas rescaled so that the last timestep is pure noise (Lin et al. 2024, section 3.1).
        steps: denoising steps when the caller does not say.
        final_step: `clean` returns the predicted clean latent; `previous` the scheduler's re-noised `prev_sample`,
            which several official codes decode.
        train_steps, beta_start, beta_end, beta_schedule, steps_offset, set_alpha_to_one: as in diffusers; the
            scheduler's own file, where a checkpoint has one, has the last word on these.
    """

    prediction: Prediction = "v_prediction"
    spacing: Spacing = "trailing"
    zero_terminal_snr: bool = False
    steps: int = 1
    final_step: FinalStep = "clean"
    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    steps_offset: int = 1
    set_alpha_to_one: bool = False

    def __post_init__(self) -> None:
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise UserError(
                "card: epsilon prediction with zero terminal SNR has no clean latent at t = T; use v_prediction"
            )


@dataclass(frozen=True)
class SizeRule:
    """The sizes a network works at. Results always come back at the size of the input.

    Attributes:
        long_side: the picture is resized so that its long side is this many pixels; 0 keeps its size.
        multiple: both sides are brought to a multiple of this.
        fit: `pad` replicates the border and takes it off again; `stretch` resizes; `cut` leaves it to the autoencoder,
            which drops the rows and columns that are over, and stretches what comes out back to the whole.
        rounding: of the resized sides, and of the multiple where the fit is `stretch`. Official scripts round down what
            they have multiplied in floating point, by a factor (`down_by_scale`: 49 pixels brought to 64 are 63), or
            the long side by height / width (`down_by_ratio`).
        min_side: the shortest side, in pixels after resizing, that the network can take.
        guided: maps that are enlarged along the picture's edges; the others are interpolated. For colours and masks:
            the texture of the picture is none of a normal's.
        space: what is resized, in and back: `linear` light, the `encoded` values that the network sees, or those in
            `bytes`, rounded to 8 bits.
        inward, back: the filters, into the network and out of it.
    """

    long_side: int = 768
    multiple: int = 8
    fit: Fit = "pad"
    rounding: Rounding = "nearest"
    min_side: int = 16
    guided: tuple[str, ...] = ()
    space: ResizeSpace = "linear"
    inward: Filter = "bilinear"
    back: Filter = "bilinear"


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance, with the maps given as the image of InstructPix2Pix (Brooks et al. 2023, eq. 3).

    output = none + image (given - none) + text (given and told - given)

    Attributes:
        text: how much the words count; 0 for no guidance.
        image: how much the maps count. At 1 what is given and told nothing drops out, and two evaluations do.
        rescale: share of the guided output whose deviation is brought back (Lin et al. 2024, section 3.4).
        inclusive: whether a `text` of exactly 1 is guidance already.
    """

    text: float = 0.0
    image: float = 0.0
    rescale: float = 0.0
    inclusive: bool = False

    @property
    def on(self) -> bool:
        """Whether anything is to be done."""
        return self.image >= 1 and (self.text >= 1 if self.inclusive else self.text > 1)


@dataclass(frozen=True)
class Source:
    """Where a published checkpoint lies.

    Attributes:
        repository: its hub id; "" where it was never published.
        revision: the commit that is pulled; None for the newest, which the first pull then pins on this machine.
        unet: the UNet's folder.
        rest: the repository that has the folders which this one lacks.
        tells_defaults: whether its `model_index.json`, where it names steps and pixels, has the last word on them, as
            for diffusers' Marigold pipelines.
    """

    repository: str = ""
    revision: str | None = None
    unet: str = "unet"
    rest: str = ""
    tells_defaults: bool = False


@dataclass(frozen=True)
class Quirks:
    """What the official code of a checkpoint does otherwise than is right; None where it does what is right."""

    given: tuple[GivenMap, ...] | None = None
    pictures: tuple[TargetPicture, ...] | None = None
    size: SizeRule | None = None
    final_step: FinalStep | None = None
    posterior: Posterior | None = None
    composite: bool | None = None


PHOTO = GivenMap(MapCodec("rgb", transfer="srgb"), exposure="percentile")
"""A photo on the sRGB curve, as most inverse renderers are given it."""


@dataclass(frozen=True)
class ModelCard:
    """Everything that sets one checkpoint apart from another.

    Attributes:
        id: the model's id, a hub id or a short name.
        system: the published system it belongs to.
        licence: SPDX id or name of the weights' licence.
        commercial: whether the licence allows commercial use; None where it is unclear.
        given: the maps it is given, in latent order: the photo alone for an inverse renderer.
        pictures: the pictures it gives, in latent order.
        depth_kind: what its depth is.
        passes: `stacked`: one pass gives all pictures, their latents stacked on channels; `one_each`: one pass a
            picture, told apart by prompt or task.
        concatenation: whether what is given or the noisy target comes first in the network's input.
        latent_channels, latent_scale: of one picture's latent.
        posterior: which latent of a picture is given: the `mode`, or a `sample` of the autoencoder's distribution.
        schedule, noise, guidance, size: see their classes; `none` is no noisy target at all.
        shared_noise: whether the pictures of one frame start from the same noise.
        padded_prompts: whether prompts are padded to the text encoder's full length.
        domains: kinds of scene that the caller can name, the first by default; () where the network is not told.
        domain_task: whether the domain is told as numbers too, beside the picture's task.
        joint_attention: whether the pictures of one frame attend to one another (GeoWizard's cross-task attention).
        image_tokens: whether the network is shown an embedding of the photo in place of a prompt.
        light: how the light is told to the network in place of a prompt; None where it is told none.
        edits: whether it renders a part of the picture, and is given the mask of what it keeps.
        composite: whether an edit leaves the rest of the picture as it was.
        mirrored: the photo is also taken apart mirrored left to right, and the answers are averaged: twice the time,
            for small networks that know too little of which side light comes from.
        quirks: what the official code does otherwise; see `faithful`.
        source: where the weights come from.
        description: one line for people.
    """

    id: str
    system: str
    licence: str
    pictures: tuple[TargetPicture, ...]
    commercial: bool | None = None
    given: tuple[GivenMap, ...] = (PHOTO,)
    depth_kind: DepthKind = "relative"
    passes: Passes = "stacked"
    concatenation: Concatenation = "given_first"
    latent_channels: int = 4
    latent_scale: float = 0.18215
    posterior: Posterior = "mode"
    schedule: ScheduleCard = field(default_factory=ScheduleCard)
    noise: NoiseKind = "zeros"
    shared_noise: bool = False
    guidance: Guidance = field(default_factory=Guidance)
    size: SizeRule = field(default_factory=SizeRule)
    padded_prompts: bool = False
    domains: tuple[str, ...] = ()
    domain_task: bool = False
    joint_attention: bool = False
    image_tokens: bool = False
    light: LightCard | None = None
    edits: bool = False
    composite: bool = True
    mirrored: bool = False
    quirks: Quirks = field(default_factory=Quirks)
    source: Source = field(default_factory=Source)
    description: str = ""

    def __post_init__(self) -> None:
        if self.light is None and any(given.rendered for given in self.given):
            raise UserError(f"card: {self.id} is given a picture rendered under a light that it is not told")

    @property
    def direction(self) -> Direction:
        """`inverse`: picture to maps; `forward`: maps to picture."""
        return "forward" if "rgb" in self.map_names else "inverse"

    @property
    def commercial_use(self) -> Literal["yes", "no", "unclear"]:
        """Whether the licence allows commercial use, in a word."""
        return "unclear" if self.commercial is None else "yes" if self.commercial else "no"

    @property
    def map_names(self) -> tuple[str, ...]:
        """Every map the model gives, in the order of its pictures."""
        return tuple(codec.map for picture in self.pictures for codec in picture.maps)

    @property
    def target_channels(self) -> int:
        """Latent channels that one pass predicts."""
        return self.latent_channels * (len(self.pictures) if self.passes == "stacked" else 1)

    @property
    def given_channels(self) -> int:
        """Channels that one pass is given beside the noisy target."""
        maps = sum(self.latent_channels if given.encoded else len(given.codec.channels) for given in self.given)
        return maps + (1 if self.edits else 0)

    @property
    def input_channels(self) -> int:
        """Channels of the network's input: what is given, and the noisy target."""
        return self.given_channels + (0 if self.noise == "none" else self.target_channels)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that a caller's choices can ask for; the empty one is among them where guidance needs it."""
        if self.image_tokens or self.light is not None:
            return ()
        told = [p.prompt for p in (self.pictures[:1] if self.passes == "stacked" else self.pictures)]
        asked = [prompt.format(domain=domain) for domain in self.domains or ("",) for prompt in told]
        return tuple(dict.fromkeys([*asked, *([""] if self.guidance.on else [])]))

    @property
    def task_numbers(self) -> int:
        """Length of the vector that the network is told its task by, 0 where it has none."""
        domains = len(self.domains) if self.domain_task else 0
        return 2 * (len(self.pictures[0].task) + domains)


def faithful(card: ModelCard) -> ModelCard:
    """The card as the official code of its checkpoint reads it, number by number, quirks included."""
    quirks = card.quirks
    schedule = replace(card.schedule, final_step=quirks.final_step or card.schedule.final_step)
    return replace(
        card,
        given=quirks.given or card.given,
        pictures=quirks.pictures or card.pictures,
        size=quirks.size or card.size,
        schedule=schedule,
        posterior=quirks.posterior or card.posterior,
        composite=card.composite if quirks.composite is None else quirks.composite,
        quirks=Quirks(),
    )
