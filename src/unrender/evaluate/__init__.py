"""Measuring: metrics, protocols, reports. Every number says data, colour space, mask and alignment.

The names below are imported when first used. `docs/metrics.md` has the formulas.
"""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.evaluate.claims.run import evaluate_claims as evaluate_claims
    from unrender.evaluate.clips import evaluate_clips as evaluate_clips
    from unrender.evaluate.forward import evaluate_forward as evaluate_forward
    from unrender.evaluate.light import evaluate_light as evaluate_light
    from unrender.evaluate.maps import evaluate_maps as evaluate_maps
    from unrender.evaluate.metrics import Angles as Angles
    from unrender.evaluate.metrics import absrel as absrel
    from unrender.evaluate.metrics import align_depth as align_depth
    from unrender.evaluate.metrics import align_scale as align_scale
    from unrender.evaluate.metrics import angles as angles
    from unrender.evaluate.metrics import angular_errors as angular_errors
    from unrender.evaluate.metrics import delta1 as delta1
    from unrender.evaluate.metrics import lmse as lmse
    from unrender.evaluate.metrics import mean_squared_error as mean_squared_error
    from unrender.evaluate.metrics import psnr as psnr
    from unrender.evaluate.metrics import rmse as rmse
    from unrender.evaluate.metrics import si_mse as si_mse
    from unrender.evaluate.metrics import si_psnr as si_psnr
    from unrender.evaluate.metrics import si_rmse as si_rmse
    from unrender.evaluate.metrics import ssim as ssim
    from unrender.evaluate.metrics.frechet import frechet_distance as frechet_distance
    from unrender.evaluate.metrics.inception import Inception as Inception
    from unrender.evaluate.metrics.lpips import Lpips as Lpips
    from unrender.evaluate.metrics.temporal import OpticalFlow as OpticalFlow
    from unrender.evaluate.metrics.temporal import flow_of_geometry as flow_of_geometry
    from unrender.evaluate.metrics.temporal import warp as warp
    from unrender.evaluate.metrics.temporal import warp_error as warp_error
    from unrender.evaluate.motion import known_motion as known_motion
    from unrender.evaluate.multiview import evaluate_multiview as evaluate_multiview
    from unrender.evaluate.pictures import evaluate_pictures as evaluate_pictures
    from unrender.evaluate.rendered_clips import evaluate_rendered_clips as evaluate_rendered_clips
    from unrender.evaluate.report import Figure as Figure
    from unrender.evaluate.report import Report as Report
    from unrender.evaluate.report import as_dict as as_dict
    from unrender.evaluate.report import markdown as markdown
    from unrender.evaluate.report import table as table
    from unrender.evaluate.scenes import Scene as Scene
    from unrender.evaluate.scenes import scenes_of as scenes_of
    from unrender.evaluate.text_to_image import evaluate_text_to_image as evaluate_text_to_image

_HOMES = {
    "claims.run": ("evaluate_claims",),
    "clips": ("evaluate_clips",),
    "forward": ("evaluate_forward",),
    "light": ("evaluate_light",),
    "maps": ("evaluate_maps",),
    "metrics": (
        "Angles",
        "absrel",
        "align_depth",
        "align_scale",
        "angles",
        "angular_errors",
        "delta1",
        "lmse",
        "mean_squared_error",
        "psnr",
        "rmse",
        "si_mse",
        "si_psnr",
        "si_rmse",
        "ssim",
    ),
    "metrics.frechet": ("frechet_distance",),
    "metrics.inception": ("Inception",),
    "metrics.lpips": ("Lpips",),
    "metrics.temporal": ("OpticalFlow", "flow_of_geometry", "warp", "warp_error"),
    "motion": ("known_motion",),
    "multiview": ("ViewMeasures", "evaluate_multiview"),
    "pictures": ("evaluate_pictures",),
    "rendered_clips": ("evaluate_rendered_clips",),
    "report": ("Figure", "Report", "as_dict", "markdown", "table"),
    "scenes": ("Scene", "scenes_of"),
    "text_to_image": ("evaluate_text_to_image",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
