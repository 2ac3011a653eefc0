"""Random synthetic scenes with complete ground truth, on which the embedded weights are trained."""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.synth.generation import generate as generate
    from unrender.synth.insertion import InsertionPair as InsertionPair
    from unrender.synth.insertion import generate_pairs as generate_pairs
    from unrender.synth.insertion import random_pair as random_pair
    from unrender.synth.previews import preview as preview
    from unrender.synth.recipe import SynthRecipe as SynthRecipe

_HOMES = {
    "generation": ("generate",),
    "insertion": (
        "InsertionPair",
        "generate_pairs",
        "random_pair",
    ),
    "previews": ("preview",),
    "recipe": ("SynthRecipe",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
