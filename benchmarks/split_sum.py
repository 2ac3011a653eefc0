"""How fast the deferred qualities are, side by side in one run, while the light turns.

    python benchmarks/split_sum.py [--size 512] [--frames 10] [--threads 2]

Prints frames per second once warm (the best and the median frame), the processor time of a frame, which other work on
the machine does not change, the ratios to Monte Carlo and screen-space tracing, and the machine.
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


def times_per_frame(
    renderer: DeferredRenderer, size: int, light: EnvironmentMap, frames: int
) -> tuple[list[float], list[float]]:
    """Seconds of clock and of processor for whole frames: G-buffer and environment map in, picture out, each under
    another yaw."""
    gbuffer = table(size)
    clock, processor = [], []
    for i in range(frames + 1):
        start = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            _ = renderer(gbuffer, light, yaw=360 * i / frames).beauty
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return clock[1:], processor[1:]  # the first builds the tables


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
    cost = {}
    for quality, samples, frames in (
        ("split_sum", 2, options.frames),
        ("monte_carlo", 16, 3),
        ("screen_space", 16, 3),
    ):
        clock, processor = times_per_frame(DeferredRenderer(quality, samples=samples), options.size, light, frames)
        cost[quality] = min(processor)
        label = quality if quality == "split_sum" else f"{quality}, {samples} samples"
        rates = f"best {1 / min(clock):6.2f} fps, median {1 / statistics.median(clock):6.2f} fps"
        print(f"{label:26} {rates}, {1000 * cost[quality]:6.0f} ms of processor")
    for quality in ("monte_carlo", "screen_space"):
        print(f"split_sum takes 1/{cost[quality] / cost['split_sum']:.0f} of the processor time of {quality}")


def _cpu() -> str:
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
