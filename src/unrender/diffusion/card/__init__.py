"""The habits of a checkpoint, as data: identity, task, maps, latents, conditioning, sampling. A card lies beside the
weights as `unrender.json` (`card.file`), or is found by its id."""

from unrender.diffusion.card.conditioning import Conditioner, ImageTokens, LightTokens, TaskNumbers, TextPrompt
from unrender.diffusion.card.maps import (
    PHOTO,
    Exposure,
    InputMap,
    MapCodec,
    MapsCard,
    SizeRule,
    TargetPicture,
    Transfer,
)
from unrender.diffusion.card.model import (
    Concatenation,
    Identity,
    LatentsCard,
    ModelCard,
    Quirks,
    Source,
    Task,
    faithful,
)
from unrender.diffusion.card.sampling import (
    AnySchedule,
    FlowCard,
    Grouping,
    Guidance,
    KarrasCard,
    NoiseKind,
    Prediction,
    SamplingCard,
    ScheduleCard,
)

__all__ = [
    "PHOTO",
    "AnySchedule",
    "Concatenation",
    "Conditioner",
    "Exposure",
    "FlowCard",
    "Grouping",
    "Guidance",
    "Identity",
    "ImageTokens",
    "InputMap",
    "KarrasCard",
    "LatentsCard",
    "LightTokens",
    "MapCodec",
    "MapsCard",
    "ModelCard",
    "NoiseKind",
    "Prediction",
    "Quirks",
    "SamplingCard",
    "ScheduleCard",
    "SizeRule",
    "Source",
    "TargetPicture",
    "Task",
    "TaskNumbers",
    "TextPrompt",
    "Transfer",
    "faithful",
]
