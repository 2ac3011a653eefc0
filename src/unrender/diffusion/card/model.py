"""The card of a checkpoint: everything that sets it apart from another, as data, in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from unrender.diffusion.card.conditioning import (
    Conditioner,
    DomainEmbedding,
    ImageTokens,
    LightTokens,
    MicroConditioning,
    TaskNumbers,
    TextPrompt,
    ViewLayers,
)
from unrender.diffusion.card.maps import InputMap, MapsCard, RadianceHint, SizeRule, TargetPicture
from unrender.diffusion.card.sampling import FinalStep, SamplingCard
from unrender.errors import UserError

Task = Literal["inverse", "forward", "text_to_image", "multi_view"]
"""`inverse`: picture to maps; `forward`: maps to picture; the others make pictures of a text, or views of a set."""

Posterior = Literal["mode", "sample"]
Concatenation = Literal["inputs_first", "noise_first"]
Kind = TypeVar(
    "Kind", TextPrompt, TaskNumbers, ImageTokens, LightTokens, DomainEmbedding, MicroConditioning, ViewLayers
)


@dataclass(frozen=True)
class Source:
    """Where a published checkpoint lies.

    Attributes:
        repository: its hub id; "" where it was never published.
        revision: the commit that is pulled; None for the newest, which the first pull then pins on this machine.
        unet: the UNet's folder.
        fallback: the repository that has the folders which this one lacks.
        tells_defaults: whether its `model_index.json`, where it names steps and pixels, takes precedence, as for
            diffusers' Marigold pipelines.
    """

    repository: str = ""
    revision: str | None = None
    unet: str = "unet"
    fallback: str = ""
    tells_defaults: bool = False


@dataclass(frozen=True)
class Identity:
    """Whose checkpoint it is.

    Attributes:
        id: the model's id, a hub id or a short name.
        system: the published system it belongs to.
        licence: SPDX id or name of the weights' licence.
        commercial: whether the licence allows commercial use; None where it is unclear.
        source: where the weights come from.
        description: one line for people.
    """

    id: str
    system: str = ""
    licence: str = ""
    commercial: bool | None = None
    source: Source = field(default_factory=Source)
    description: str = ""

    @property
    def commercial_use(self) -> Literal["yes", "no", "unclear"]:
        """Whether the licence allows commercial use, in a word."""
        return "unclear" if self.commercial is None else "yes" if self.commercial else "no"


@dataclass(frozen=True)
class LatentsCard:
    """How pictures become latents, and how those are laid out for the network.

    Attributes:
        channels, scale: of one picture's latent.
        posterior: which latent of an input picture is taken: the `mode`, or a `sample` of the VAE's distribution.
        order: whether the inputs or the noisy target come first in the network's input.
        decoded_together: frames of a window that a temporal VAE decodes at a time; 0 for all.
    """

    channels: int = 4
    scale: float = 0.18215
    posterior: Posterior = "mode"
    order: Concatenation = "inputs_first"
    decoded_together: int = 0


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights beside those of the UNet, which are added to them (Hu et al. 2022).

    Attributes:
        folder: that holds `pytorch_lora_weights.safetensors`.
        scale: how much of it is added where the caller does not say.
    """

    folder: str = "lora"
    scale: float = 1.0


@dataclass(frozen=True)
class Quirks:
    """Where the official code of a checkpoint departs from what is right; None where it does not."""

    inputs: tuple[InputMap, ...] | None = None
    targets: tuple[TargetPicture, ...] | None = None
    size: SizeRule | None = None
    final_step: FinalStep | None = None
    posterior: Posterior | None = None
    composite: bool | None = None
    light: LightTokens | None = None
    exploding: bool | None = None


@dataclass(frozen=True)
class ModelCard:
    """Everything that sets one checkpoint apart from another.

    Attributes:
        identity: id, system, licence, source.
        task: what it is for.
        maps: which maps go in and come out, at which size.
        latents: how pictures become latents.
        conditioning: what else the network is conditioned on; () for nothing.
        sampling: schedule, initial noise, guidance, grouping.
        adapter: low-rank weights that come with it; None for none.
        quirks: what the official code does otherwise; see `faithful`.
    """

    identity: Identity
    task: Task
    maps: MapsCard
    latents: LatentsCard = field(default_factory=LatentsCard)
    conditioning: tuple[Conditioner, ...] = (TextPrompt(),)
    sampling: SamplingCard = field(default_factory=SamplingCard)
    adapter: Adapter | None = None
    quirks: Quirks = field(default_factory=Quirks)

    def __post_init__(self) -> None:
        if self.light is None and any(one.radiance_hint for one in self.maps.inputs):
            raise UserError(f"card: {self.id} takes a radiance hint under a light that it is not conditioned on")

    @property
    def id(self) -> str:
        """The model's id."""
        return self.identity.id

    @property
    def map_names(self) -> tuple[str, ...]:
        """Every map the model predicts, in the order of its targets."""
        return self.maps.names

    @property
    def usual_maps(self) -> tuple[str, ...]:
        """The maps that the model gives where none are named: all but how far off it takes them to be."""
        return tuple(name for name in self.map_names if not name.endswith("_deviation"))

    @property
    def text(self) -> TextPrompt | None:
        """How it is conditioned on text; None where it is not."""
        return self._conditioner(TextPrompt)

    @property
    def padded_prompts(self) -> bool:
        """Whether prompts are padded to the text encoder's full length."""
        return self.text is not None and self.text.padded

    @property
    def light(self) -> LightTokens | None:
        """How it is conditioned on a light; None where it is not."""
        return self._conditioner(LightTokens)

    @property
    def is_video(self) -> bool:
        """Whether its networks are Stable Video Diffusion's, and no picture model's."""
        return self.micro is not None

    @property
    def asks_by_domain(self) -> bool:
        """Whether a row of the network's own table says which target is wanted."""
        return self._conditioner(DomainEmbedding) is not None

    @property
    def micro(self) -> MicroConditioning | None:
        """The numbers of a clip that are added to the time embedding; None where there are none."""
        return self._conditioner(MicroConditioning)

    @property
    def views(self) -> ViewLayers | None:
        """The layers by which the views of a set see one another; None where it has none."""
        return self._conditioner(ViewLayers)

    @property
    def image_tokens(self) -> bool:
        """Whether it is conditioned on an embedding of the photo."""
        return self._conditioner(ImageTokens) is not None

    @property
    def domains(self) -> tuple[str, ...]:
        """Kinds of scene that the caller can name, the first by default; () where the network knows none."""
        known = (one.domains for one in self.conditioning if isinstance(one, TextPrompt | TaskNumbers))
        return next((domains for domains in known if domains), ())

    @property
    def stacked(self) -> bool:
        """Whether one evaluation predicts all targets of a frame, stacked on channels."""
        return self.sampling.grouping.item == "frame"

    @property
    def target_channels(self) -> int:
        """Latent channels that one evaluation predicts."""
        return self.latents.channels * (len(self.maps.targets) if self.stacked else 1)

    @property
    def conditioning_channels(self) -> int:
        """Channels of the input maps, and of the mask of an edit, beside the noisy target."""
        encoded = self.latents.channels
        maps = sum(encoded if one.encoded else len(one.codec.channels) for one in self.maps.inputs)
        return maps + (1 if self.maps.edits else 0)

    @property
    def input_channels(self) -> int:
        """Channels of the network's input: the conditioning, and the noisy target."""
        return self.conditioning_channels + (0 if self.sampling.noise == "none" else self.target_channels)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that a caller's choices can need; the empty one is among them where guidance needs it."""
        if self.text is None:
            return ()
        targets = self.maps.targets[:1] if self.stacked else self.maps.targets
        prompts = [target.prompt.format(domain=domain) for domain in self.domains or ("",) for target in targets]
        return tuple(dict.fromkeys([*prompts, *([""] if self.sampling.guidance.on else [])]))

    @property
    def task_numbers(self) -> int:
        """Length of the task vector of the class projection, 0 where it has none."""
        numbers = self._conditioner(TaskNumbers)
        return 0 if numbers is None else 2 * (len(self.maps.targets[0].task) + len(numbers.domains))

    def targets_of(self, maps: Sequence[str] | None) -> tuple[TargetPicture, ...]:
        """The targets that carry the maps named (all when None); all, where one evaluation predicts all or they see one
        another."""
        if maps is None or self.stacked or self.sampling.grouping.joins_targets:
            return self.maps.targets
        return tuple(target for target in self.maps.targets if any(codec.map in maps for codec in target.maps))

    @property
    def radiance_hint(self) -> RadianceHint:
        """The quality of the first render that it is given; "" where it is given none."""
        return next((one.radiance_hint for one in self.maps.inputs if one.radiance_hint), "")

    def with_maps(self, **changes: object) -> ModelCard:
        """The card with fields of its maps changed."""
        return replace(self, maps=replace(self.maps, **changes))

    def with_sampling(self, **changes: object) -> ModelCard:
        """The card with fields of its sampling changed."""
        return replace(self, sampling=replace(self.sampling, **changes))

    def with_schedule(self, **changes: object) -> ModelCard:
        """The card with fields of its schedule changed."""
        schedule = replace(self.sampling.schedule, **changes)
        return self.with_sampling(schedule=schedule)

    def _conditioner(self, kind: type[Kind]) -> Kind | None:
        return next((one for one in self.conditioning if isinstance(one, kind)), None)


def faithful(card: ModelCard) -> ModelCard:
    """The card as the official code of its checkpoint reads it, number by number, quirks included."""
    quirks, maps = card.quirks, card.maps
    maps = replace(
        maps,
        inputs=quirks.inputs or maps.inputs,
        targets=quirks.targets or maps.targets,
        size=quirks.size or maps.size,
        composite=maps.composite if quirks.composite is None else quirks.composite,
    )
    latents = replace(card.latents, posterior=quirks.posterior or card.latents.posterior)
    conditioning = tuple(
        quirks.light if quirks.light is not None and isinstance(one, LightTokens) else one for one in card.conditioning
    )
    card = replace(card, maps=maps, latents=latents, conditioning=conditioning, quirks=Quirks())
    card = card.with_sampling(guidance=replace(card.sampling.guidance, least=1.0))
    changes = {"final_step": quirks.final_step, "exploding": quirks.exploding}
    return card.with_schedule(**{name: value for name, value in changes.items() if value is not None})
