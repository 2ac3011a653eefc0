"""The claims about clips: DiffusionRenderer's."""

from unrender.evaluate.claims.claim import Claim, below
from unrender.evaluate.claims.clips import contestants as who
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.judging import Below, TrainedAlike
from unrender.evaluate.forward import (
    PSNR_LINEAR,
    PSNR_SRGB,
    SHADOWED_PSNR_SRGB,
    SHADOWED_SSIM,
    SSIM,
)
from unrender.evaluate.report import Figure

BASE_COLOR = Figure("base_color", "RMSE", "", "sRGB", "surface")
ROUGHNESS, METALLIC = (Figure(name, "RMSE", "", "value", "surface") for name in ("roughness", "metallic"))
ANGLE = Figure("normal", "mean angle", "deg", "camera axes", "surface")
DEPTH = Figure("depth", "AbsRel", "%", "planar Z", "surface", "scale + shift of the clip")
FLICKER = tuple(
    Figure(name, "warp error x 1000", "", space, "seen twice")
    for name, space in (("base_color", "sRGB"), ("normal", "world axes"), ("depth", "ratio to the truth"))
)

_DIFFUSION_RENDERER = "DiffusionRenderer (Liang et al., CVPR 2025)"
_SHADOWS = (SHADOWED_PSNR_SRGB, SHADOWED_SSIM)
_PICTURES = (PSNR_SRGB, PSNR_LINEAR, SSIM, *_SHADOWS)


def _ablation(name: str, says: str, without: Contestant) -> Claim:
    return Claim(
        name,
        _DIFFUSION_RENDERER,
        "Figure 7",
        says,
        (
            Below(who.VIDEO, without, PSNR_SRGB),
            Below(who.VIDEO, who.MEAN_COLOUR, PSNR_SRGB),
            TrainedAlike((who.VIDEO, without)),
        ),
        _PICTURES,
    )


CLIP_CLAIMS = (
    Claim(
        "video-forward",
        _DIFFUSION_RENDERER,
        "Table 1",
        "a video model renders buffers under a light better than split sum and screen-space tracing, where light is in "
        "the way of light",
        (*below(who.VIDEO, who.SPLIT_SUM, _SHADOWS), *below(who.VIDEO, who.SCREEN_SPACE, _SHADOWS)),
        _PICTURES,
        (who.PICTURE_FORWARD, who.MEAN_COLOUR),
    ),
    Claim(
        "video-relight",
        _DIFFUSION_RENDERER,
        "Table 2",
        "and so it does with estimated buffers, under another light",
        (*below(who.RELIT, who.RELIT_SPLIT_SUM, _SHADOWS), *below(who.RELIT, who.RELIT_SCREEN_SPACE, _SHADOWS)),
        _PICTURES,
        (who.UNCHANGED,),
    ),
    Claim(
        "video-inverse",
        _DIFFUSION_RENDERER,
        "Table 3",
        "a video model takes clips apart better than a picture model frame by frame, and steadier",
        (
            *below(who.INVERSE, who.PICTURE_INVERSE, (BASE_COLOR, ROUGHNESS, METALLIC, ANGLE)),
            *below(who.INVERSE, who.PICTURE_INVERSE, FLICKER),
            Below(who.INVERSE, who.FLAT, ANGLE),
        ),
        (BASE_COLOR, ROUGHNESS, METALLIC, ANGLE, DEPTH, *FLICKER),
        (who.TRUTH,),
    ),
    _ablation("video-log", "the log picture of the light helps", who.NO_LOG),
    _ablation("video-direction", "its direction picture helps", who.NO_DIRECTION),
    _ablation("video-levels", "features of several resolutions help", who.NO_LEVELS),
    _ablation("video-lora", "an adapter for labelled footage helps", who.NO_LORA),
)
