"""How long `unrender --help` takes from shell to shell, beside a bare Python and an import of torch.

python benchmarks/help.py
"""

import platform
import statistics
import subprocess
import sys
import time

ROUNDS = 10
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "unrender --help": [sys.executable, "-m", "unrender", "--help"],
    "unrender relight --help": [sys.executable, "-m", "unrender", "relight", "--help"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; {ROUNDS} rounds in turn")
    rounds = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(ROUNDS)]
    bare = statistics.median(times["python -c pass"] for times in rounds)
    for name in COMMANDS:
        times = [run[name] for run in rounds]
        median = statistics.median(times)
        print(f"{name:<26} median {median:.3f} s, worst {max(times):.3f} s, {median / bare:.1f} x bare Python")


if __name__ == "__main__":
    main()
