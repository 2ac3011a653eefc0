"""The papers' claims, as data: what each says, and the rules by which it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from unrender.evaluate import maps
from unrender.evaluate.claims import contestants as who
from unrender.evaluate.claims.contest import CYCLE_FIGURES, REAL_FIGURES
from unrender.evaluate.claims.contestants import Contestant, on_maps, on_real_photos
from unrender.evaluate.claims.judging import Below, Faster, Rule, TrainedAlike
from unrender.evaluate.forward import PSNR_LINEAR, PSNR_SRGB, SHADOWED_PSNR_LINEAR, SHADOWED_PSNR_SRGB, SSIM
from unrender.evaluate.report import Figure

_BY_NAME = {(figure.map, figure.name, figure.space): figure for figure in maps.FIGURES}
ABSREL = _BY_NAME["depth", "AbsRel", "planar Z"]
ANGLE = _BY_NAME["normal", "mean angle", "camera axes"]
BASE_COLOR = _BY_NAME["base_color", "PSNR", "sRGB"]
ROUGHNESS = _BY_NAME["roughness", "RMSE", "perceptual"]
METALLIC = _BY_NAME["metallic", "RMSE", "value"]

BROKEN = 1.5
"""An answer whose error is more than so many times another's is broken."""

NEARLY_EQUAL = 1.1
"""E2E-FT's own Table 1: the fixed single step errs up to 1.09 times as much as 50 x 10 (KITTI, 10.8 against 9.9)."""

_E2E = "E2E-FT (Martin Garcia et al., WACV 2025)"
_OUROBOROS = "Ouroboros (Sun et al., ICCV 2025)"
_DIFFUSION_RENDERER = "DiffusionRenderer (Liang et al., CVPR 2025)"


@dataclass(frozen=True)
class Claim:
    """What a paper claims.

    Attributes:
        id: short, for tables and files.
        paper, where: who says it, and where in the paper.
        says: what it says, in our words, with its figures where they could be read.
        rules: by which it is judged; all have to hold.
        figures: what the table shows of each contestant, as far as it has them.
        shown: contestants listed in the table beside those of the rules.
    """

    id: str
    paper: str
    where: str
    says: str
    rules: tuple[Rule, ...]
    figures: tuple[Figure, ...]
    shown: tuple[Contestant, ...] = ()

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """The contestants whose figures it needs, each once."""
        return tuple(dict.fromkeys([*(one for rule in self.rules for one in rule.contestants), *self.shown]))

    @property
    def rule(self) -> str:
        """All rules in words."""
        return "; ".join(rule.words for rule in self.rules)


def _both(first: Contestant, second: Contestant, figures: tuple[Figure, ...], factor: float = 1.0) -> tuple[Below, ...]:
    return tuple(Below(first, second, figure, factor) for figure in figures)


_GEOMETRY = (ABSREL, ANGLE)
_MAPS = (BASE_COLOR, ANGLE, ABSREL, ROUGHNESS, METALLIC)
_PICTURE = (PSNR_SRGB, PSNR_LINEAR, SSIM)
_SHADOWS = (SHADOWED_PSNR_SRGB, SHADOWED_PSNR_LINEAR)

CLAIMS = (
    Claim(
        "leading-broken",
        _E2E,
        "Figure 2, section 3.2",
        "one step of a multi-step model with leading timestep spacing gives little more than noise",
        _both(who.TRAILING, who.LEADING, _GEOMETRY, 1 / BROKEN),
        _GEOMETRY,
    ),
    Claim(
        "trailing-equal",
        _E2E,
        "Table 1",
        "with trailing spacing one step nearly equals 50 steps x 10 members "
        "(Marigold depth, AbsRel: NYUv2 5.7 against 5.5, KITTI 10.8 against 9.9)",
        (
            *_both(who.TRAILING, who.ENSEMBLE, _GEOMETRY, NEARLY_EQUAL),
            *_both(who.ENSEMBLE, who.FLAT, _GEOMETRY),
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
        _both(who.ZEROS, who.ENSEMBLE, _GEOMETRY),
        _GEOMETRY,
    ),
    Claim(
        "zeros-best",
        _E2E,
        "noise ablation",
        "of zeros, Gaussian and multi-resolution noise, zeros are best "
        "(AbsRel NYUv2 5.2, 5.3, 5.4; KITTI 9.6, 9.9, 9.9)",
        (
            *_both(who.ZEROS, who.GAUSSIAN, _GEOMETRY),
            *_both(who.ZEROS, who.MULTI_RESOLUTION, _GEOMETRY),
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
        _both(who.ZEROS, who.INVERSE_50, (BASE_COLOR, ANGLE, ROUGHNESS, METALLIC), NEARLY_EQUAL),
        _MAPS,
    ),
    Claim(
        "single-step-forward",
        _OUROBOROS,
        "Table 5",
        "single-step forward rendering equals or betters 50 steps "
        "(against RGB<->X: PSNR on Hypersim 18.09 and 16.37 dB)",
        _both(who.FORWARD_1, who.FORWARD_50, (PSNR_SRGB,), NEARLY_EQUAL),
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
        _both(who.CYCLE, who.NO_CYCLE, CYCLE_FIGURES[:1]),
        CYCLE_FIGURES,
        (who.CYCLE_PHOTOS, who.APART),
    ),
    Claim(
        "cycle-maps",
        _OUROBOROS,
        "section 3.3, Figure 8",
        "and maps -> photo -> maps nearer to the maps",
        _both(on_maps(who.CYCLE), on_maps(who.NO_CYCLE), (BASE_COLOR, ANGLE, ABSREL)),
        _MAPS,
        (on_maps(who.CYCLE_PHOTOS), on_maps(who.APART)),
    ),
    Claim(
        "cycle-real",
        _OUROBOROS,
        "Introduction, Figure 9",
        "real photos without labels in the cycle bring photo -> maps -> photo of real photos nearer to the photo",
        _both(on_real_photos(who.CYCLE_PHOTOS), on_real_photos(who.CYCLE), REAL_FIGURES[:1]),
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
