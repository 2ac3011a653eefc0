"""The cards of published checkpoints, one file a system. Facts only; the weights are pulled from their own homes."""

from unrender.diffusion.card import ModelCard, Task
from unrender.diffusion.checkpoints.published.diffusion_renderer import DIFFUSION_RENDERER
from unrender.diffusion.checkpoints.published.e2e_ft import E2E_FT
from unrender.diffusion.checkpoints.published.geowizard import GEOWIZARD
from unrender.diffusion.checkpoints.published.lotus import LOTUS
from unrender.diffusion.checkpoints.published.marigold import MARIGOLD
from unrender.diffusion.checkpoints.published.ouroboros import OUROBOROS
from unrender.diffusion.checkpoints.published.rgbx import RGBX
from unrender.diffusion.checkpoints.published.stable_diffusion import STABLE_DIFFUSION
from unrender.diffusion.checkpoints.published.viewdiff import VIEWDIFF

PUBLISHED: tuple[ModelCard, ...] = (
    *MARIGOLD,
    *E2E_FT,
    *LOTUS,
    *GEOWIZARD,
    *RGBX,
    *OUROBOROS,
    *DIFFUSION_RENDERER,
    *STABLE_DIFFUSION,
    *VIEWDIFF,
)


def published(model: str, task: Task | None = None) -> tuple[ModelCard, ...]:
    """The cards of a hub id, those of one task only where that is said; () where it is not known."""
    return tuple(c for c in PUBLISHED if c.id == model and task in (None, c.task))
