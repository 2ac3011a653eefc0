"""Random scenes with their whole truth: what the embedded weights learn from."""

from unrender.synth.generate import generate
from unrender.synth.preview import preview
from unrender.synth.recipe import SynthRecipe

__all__ = ["SynthRecipe", "generate", "preview"]
