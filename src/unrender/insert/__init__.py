"""Virtual objects in real pictures, in the picture's own light (DiPIR, Liang et al. 2024).

`insert` puts assets into a picture or clip; `plan_insertion` and `insert_stream` are its two halves, for clips of any
length. The light is given, or fitted: `fit_light` minimises any `LightGuidance`, over transport that is traced once;
`fit_guided` takes a diffusion model for one.
The package can be called, as its function `insert`: `unrender.insert("photo.jpg", "chair")`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unrender.insert.composite import composite as composite  # not lazily: it is the name of a module, too
from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.insert.builtin import BUILTIN as BUILTIN
    from unrender.insert.composite import Layers as Layers
    from unrender.insert.composite import Tones as Tones
    from unrender.insert.diffusion_guidance import DiffusionGuidance as DiffusionGuidance
    from unrender.insert.diffusion_guidance import DistillationOptions as DistillationOptions
    from unrender.insert.diffusion_guidance import ScoreDistillation as ScoreDistillation
    from unrender.insert.fit import Fit as Fit
    from unrender.insert.fit import FitOptions as FitOptions
    from unrender.insert.fit import SceneTransport as SceneTransport
    from unrender.insert.fit import fit_light as fit_light
    from unrender.insert.guidance import Candidate as Candidate
    from unrender.insert.guidance import LightGuidance as LightGuidance
    from unrender.insert.guidance import PhotoShading as PhotoShading
    from unrender.insert.guidance import PixelGuidance as PixelGuidance
    from unrender.insert.guidance import photo_shading as photo_shading
    from unrender.insert.guided import GUIDED as GUIDED
    from unrender.insert.guided import ShownScene as ShownScene
    from unrender.insert.guided import fit_guided as fit_guided
    from unrender.insert.guided import fit_shown as fit_shown
    from unrender.insert.guided import show_scene as show_scene
    from unrender.insert.guided import trace_scene as trace_scene
    from unrender.insert.light import GaussianLight as GaussianLight
    from unrender.insert.light import TexelLight as TexelLight
    from unrender.insert.light import fuse as fuse
    from unrender.insert.objects import Standing as Standing
    from unrender.insert.objects import VirtualObject as VirtualObject
    from unrender.insert.objects import load_object as load_object
    from unrender.insert.pipeline import InsertedFrame as InsertedFrame
    from unrender.insert.pipeline import Insertion as Insertion
    from unrender.insert.pipeline import InsertionPlan as InsertionPlan
    from unrender.insert.pipeline import InsertOptions as InsertOptions
    from unrender.insert.pipeline import follow_camera as follow_camera
    from unrender.insert.pipeline import insert as insert
    from unrender.insert.pipeline import insert_stream as insert_stream
    from unrender.insert.pipeline import plan_insertion as plan_insertion
    from unrender.insert.placement import Placement as Placement
    from unrender.insert.placement import build_scene as build_scene
    from unrender.insert.placement import place_objects as place_objects
    from unrender.insert.plane import SupportPlane as SupportPlane
    from unrender.insert.render import Rendered as Rendered
    from unrender.insert.render import TracedScene as TracedScene
    from unrender.insert.render import render_frame as render_frame
    from unrender.insert.scene import InsertionScene as InsertionScene
    from unrender.insert.shading import fit_shading as fit_shading
    from unrender.insert.tone import ToneCurves as ToneCurves
    from unrender.insert.tracking import follow_plane as follow_plane

_HOMES = {
    "composite": ("Layers", "Tones", "composite"),
    "builtin": ("BUILTIN",),
    "diffusion_guidance": (
        "DiffusionGuidance",
        "DistillationOptions",
        "ScoreDistillation",
    ),
    "fit": (
        "Fit",
        "FitOptions",
        "SceneTransport",
        "fit_light",
    ),
    "guidance": (
        "Candidate",
        "LightGuidance",
        "PhotoShading",
        "PixelGuidance",
        "photo_shading",
    ),
    "guided": (
        "GUIDED",
        "ShownScene",
        "fit_guided",
        "fit_shown",
        "show_scene",
        "trace_scene",
    ),
    "light": (
        "GaussianLight",
        "TexelLight",
        "fuse",
    ),
    "objects": (
        "Standing",
        "VirtualObject",
        "load_object",
    ),
    "pipeline": (
        "InsertedFrame",
        "Insertion",
        "InsertionPlan",
        "InsertOptions",
        "follow_camera",
        "insert",
        "insert_stream",
        "plan_insertion",
    ),
    "placement": (
        "Placement",
        "build_scene",
        "place_objects",
    ),
    "plane": ("SupportPlane",),
    "render": (
        "Rendered",
        "TracedScene",
        "render_frame",
    ),
    "scene": ("InsertionScene",),
    "shading": ("fit_shading",),
    "tone": ("ToneCurves",),
    "tracking": ("follow_plane",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)


class _CallableModule(ModuleType):
    """This package as the function that it is named after."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from unrender.insert.pipeline import insert

        return insert(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
