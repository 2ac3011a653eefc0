"""What a network is told besides the noisy target: maps, words, a task; and guidance by leaving some of it out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unrender.diffusion.card import Guidance, ModelCard, TargetPicture
from unrender.diffusion.sampler import Network


@dataclass(frozen=True)
class Condition:
    """What a walk is told.

    Attributes:
        given: (B, C, h, w) the latents of the maps that are given.
        tokens: (B, N, D) cross-attention tokens: prompt embeddings, or one learned "empty" token.
        task: (B, K) the numbers that say which picture is wanted, None where there are none.
    """

    given: Tensor
    tokens: Tensor
    task: Tensor | None = None


def network_of(unet: nn.Module, card: ModelCard, condition: Condition) -> Network:
    """The UNet as a function of the noisy latent (B, C', h, w) and the timestep, everything else told. It runs in the
    precision of what is given, and answers in that of the latent."""

    def network(latent: Tensor, timestep: int | Tensor) -> Tensor:
        given, noisy = condition.given, latent.to(condition.given.dtype)
        pair = (given, noisy) if card.concatenation == "given_first" else (noisy, given)
        picture = given if card.noise == "none" else torch.cat(pair, dim=1)
        output = unet(picture, timestep, condition.tokens, class_labels=condition.task, return_dict=False)[0]
        return output.to(latent.dtype)

    return network


def guided_network(
    unet: nn.Module, card: ModelCard, condition: Condition, untold: Tensor, *, one_by_one: bool = False
) -> Network:
    """The same under the card's guidance (Brooks et al. 2023, eq. 3): what is given and told, what is given and told
    nothing, and, where the image counts other than 1, nothing at all; evaluated as one batch.

    Args:
        untold: (B, N, D) tokens of the empty, or of a negative, prompt.
        one_by_one: evaluate them one after the other, in less memory.
    """
    guidance = card.guidance
    silent = replace(condition, tokens=untold)
    branches = [condition, silent]
    if guidance.image != 1:
        branches.append(replace(silent, given=torch.zeros_like(condition.given)))

    def network(latent: Tensor, timestep: int | Tensor) -> Tensor:
        if one_by_one:
            outputs = [network_of(unet, card, branch)(latent, timestep) for branch in branches]
        else:
            whole = network_of(unet, card, _joined(branches))
            outputs = whole(torch.cat([latent] * len(branches)), timestep).chunk(len(branches))
        return combine(outputs[0], outputs[1], outputs[-1], guidance)

    return network


def combine(told: Tensor, given: Tensor, nothing: Tensor, guidance: Guidance) -> Tensor:
    """nothing + image (given - nothing) + text (told - given), its deviation brought back to that of `told` by the
    share `rescale` (Lin et al. 2024, eq. 15 and 16); (B, C, h, w) each."""
    mixed = guidance.text * (told - given) + given
    if guidance.image != 1:
        mixed = mixed + (guidance.image - 1) * (given - nothing)
    if guidance.rescale == 0:
        return mixed
    ratio = told.std((1, 2, 3), keepdim=True) / mixed.std((1, 2, 3), keepdim=True)
    return mixed * (guidance.rescale * ratio + 1 - guidance.rescale)


def task_vector(card: ModelCard, picture: TargetPicture, domain: str) -> Tensor | None:
    """(K,) sine and cosine of the picture's task, then of the domain as one-hot numbers; None where there is no task.

    (Lotus, section 3.3 of He et al. 2025; GeoWizard's geometry switcher and scene decoupler, Fu et al. 2024.)
    """
    if not picture.task:
        return None
    told = [torch.tensor(picture.task)]
    if card.domain_task:
        told.append(torch.tensor([float(name == domain) for name in card.domains]))
    return torch.cat([part for numbers in told for part in (numbers.sin(), numbers.cos())])


def _joined(branches: list[Condition]) -> Condition:
    tasks = [branch.task for branch in branches if branch.task is not None]
    return Condition(
        torch.cat([branch.given for branch in branches]),
        torch.cat([branch.tokens for branch in branches]),
        torch.cat(tasks) if tasks else None,
    )
