"""Cycle training of single-step inverse and forward rendering together (Ouroboros: Sun et al., ICCV 2025).

Both networks take one step at t = T. Beside the losses of the task, each is held to what the other makes of it, in the
pixels of the decoded pictures, through both networks and the frozen autoencoder between them (section 3.2):

    photo I -> maps X~ -> photo I~      |I - I~|^2, of photos whose maps nobody knows too
    maps X -> photo I~ -> maps X~       |X - X~|^2

The forward network makes a picture from the maps and the irradiance among them, as the paper's does; no light
conditions it in a cycle. Endpoint cycles leak: whatever the inverse network hides in one map the forward network finds
there, and the cycle closes while base colour gets worse (IntrinSync, arXiv 2610.11138, ablation). `aligned` holds the
maps that a photo passes through to those of the inverse network as it was before cycle training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.diffusion.card import NoiseKind
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.diffusion.codec import raw_map
from unrender.diffusion.decoding import Memory
from unrender.diffusion.lora import Lora, adapt, merged
from unrender.errors import UserError
from unrender.scene.color import linear_to_srgb
from unrender.train.cycle import Pair, leakage, maps_cycle, photo_cycle, recompose
from unrender.train.data import Batch, Stills, hold_out, require_known, sample_batch, whole_batch
from unrender.train.dropout import drop_conditions
from unrender.train.e2e import single_step
from unrender.train.learner import Learner
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.model_task import SHOWN
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet
from unrender.train.start import Start, starting_checkpoint
from unrender.train.task_losses import Weights, task_losses

INVERSE, FORWARD = "inverse", "forward"


@dataclass(frozen=True)
class OuroborosRecipe:
    """Attributes:
    config: how long and how fast.
    inverse, forward: the two single-step models to start from.
    noise: what each step starts from.
    photo_cycle, maps_cycle: weights of the two cycles; 0 for none: plain single-step training of both.
    photos: share of the steps in which a photo cycle takes photos without maps, where there are any.
    aligned: weight of what holds the maps of a photo in place; 0 for plain endpoint cycles.
    memory: how the decoder is run.
    weights: of each map's task loss.
    dropout: probability that a known map is dropped from the conditioning of the forward network.
    lora: adapters in place of whole weights.
    """

    config: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=400, stages=(Stage(1.0, 64, 8),), lr=5e-5, warmup=20, ema_decay=0.99)
    )
    inverse: Start = field(default_factory=lambda: Start(INVERSE, "mini"))
    forward: Start = field(default_factory=lambda: Start(FORWARD, "mini"))
    noise: NoiseKind = "multi_resolution"
    photo_cycle: float = 1.0
    maps_cycle: float = 1.0
    photos: float = 0.5
    aligned: float = 1.0
    memory: Memory = "whole"
    weights: Weights = field(default_factory=Weights)
    dropout: float = 0.1
    lora: Lora | None = None


SMOKE = OuroborosRecipe(TrainConfig(steps=4, stages=(Stage(1.0, 32, 2),), warmup=2, ema_decay=0.5, save_every=2))
RECIPES = {"mini": OuroborosRecipe(), "smoke": SMOKE}
"""`mini`, 400 steps: not measured. `--steps 300`: photo -> maps -> photo PSNR 21.5 dB (sRGB), 21.1 dB with
`--no-cycles`, and maps -> photo -> maps normals 30.3 deg against 30.9 deg, on 128 held-out scenes (`unrender evaluate
claims`, docs/results.md; training data: docs/mini.md). `smoke`: not measured."""


@dataclass(frozen=True)
class OuroborosTask:
    """The two models, what they learn from, and the inverse one as it was before.

    Attributes:
        photos: photos whose maps nobody knows; None for none.
    """

    inverse: Checkpoint
    forward: Checkpoint
    before: nn.Module
    recipe: OuroborosRecipe
    stills: Stills
    held_out: Stills
    photos: Stills | None

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """Both UNets, and the forward one's environment encoder."""
        networks: dict[str, nn.Module] = {
            f"{INVERSE}_unet": self.inverse.unet.train(),
            f"{FORWARD}_unet": self.forward.unet.train(),
        }
        if self.forward.environment is not None:
            networks[f"{FORWARD}_environment"] = self.forward.environment.train()
        return networks

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The task losses of both, and both cycles."""
        recipe, pair = self.recipe, self._pair(networks)
        batch = sample_batch(self.stills, spec).to(self._device)
        pictures = pair.decompose(batch, spec.seed)
        losses = task_losses(_raw_maps(pair, pictures), batch, pair.inverse.passes()[0], recipe.weights)
        conditions = drop_conditions(pair.forward.card, batch, spec, recipe.dropout)
        lit = batch.seen_forward()
        answer = pair.recompose(lit, conditions, spec.seed + 1)
        losses |= task_losses({"rgb": answer}, lit, pair.forward.passes()[0], recipe.weights)
        if recipe.maps_cycle and bool(batch.known["irradiance"].any()):
            losses["maps cycle"] = recipe.maps_cycle * maps_cycle(pair, batch, spec.seed + 2)
        if recipe.photo_cycle:
            losses |= self._photo_losses(pair, batch, pictures, spec)
        return losses

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """Photos above their maps, and what comes back of them."""
        shown = self.held_out if self.photos is None else self.photos
        batch = whole_batch(shown.part(0, SHOWN), self.recipe.config.stages[-1].side).to(self._device)
        pair = self._pair(self.networks)
        pictures = pair.decompose(batch, 0)
        again = recompose(pair, batch, pictures, seed=1).rgb
        maps = [values.expand(-1, 3, -1, -1) * 0.5 + 0.5 for values in _raw_maps(pair, pictures).values()]
        rows = [linear_to_srgb(batch.photo), *maps, again]
        return {"photo cycle": sheet(rows)}

    def export(self, folder: Path) -> None:
        """Writes both models, in half precision, as `inverse` and `forward`."""
        for name, model in ((INVERSE, self.inverse), (FORWARD, self.forward)):
            save_checkpoint(replace(model, unet=merged(model.unet)), folder / name, torch.float16)

    def _photo_losses(self, pair: Pair, batch: Batch, pictures: Tensor, spec: BatchSpec) -> dict[str, Tensor]:
        """The photo cycle, of the batch's own photos or, now and then, of photos without maps."""
        recipe, seed = self.recipe, spec.seed
        if self.photos is not None and float(torch.rand((), generator=spec.generator(5))) < recipe.photos:
            seed = spec.seed + 3
            batch = sample_batch(self.photos, replace(spec, seed=seed)).to(self._device)
            pictures = pair.decompose(batch, seed)
        losses = {"photo cycle": recipe.photo_cycle * photo_cycle(pair, batch, pictures, spec.seed + 4)}
        if recipe.aligned:
            with torch.no_grad():
                before = replace(pair, inverse=replace(pair.inverse, unet=self.before)).decompose(batch, seed)
            losses["leakage"] = recipe.aligned * leakage(pictures, before)
        return losses

    def _pair(self, networks: Networks) -> Pair:
        for frozen in (self.inverse.autoencoder, self.forward.autoencoder, self.before):
            frozen.to(self._device)
        return Pair(
            Learner.of(self.inverse, networks, f"{INVERSE}_"),
            Learner.of(self.forward, networks, f"{FORWARD}_"),
            self.recipe.noise,
            self.recipe.memory,
        )

    @property
    def _device(self) -> torch.device:
        return next(self.inverse.unet.parameters()).device


def train_ouroboros(
    recipe: OuroborosRecipe,
    stills: Stills,
    out: Path,
    report: Report | None = None,
    photos: Stills | None = None,
) -> Path:
    """Trains an inverse and a forward model together; see `loop.run`. `out`/model receives the folders `inverse` and
    `forward`.

    Args:
        stills: with lights (`load_lit_still_dataset`); those whose irradiance is known teach the cycles.
        photos: of which only `rgb` is known.

    Raises:
        UserError: `out` holds a run of another recipe, there is nothing to start from, or the models do not undo one
            another.
    """
    inverse, forward = (_single_step_model(start, recipe) for start in (recipe.inverse, recipe.forward))
    _check_pair(inverse, forward)
    if recipe.maps_cycle and not bool(stills.known.get("irradiance", torch.zeros(1)).any()):
        raise UserError("the maps cycle needs stills whose irradiance is known; `unrender synth` writes them")
    require_known(stills, inverse.card)
    folder = RunFolder(out)
    folder.claim(recipe)
    before = copy.deepcopy(inverse.unet).requires_grad_(False).eval()
    adapt(inverse.unet, recipe.lora)
    adapt(forward.unet, recipe.lora)
    held_out, rest = hold_out(stills)
    task = OuroborosTask(inverse, forward, before, recipe, rest, held_out, photos)
    return run(task, recipe.config, folder, report)


def _raw_maps(pair: Pair, pictures: Tensor) -> dict[str, Tensor]:
    """The maps (B, 1 or 3, H, W) in the `pictures` of the inverse network, in about [-1, 1], by name."""
    targets = pair.inverse.passes()[0]
    return {c.map: raw_map(pictures[:, i], c) for i, target in enumerate(targets) for c in target.maps}


def _single_step_model(start: Start, recipe: OuroborosRecipe) -> Checkpoint:
    checkpoint = starting_checkpoint(start, recipe.config.seed)
    return replace(checkpoint, card=single_step(checkpoint.card, recipe.noise))


def _check_pair(inverse: Checkpoint, forward: Checkpoint) -> None:
    """Raises UserError where the one does not give what the other is given."""
    if not inverse.card.stacked:
        raise UserError(f"{inverse.card.id} gives one picture a pass; a cycle needs all in one (passes: stacked)")
    needed = {given.codec.map for given in forward.card.maps.inputs if not given.radiance_hint}
    missing = sorted(needed - set(inverse.card.map_names))
    if missing:
        raise UserError(f"{forward.card.id} is given {', '.join(missing)}, which {inverse.card.id} does not give")
