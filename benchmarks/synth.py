"""Speed of `unrender synth` for stills and clips with complete ground truth, alone and under seven other lights too.

    python benchmarks/synth.py [--resolution 256] [--samples 64] [--workers 2] [--stills 24] [--clips 2] [--frames 24]
                              [--lights 0 7]

Prints frames per second from the command to the end (starting processes and compiling kernels included; a warm-up
before puts the kernels into Dr.Jit's cache), the processor time of a frame, which other work on the machine changes
less, the size of a frame on disk, and the machine. A frame counts once, however many lights it is rendered under.
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

from unrender.synth import SynthRecipe, generate


def measured(recipe: SynthRecipe, workers: int) -> tuple[float, float, float]:
    """Seconds of clock and of processor, and megabytes, for all of `recipe`."""
    with tempfile.TemporaryDirectory() as folder:
        clock, processor = time.perf_counter(), _processor()
        generate(recipe, Path(folder) / "set", workers)
        seconds = time.perf_counter() - clock, _processor() - processor
        size = sum(path.stat().st_size for path in Path(folder, "set").glob("*.tar")) / 1e6
    return *seconds, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stills", type=int, default=24, help="0 leaves them out")
    parser.add_argument("--clips", type=int, default=2, help="0 leaves them out")
    parser.add_argument("--frames", type=int, default=24, help="of each clip")
    parser.add_argument("--lights", type=int, nargs="+", default=[0, 7], help="numbers of other lights to measure with")
    options = parser.parse_args()
    settings = " ".join(f"--{name} {value}" for name, value in vars(options).items() if name != "lights")
    print(f"python benchmarks/synth.py {settings} --lights {' '.join(map(str, options.lights))}")
    print(f"{_cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for lights in options.lights:
        recipe = {"resolution": options.resolution, "samples": options.samples, "lights": lights, "seed": 5}
        measured(SynthRecipe(1, frames=1, **recipe), 1)
        runs = []
        if options.stills:
            size = max(1, options.stills // (2 * options.workers))
            runs.append(("stills", SynthRecipe(options.stills, frames=1, shard_size=size, **recipe)))
        if options.clips:
            name = f"clips of {options.frames} frames"
            runs.append((name, SynthRecipe(options.clips, frames=options.frames, **recipe)))
        for name, what in runs:
            clock, processor, size = measured(what, options.workers)
            frames = what.clips * what.frames
            print(
                f"{name:18} {lights} other lights: {frames / clock:5.2f} frames/s, "
                f"{processor / frames:5.2f} s of processor and {size / frames:5.2f} MB a frame"
            )


def _processor() -> float:
    """Processor seconds of this process and of its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
