"""Random synthetic scenes with complete ground truth, on which the embedded weights are trained."""

from unrender.synth.generate import generate
from unrender.synth.insertion import InsertionPair, generate_pairs, random_pair
from unrender.synth.preview import preview
from unrender.synth.recipe import SynthRecipe

__all__ = ["InsertionPair", "SynthRecipe", "generate", "generate_pairs", "preview", "random_pair"]
