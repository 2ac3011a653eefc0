"""The light of photos measured on another renderer's truth, a set that `cycles_set.py` made.

    python benchmarks/light_cycles.py SET [--model mini]

The light of each photo (8 bits, exposed so that the 95th percentile of its surfaces is 0.8) is estimated from the maps
of an inverse renderer, in the world of its true camera, and held against the truth by the figures of `unrender evaluate
light`: by least squares alone, by the network's guess alone, by both, and beside an even upper half with a tenth of it
below. Objects and rooms apart.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import replace
from pathlib import Path

import torch
from maps_cycles import scenes

from unrender.evaluate.light import score_light
from unrender.evaluate.report import Scores, mean_scores
from unrender.files.environments import read_environment
from unrender.inverse.renderer import InverseRenderer
from unrender.relight import estimate_light
from unrender.relight.light_estimate import LIGHT_SIZE
from unrender.relight.light_guess import guess_light
from unrender.relight.surface import soft_surface
from unrender.scene.environment import EnvironmentMap, texel_directions
from unrender.scene.frames import Frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default="mini", help="an inverse renderer's id or folder")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; {given.model}")
    inverse = InverseRenderer.from_pretrained(given.model)
    height = texel_directions(LIGHT_SIZE)[..., 1]
    above = EnvironmentMap(torch.where(height > 0, 1.0, 0.1).expand(1, 3, *LIGHT_SIZE).clone())
    for kind in ("objects", "rooms"):
        rows: dict[str, list[Scores]] = {}
        folders = sorted(given.set.glob(f"{kind}-*"))
        for folder, photos in zip(folders, scenes(given.set, kind), strict=True):
            for number, truth in enumerate(photos):
                photo = Frames(truth.maps["rgb"])
                maps, _ = soft_surface(photo, replace(inverse(photo), camera=truth.camera))
                answers = {
                    "least squares": estimate_light(photo, maps, guess=False),
                    "network": EnvironmentMap(guess_light(photo, maps)[None]),
                    "both": estimate_light(photo, maps),
                    "from above": above,
                }
                light = read_environment(folder / f"light-{number}.exr")
                for name, answer in answers.items():
                    rows.setdefault(name, []).append(score_light(answer, light))
        for name, scores in rows.items():
            figures = ", ".join(
                f"{figure.name} {value:.3f} {figure.unit}" for figure, value in mean_scores(scores).items()
            )
            print(f"{kind} ({len(scores)}) {name}: {figures}", flush=True)


if __name__ == "__main__":
    main()
