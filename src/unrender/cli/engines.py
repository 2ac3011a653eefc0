"""Models by name, ready to be called, with what the run record says of them. Deferred rendering loads no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from unrender.cli.options import ClipSettings, ComputeOptions, NetworkOptions, PromptOptions, SceneOptions
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from unrender.diffusion.card import ModelCard
    from unrender.diffusion.checkpoints.hub.location import ModelLocation
    from unrender.diffusion.checkpoints.loader import Checkpoint
    from unrender.diffusion.options import InferenceOptions
    from unrender.diffusion.windows import ClipOptions
    from unrender.forward import DeferredRenderer, ForwardOptions, RenderPasses
    from unrender.forward.clips import Lighting, PartRenderer, RenderState
    from unrender.inverse.clips import ClipInverse, ClipState
    from unrender.inverse.multi_model import MultiModelClip
    from unrender.inverse.renderer import InverseRenderer
    from unrender.scene.environment import EnvironmentMap
    from unrender.scene.frames import Window
    from unrender.scene.gbuffer import GBuffer

    class Forward(Protocol):
        """How a verb calls a forward renderer."""

        def __call__(
            self, gbuffer: GBuffer, light: EnvironmentMap | None, yaw: float | Tensor, edit: Tensor | None = None, /
        ) -> RenderPasses: ...


Loaded = TypeVar("Loaded")

DEFAULT_CLIP = ClipSettings()

DRAWING = ("deferred", "deferred:screen_space", "deferred:monte_carlo")
"""Renderers that draw directions."""


class LoadedModels:
    """Models that a process has loaded and keeps for its next item."""

    def __init__(self) -> None:
        self._kept: dict[object, Any] = {}

    def once(self, key: object, load: Callable[[], Loaded]) -> Loaded:
        """What `load` gives, loaded the first time that `key` is asked for."""
        if key not in self._kept:
            self._kept[key] = load()
        return self._kept[key]


@dataclass(frozen=True)
class Engines:
    """What every engine of a run is made with, where it is written down, and, where the process has more than one run,
    what it keeps."""

    network: NetworkOptions
    compute: ComputeOptions
    record: RunRecord
    kept: LoadedModels | None = None

    def load(self, key: object, load: Callable[[], Loaded]) -> Loaded:
        """What `load` gives; where models are kept, the one of the same `key`."""
        return self.kept.once(key, load) if self.kept is not None else load()

    def inference(self, long_side: int | None) -> InferenceOptions:
        """How a network is run whose pictures have that long side; the model's own when None."""
        from unrender.diffusion.options import InferenceOptions

        network, compute = self.network, self.compute
        return InferenceOptions(
            compute.device,
            compute.dtype,
            network.memory,
            network.faithful,
            network.decoder,
            long_side,
            network.compile,
        )


def inverse_renderer(
    models: str,
    engines: Engines,
    scene: SceneOptions,
    pictures: int = 1,
    clip: ClipSettings = DEFAULT_CLIP,
    *,
    attend: bool = False,
) -> ClipInverse | MultiModelClip:
    """The inverse renderer of one model, or of several with commas between, with its seed and steps; notes ids,
    licences and revisions in the record. Of several models each is loaded in its turn where there is one picture."""
    from unrender.inverse.clips import ClipInverse
    from unrender.inverse.multi_model import MultiModelClip, MultiModelRenderer
    from unrender.inverse.renderer import InverseRenderer

    record = engines.record
    settings: dict[str, Any] = {"steps": scene.steps, "seed": engines.compute.seed, "ensemble_size": scene.ensemble}

    def load(model: str) -> InverseRenderer:
        inference = engines.inference(scene.long_side)
        renderer = engines.load(
            ("inverse", model, inference, scene.domain, attend),
            lambda: InverseRenderer.from_pretrained(model, inference, domain=scene.domain, attend=attend),
        )
        facts[model] = checkpoint_facts(renderer.engine.checkpoint)
        record.facts["model"] = next(iter(facts.values())) if len(facts) == 1 else list(facts.values())
        return renderer

    facts: dict[str, dict[str, object]] = {}
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise UserError(f"--model {models!r} names no model; expected an id, a folder, or several with commas")

    def of_clip(renderer: InverseRenderer) -> ClipInverse:
        return ClipInverse(renderer, clip_options(clip, renderer.card, engines.network), **settings)

    if len(names) == 1:
        return of_clip(load(names[0]))
    if pictures == 1:
        return MultiModelClip(MultiModelRenderer(tuple(partial(load, name) for name in names)), (), settings)
    loaded = [load(name) for name in names]
    several = MultiModelRenderer(tuple(partial(_itself, renderer) for renderer in loaded))
    return MultiModelClip(several, tuple(of_clip(renderer) for renderer in loaded), settings)


def clip_options(settings: ClipSettings, card: ModelCard | None, network: NetworkOptions) -> ClipOptions:
    """How a clip is cut for a model. Official code of picture models knows no clips, so a faithful reading is frame by
    frame."""
    from unrender.diffusion.windows import ClipOptions

    video = card is not None and card.sampling.grouping.joins_frames
    temporal = "none" if network.faithful and not video else settings.temporal
    return ClipOptions.of(card, temporal, settings.window, settings.overlap)


@dataclass(frozen=True)
class TimedWindows:
    """An inverse renderer of clips whose time is counted."""

    inverse: ClipInverse | MultiModelClip
    record: RunRecord

    @property
    def clip(self) -> ClipOptions:
        """How clips are cut."""
        return self.inverse.clip

    @property
    def card(self) -> ModelCard | None:
        """Of the model."""
        return self.inverse.card

    def next_window(
        self, window: Window, state: ClipState, maps: Sequence[str] | None = None
    ) -> tuple[GBuffer, ClipState]:
        """See `WindowInverse`."""
        with self.record.timed("inverse"):
            return self.inverse.next_window(window, state, maps)


@dataclass(frozen=True)
class TimedParts:
    """A forward renderer of clips whose time is counted."""

    renderer: PartRenderer
    record: RunRecord

    def next_part(
        self, gbuffer: GBuffer, lighting: Lighting, state: RenderState, *, last: bool
    ) -> tuple[RenderPasses | None, RenderState]:
        """See `PartRenderer`."""
        with self.record.timed("forward"):
            return self.renderer.next_part(gbuffer, lighting, state, last=last)


def forward_renderer(
    model: str,
    engines: Engines,
    prompt: PromptOptions,
    steps: int | None = None,
    long_side: int | None = None,
    samples: int | None = None,
) -> Forward:
    """The forward renderer `model`; notes its id, licence and revision in the record. Its pictures are on the CPU.

    Raises:
        UserError: samples for a renderer that draws no directions.
    """
    from unrender.device import choose_compute
    from unrender.forward import ForwardRenderer

    compute = engines.compute
    if samples is not None and model not in DRAWING:
        raise UserError(f"--samples {samples}: {model} draws no directions; expected {' or '.join(DRAWING)} with it")
    inference, options = engines.inference(long_side), _forward_options(prompt, steps, engines.compute.seed)
    renderer = engines.load(
        ("forward", model, inference, options, samples),
        lambda: ForwardRenderer.from_pretrained(model, inference, options, samples=samples),
    )
    checkpoint = getattr(getattr(renderer.engine, "engine", None), "checkpoint", None)
    engines.record.facts["forward"] = checkpoint_facts(checkpoint) if checkpoint else {"id": model}
    if checkpoint is not None:
        return renderer
    return _on_device(renderer, choose_compute(compute.device, compute.dtype).device)


def rerenderer(model: str, renderer: Forward, engines: Engines) -> Forward:
    """What renders the photo's own light for its detail, where `renderer` of id `model` renders the new one: the split
    sum in place of Monte Carlo, else itself (see `relight.decompose_stream`)."""
    from unrender.device import choose_compute
    from unrender.forward import DeferredRenderer, ForwardRenderer

    if model != "deferred:monte_carlo":
        return renderer
    quiet = ForwardRenderer(DeferredRenderer(background=False))
    return _on_device(quiet, choose_compute(engines.compute.device, engines.compute.dtype).device)


def row_renderer(model: str, engines: Engines, samples: int | None) -> DeferredRenderer | None:
    """The renderer that `forward_renderer` gives, where it can render a picture row by row; else None."""
    from unrender.device import choose_compute
    from unrender.forward import DeferredRenderer, ForwardRenderer

    on_cpu = choose_compute(engines.compute.device, engines.compute.dtype).device.type == "cpu"
    if not on_cpu or not model.startswith("deferred"):
        return None
    options = _forward_options(PromptOptions(), None, engines.compute.seed)
    engine = ForwardRenderer.from_pretrained(model, options=options, samples=samples).engine
    return engine if isinstance(engine, DeferredRenderer) and engine.quality != "monte_carlo" else None


def _on_device(renderer: Forward, device: torch.device) -> Forward:
    """A renderer of no network, which computes where its arguments are, on `device`; its pictures are on the CPU."""

    def render(
        gbuffer: GBuffer, light: EnvironmentMap | None, yaw: float | Tensor, edit: Tensor | None = None, /
    ) -> RenderPasses:
        return renderer(gbuffer.to(device), light.to(device) if light else None, yaw, edit).to("cpu")

    return render


def is_deferred(model: str) -> bool:
    """Whether a forward renderer has no network."""
    return model.split(":")[0] == "deferred"


def check_deferred(model: str, **network_options: object) -> None:
    """Raises UserError where options of networks, by name, are given to a renderer that has none."""
    given = [name for name, value in network_options.items() if value not in (None, False, "", "normal")]
    if is_deferred(model) and given:
        raise UserError(f"{model} has no network, and --{given[0].replace('_', '-')} is a network's")


def _forward_options(prompt: PromptOptions, steps: int | None, seed: int) -> ForwardOptions:
    from unrender.forward import ForwardOptions

    return ForwardOptions(
        prompt.caption,
        prompt.guidance,
        prompt.image_guidance,
        prompt.guidance_rescale,
        steps,
        seed,
        prompt.shadows,
        prompt.lora,
        prompt.elevation,
    )


def checkpoint_facts(checkpoint: Checkpoint) -> dict[str, object]:
    """What the run record says of a model."""
    return location_facts(checkpoint.card, checkpoint.home)


def location_facts(card: ModelCard, home: ModelLocation | None) -> dict[str, object]:
    """The same of a model that is not loaded."""
    facts: dict[str, object] = {
        "id": card.id,
        "system": card.identity.system,
        "licence": card.identity.licence,
        "commercial": card.identity.commercial,
    }
    return facts | ({"revision": home.revision} if home and home.revision else {})


def _itself(renderer: InverseRenderer) -> InverseRenderer:
    return renderer
