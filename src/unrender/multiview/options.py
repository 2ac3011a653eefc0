"""How views are generated."""

from __future__ import annotations

from dataclasses import dataclass

from unrender.multiview.planner import Strategy


@dataclass(frozen=True)
class ViewOptions:
    """How views are generated.

    Attributes:
        steps: denoising steps; the model's own when None.
        seed: of the noise; every view has noise of its own, whatever batch it is in.
        guidance: weight of the text in the first batch, 1 for no guidance, 0 for no text; the model's own when None,
            none at all where pictures are given. Later batches see known views, and are not guided (ViewDiff, section
            4.1).
        batch: most views that are generated together.
        together: most views of a batch, known ones included; memory grows with it.
        strategy: which known views a batch sees (`planner.plan_views`).
    """

    steps: int | None = None
    seed: int = 0
    guidance: float | None = None
    batch: int = 10
    together: int = 30
    strategy: Strategy = "anchored"
