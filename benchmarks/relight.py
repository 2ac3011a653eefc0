"""`unrender relight photo.jpg -o out --light sunset` from shell to shell: seconds to load and in all, and peak memory,
by size; and of `unrender inverse` at twelve megapixels. Another source tree can be measured beside this one, by turns.

python benchmarks/relight.py [--sizes 512x512,4000x3000] [--runs 3] [--beside OTHER/src]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from skimage import data

HERE = Path(__file__).parents[1] / "src"
BARE = [sys.executable, "-c", "import torch"]
VERBS = {"relight": ["--light", "sunset"], "inverse": []}


@dataclass(frozen=True)
class Measured:
    """One run: wall-clock seconds in all and to load, and peak resident GiB."""

    seconds: float
    load: float
    gib: float


def measured(command: list[str], tree: Path) -> tuple[float, float]:
    """Wall-clock seconds and peak resident GiB of one run."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**30


def run(verb: str, photo: Path, out: Path, tree: Path) -> Measured:
    """One command, by the sources in `tree`."""
    command = [sys.executable, "-m", "unrender", verb, str(photo), "-o", str(out), *VERBS[verb]]
    seconds, gib = measured(command, tree)
    stages = json.loads((out / "run.json").read_text())["seconds"]
    return Measured(seconds, stages["load"], gib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="512x512,4000x3000", help="width x height, with commas between")
    parser.add_argument("--runs", type=int, default=3, help="of each; the fastest counts")
    parser.add_argument("--beside", type=Path, help="the src folder of another tree")
    arguments = parser.parse_args()
    trees = {"here": HERE} | ({"beside": arguments.beside} if arguments.beside else {})
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    bare = min(measured(BARE, HERE)[0] for _ in range(arguments.runs))
    print(f"an import of torch takes {bare:.2f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in arguments.sizes.split(","):
            width, height = (int(side) for side in size.split("x"))
            photo = folder / f"photo-{size}.jpg"
            Image.fromarray(data.coffee()).resize((width, height)).save(photo, quality=92)
            for verb in VERBS:
                found: dict[str, list[Measured]] = {tree: [] for tree in trees}
                for _ in range(arguments.runs):
                    for tree, path in trees.items():
                        found[tree].append(run(verb, photo, folder / "out", path))
                report(f"{verb} {size}", found)


def report(what: str, found: dict[str, list[Measured]]) -> None:
    """A line for each tree, with the ratio to the other where there are two."""
    best = {tree: min(runs, key=lambda one: one.seconds) for tree, runs in found.items()}
    for tree, one in best.items():
        ratios = "".join(
            f"; {name} takes {other.seconds / one.seconds:.2f} x the time, {other.gib / one.gib:.2f} x the memory"
            for name, other in best.items()
            if name != tree and tree == "here"
        )
        print(f"{what:<20} {tree:<7} {one.seconds:5.1f} s, {one.load:.1f} s to load, {one.gib:.2f} GiB at most{ratios}")


if __name__ == "__main__":
    main()
