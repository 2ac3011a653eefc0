"""Running a checkpoint. `run` is the whole sequence, for every task: plan the size, preprocess, encode the
conditioning, sample; the `Prediction` that it returns decodes, reads the maps, and brings them back to size.

The engine denoises *items*, in *groups* of items that see one another: the targets of a frame, the frames of a window,
the views of a set (`card.Grouping`). Training calls the differentiable parts: `latents.encode_conditioning`,
`items.make_network`, `sampler.sample`, `latents.decode_latents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import ModelCard, TargetPicture
from unrender.diffusion.codec import decode_codes, read_codes
from unrender.diffusion.detail import detail_size, refined_maps, turned_back
from unrender.diffusion.framing import Framing, plan_framing, unframe
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import Layout, by_target, make_conditioning, make_network
from unrender.diffusion.latents import decode_latents, encode_conditioning, encode_pictures
from unrender.diffusion.model import Engine, Size, load_engine
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.preprocessing import preprocess, preprocess_kept, preprocess_target
from unrender.diffusion.sampler import CleanItems, sample
from unrender.diffusion.schedule import make_schedule
from unrender.diffusion.upsampling import upsample
from unrender.diffusion.windows import overlap_start
from unrender.errors import UserError
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.scene.resize import resize_picture

__all__ = ["Engine", "Plan", "Prediction", "load_engine", "run"]


@dataclass(frozen=True)
class Plan:
    """What a run has decided before anything is computed.

    Attributes:
        framing: the sizes between picture and network.
        latent_size: (height, width) of the latents.
        targets: that are denoised.
    """

    framing: Framing
    latent_size: Size
    targets: tuple[TargetPicture, ...]


@dataclass(frozen=True)
class Prediction:
    """The denoised targets of T frames; decoded frame by frame, when their maps are asked for.

    Attributes:
        engine, plan, inputs: what they came from.
        latents: (T, targets x C, h, w) float32, clean.
        flipped: those of the mirrored picture, where the card averages both.
    """

    engine: Engine
    plan: Plan
    inputs: Inputs
    latents: Tensor
    flipped: Tensor | None = None

    @property
    def found(self) -> tuple[Tensor, ...]:
        """The latents (T, targets x C, h, w) of the picture, and of the mirrored one where there is one."""
        return (self.latents,) if self.flipped is None else (self.latents, self.flipped)

    @torch.inference_mode()
    def pictures(self) -> dict[str, Tensor]:
        """The decoded pictures by name, (T, C', h, w) float32 on the CPU, about [-1, 1], without padding, at the size
        of the network, as the VAE gives them."""
        parts = [self._decoded(self.latents[part]) for part in _parts(self.engine.card, len(self.latents))]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.inference_mode()
    def gbuffer(self, maps: Sequence[str] | None = None) -> GBuffer:
        """The maps named (the usual ones when None), at the size of the inputs, in unrender's conventions.

        Maps are resized in those conventions, or as the official pipeline hands them over, as the size rule says.
        """
        names = self.engine.card.usual_maps if maps is None else maps
        return concatenate([self._frames(part, names) for part in _parts(self.engine.card, len(self.latents))])

    @torch.inference_mode()
    def network_gbuffer(self, maps: Sequence[str]) -> GBuffer:
        """The maps named at the size of the network (or, where the card resizes as the official pipeline does, of the
        inputs), in unrender's conventions; `upsampled` does the rest."""
        return concatenate([self._small(part, maps) for part in _parts(self.engine.card, len(self.latents))])

    @torch.inference_mode()
    def upsampled(self, gbuffer: GBuffer, first: int = 0) -> GBuffer:
        """Maps of the size of the network, of the frames from `first` on, at the size of the inputs."""
        rule = self.engine.card.maps.size
        guide = self.inputs.maps["rgb"][first : first + len(gbuffer)] if rule.guided else None
        return upsample(gbuffer, self.inputs.size, guide, rule.guided)

    def _frames(self, part: slice, names: Sequence[str]) -> GBuffer:
        first, _, _ = part.indices(len(self.latents))
        return self.upsampled(self._small(part, names), first)

    def _small(self, part: slice, names: Sequence[str]) -> GBuffer:
        card = self.engine.card
        if self.engine.checkpoint.detail is not None and card.task == "inverse":
            maps = self._maps(self._detailed(part))
        else:
            maps = self._maps(self._decoded(self.latents[part]))
            if self.flipped is not None:
                maps = average_flipped(maps, self._maps(self._decoded(self.flipped[part])))
        return GBuffer(
            depth_kind=card.maps.depth_kind,
            # The irradiance of a network has an exposure of its own.
            irradiance_kind="relative" if "irradiance" in card.map_names else "metric",
            model=card.id,
            **{name: value for name, value in maps.items() if name in names},  # ty: ignore[invalid-argument-type]
        )

    def _detailed(self, part: slice) -> dict[str, Tensor]:
        """The decoded pictures, at the size of the detail network, which sees the photo there."""
        engine, detail = self.engine, self.engine.checkpoint.detail
        assert detail is not None
        (target,) = self.plan.targets
        small = self._decoded(self.latents[part])[target.name]
        if self.flipped is not None:
            small = (small + turned_back(self._decoded(self.flipped[part])[target.name], target)) / 2
        size = detail_size(engine, self.inputs.size)
        photo = preprocess(
            self.inputs.part(part), engine.card.maps.inputs[0], engine.card.maps.size, Framing(size, size)
        )
        assert photo is not None
        compute = engine.compute
        given, small = (values.to(compute.device, compute.dtype) for values in (photo, small))
        return {target.name: refined_maps(detail, engine.card, given, small).float().cpu()}

    def _decoded(self, latents: Tensor) -> dict[str, Tensor]:
        pictures = decode_latents(self.engine, latents).cpu()
        names = [target.name for target in self.plan.targets]
        return {name: unframe(pictures[:, i], self.plan.framing) for i, name in enumerate(names)}

    def _maps(self, pictures: dict[str, Tensor]) -> dict[str, Tensor]:
        rule, maps = self.engine.card.maps.size, {}
        for target in self.plan.targets:
            codes = read_codes(pictures[target.name], target)
            for codec in target.maps:
                values = codes[codec.map]
                if (rule.back_space or rule.space) != "linear":
                    values = resize_picture(values, self.inputs.size, codec.back or rule.back)
                maps[codec.map] = decode_codes(values, codec)
        return maps


@torch.inference_mode()
def run(
    engine: Engine,
    inputs: Inputs,
    *,
    maps: Sequence[str] | None = None,
    noise: Tensor | None = None,
    steps: int | None = None,
    seed: int = 0,
    flip_tta: bool = True,
    previous: Sequence[Tensor] = (),
) -> Prediction:
    """Denoises the targets of `inputs`; the prediction decodes them, and reads their maps.

    Args:
        maps: names of the maps wanted; all of the card when None.
        noise: (T, C, h, w) to start from, as `Engine.noise_shape` has it, instead of the card's noise.
        steps: denoising steps; the card's own number when None.
        seed: of the noise.
        flip_tta: whether the mirrored picture is run too, where the card averages both.
        previous: `Prediction.found` of the window before, as far as it had the first frames of this one, which then
            start from it (`windows.overlap_start`); () in the first window.

    Raises:
        UserError: the picture is too small or too narrow for the network, or the noise has another shape.
    """
    card = engine.card
    framing = plan_framing(inputs.size, card.maps.size, inputs.name)
    plan = Plan(framing, engine.latent_size(framing.canvas), card.targets_of(maps))
    shape = engine.noise_shape(inputs.size, inputs.frames, inputs.name)
    start = _card_noise(card, shape, seed) if noise is None else noise
    if tuple(start.shape) != shape:
        raise UserError(f"the noise has shape {tuple(start.shape)}; expected {shape}")
    views = [inputs, inputs.flipped()] if flip_tta and card.maps.flip_tta else [inputs]
    latents = []
    for index, view in enumerate(views):
        known = previous[index] if index < len(previous) else None
        begin = overlap_start(start, known, card, plan.targets)
        parts = _parts(card, len(begin))
        latents.append(torch.cat([_denoise(engine, plan, view.part(part), begin[part], steps, seed) for part in parts]))
    return Prediction(engine, plan, inputs, latents[0], latents[1] if len(views) > 1 else None)


def average_flipped(maps: dict[str, Tensor], flipped: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of the maps of a picture and of its mirror image, (B, C, H, W) each: turned back, normals with their x
    the other way, and unit again."""
    means = {}
    for name, values in maps.items():
        turned = flipped[name].flip(3)
        if name == "normal":
            turned = turned * turned.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
            means[name] = torch.nn.functional.normalize(values + turned, dim=1)
        else:
            means[name] = (values + turned) / 2
    return means


def _denoise(engine: Engine, plan: Plan, inputs: Inputs, noise: Tensor, steps: int | None, seed: int) -> Tensor:
    """The clean latents (F, targets x C, h, w), float32, of frames that are denoised together."""
    card, rule = engine.card, engine.card.maps.size
    pictures = [preprocess(inputs, given, rule, plan.framing) for given in card.maps.inputs]
    keep = None if inputs.edit is None else preprocess_kept(inputs.edit, rule, plan.framing)
    latents = encode_conditioning(engine, pictures, plan.latent_size, keep=keep, seed=seed)
    photo = (pictures[0] + 1) / 2 if card.image_tokens and pictures and pictures[0] is not None else None
    clean = _clean_latents(engine, plan, inputs)
    schedule = make_schedule(card.sampling.schedule)
    found = []
    for targets in _batches(engine, plan):
        layout = Layout.of(card, inputs.frames, 1 if card.stacked else len(targets))
        network = make_network(engine, make_conditioning(engine, targets, latents, inputs, photo))
        # Sampled in single precision: fifty small steps would be lost in a half.
        start = layout.stack(by_target(noise, card, targets)).to(engine.compute.device, torch.float32)
        known = None
        if clean is not None and inputs.clean is not None:
            items = layout.stack(by_target(clean, card, targets))
            known = CleanItems(layout.repeat(inputs.clean).to(items.device), items)
        items = sample(network, schedule, start, steps or schedule.card.steps, known)
        found.append(layout.side_by_side(items).float())
    return torch.cat(found, dim=1)


def _batches(engine: Engine, plan: Plan) -> list[tuple[TargetPicture, ...]]:
    """The targets that are evaluated together: all; or one at a time, where they can be, with little memory, and of a
    video model, which has a window of frames to see already."""
    card = engine.card
    if (engine.memory == "low" or card.is_video) and card.sampling.grouping.joint != "targets" and not card.stacked:
        return [(target,) for target in plan.targets]
    return [plan.targets]


def _clean_latents(engine: Engine, plan: Plan, inputs: Inputs) -> Tensor | None:
    """The latents (F, all targets x C, h, w) of the frames that are known; None where there are none."""
    if inputs.clean is None:
        return None
    if inputs.clean_latents is not None:
        return inputs.clean_latents.to(engine.compute.device)
    targets = engine.card.maps.targets
    pictures = [preprocess_target(inputs, target, plan.framing) for target in targets]
    return torch.cat([encode_pictures(engine, picture) for picture in pictures], dim=1)


def _card_noise(card: ModelCard, shape: tuple[int, int, int, int], seed: int) -> Tensor:
    """The card's noise: drawn target by target where each has an evaluation of its own, as by pipelines that are called
    once for each; one for all frames where they share it."""
    grouping = card.sampling.grouping
    parts = 1 if card.stacked else shape[1] // card.latents.channels
    shared = grouping.shared_noise in ("frames", "frames_and_targets")
    return draw_noise(card.sampling.noise, shape, seed, shared=shared, parts=parts)


def _parts(card: ModelCard, frames: int) -> list[slice]:
    """Frames that see one another, as one; others one at a time: a clip needs no more memory than a still."""
    together = frames if card.sampling.grouping.joins_frames else 1
    return [slice(start, start + together) for start in range(0, frames, together)]
