"""Inverse renderers measured on another renderer's truth: a set of Cycles scenes that `cycles_set.py` made.

    python benchmarks/maps_cycles.py SET [--model mini] [--model FOLDER ...] [--refine]

SET has a folder for each scene, `objects-NNN` or `rooms-NNN`, with `gbuffer.exr` (the truth) and `photo-0.exr`,
`photo-1.exr`, ... under several lights. Each photo is exposed so that the 95th percentile of its surfaces is 0.8, and
rounded to 8 bits. Printed are the figures of `unrender evaluate maps`, for objects and rooms apart, and how much base
colour and normals change with the light alone: the mean over pixels of the standard deviation over a scene's photos,
base colour on the display curve, which a renderer that tells light from paint would have at 0. With `--refine` base
colours are corrected by the photo (`relight.refine_base_color`).
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import torch

from unrender.evaluate.maps import evaluate_maps
from unrender.evaluate.report import table
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.inverse.renderer import InverseRenderer
from unrender.relight import refine_base_color
from unrender.scene.color import linear_to_srgb, luminance, srgb_to_linear
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

WHITE = 0.8


def scenes(folder: Path, kind: str) -> Iterator[list[GBuffer]]:
    """The truth of each scene with each of its photos as `rgb`."""
    for scene in sorted(folder.glob(f"{kind}-*")):
        truth = read_gbuffer(scene / "gbuffer.exr")
        photos = [read_image(path).rgb for path in sorted(scene.glob("photo-*.exr"))]
        yield [truth.with_maps(rgb=exposed(photo, truth)) for photo in photos]


def exposed(photo: torch.Tensor, truth: GBuffer) -> torch.Tensor:
    """A photo of 8 bits, linear."""
    surface = luminance(photo)[truth.maps["mask"] > 0.5]
    gain = WHITE / float(torch.quantile(surface, 0.95).clamp(min=1e-6))
    return srgb_to_linear((linear_to_srgb((photo * gain).clamp(0, 1)) * 255).round() / 255)


def answering(model: InverseRenderer, *, refine: bool) -> Callable[[Frames], GBuffer]:
    """Takes a photo apart, and corrects its base colour by it."""
    if not refine:
        return model
    return lambda photo: refine_base_color(photo, model(photo, model.card.map_names))


def spread(model: Callable[[Frames], GBuffer], scene: list[GBuffer]) -> tuple[float, float]:
    """How much base colour and normals of one scene change with its light."""
    inside = scene[0].maps["mask"][0, 0] > 0.9
    answers = [model(Frames(still.maps["rgb"])) for still in scene]
    color = torch.cat([linear_to_srgb(answer.maps["base_color"]) for answer in answers])
    normal = torch.cat([answer.maps["normal"] for answer in answers])
    first, second = (float(maps.std(0, correction=0).mean(0)[inside].mean()) for maps in (color, normal))
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", action="append", help="again for more; mini by default")
    parser.add_argument("--refine", action="store_true", help="correct base colours by the photo")
    given = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {torch.get_num_threads()} threads"
    )
    for name in given.model or ["mini"]:
        model = answering(InverseRenderer.from_pretrained(name), refine=given.refine)
        for kind in ("objects", "rooms"):
            found = list(scenes(given.set, kind))
            if not found:
                continue
            report = evaluate_maps(model, (one for scene in found for one in scene))
            print(f"\n{name}, {kind}:\n{table(report)}")
            several = [spread(model, scene) for scene in found if len(scene) > 1]
            if several:
                color, normal = (fmean(values) for values in zip(*several, strict=True))
                print(f"change with the light: base color {color:.3f}, normals {normal:.3f}")


if __name__ == "__main__":
    main()
