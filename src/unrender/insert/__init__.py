"""Virtual objects in real pictures, in the picture's own light (DiPIR, Liang et al. 2024).

`insert` puts assets into a picture or clip; `plan_insertion` and `insert_stream` are its two halves, for clips of any
length. The light is given, or fitted: `fit_light` minimises any `LightGuidance`, over transport that is traced once;
`fit_guided` takes a diffusion model for one.
The package can be called, as its function `insert`: `unrender.insert("photo.jpg", "chair")`.
"""

import sys
from types import ModuleType
from typing import Any

from unrender.diffusion.score_distillation import DistillationOptions, ScoreDistillation
from unrender.insert.builtin import BUILTIN
from unrender.insert.composite import Layers, Tones, composite
from unrender.insert.diffusion_guidance import DiffusionGuidance
from unrender.insert.fit import Fit, FitOptions, SceneTransport, fit_light
from unrender.insert.guidance import Candidate, LightGuidance, PhotoShading, PixelGuidance, photo_shading
from unrender.insert.guided import GUIDED, fit_guided, trace_scene
from unrender.insert.light import GaussianLight, TexelLight, fuse
from unrender.insert.objects import Standing, VirtualObject, load_object
from unrender.insert.pipeline import (
    InsertedFrame,
    Insertion,
    InsertionPlan,
    InsertOptions,
    follow_camera,
    insert,
    insert_stream,
    place_objects,
    plan_insertion,
)
from unrender.insert.placement import Placement, build_scene
from unrender.insert.plane import SupportPlane
from unrender.insert.render import Rendered, TracedScene, render_frame
from unrender.insert.scene import InsertionScene
from unrender.insert.tone import ToneCurves
from unrender.insert.tracking import follow_plane

__all__ = [
    "BUILTIN",
    "GUIDED",
    "Candidate",
    "DiffusionGuidance",
    "DistillationOptions",
    "Fit",
    "FitOptions",
    "GaussianLight",
    "InsertOptions",
    "InsertedFrame",
    "Insertion",
    "InsertionPlan",
    "InsertionScene",
    "Layers",
    "LightGuidance",
    "PhotoShading",
    "PixelGuidance",
    "Placement",
    "Rendered",
    "SceneTransport",
    "ScoreDistillation",
    "Standing",
    "SupportPlane",
    "TexelLight",
    "ToneCurves",
    "Tones",
    "TracedScene",
    "VirtualObject",
    "build_scene",
    "composite",
    "fit_guided",
    "fit_light",
    "follow_camera",
    "follow_plane",
    "fuse",
    "insert",
    "insert_stream",
    "load_object",
    "photo_shading",
    "place_objects",
    "plan_insertion",
    "render_frame",
    "trace_scene",
]


class _CallableModule(ModuleType):
    """This package as the function that it is named after."""

    def __call__(self, *args: Any, **kwargs: Any) -> Insertion:
        return insert(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
