"""`unrender relight photo.png -o out --light sunset` from shell to shell: seconds and peak memory, by size.

python benchmarks/relight.py [--sizes 256,512,1024]
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

from PIL import Image
from skimage import data

BARE = [sys.executable, "-c", "import torch"]


def measured(command: list[str]) -> tuple[float, float]:
    """Wall-clock seconds and peak resident GiB of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**30


def relight(size: int, folder: Path, *options: str) -> tuple[float, float]:
    """One run on a square photo; the command's own stages are printed."""
    photo = folder / f"photo-{size}.png"
    Image.fromarray(data.coffee()).resize((size, size)).save(photo)
    out = folder / f"out-{size}{''.join(options)}"
    command = [sys.executable, "-m", "unrender", "relight", str(photo), "-o", str(out), "--light", "sunset", *options]
    result = measured(command)
    stages = json.loads((out / "run.json").read_text())["seconds"]
    print(
        f"  {size} {' '.join(options)}: stages {', '.join(f'{name} {value:.1f} s' for name, value in stages.items())}"
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,512,1024")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    bare = measured(BARE)[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            (size, option): relight(size, Path(folder), *option) for size in sizes for option in ((), ("--no-detail",))
        }
    for (size, option), (seconds, gib) in rows.items():
        label = f"relight {size}x{size} {' '.join(option)}"
        print(f"{label:<30} {seconds:5.1f} s ({seconds / bare:.1f} x an import of torch), {gib:.2f} GiB at most")


if __name__ == "__main__":
    main()
