"""Views of one thing that agree in space: from a text or from pictures, along any path of cameras (ViewDiff, Höllein et
al. 2024)."""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.multiview.generator import MultiViewGenerator as MultiViewGenerator
    from unrender.multiview.options import ViewOptions as ViewOptions
    from unrender.multiview.paths import CameraPath as CameraPath
    from unrender.multiview.paths import PathOptions as PathOptions
    from unrender.multiview.paths import camera_path as camera_path
    from unrender.multiview.planner import ViewBatch as ViewBatch
    from unrender.multiview.planner import plan_views as plan_views
    from unrender.multiview.subject import Subject as Subject
    from unrender.multiview.views import ViewSet as ViewSet

_HOMES = {
    "generator": ("MultiViewGenerator",),
    "options": ("ViewOptions",),
    "paths": ("CameraPath", "PathOptions", "camera_path"),
    "planner": ("ViewBatch", "plan_views"),
    "subject": ("Subject",),
    "views": ("ViewSet",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
