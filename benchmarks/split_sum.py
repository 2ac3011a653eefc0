"""How fast the deferred qualities are, side by side in one run, while the light turns.

    python benchmarks/split_sum.py [--size 512] [--frames 10] [--threads 2]

Prints frames per second once warm (the best and the median frame), the ratio to Monte Carlo, and the machine.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

from unrender.forward import DeferredRenderer
from unrender.scene.environment import EnvironmentMap

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from forward_scenes import table, world


def seconds_per_frame(renderer: DeferredRenderer, size: int, light: EnvironmentMap, frames: int) -> list[float]:
    """Times of whole frames, G-buffer and environment map in, picture out, each under another yaw."""
    gbuffer = table(size)
    times = []
    for i in range(frames + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            _ = renderer(gbuffer, light, yaw=360 * i / frames).beauty
        times.append(time.perf_counter() - start)
    return times[1:]  # the first builds the tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    light = world("sunset", 512)

    print(f"python benchmarks/split_sum.py --size {options.size} --threads {options.threads}")
    print(f"{_cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    print(f"three balls on a floor, {options.size} x {options.size}, light 512 x 1024, turned every frame")
    medians = {}
    for quality, samples, frames in (
        ("split_sum", 2, options.frames),
        ("monte_carlo", 16, 2),
        ("screen_space", 16, 2),
    ):
        times = seconds_per_frame(DeferredRenderer(quality, samples=samples), options.size, light, frames)
        medians[quality] = statistics.median(times)
        label = quality if quality == "split_sum" else f"{quality}, {samples} samples"
        print(f"{label:28} best {1 / min(times):7.2f} fps   median {1 / medians[quality]:7.2f} fps")
    for quality in ("monte_carlo", "screen_space"):
        print(f"split_sum is {medians[quality] / medians['split_sum']:.0f} times as fast as {quality}")


def _cpu() -> str:
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
