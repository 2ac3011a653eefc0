"""Models by name, with what the run record says of them. Deferred rendering needs no network, and loads none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unrender.cli.options import ComputeOptions
from unrender.cli.run_record import RunRecord

if TYPE_CHECKING:
    from unrender.forward import ForwardRenderer
    from unrender.inverse.renderer import InverseRenderer


def inverse_renderer(model: str, compute: ComputeOptions, record: RunRecord) -> InverseRenderer:
    """The inverse renderer `model`; notes its id and licence in `record`."""
    from unrender.inverse.renderer import InverseRenderer

    renderer = InverseRenderer.from_pretrained(model, device=compute.device, dtype=compute.dtype)
    record.facts["model"] = {"id": renderer.card.id, "licence": renderer.card.licence}
    return renderer


def forward_renderer(model: str, compute: ComputeOptions, record: RunRecord) -> ForwardRenderer:
    """The forward renderer `model`; notes its id in `record`."""
    from unrender.forward import ForwardRenderer

    record.facts["forward"] = {"id": model}
    return ForwardRenderer.from_pretrained(model)
