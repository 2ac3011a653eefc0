"""Relighting: inverse, then another light, then forward, with the photo's own detail kept."""

from unrender.relight.detail import detail_gain
from unrender.relight.light_estimate import estimate_light
from unrender.relight.picture import (
    Decomposition,
    Forward,
    Inverse,
    RelightOptions,
    Relit,
    decompose,
    recompose,
    relight,
)

__all__ = [
    "Decomposition",
    "Forward",
    "Inverse",
    "RelightOptions",
    "Relit",
    "decompose",
    "detail_gain",
    "estimate_light",
    "recompose",
    "relight",
]
