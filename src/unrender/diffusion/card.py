"""The habits of a checkpoint, as data. A card lies beside the weights as `unrender.json`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unrender.errors import UserError
from unrender.scene.gbuffer import CHANNELS

Direction = Literal["inverse"]
Transfer = Literal["linear", "srgb", "gamma22"]
Prediction = Literal["v_prediction", "epsilon", "sample"]
Spacing = Literal["leading", "trailing", "linspace"]
NoiseKind = Literal["zeros", "gaussian", "multi_resolution"]
FinalStep = Literal["clean", "previous"]
Concatenation = Literal["photo_first", "noise_first"]
Passes = Literal["stacked", "one_each"]
Fit = Literal["pad", "stretch"]

CARD_FILE = "unrender.json"


@dataclass(frozen=True)
class MapCodec:
    """How one map lies in the channels of a decoded picture, whose values are in [-1, 1].

    Attributes:
        map: name of the GBuffer map.
        channels: channels of the picture that carry it; a single-valued map with several channels is their mean.
        transfer: curve of its values in [0, 1] before they are stretched to [-1, 1]; vectors have none.
        signs: for normals, +1 or -1 for each axis that the checkpoint keeps or mirrors.
    """

    map: str
    channels: tuple[int, ...] = (0, 1, 2)
    transfer: Transfer = "linear"
    signs: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self) -> None:
        if self.map not in CHANNELS:
            raise UserError(f"card: no map is called {self.map}; right is one of {', '.join(CHANNELS)}")


@dataclass(frozen=True)
class TargetPicture:
    """One picture that the autoencoder decodes, with the maps it carries.

    Attributes:
        name: the picture's name; with `one_each` passes also the name of its prompt embedding beside the weights.
        maps: the maps in its channels.
    """

    name: str
    maps: tuple[MapCodec, ...]


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
        train_steps, beta_start, beta_end, beta_schedule, steps_offset, set_alpha_to_one: as in diffusers.
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
        fit: `pad` replicates the border and takes it off again; `stretch` resizes.
        min_side: the shortest side, in pixels after resizing, that the network can take.
        guided: maps that are enlarged along the picture's edges; the others are interpolated. For colours and masks:
            the texture of the picture is none of a normal's.
    """

    long_side: int = 768
    multiple: int = 8
    fit: Fit = "pad"
    min_side: int = 16
    guided: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """Everything that sets one checkpoint apart from another.

    Attributes:
        id: the model's id, a hub id or a short name.
        system: the published system it belongs to.
        licence: SPDX id or name of the weights' licence.
        commercial: whether the licence allows commercial use; None where it is unclear.
        pictures: the pictures it gives, in latent order.
        depth_kind: what its depth is.
        passes: `stacked`: one pass gives all pictures, their latents stacked on channels; `one_each`: one pass a
            picture, told apart by prompt embeddings.
        concatenation: whether the photo's or the noisy target's latent comes first in the network's input.
        photo_transfer: curve of the photo that the autoencoder encodes.
        latent_channels, latent_scale: of one picture's latent.
        schedule, noise, size: see their classes.
        mirrored: the photo is also taken apart mirrored left to right, and the answers are averaged: twice the time,
            for small networks that know too little of which side light comes from.
        description: one line for lists.
    """

    id: str
    system: str
    licence: str
    pictures: tuple[TargetPicture, ...]
    commercial: bool | None = None
    direction: Direction = "inverse"
    depth_kind: Literal["metric", "relative"] = "relative"
    passes: Passes = "stacked"
    concatenation: Concatenation = "photo_first"
    photo_transfer: Transfer = "srgb"
    latent_channels: int = 4
    latent_scale: float = 0.18215
    schedule: ScheduleCard = field(default_factory=ScheduleCard)
    noise: NoiseKind = "zeros"
    size: SizeRule = field(default_factory=SizeRule)
    mirrored: bool = False
    description: str = ""

    @property
    def map_names(self) -> tuple[str, ...]:
        """Every map the model gives, in the order of its pictures."""
        return tuple(codec.map for picture in self.pictures for codec in picture.maps)

    @property
    def target_channels(self) -> int:
        """Latent channels that one pass predicts."""
        return self.latent_channels * (len(self.pictures) if self.passes == "stacked" else 1)

    @property
    def input_channels(self) -> int:
        """Latent channels that one pass is fed: the photo and the noisy target."""
        return self.latent_channels + self.target_channels


def write_card(card: ModelCard, folder: Path) -> None:
    """Writes `card` as `unrender.json` into `folder`."""
    (folder / CARD_FILE).write_text(json.dumps(dataclasses.asdict(card), indent=2) + "\n")


def read_card(folder: Path) -> ModelCard:
    """Reads `unrender.json` from `folder`.

    Raises:
        UserError: there is no card, or a field of it is missing, unknown or wrong.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} has no {CARD_FILE}; a model folder with a card beside its weights is right")
    try:
        return _card_from(json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not a model card: {error}") from error


def _card_from(data: dict[str, Any]) -> ModelCard:
    pictures = tuple(
        TargetPicture(picture["name"], tuple(_map_codec_from(codec) for codec in picture["maps"]))
        for picture in data.pop("pictures")
    )
    schedule, size = ScheduleCard(**data.pop("schedule")), data.pop("size")
    size = SizeRule(**size | {"guided": tuple(size.get("guided", ()))})
    return ModelCard(pictures=pictures, schedule=schedule, size=size, **data)


def _map_codec_from(data: dict[str, Any]) -> MapCodec:
    signs = tuple(data.get("signs", (1, 1, 1)))
    return MapCodec(data["map"], tuple(data["channels"]), data.get("transfer", "linear"), signs)
