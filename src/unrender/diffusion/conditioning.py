"""What conditions a denoiser, besides the noisy latents; and guidance by leaving some of it out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from unrender.diffusion.card import Guidance, ModelCard, TargetPicture, TaskNumbers
from unrender.diffusion.sampler import Network


@dataclass(frozen=True)
class Conditioning:
    """What conditions a denoiser, one row an item. What a network does not take is empty.

    Attributes:
        latents: (B, C, h, w) concatenated with the noisy target: input maps, masks.
        tokens: cross-attention tokens (B, N, D): one entry for all levels of the network, or one a level, finest first.
        class_labels: (B, K) numbers, or (B,) rows of a class embedding or of a table of buffers.
        time_ids: (B, K) numbers added to the time embedding (SVD's fps, motion bucket, noise augmentation).
        cameras: (B, K) camera vectors (`networks.views.cameras`), float32.
        group_size: consecutive items that see one another; 1 where each is alone.
    """

    latents: Tensor | None = None
    tokens: tuple[Tensor, ...] = ()
    class_labels: Tensor | None = None
    time_ids: Tensor | None = None
    cameras: Tensor | None = None
    group_size: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the denoiser runs in."""
        return self.latents.dtype if self.latents is not None else self.tokens[0].dtype


class Denoiser(Protocol):
    """A network that predicts from noisy latents; see `denoisers` for those that there are."""

    def __call__(self, noisy: Tensor, time: int | float | Tensor, conditioning: Conditioning) -> Tensor:
        """The output (B, C, h, w) for noisy latents (B, C, h, w) at `time`, of all items or (B,) of each."""
        ...


def domain_rows(card: ModelCard, targets: Sequence[TargetPicture], frames: int) -> list[Tensor]:
    """(F,) the row of the network's own table that asks for each target, for every frame; [] where it has no table."""
    if not card.asks_by_domain:
        return []
    return [torch.full((frames,), target.domain or 0, dtype=torch.long) for target in targets]


def bind(denoiser: Denoiser, conditioning: Conditioning) -> Network:
    """The denoiser as a function of the noisy latents and the time alone."""
    return partial(denoiser, conditioning=conditioning)


def bind_guided(
    denoiser: Denoiser,
    conditioning: Conditioning,
    empty_tokens: Tensor | None,
    guidance: Guidance,
    *,
    one_by_one: bool = False,
) -> Network:
    """The same under classifier-free guidance (Brooks et al. 2023, eq. 3): with everything, without the text, and,
    where the image weighs other than 1, with nothing at all; evaluated as one batch.

    Args:
        empty_tokens: (B, N, D) tokens of the empty, or of a negative, prompt; None where the guidance leaves out all.
        one_by_one: evaluate them one after the other, in less memory; prompts of unlike lengths always are.
    """
    branches = [conditioning, *_lesser(conditioning, empty_tokens, guidance)]
    one_by_one = one_by_one or len({branch.tokens[0].shape for branch in branches}) > 1

    def network(noisy: Tensor, time: int | float | Tensor) -> Tensor:
        if one_by_one:
            outputs = [denoiser(noisy, time, branch) for branch in branches]
        else:
            times = time.repeat(len(branches)) if isinstance(time, Tensor) and time.ndim else time
            whole = denoiser(torch.cat([noisy] * len(branches)), times, _joined(branches))
            outputs = list(whole.chunk(len(branches)))
        return combine(outputs[0], outputs[1], outputs[-1], guidance)

    return network


def _lesser(conditioning: Conditioning, empty_tokens: Tensor | None, guidance: Guidance) -> list[Conditioning]:
    """What is guided away from: without the text, and without the image too where that weighs; or without all."""
    latents = None if conditioning.latents is None else torch.zeros_like(conditioning.latents)
    if guidance.leaves_out == "all" or empty_tokens is None:
        return [replace(conditioning, latents=latents, tokens=tuple(map(torch.zeros_like, conditioning.tokens)))]
    without_text = replace(conditioning, tokens=(empty_tokens,))
    return [without_text] if guidance.image == 1 else [without_text, replace(without_text, latents=latents)]


def combine(full: Tensor, image_only: Tensor, nothing: Tensor, guidance: Guidance) -> Tensor:
    """nothing + image (image only - nothing) + text (full - image only), its deviation brought back to that of `full`
    by the share `rescale` (Lin et al. 2024, eq. 15 and 16); (B, C, h, w) each."""
    mixed = guidance.text * (full - image_only) + image_only
    if guidance.image != 1:
        mixed = mixed + (guidance.image - 1) * (image_only - nothing)
    if guidance.rescale == 0:
        return mixed
    ratio = full.std((1, 2, 3), keepdim=True) / mixed.std((1, 2, 3), keepdim=True)
    return mixed * (guidance.rescale * ratio + 1 - guidance.rescale)


def task_vector(card: ModelCard, target: TargetPicture, domain: str) -> Tensor | None:
    """(K,) sine and cosine of the target's task, then of the domain as one-hot numbers; None where there is no task.

    (Lotus, section 3.3 of He et al. 2025; GeoWizard's geometry switcher and scene decoupler, Fu et al. 2024.)
    """
    numbers = next((one for one in card.conditioning if isinstance(one, TaskNumbers)), None)
    if numbers is None:
        return None
    parts = [torch.tensor(target.task)]
    if numbers.domains:
        parts.append(torch.tensor([float(name == domain) for name in numbers.domains]))
    return torch.cat([part for values in parts for part in (values.sin(), values.cos())])


def _joined(branches: Sequence[Conditioning]) -> Conditioning:
    """Several conditionings as one batch, one after the other."""
    joined = {}
    for field in dataclasses.fields(Conditioning):
        values = [getattr(branch, field.name) for branch in branches]
        if isinstance(values[0], Tensor):
            joined[field.name] = torch.cat(values)
        elif isinstance(values[0], tuple):
            joined[field.name] = tuple(torch.cat(level) for level in zip(*values, strict=True))
    return replace(branches[0], **joined)
