"""Insertion's light transport against Mitsuba's Path Replay Backpropagation: values, gradients, and the cost of a step.

    python benchmarks/insert.py accuracy [--size 128] [--samples 256] [--prb-samples 4096]
    python benchmarks/insert.py step [--size 256] [--samples 32]

accuracy   PSNR of foreground (pixels of the object) and shadow ratio (all others) under four shipped lights of 16 x 32
           texels, and the relative difference of the gradients of a random linear loss on each.
step       Seconds and memory of the matrices, seconds of one step (both pictures and both gradients) by the matrices
           and by PRB, and how noisy each gradient is. PRB's noise falls with the root of its samples, and its time
           grows with them: the step at equal noise is counted so.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from insertion_scenes import LIGHT_SIZE, LIGHTS, camera, light, psnr, scenes, surfaces
from unrender.raytrace import backend
from unrender.raytrace.atlas import pack_atlas
from unrender.raytrace.prb import PrbScene, prb_scene, prb_shadow_ratio, render_prb
from unrender.raytrace.shadows import ShadowTransport, trace_shadows
from unrender.raytrace.transport import ForegroundTransport, trace_foreground

Picture = Callable[[Tensor], Tensor]


def traced(size: int, samples: int, seed: int = 0) -> tuple[ForegroundTransport, ShadowTransport]:
    objects, ground = scenes(size)
    return (
        trace_foreground(objects, LIGHT_SIZE, samples=samples, seed=seed),
        trace_shadows(objects, ground, LIGHT_SIZE, samples=samples, seed=seed),
    )


def mitsubas(size: int) -> tuple[PrbScene, PrbScene, PrbScene]:
    """Object; object and ground; ground."""
    thing, ground = surfaces()
    shadow = {"max_depth": 2, "kind": "lambertian"}
    return (
        prb_scene(pack_atlas([thing])[0], camera(size), LIGHT_SIZE),
        prb_scene(pack_atlas([thing, ground])[0], camera(size), LIGHT_SIZE, **shadow),
        prb_scene(pack_atlas([ground])[0], camera(size), LIGHT_SIZE, **shadow),
    )


def gradient(picture: Picture, radiance: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A picture and the gradient of (picture * weight).sum()."""
    light = radiance.clone().requires_grad_()
    made = picture(light)
    (made * weight).sum().backward()
    assert light.grad is not None
    return made.detach(), light.grad


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def accuracy(args: argparse.Namespace) -> None:
    foreground, shadow = traced(args.size, args.samples)
    thing, both, ground = mitsubas(args.size)
    weight = torch.rand(1, 3, args.size, args.size, generator=torch.Generator().manual_seed(0))
    seen, out = (mask.expand_as(weight) for mask in (foreground.coverage > 0, foreground.coverage == 0))
    print(f"{args.samples} samples a texel and pixel; PRB {args.prb_samples} paths a pixel")
    for name in LIGHTS:
        radiance = light(name).radiance[0]
        made, slope = gradient(foreground.render, radiance, weight * seen)
        expected, steep = gradient(
            lambda x: render_prb(thing, x, samples=args.prb_samples, seed=3), radiance, weight * seen
        )
        line = f"{name:9} foreground {psnr(made[seen], expected[seen]):5.1f} dB, gradient {apart(slope, steep):6.2%}; "
        made, slope = gradient(shadow.render, radiance, weight * out)
        expected, steep = gradient(
            lambda x: prb_shadow_ratio(both, ground, x, samples=args.prb_samples, seed=3), radiance, weight * out
        )
        print(f"{line}shadow ratio {psnr(made[out], expected[out]):5.1f} dB, gradient {apart(slope, steep):6.2%}")


def step(args: argparse.Namespace) -> None:
    traced(16, 2)  # compiles the kernels
    start, spent = time.perf_counter(), time.process_time()
    foreground, shadow = traced(args.size, args.samples)
    print(
        f"matrices: {time.perf_counter() - start:.1f} s ({time.process_time() - spent:.1f} s of processors); "
        f"foreground {foreground.nbytes / 2**20:.0f} MiB of "
        f"{len(foreground.pixel)} pixels, shadow {shadow.nbytes / 2**20:.0f} MiB of {len(shadow.pixel)} pixels"
    )
    weight = torch.rand(1, 3, args.size, args.size, generator=torch.Generator().manual_seed(0))
    seen, out = weight * (foreground.coverage > 0), weight * (foreground.coverage == 0)
    radiance = light("city").radiance[0]
    thing, both, ground = mitsubas(args.size)

    def by_matrix(pair: tuple[ForegroundTransport, ShadowTransport]) -> Tensor:
        return torch.stack((gradient(pair[0].render, radiance, seen)[1], gradient(pair[1].render, radiance, out)[1]))

    def by_prb(samples: int, seed: int) -> Tensor:
        return torch.stack(
            (
                gradient(lambda x: render_prb(thing, x, samples=samples, seed=seed), radiance, seen)[1],
                gradient(lambda x: prb_shadow_ratio(both, ground, x, samples=samples, seed=seed), radiance, out)[1],
            )
        )

    by_prb(args.prb_step_samples, 0)
    mine = min(seconds(lambda: by_matrix((foreground, shadow))) for _ in range(5))
    theirs = min(seconds(lambda: by_prb(args.prb_step_samples, 1)) for _ in range(3))
    truth = by_matrix(traced(args.size, 4 * args.samples, seed=9))
    noise = apart(by_matrix((foreground, shadow)), truth)
    prb_noise = apart(by_prb(args.prb_step_samples, 2), truth)
    needed = max(1.0, (prb_noise / noise) ** 2)
    print(f"a step by the matrices: {mine:.3f} s, gradient {noise:.2%} from that of four times the samples")
    print(
        f"a step by PRB, {args.prb_step_samples} paths a pixel: {theirs:.3f} s ({theirs / mine:.1f} times), "
        f"gradient {prb_noise:.2%} from it"
    )
    print(f"at equal noise PRB takes {needed:.1f} times the paths: {theirs * needed / mine:.0f} times as long a step")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    for name, run, defaults in (
        ("accuracy", accuracy, {"size": 128, "samples": 256, "prb-samples": 4096}),
        ("step", step, {"size": 256, "samples": 32, "prb-step-samples": 16}),
    ):
        kind = kinds.add_parser(name)
        kind.set_defaults(run=run)
        for option, default in defaults.items():
            kind.add_argument(f"--{option}", type=int, default=default)
    args = parser.parse_args()
    print(f"{platform.machine()}, {backend.use()}, {torch.get_num_threads()} torch threads; {args.size} x {args.size}")
    args.run(args)


if __name__ == "__main__":
    main()
