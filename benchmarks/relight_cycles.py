"""Relighting measured on another renderer's truth, a set that `cycles_set.py` made.

    python benchmarks/relight_cycles.py SET [--half report] [--forwards split_sum,screen_space] [--samples 16]

Each photo (8 bits, exposed so that the 95th percentile of its surfaces is 0.8) is relit under every other light of its
scene, seen by the true camera, and held against the truth, exposed alike, over the pixels of surfaces, in sRGB. "told":
the rendering in the units of the light that it was told; "exposed": brought to the log-average of the truth; "shown":
the display picture, as bright as the photo. Means over pairs, objects and rooms apart. Scenes of even numbers are for
choosing ("choose"), odd ones for "report".
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from unrender.evaluate import metrics
from unrender.files.environments import read_environment
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.forward import DeferredRenderer, ForwardRenderer
from unrender.inverse.renderer import InverseRenderer
from unrender.relight import RelightOptions, decompose, relight_decomposition
from unrender.relight.exposure import display_gain
from unrender.scene.color import linear_to_srgb, luminance, srgb_to_linear
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import tone_map

WHITE = 0.8


@dataclass(frozen=True)
class Case:
    """A photo under one light, and the truth under another.

    Attributes:
        name, kind: of the scene; "objects" or "rooms".
        truth: the G-buffer.
        photo: (1, 3, H, W) linear, of 8 bits.
        target: (1, 3, H, W) linear, exposed, unclamped.
        gain: what exposes the target.
        light, photo_light: of the target, and of the photo in the photo's units.
    """

    name: str
    kind: str
    truth: GBuffer
    photo: Frames
    target: Tensor
    gain: float
    light: EnvironmentMap
    photo_light: EnvironmentMap

    @cached_property
    def inside(self) -> Tensor:
        """(1, H, W) where surfaces are."""
        assert self.truth.mask is not None
        return self.truth.mask[0] > 0.9

    def scores(self, relit: Tensor, shown: Tensor | None = None) -> dict[str, float]:
        """The figures of a rendering (1, 3, H, W) in the units of the light, and as it is `shown` (as the photo's
        surfaces are bright, where it is not given)."""
        mask = self.inside[None].float()
        if shown is None:
            shown = tone_map(relit * display_gain(self.photo.rgb * mask, relit * mask, mask))
        exposed = tone_map(relit * display_gain(self.target.clamp(0, 1) * mask, relit * mask, mask))
        named = {"told": relit * self.gain, "exposed": exposed, "shown": shown}
        figures = (("PSNR", metrics.psnr), ("SSIM", metrics.ssim))
        return {f"{figure} {name}": f(*self._pair(rgb)) for name, rgb in named.items() for figure, f in figures}

    def _pair(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return linear_to_srgb(picture[0].clamp(0, 1)), linear_to_srgb(self.target[0].clamp(0, 1)), self.inside


def exposed(rgb: Tensor, inside: Tensor) -> float:
    """What brings the 95th percentile of the luminance of (1, 3, H, W) `inside` (1, H, W) to `WHITE`."""
    return WHITE / float(torch.quantile(luminance(rgb)[0][inside], 0.95))


def cases(folder: Path, half: str) -> Iterator[Case]:
    """Every pair of lights of the scenes of a half: "choose", "report" or "all"."""
    for scene in sorted(path for path in folder.iterdir() if (path / "gbuffer.exr").exists()):
        kind, number = scene.name.split("-")
        if half != "all" and (int(number) % 2 == 0) != (half == "choose"):
            continue
        truth = read_gbuffer(scene / "gbuffer.exr")
        assert truth.mask is not None
        inside = truth.mask[0] > 0.9
        count = len(list(scene.glob("photo-*.exr")))
        rgb = [read_image(scene / f"photo-{k}.exr").rgb for k in range(count)]
        lights = [read_environment(scene / f"light-{k}.exr") for k in range(count)]
        gains = [exposed(each, inside) for each in rgb]
        for a in range(count):
            coded = (linear_to_srgb((rgb[a] * gains[a]).clamp(0, 1)) * 255).round() / 255
            photo = Frames(srgb_to_linear(coded), name=scene.name)
            photo_light = EnvironmentMap(lights[a].radiance * gains[a])
            for b in range(count):
                if a != b:
                    yield Case(scene.name, kind, truth, photo, rgb[b] * gains[b], gains[b], lights[b], photo_light)


Method = Callable[[Case], tuple[Tensor, Tensor | None]]
"""A case to a rendering in the units of the light, and as it is shown."""


def trivial_methods() -> dict[str, Method]:
    """What needs no model; "mean colour" is told the truth's."""

    def mean_colour(case: Case) -> tuple[Tensor, Tensor | None]:
        scale = [
            case.target[0, c][case.inside[0]].mean() / case.photo.rgb[0, c][case.inside[0]].mean() for c in range(3)
        ]
        return case.photo.rgb * torch.stack(scale)[None, :, None, None] / case.gain, None

    return {
        "photo unchanged": lambda case: (case.photo.rgb / case.gain, case.photo.rgb),
        "photo, true mean colour": mean_colour,
    }


def methods(forwards: list[str], samples: int) -> dict[str, Method]:
    """Relighting from true and from estimated maps."""
    inverse = InverseRenderer.from_pretrained("mini")
    estimated: dict[int, GBuffer] = {}

    def maps_of(case: Case) -> GBuffer:
        if id(case.photo) not in estimated:
            estimated.clear()
            estimated[id(case.photo)] = inverse(case.photo, inverse.card.map_names)
        return replace(estimated[id(case.photo)], camera=case.truth.camera)

    def relit(
        case: Case, maps: GBuffer, forward: ForwardRenderer, detail: bool, refine: bool = True
    ) -> tuple[Tensor, Tensor]:
        options = RelightOptions(detail=detail, refine=refine)
        decomposition = decompose(case.photo, lambda *_: maps, forward, options)
        made = relight_decomposition(decomposition, case.light, forward, options)
        return made.beauty, made.display

    made: dict[str, Method] = {}
    for name in forwards:
        if name in ("split_sum", "screen_space"):
            renderer = ForwardRenderer(DeferredRenderer(name, samples=samples, background=False))
        else:
            renderer = ForwardRenderer.from_pretrained(name)
        for detail in (False, True):
            label = f"{name}, {'with' if detail else 'no'} detail"
            made[f"{label}, true maps"] = lambda case, r=renderer, d=detail: relit(case, case.truth, r, d)
            made[label] = lambda case, r=renderer, d=detail: relit(case, maps_of(case), r, d)
        made[f"{name}, with detail, not refined"] = lambda case, r=renderer: relit(case, maps_of(case), r, True, False)
    return made


def table(measured: list[tuple[str, str, dict[str, float]]]) -> str:
    """Means over pairs, a row for each kind and method: (kind, method, scores)."""
    rows = dict.fromkeys((kind, method) for kind, method, _ in measured)
    figures = list(measured[0][2])
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (1 + len(figures)) + "|"]
    for kind, method in sorted(rows, key=lambda row: row[0]):
        scores = [s for k, m, s in measured if (k, m) == (kind, method)]
        means = [sum(s[f] for s in scores) / len(scores) for f in figures]
        digits = [f"{m:.3f}" if "SSIM" in f else f"{m:.2f}" for m, f in zip(means, figures, strict=True)]
        lines.append(f"| {kind} ({len(scores)}): {method} | " + " | ".join(digits) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--half", choices=("choose", "report", "all"), default="report")
    parser.add_argument("--forwards", default="split_sum,screen_space", help="deferred qualities or ids, with commas")
    parser.add_argument("--samples", type=int, default=16)
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; half: {given.half}")
    tried = trivial_methods() | methods(given.forwards.split(","), given.samples)
    measured = []
    with torch.inference_mode():
        for case in cases(given.set, given.half):
            measured += [(case.kind, name, case.scores(*method(case))) for name, method in tried.items()]
    print(table(measured))


if __name__ == "__main__":
    main()
