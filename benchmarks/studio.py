"""Frames a second of a light that moves over a photo that is taken apart, as `unrender studio` shows it.

    python benchmarks/studio.py [--seconds 10]

Each picture is the whole of it: the light, the prepared split sum, the photo's detail, the exposure, the display curve
and the JPEG. Beside it, in the same run, the plain split sum by the same functions; with lamps the sky is drawn and
blurred anew for every picture. No network is timed: the photo comes apart once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch

import unrender as ur
from unrender.relight import Decomposition, RelightOptions, decompose, relight_decomposition
from unrender.scene.frames import Frames
from unrender.scene.resize import resize_picture
from unrender.studio.look import Lamp, Look, Rig
from unrender.studio.stage import OpenPhoto, as_jpeg


def taken_apart(side: int) -> Decomposition:
    """The CC0 photo of scikit-image, a square of so many pixels."""
    from skimage import data

    photo = ur.files.as_frames(data.coffee()[:, 100:500])
    square = Frames(resize_picture(photo.rgb, (side, side)).clamp(0, 1))
    with torch.inference_mode():
        return decompose([square], ur.InverseRenderer.from_pretrained("mini"), ur.DeferredRenderer("split_sum"))


def rate(picture: Callable[[int], object], seconds: float) -> tuple[float, float]:
    """Pictures a second, by the clock and by the processor time that they take."""
    picture(0)
    began, used, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        count += 1
        picture(count)
    return count / (time.perf_counter() - began), count / (time.process_time() - used)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    base = ur.EnvironmentMap.read("sunset").resized((256, 512))
    plain = ur.DeferredRenderer("split_sum")
    lamp = Lamp(azimuth=-40, elevation=30, power=2)
    print(f"{torch.get_num_threads()} threads of {os.cpu_count()} cores")
    print(f"{'picture':<10}{'what moves':<28}{'a second':>9}{'a second of processor time':>28}")
    for side in (512, 1024):
        whole = taken_apart(side)
        stage = OpenPhoto.of(whole)

        def turned(index: int, stage: OpenPhoto = stage) -> bytes:
            return as_jpeg(stage.show(Look(rig=Rig(yaw=3.0 * index % 360)), base))

        def lamps(index: int, stage: OpenPhoto = stage) -> bytes:
            moved = lamp.model_copy(update={"azimuth": 3.0 * index % 360})
            return as_jpeg(stage.show(Look(rig=Rig(lamps=[moved])), base))

        def unprepared(index: int, whole: Decomposition = whole) -> bytes:
            with torch.inference_mode():
                relit = relight_decomposition(whole, base, plain, RelightOptions(3.0 * index % 360))
                return as_jpeg(relit.display[0])

        for name, picture in (
            ("the sky turns", turned),
            ("a lamp moves", lamps),
            ("the sky, not prepared", unprepared),
        ):
            wall, processor = rate(picture, seconds)
            print(f"{side}²{'':<{9 - len(str(side))}}{name:<28}{wall:>9.1f}{processor:>28.1f}")


if __name__ == "__main__":
    main()
