"""The claims about pictures: E2E-FT's, Ouroboros', and DiffusionRenderer's as far as they need no clips."""

from unrender.evaluate import maps
from unrender.evaluate.claims.claim import NEARLY_EQUAL, Claim, below
from unrender.evaluate.claims.judging import Below, Faster, TrainedAlike
from unrender.evaluate.claims.stills import contestants as who
from unrender.evaluate.claims.stills.contest import CYCLE_FIGURES, REAL_FIGURES
from unrender.evaluate.claims.stills.contestants import on_maps, on_real_photos
from unrender.evaluate.forward import PSNR_LINEAR, PSNR_SRGB, SHADOWED_PSNR_LINEAR, SHADOWED_PSNR_SRGB, SSIM

_BY_NAME = {(figure.map, figure.name, figure.space): figure for figure in maps.FIGURES}
ABSREL = _BY_NAME["depth", "AbsRel", "planar Z"]
ANGLE = _BY_NAME["normal", "mean angle", "camera axes"]
BASE_COLOR = _BY_NAME["base_color", "PSNR", "sRGB"]
ROUGHNESS = _BY_NAME["roughness", "RMSE", "perceptual"]
METALLIC = _BY_NAME["metallic", "RMSE", "value"]

BROKEN = 1.5
"""An answer whose error is more than so many times another's is broken."""

_E2E = "E2E-FT (Martin Garcia et al., WACV 2025)"
_OUROBOROS = "Ouroboros (Sun et al., ICCV 2025)"
_DIFFUSION_RENDERER = "DiffusionRenderer (Liang et al., CVPR 2025)"

_GEOMETRY = (ABSREL, ANGLE)
_MAPS = (BASE_COLOR, ANGLE, ABSREL, ROUGHNESS, METALLIC)
_PICTURE = (PSNR_SRGB, PSNR_LINEAR, SSIM)
_SHADOWS = (SHADOWED_PSNR_SRGB, SHADOWED_PSNR_LINEAR)

STILL_CLAIMS = (
    Claim(
        "leading-broken",
        _E2E,
        "Figure 2, section 3.2",
        "one step of a multi-step model with leading timestep spacing gives little more than noise",
        below(who.TRAILING, who.LEADING, _GEOMETRY, 1 / BROKEN),
        _GEOMETRY,
    ),
    Claim(
        "trailing-equal",
        _E2E,
        "Table 1",
        "with trailing spacing one step nearly equals 50 steps x 10 members "
        "(Marigold depth, AbsRel: NYUv2 5.7 against 5.5, KITTI 10.8 against 9.9)",
        (
            *below(who.TRAILING, who.ENSEMBLE, _GEOMETRY, NEARLY_EQUAL),
            *below(who.ENSEMBLE, who.FLAT, _GEOMETRY),
        ),
        _GEOMETRY,
    ),
    Claim(
        "trailing-speed",
        _E2E,
        "Introduction, Table 1",
        "and is over 200 times faster (Table 1 itself: 121 ms against 24 s, 198 times)",
        (Faster(who.TRAILING, who.ENSEMBLE, 200),),
        (),
    ),
    Claim(
        "end-to-end-better",
        _E2E,
        "Tables 2 and 3",
        "fine-tuned end to end, the single step is better than its multi-step parent's best setting "
        "(AbsRel NYUv2 5.2 against 5.5, KITTI 9.6 against 9.9; normals NYUv2 16.2 against 18.8 deg)",
        below(who.ZEROS, who.ENSEMBLE, _GEOMETRY),
        _GEOMETRY,
    ),
    Claim(
        "zeros-best",
        _E2E,
        "noise ablation",
        "of zeros, Gaussian and multi-resolution noise, zeros are best "
        "(AbsRel NYUv2 5.2, 5.3, 5.4; KITTI 9.6, 9.9, 9.9)",
        (
            *below(who.ZEROS, who.GAUSSIAN, _GEOMETRY),
            *below(who.ZEROS, who.MULTI_RESOLUTION, _GEOMETRY),
            TrainedAlike((who.ZEROS, who.GAUSSIAN, who.MULTI_RESOLUTION)),
        ),
        _GEOMETRY,
    ),
    Claim(
        "single-step-inverse",
        _OUROBOROS,
        "Tables 1, 2 and 4",
        "single-step inverse rendering equals or betters 50 steps "
        "(against RGB<->X: albedo PSNR on Hypersim 18.98 and 18.67 dB, normals 11.98 and 17.21 deg)",
        below(who.ZEROS, who.INVERSE_50, (BASE_COLOR, ANGLE, ROUGHNESS, METALLIC), NEARLY_EQUAL),
        _MAPS,
    ),
    Claim(
        "single-step-forward",
        _OUROBOROS,
        "Table 5",
        "single-step forward rendering equals or betters 50 steps "
        "(against RGB<->X: PSNR on Hypersim 18.09 and 16.37 dB)",
        below(who.FORWARD_1, who.FORWARD_50, (PSNR_SRGB,), NEARLY_EQUAL),
        _PICTURE,
    ),
    Claim(
        "single-step-speed",
        _OUROBOROS,
        "Introduction",
        "and is 50 times faster, both ways",
        (Faster(who.ZEROS, who.INVERSE_50, 50), Faster(who.FORWARD_1, who.FORWARD_50, 50)),
        (),
    ),
    Claim(
        "cycle-photo",
        _OUROBOROS,
        "section 3.3, Figure 8",
        "cycle training brings photo -> maps -> photo nearer to the photo",
        below(who.CYCLE, who.NO_CYCLE, CYCLE_FIGURES[:1]),
        CYCLE_FIGURES,
        (who.CYCLE_PHOTOS, who.APART),
    ),
    Claim(
        "cycle-maps",
        _OUROBOROS,
        "section 3.3, Figure 8",
        "and maps -> photo -> maps nearer to the maps",
        below(on_maps(who.CYCLE), on_maps(who.NO_CYCLE), (BASE_COLOR, ANGLE, ABSREL)),
        _MAPS,
        (on_maps(who.CYCLE_PHOTOS), on_maps(who.APART)),
    ),
    Claim(
        "cycle-real",
        _OUROBOROS,
        "Introduction, Figure 9",
        "real photos without labels in the cycle bring photo -> maps -> photo of real photos nearer to the photo",
        below(on_real_photos(who.CYCLE_PHOTOS), on_real_photos(who.CYCLE), REAL_FIGURES[:1]),
        REAL_FIGURES,
        (on_real_photos(who.APART), on_real_photos(who.NO_CYCLE)),
    ),
    Claim(
        "forward-shadows",
        _DIFFUSION_RENDERER,
        "abstract, Table 1",
        "a neural forward renderer makes the shadows and interreflection that split sum and screen-space tracing lack",
        (
            Below(who.FORWARD_1, who.SPLIT_SUM, SHADOWED_PSNR_SRGB),
            Below(who.FORWARD_1, who.SCREEN_SPACE, SHADOWED_PSNR_SRGB),
        ),
        (*_PICTURE[:2], *_SHADOWS),
    ),
    Claim(
        "relight-shadows",
        _DIFFUSION_RENDERER,
        "section 5, relighting",
        "and relights better: a photo's estimated maps under another light",
        (
            Below(who.RELIT, who.RELIT_SPLIT_SUM, SHADOWED_PSNR_SRGB),
            Below(who.RELIT, who.RELIT_SCREEN_SPACE, SHADOWED_PSNR_SRGB),
        ),
        (*_PICTURE[:2], *_SHADOWS),
    ),
)
