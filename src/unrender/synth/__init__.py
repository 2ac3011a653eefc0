"""Random synthetic scenes with complete ground truth, on which the embedded weights are trained."""

from unrender.synth.generate import generate
from unrender.synth.preview import preview
from unrender.synth.recipe import SynthRecipe

__all__ = ["SynthRecipe", "generate", "preview"]
