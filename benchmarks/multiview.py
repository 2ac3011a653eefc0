"""The projection layer against its plain twin, in one run: time and peak memory of one evaluation.

    python benchmarks/multiview.py [--views 5] [--repeats 3]

Every figure is the best of the repeats; each side runs in a process of its own, which tells its peak resident memory
less what it had before.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from unrender.diffusion.networks.views.cameras import camera_vectors
from unrender.diffusion.networks.views.contraction import grid_points
from unrender.diffusion.networks.views.lifting import look_up, look_up_naive
from unrender.diffusion.networks.views.projection import ProjectionLayer, ProjectionSize
from unrender.diffusion.networks.views.volume_rendering import Marching
from unrender.scene.camera import Camera
from unrender.scene.trajectory import orbit

CASES = {32: (1280, 8), 64: (640, 16)}
"""By cells a side: channels, and side of the feature maps, of Stable Diffusion 2 at 256 pixels."""


def measure(side: int, naive: bool, views: int, repeats: int) -> None:
    """Prints the seconds of looking cells up and rendering, where the twins differ; those of the whole layer, with the
    aggregator and the 3D network that both have; and the peak memory of the whole."""
    channels, size = CASES[side]
    torch.manual_seed(0)
    layer = ProjectionLayer(ProjectionSize(channels, side=side, times=1280, marching=Marching())).eval()
    layer.naive = naive
    vectors = camera_vectors(Camera.perspective((256, 256), 35.0, orbit(torch.zeros(3), 4.0, views)))
    features, embedding = torch.randn(views, channels, size, size), torch.randn(views, 1280)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.inference_mode():
        whole = best_of(repeats, lambda: layer(features, vectors, torch.full((views,), 500.0), embedding))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        compressed, points = layer.compress(features), grid_points(side, 0.5, vectors)[0]
        grid = torch.randn(16, side, side, side)
        looked = best_of(repeats, lambda: (look_up_naive if naive else look_up)(compressed, points, vectors))
        rendered = best_of(repeats, lambda: layer.render(grid, vectors, features))
    print(f"{looked + rendered:.4f} {whole:.4f} {peak / 1024:.1f}")


def best_of(repeats: int, call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "WHICH"))
    options = parser.parse_args()
    if options.one:
        measure(int(options.one[0]), options.one[1] == "naive", options.views, options.repeats)
        return
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(
        f"one projection layer, {options.views} views, 256 samples a ray; seconds of processor time, MB over the start"
    )
    for side in CASES:
        found = {}
        for which in ("fast", "naive"):
            command = [sys.executable, __file__, "--views", str(options.views), "--repeats", str(options.repeats)]
            said = subprocess.run([*command, "--one", str(side), which], capture_output=True, text=True, check=True)
            found[which] = tuple(float(value) for value in said.stdout.split())
        (fast, whole, small), (naive, plain, large) = found["fast"], found["naive"]
        print(
            f"{side}^3: look-up and rendering {fast:.3f} s against {naive:.3f} s, {naive / fast:.1f} times as fast; "
            f"whole layer {whole:.3f} s, {small:.0f} MB against {plain:.3f} s, {large:.0f} MB, {plain / whole:.1f} "
            "times"
        )


if __name__ == "__main__":
    main()
