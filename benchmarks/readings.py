"""The difference between the two readings of each published card: the default, and that of the official code.

    python benchmarks/readings.py [--long-side 256] [ID ...]

The photo is scikit-image's coffee (CC0) at 150 x 225, whose sides are not multiples of 8; float32; one noise for both
readings. The differences are of the maps at the size of the photo, in their units (normals: degrees), beside the
deviation of the map itself.

First the available trained network, `mini`, under the official quirks one by one: their effect on a trained network.
Then every published card, at full size with random weights and up to four steps: such a network outputs texture, pixel
by pixel, so that any change of a latent changes all of it; these figures are an upper bound.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from full_size import full_size, machine
from skimage import data

from unrender.device import Compute
from unrender.diffusion.card import ModelCard, faithful
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.checkpoints.published import PUBLISHED
from unrender.diffusion.engine import Engine, load_engine
from unrender.diffusion.options import InferenceOptions
from unrender.forward.neural import NeuralRenderer
from unrender.forward.options import ForwardOptions
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.color import srgb_to_linear
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_picture

CPU = Compute(torch.device("cpu"), torch.float32)


def photo() -> Frames:
    codes = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None].float() / 255
    smaller = (resize_picture(codes, (150, 225)) * 255).round() / 255
    return Frames(srgb_to_linear(smaller), name="coffee")


def maps_of(checkpoint: Checkpoint, card: ModelCard, steps: int) -> dict[str, torch.Tensor]:
    engine = Engine(replace(checkpoint, card=card), CPU)
    if card.task == "inverse":
        return InverseRenderer(engine)(photo(), steps=steps).maps
    rgb = photo().rgb
    bumps = torch.nn.functional.normalize(torch.cat((rgb[:, :2] - 0.5, torch.ones_like(rgb[:, :1])), 1), dim=1)
    hole = torch.zeros_like(rgb[:, :1])
    hole[..., 40:110, 60:160] = 1
    gbuffer = GBuffer(base_color=rgb, normal=bumps * (1 - hole), roughness=rgb[:, :1], irradiance=rgb, rgb=rgb)
    rendered = NeuralRenderer(engine, ForwardOptions(steps=steps))(gbuffer, edit=hole if card.maps.edits else None)
    return {"picture": rendered.beauty}


def apart(name: str, right: torch.Tensor, official: torch.Tensor) -> tuple[float, float, float, str]:
    """Mean and largest difference, the map's own deviation, and the unit."""
    if name == "normal":
        angle = torch.rad2deg(torch.arccos((right * official).sum(1).clamp(-1, 1)))
        spread = torch.rad2deg(torch.arccos((right * right.mean((2, 3), keepdim=True)).sum(1).clamp(-1, 1)))
        return float(angle.mean()), float(angle.max()), float(spread.mean()), "deg"
    difference = (right - official).abs()
    return float(difference.mean()), float(difference.max()), float(right.std()), ""


HABITS: dict[str, dict[str, object]] = {
    "resized in display codes": {"space": "encoded"},
    "resized in 8 bits": {"space": "bytes"},
    "rows cut instead of padded": {"space": "encoded", "fit": "cut"},
    "stretched instead of padded": {"space": "encoded", "fit": "stretch", "rounding": "down"},
    "back by nearest pixel": {"space": "encoded", "back": "nearest_exact"},
}


def report_mini() -> None:
    """The effect of official resizing on `mini`, without its guided upsampling, which no published model has."""
    engine = load_engine("mini", "inverse", InferenceOptions(dtype="float32"))
    right = engine.card.with_maps(flip_tta=False, size=replace(engine.card.maps.size, guided=()))
    reference = maps_of(engine.checkpoint, right, 1)
    for habit, changes in HABITS.items():
        found = maps_of(engine.checkpoint, replace(right, size=replace(right.size, **changes)), 1)
        for name in ("base_color", "normal", "depth"):
            nothing = reference[name].isinf() | found[name].isinf()
            values = [maps[name].masked_fill(nothing, 0.0) for maps in (reference, found)]
            print_row("mini", habit, name, *values)


def print_row(who: str, what: str, name: str, right: torch.Tensor, official: torch.Tensor) -> None:
    mean, largest, spread, unit = apart(name, right, official)
    print(
        f"{who:<42} {what:<28} {name:<15} mean {mean:8.4f} {unit:<3} max {largest:8.4f} {unit:<3} "
        f"of a map that varies by {spread:.4f} {unit}",
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--long-side", type=int, default=256)
    arguments.add_argument("ids", nargs="*")
    chosen = arguments.parse_args()
    print(f"python benchmarks/readings.py --long-side {chosen.long_side}\n{machine()}", flush=True)
    report_mini()
    for card in PUBLISHED:
        if card.image_tokens or (chosen.ids and card.id not in chosen.ids):
            continue
        checkpoint = full_size(card, CPU)
        steps = min(4, card.sampling.schedule.steps)
        readings = []
        for reading in (card, faithful(card)):
            side = min(chosen.long_side, reading.size.long_side)
            sized = replace(reading, size=replace(reading.size, long_side=side))
            readings.append(maps_of(checkpoint, sized, steps))
        for name in readings[0]:
            if name != "rgb":
                print_row(card.id, f"all its habits, {steps} steps", name, readings[0][name], readings[1][name])


if __name__ == "__main__":
    main()
