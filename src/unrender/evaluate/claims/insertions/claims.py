"""The claims about objects put into photos: DiPIR's."""

from unrender.evaluate.claims.claim import Claim, below
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.insertions import contestants as who
from unrender.evaluate.claims.insertions.contest import LPIPS, OBJECT_PSNR, PSNR, RMSE, SI_RMSE, SSIM

_DIPIR = "DiPIR (Liang et al., ECCV 2024)"
_ERRORS = (RMSE, SI_RMSE, SSIM)
_SHOWN = (RMSE, SI_RMSE, SSIM, LPIPS, PSNR, OBJECT_PSNR)
_DIRECT = (who.UNCHANGED, who.TRUE_LIGHT)


def _ablation(name: str, says: str, without: Contestant) -> Claim:
    return Claim(name, _DIPIR, "Table 3", says, below(who.LDS, without, (RMSE, SI_RMSE)), _SHOWN, _DIRECT)


INSERTION_CLAIMS = (
    Claim(
        "insert-light",
        _DIPIR,
        "Table 2",
        "guidance by a personalised diffusion model finds a light under which the composite is nearer to the truth "
        "than under other lights (PolyHaven: RMSE 0.048, si-RMSE 0.027, SSIM 0.989, LPIPS 0.0147)",
        (
            *below(who.LDS, who.CONSTANT, _ERRORS),
            *below(who.LDS, who.MIRRORED, _ERRORS),
            *below(who.LDS, who.ESTIMATED, _ERRORS),
        ),
        _SHOWN,
        (who.SHADING, *_DIRECT),
    ),
    _ablation("insert-sds", "its loss is better than SDS without adapters (preferred by 90.7 %)", who.SDS),
    _ablation("insert-sds-adapted", "and than SDS with adapters (74.1 %)", who.SDS_ADAPTED),
    _ablation("insert-preservation", "concept preservation helps (64.8 %)", who.NO_PRESERVATION),
    _ablation("insert-tones", "tone curves help (68.5 %)", who.NO_TONES),
    _ablation("insert-fusion", "two lights that are fused help (66.7 %)", who.NO_FUSION),
)
