"""The cost of a frame with complete ground truth: under K lights in one pass, and by Mitsuba's path tracer for each.

    python benchmarks/synth_lights.py [--size 256] [--samples 64] [--scenes 3]

One thread, seconds of processor time for each frame, the mean over random scenes; kernels are compiled before, all of
them once. Beside the pass under K lights stand K runs of Mitsuba's `path`, which give no irradiance, and what else a
frame needs: sampling the world, building the scene, the G-buffer, and an EXR of the frame (zipped, on one thread).
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import drjit
import numpy as np
import torch

from unrender.files.gbuffers import write_gbuffer
from unrender.raytrace import backend
from unrender.raytrace.atlas import pack_atlas
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.mitsuba_scene import build_mitsuba_scene, render
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import build_path_tracer_scene
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.synth.compose import another_light, random_world
from unrender.synth.sources import Sources

COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Scene:
    """A random world with as many lights as any run needs."""

    surface: TexturedMesh
    camera: Camera
    lights: list[EnvironmentMap]


def random_scene(index: int, size: int) -> Scene:
    rng, sources = np.random.default_rng([7, index]), Sources()
    world = random_world(rng, (size, size), sources, test=False)
    lights = [world.light, *(another_light(rng, world, sources, test=False) for _ in range(max(COUNTS) - 1))]
    return Scene(pack_atlas(world.things)[0], world.camera, lights)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def frame_parts(index: int, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds of each part of frame `index`."""
    drawn = random_scene(index, args.size)
    parts = {"world": seconds(lambda: random_scene(index, args.size))}
    parts["stage"] = seconds(lambda: build_path_tracer_scene(drawn.surface, drawn.camera))
    scene = build_path_tracer_scene(drawn.surface, drawn.camera)
    parts["G-buffer"] = seconds(lambda: trace_gbuffer(scene))
    for count in COUNTS:
        lights = drawn.lights[:count]
        parts[f"K = {count}"] = seconds(
            lambda lights=lights: render_lights(scene, lights, samples=args.samples, seed=1)
        )
    frame = render_lights(scene, drawn.lights[:1], samples=args.samples, seed=1)
    whole = trace_gbuffer(scene).with_maps(rgb=frame.rgb, irradiance=frame.irradiance)
    parts["EXR"] = seconds(lambda: write_gbuffer(folder / "frame.exr", whole))
    # Mitsuba's own integrators support neither slopes nor emission here.
    plain = replace(drawn.surface, slope=None, emission=None)
    scene = build_mitsuba_scene([plain], drawn.lights[0], drawn.camera, max_depth=scene.max_depth)
    parts["path"] = seconds(lambda: render(scene, samples=args.samples, seed=1))
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("size", 256), ("samples", 64), ("scenes", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    variant = backend.use()
    drjit.set_thread_count(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        frame_parts(0, args, Path(folder))  # compiles the kernels
        rounds = [frame_parts(i, args, Path(folder)) for i in range(args.scenes)]
    mean = {name: float(np.mean([parts[name] for parts in rounds])) for name in rounds[0]}
    print(f"{platform.machine()}, {variant}, one thread; {args.size} x {args.size}, {args.samples} paths a pixel")
    for count in COUNTS:
        took, path = mean[f"K = {count}"], count * mean["path"]
        print(
            f"{count} lights: {took:.2f} s in one pass, {took / mean['K = 1']:.2f} x K = 1; "
            f"{path:.2f} s by `path`, {path / took:.1f} x as long"
        )
    rest = {name: mean[name] for name in ("world", "scene", "G-buffer", "EXR")}
    print(", ".join(f"{name} {took:.2f} s" for name, took in rest.items()))
    print(f"a frame under one light, all of it: {sum(rest.values()) + mean['K = 1']:.2f} s")


if __name__ == "__main__":
    main()
