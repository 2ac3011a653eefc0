"""`unrender relight clip.mkv -o out.mp4 --light sunset --turn 360` by length: peak memory of a long clip over that of a
short one, and seconds a frame.

python benchmarks/clips.py [--frames 48,240] [--side 256] [--verb relight]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from skimage import data

from unrender.files.video import VideoWriter
from unrender.scene.color import srgb_to_linear
from unrender.scene.motion import warp

HERE = Path(__file__).parents[1] / "src"


def write_clip(path: Path, frames: int, side: int) -> None:
    """A photo that pans, without loss."""
    codes = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    picture = srgb_to_linear(codes)[..., :side, :side]
    with VideoWriter(path, 24) as writer:
        for index in range(frames):
            shift = torch.tensor([20.0 * (index / 24) % 60, 0.0])[None, :, None, None].expand(1, 2, side, side)
            writer.write(warp(picture, shift))


def measured(arguments: list[str]) -> tuple[float, float]:
    """Wall-clock seconds and peak resident GiB of one command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "unrender", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(HERE)})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - start, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def main() -> None:
    """Prints one line of JSON a length, then the ratio of the longest to the shortest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", default="48,240")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--verb", default="relight", choices=("relight", "inverse"))
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as place:
        for frames in map(int, options.frames.split(",")):
            source = Path(place) / f"{frames}.mkv"
            write_clip(source, frames, options.side)
            out = Path(place) / (f"{frames}.mp4" if options.verb == "relight" else f"{frames}")
            light = ["--light", "sunset", "--turn", "360"] if options.verb == "relight" else []
            seconds, gib = measured([options.verb, str(source), "-o", str(out), *light])
            peaks.append(gib)
            told = {"frames": frames, "side": options.side, "seconds": round(seconds, 1), "peak GiB": round(gib, 3)}
            print(json.dumps(told | {"seconds a frame": round(seconds / frames, 3)}), flush=True)
    print(json.dumps({"peak, longest / shortest": round(peaks[-1] / peaks[0], 3), "machine": platform.processor()}))


if __name__ == "__main__":
    main()
