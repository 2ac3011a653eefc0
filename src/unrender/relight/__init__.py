"""Relighting: inverse, then another light, then forward, with the photo's own detail kept.

`relight` shows a picture or clip under another light; `relight_stream` does so frame by frame, for clips of any length.
`decompose` and `relight_decomposition` (or `recompose`, its passes alone) are their two halves, for one picture under
many lights. `edit` changes materials, or lays an object over it (`edit_stream` of clips). The package can be called, as
its function `relight`: `unrender.relight("photo.jpg", "sunset")`.
"""

import sys
from types import ModuleType
from typing import Any

from unrender.relight.decomposition import Decomposition, decompose, decompose_stream
from unrender.relight.detail import detail_gain
from unrender.relight.editing import (
    Edit,
    decompose_gbuffers,
    edit,
    edit_decomposition,
    edit_gbuffer,
    edit_stream,
    region,
)
from unrender.relight.exposure import display_gain
from unrender.relight.light_estimate import estimate_light
from unrender.relight.materials import MaterialChange, change_materials, material_of
from unrender.relight.options import Forward, Inverse, RelightOptions
from unrender.relight.refinement import refine_base_color
from unrender.relight.relit import Relit, count_pictures, recompose, relight, relight_decomposition, relight_stream

__all__ = [
    "Decomposition",
    "Edit",
    "Forward",
    "Inverse",
    "MaterialChange",
    "RelightOptions",
    "Relit",
    "change_materials",
    "count_pictures",
    "decompose",
    "decompose_gbuffers",
    "decompose_stream",
    "detail_gain",
    "display_gain",
    "edit",
    "edit_decomposition",
    "edit_gbuffer",
    "edit_stream",
    "estimate_light",
    "material_of",
    "recompose",
    "refine_base_color",
    "region",
    "relight",
    "relight_decomposition",
    "relight_stream",
]


class _CallableModule(ModuleType):
    """This package as the function that it is named after."""

    def __call__(self, *args: Any, **kwargs: Any) -> Relit:
        return relight(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
