"""Random scenes with their whole truth: what the embedded weights learn from."""

from unrender.synth.generate import SynthRecipe, generate
from unrender.synth.preview import preview

__all__ = ["SynthRecipe", "generate", "preview"]
