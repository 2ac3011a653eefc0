"""Detail kept by ratio transfer: out = photo * relit / re-rendered."""

from torch import Tensor

from unrender.scene.color import luminance
from unrender.scene.strips import in_strips

DARK = 0.02
"""Linear luminance under which a re-rendering says too little to be divided by; an 8-bit picture holds 39/255 there."""

LARGEST_GAIN = 4.0
"""Two stops: more than this is a fault of the re-rendering, not detail of the photo."""


def detail_gain(photo: Tensor, rerendered: Tensor) -> Tensor:
    """What the photo has and its re-rendering under its own light has not, as a factor.

    A relit picture times this gain is `photo * relit / rerendered`: what the G-buffer missed (texture finer than the
    network sees, soft errors of base colour) comes back, and relighting with the old light gives the photo again.
    Where the luminance of `rerendered` falls under `DARK` the quotient would be noise, so the gain fades, linearly, to
    1: the relit rendering as it is. It never leaves [0, `LARGEST_GAIN`].

    Args:
        photo: (T, 3, H, W) scene-linear.
        rerendered: (T, 3, H, W) scene-linear, the photo's G-buffer under the photo's own light.

    Returns:
        (T, 3, H, W) in [0, `LARGEST_GAIN`].

    Source: the quotient image (Riklin-Raviv and Shashua, PAMI 2001, eq. 3) between two renderings of one G-buffer.
    """
    return in_strips(_gain, photo, rerendered)


def _gain(photo: Tensor, rerendered: Tensor) -> Tensor:
    ratio = (photo / rerendered.clamp(min=DARK / 10)).clamp(0, LARGEST_GAIN)
    # One trust for all three channels: a shadow that kept its red but not its faint blue would turn blue.
    trust = (luminance(rerendered) / DARK).clamp(0, 1)
    return 1 + trust * (ratio - 1)
