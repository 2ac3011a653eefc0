"""unrender's synthetic frames beside Blender's Cycles on the processor: the same worlds, at equal noise.

    python benchmarks/synth_blender.py [--size 256] [--samples 64] [--worlds 3] [--lights 8] [--threads 1] [--flat]

Needs Blender 3.x on PATH (apt-get install blender). Worlds are those of `unrender synth` that are no rooms. Both sides
get the same triangles, normals, textures, bumps, lights and camera, as many bounces and threads, a box filter of one
pixel, no clamping, no denoiser and no adaptive sampling, and give picture, irradiance, normal, depth, base colour,
roughness, metallic and instance, written as EXR. First they are held against each other. Then the noise of each is
measured from two seeds at two numbers of samples, and the time that Blender needs for unrender's noise is worked out,
as the square of noise falls as 1 / N. Worlds are drawn before, for either side, and not counted.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import tempfile
from itertools import count, islice
from pathlib import Path

import numpy as np
from blender.figures import (
    Array,
    Seconds,
    degrees_between,
    noise,
    noise_of_one,
    psnr,
    region_differences,
    samples_for,
    split_time,
)
from blender.sides import Side, Wanted, blenders, drawn, find_blender, ours, renders

from unrender.errors import UserError

WORST = 0.01  # of the pixels are left out of the second noise: fireflies
_BRIGHT = 4.0  # times the 90th percentile: what is brighter counts as that where means are compared
_LEAST_ALBEDO = 0.05  # Blender's irradiance is none where there is no diffuse lobe


def surface(side: Side) -> Array:
    """Pixels (H, W) that a surface covers wholly."""
    return side.maps["mask"] > 0.999


def diffuse(own: Side, theirs: Side) -> Array:
    """Pixels (H, W) of surfaces that are neither metal nor black: where Blender gives an irradiance."""
    albedo = theirs.maps["base_color"].mean(0) * (1 - theirs.maps["metallic"])
    return surface(own) & (albedo > _LEAST_ALBEDO)


def print_agreement(own: Side, theirs: Side, wanted: Wanted) -> None:
    """Prints how far the two sides show the same."""
    most, where = wanted.counts[1], surface(own)
    bright = _BRIGHT * np.percentile(own.rgb[1, most, 1][0][:, where].mean(0), 90)
    pictures = [np.mean([side.rgb[1, most, seed][0].clip(max=bright) for seed in (1, 2)], 0) for side in (own, theirs)]
    between = [psnr(*(side.rgb[1, most, seed][0] for seed in (1, 2)), where) for side in (own, theirs)]
    whole = np.full_like(where, True)
    print(
        f"  picture: {psnr(*pictures, where):.1f} dB on surfaces, {psnr(*pictures, whole):.1f} dB with the background "
        f"(two seeds of unrender {between[0]:.1f}, of Blender {between[1]:.1f}); mean {_more(*pictures, where)} on "
        f"surfaces, {_more(*pictures, ~where)} elsewhere"
    )
    regions = np.where(where, own.maps["instance"], 0).astype(int)
    parts = region_differences(*pictures, regions, least=max(16, where.size // 200))
    print("  mean by thing: " + ", ".join(f"{n} {part:+.1%}" for n, part in parts.items()))
    light = [np.mean([side.irradiance[1, most, seed][0] for seed in (1, 2)], 0) for side in (own, theirs)]
    print(f"  irradiance: mean {_more(*light, diffuse(own, theirs))} where there is a diffuse lobe")
    same = own.maps["instance"] == theirs.maps["instance"]
    depth = np.abs(theirs.maps["depth"][where] / own.maps["depth"][where] - 1)
    angle = degrees_between(own.maps["normal"][:, where], theirs.maps["normal"][:, where])
    colour = np.abs(theirs.maps["base_color"] - own.maps["base_color"])[:, where]
    print(
        f"  maps: the same thing in {same[where].mean():.1%} of the pixels; medians: depth {np.median(depth):.2%}, "
        f"normal {np.median(angle):.2f} degrees (95 of 100: {np.percentile(angle, 95):.1f}), "
        f"base colour {np.median(colour):.4f}"
    )


def noises(side: Side, where: Array, lights: int, samples: int, worst: float) -> list[float]:
    """The noise of the picture under each light."""
    pairs = zip(side.rgb[lights, samples, 1], side.rgb[lights, samples, 2], strict=True)
    return [noise(one, two, where, worst=worst) for one, two in pairs]


def at_equal_noise(own: Side, theirs: Side, wanted: Wanted, lights: int, worst: float) -> tuple[float, Seconds]:
    """Blender's samples a pixel (mean over lights) and render time for the noise that ours has at `wanted.samples`."""
    where = surface(own)
    fixed, each = split_time(wanted.counts, tuple(theirs.took[1, n] for n in wanted.counts))
    levels = noises(own, where, lights, wanted.samples, worst)
    if lights == 1:
        of_one = [noise_of_one(wanted.counts, [noises(theirs, where, 1, n, worst)[0] for n in wanted.counts])]
    else:
        fixed = theirs.took[lights, wanted.samples].plus(each, -lights * wanted.samples)
        fixed = Seconds(*(max(0.0, part) / lights for part in fixed))
        of_one = [level * math.sqrt(wanted.samples) for level in noises(theirs, where, lights, wanted.samples, worst)]
    needed = [samples_for(level, one) for level, one in zip(levels, of_one, strict=True)]
    total = Seconds(0.0, 0.0)
    for n in needed:
        total = total.plus(fixed).plus(each, n)
    return float(np.mean(needed)), total


def print_times(own: Side, theirs: Side, wanted: Wanted) -> dict[str, float]:
    """Prints what both sides take, and returns ratios of time (Blender's over ours) by name."""
    where, lit, ratios = surface(own), diffuse(own, theirs), {}
    print(f"  start: unrender {_spent(own.start)}, Blender {_spent(theirs.start)}")
    print(f"  scene: unrender {_spent(own.load)} (and its maps {_spent(own.truth)}), Blender {_spent(theirs.load)}")
    for name, side in (("unrender", own), ("Blender", theirs)):
        each = "; ".join(
            f"{n} samples {_spent(side.took[1, n])}, noise {noises(side, where, 1, n, 0)[0]:.3f} "
            f"({noises(side, where, 1, n, WORST)[0]:.3f} without the worst {WORST:.0%})"
            for n in wanted.counts
        )
        fixed, sample = split_time(wanted.counts, tuple(side.took[1, n] for n in wanted.counts))
        print(
            f"  {name}: {each}; irradiance {_irradiance_noise(side, lit, wanted.samples)}; "
            f"a picture {_spent(fixed)} and a path {1e6 * sample.processor / wanted.size**2:.2f} us of processor"
        )
    for lights in sorted({key[0] for key in renders(wanted)}):
        mine = own.load.plus(own.truth).plus(own.took[lights, wanted.samples])
        for worst in (0, WORST):
            samples, took = at_equal_noise(own, theirs, wanted, lights, worst)
            still = theirs.load.plus(took)
            name = f"{lights} light{'s' * (lights > 1)}{', without the worst pixels' * (worst > 0)}"
            ratios[name] = still.processor / mine.processor
            print(
                f"  equal noise, {name}: unrender {wanted.samples} samples {_spent(mine)}, "
                f"Blender {samples:.0f} samples {_spent(still)}: "
                f"{ratios[name]:.2f} x (clock {still.clock / mine.clock:.2f} x)"
            )
        equal = theirs.load.plus(theirs.took[lights, wanted.samples])
        ratios[f"{lights} light{'s' * (lights > 1)}, equal samples"] = equal.processor / mine.processor
        if lights > 1:
            levels = [np.mean(noises(side, where, lights, wanted.samples, WORST)) for side in (own, theirs)]
            print(f"  noise under {lights} lights, mean: unrender {levels[0]:.3f}, Blender {levels[1]:.3f}")
    memory = [f"{side.memory[0]:.0f} and {side.memory[1]:.0f} MB" for side in (own, theirs)]
    print(f"  memory at most, one light and {wanted.lights}: unrender {memory[0]}, Blender {memory[1]}")
    return ratios


def _irradiance_noise(side: Side, where: Array, samples: int) -> str:
    if not where.any():
        return "none"
    return f"{noise(*(side.irradiance[1, samples, seed][0] for seed in (1, 2)), where, worst=WORST):.3f}"


def _more(one: Array, two: Array, where: Array) -> str:
    """How much more the mean of `two` is than that of `one`."""
    return f"{two[:, where].mean() / one[:, where].mean() - 1:+.1%}" if where.any() else "none"


def _spent(seconds: Seconds) -> str:
    return f"{seconds.processor:.2f} s (clock {seconds.clock:.2f})"


def compared(command: str, wanted: Wanted, index: int) -> dict[str, float]:
    """One world by both sides, printed; ratios by name."""
    with tempfile.TemporaryDirectory() as name:
        own = ours(wanted, index, Path(name))
        theirs = blenders(command, wanted, index, Path(name))
    print(f"world {index}: {drawn(wanted, index).caption}; {own.version}; {theirs.version}")
    print_agreement(own, theirs, wanted)
    return print_times(own, theirs, wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 256), ("samples", 64), ("worlds", 3), ("lights", 8), ("threads", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--flat", action="store_true", help="without bumps")
    options = vars(parser.parse_args())
    command = find_blender()
    wanted = Wanted(**{name: value for name, value in options.items() if name != "worlds"})
    numbers = " ".join(f"--{name} {value}" for name, value in options.items() if name != "flat")
    print(f"python benchmarks/synth_blender.py {numbers}{' --flat' * wanted.flat}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    chosen = list(islice((n for n in count() if not drawn(wanted, n).enclosed), options["worlds"]))
    with tempfile.TemporaryDirectory() as folder:
        ours(Wanted(wanted.seed, 16, 1, wanted.lights, wanted.threads), chosen[0], Path(folder))  # compiles the kernels
    rounds = [compared(command, wanted, index) for index in chosen]
    print("Blender's processor time over unrender's, scene built, geometric mean over worlds:")
    for name in rounds[0]:
        values = [ratios[name] for ratios in rounds]
        print(f"  {name}: {math.exp(np.mean(np.log(values))):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
