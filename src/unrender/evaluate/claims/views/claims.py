"""The claims about sets of views: ViewDiff's."""

from unrender.evaluate.claims.claim import NEARLY_EQUAL, Claim, below
from unrender.evaluate.claims.judging import Below, TrainedAlike
from unrender.evaluate.claims.views import contestants as who
from unrender.evaluate.claims.views.contest import LAST, LAST_TO_FIRST
from unrender.evaluate.multiview import REPROJECTION, SUBJECT_PSNR, TSED, WHOLE_PSNR, WHOLE_SSIM

DRIFTED = 1.5
"""A last view that disagrees with the first so many times as much as true pictures do has drifted."""

_VIEWDIFF = "ViewDiff (Höllein et al., CVPR 2024)"
_RIGHT = (WHOLE_PSNR, SUBJECT_PSNR, WHOLE_SSIM)

VIEW_CLAIMS = (
    Claim(
        "views-projection",
        _VIEWDIFF,
        "Table 3",
        "projection layers bring new views nearer to the truth (PSNR 22.2 against 16.6 dB without)",
        (
            *below(who.VIEWS, who.NO_PROJECTION, (WHOLE_PSNR, SUBJECT_PSNR)),
            Below(who.VIEWS, who.REPEATED, SUBJECT_PSNR),
            TrainedAlike((who.VIEWS, who.NO_PROJECTION)),
        ),
        (*_RIGHT, REPROJECTION),
    ),
    Claim(
        "views-cross-frame",
        _VIEWDIFF,
        "Table 3",
        "and so does attention between views (22.2 against 18.2 dB without)",
        (
            *below(who.VIEWS, who.NO_CROSS_FRAME, (WHOLE_PSNR, SUBJECT_PSNR)),
            Below(who.VIEWS, who.REPEATED, SUBJECT_PSNR),
            TrainedAlike((who.VIEWS, who.NO_CROSS_FRAME)),
        ),
        (*_RIGHT, REPROJECTION),
    ),
    Claim(
        "views-agree",
        _VIEWDIFF,
        "abstract, section 3.2",
        "views that are generated together agree in space, those generated each by itself do not",
        (Below(who.VIEWS, who.ALONE, REPROJECTION), Below(who.VIEWS, who.SHUFFLED, REPROJECTION)),
        (REPROJECTION, TSED, WHOLE_PSNR),
        (who.REPEATED, who.TRUTH),
    ),
    Claim(
        "views-drift",
        _VIEWDIFF,
        "section 3.3, 100 views an object",
        "a long path is generated batch by batch, from views that were generated before, without drifting away",
        (
            Below(who.LONG, who.DIRECT, LAST_TO_FIRST, NEARLY_EQUAL),
            Below(who.LONG, who.LAST_TRUTH, LAST_TO_FIRST, DRIFTED),
            Below(who.LONG, who.LAST_REPEATED, LAST),
        ),
        (LAST_TO_FIRST, LAST),
    ),
)
