"""Models by name, ready to be called, with what the run record says of them. Deferred rendering loads no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from unrender.cli.options import ComputeOptions
from unrender.cli.run_record import RunRecord

if TYPE_CHECKING:
    from unrender.forward import LightGroups
    from unrender.relight import Forward
    from unrender.scene.environment import EnvironmentMap
    from unrender.scene.frames import Frames
    from unrender.scene.gbuffer import GBuffer

    Inverse = Callable[[Frames, Sequence[str] | None], GBuffer]


def inverse_renderer(model: str, compute: ComputeOptions, record: RunRecord) -> Inverse:
    """The inverse renderer `model` with its seed; notes its id and licence in `record`."""
    from unrender.inverse.renderer import InverseRenderer

    renderer = InverseRenderer.from_pretrained(model, device=compute.device, dtype=compute.dtype)
    record.facts["model"] = {"id": renderer.card.id, "licence": renderer.card.licence}
    return partial(renderer, seed=compute.seed)


def forward_renderer(model: str, compute: ComputeOptions, record: RunRecord) -> Forward:
    """The forward renderer `model` with its seed and device; notes its id in `record`. Its pictures are on the CPU."""
    from unrender.device import choose_compute
    from unrender.forward import ForwardRenderer, LightGroups

    record.facts["forward"] = {"id": model}
    renderer = ForwardRenderer.from_pretrained(model, seed=compute.seed)
    device = choose_compute(compute.device, compute.dtype).device

    def render(gbuffer: GBuffer, light: EnvironmentMap, yaw: float) -> LightGroups:
        groups = renderer(gbuffer.to(device), light.to(device), yaw)
        return LightGroups(groups.diffuse.cpu(), groups.specular.cpu(), groups.background.cpu())

    return render
