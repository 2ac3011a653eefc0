"""Stores trained small models in 8 bits, as the package carries them, and says what that costs.

    python examples/embed_mini.py RUN/model FOLDER PHOTO...

Both models, rounded and not, take every PHOTO apart (or, of a forward model, render what `mini` makes of it). How far
their base colours (or pictures) agree at least is printed, in dB on display codes; nothing is written where that is
less than `FLOOR_DB`.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

import unrender as ur
from unrender.device import Compute
from unrender.diffusion.card import Task
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint, save_checkpoint
from unrender.diffusion.model import Engine
from unrender.diffusion.temporal import TEMPORAL, load_layers, save_layers
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.scene.color import linear_to_srgb

FLOOR_DB = 34.5
"""A model that is 18 dB from the truth, and so far from its rounded self, loses 0.1 dB by it where the two errors are
unrelated: 10 log10(1 + 10^((18 - 34.5) / 10))."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    given = parser.parse_args()
    task: Task = "forward" if '"task": "forward"' in (given.model / "unrender.json").read_text() else "inverse"
    checkpoint = load_checkpoint(find(str(given.model), task), Compute(torch.device("cpu"), torch.float32))
    with atomic_write(given.out) as temporary:
        save_checkpoint(checkpoint, temporary, torch.float16, eight_bits=True)
        carry_layers(given.model, temporary, task)
        worst = min(agreement(given.model, temporary, photo, task) for photo in given.photos)
        print(f"rounded and unrounded agree to {worst:.1f} dB at least")
        if worst < FLOOR_DB:
            raise UserError(f"8 bits cost too much: {worst:.1f} dB; expected {FLOOR_DB} or more")


def carry_layers(model: Path, rounded: Path, task: Task) -> None:
    """Writes the temporal layers of `model`, where it has some, as those of its rounded weights."""
    compute = Compute(torch.device("cpu"), torch.float32)
    home = find(str(model), task)
    layers = load_layers(Engine(load_checkpoint(home, compute), compute)) if home.find(TEMPORAL) else None
    if layers is not None:
        save_layers(layers, find(str(rounded), task), rounded / TEMPORAL)


def agreement(model: Path, rounded: Path, photo: Path, task: Task) -> float:
    """PSNR in dB of what two models make of a photo, on display codes."""
    if task == "inverse":
        pair = [ur.InverseRenderer.from_pretrained(one)(str(photo)).base_color for one in (model, rounded)]
    else:
        gbuffer = ur.InverseRenderer.from_pretrained("mini")(str(photo))
        pair = [ur.ForwardRenderer.from_pretrained(one)(gbuffer, "sunset").surface for one in (model, rounded)]
    first, second = (linear_to_srgb(one.clamp(0, 1)) for one in pair if one is not None)
    return -10 * math.log10(max(float((first - second).square().mean()), 1e-12))


if __name__ == "__main__":
    main()
