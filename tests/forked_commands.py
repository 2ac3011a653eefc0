"""Commands in processes that fork from one that has imported torch: each has its own settings, and starts at once."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class ForkedCommands:
    """Runs `python ARGUMENTS`, as `subprocess.run` does, where they are a program's path or "-m" and a module."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """What came of it, with its output as text; it has nothing to read."""
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        with tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder) / name for name in ("out", "err")]
            said = {
                "arguments": arguments,
                "environment": dict(environment),
                "streams": [str(path) for path in streams],
            }
            pipe.write(json.dumps(said).encode() + b"\n")
            pipe.flush()
            status = int(answers.readline())
            return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in streams))

    def end(self) -> None:
        """Ends the process that the others fork from."""
        self._process.communicate()


def _become(said: dict[str, Any]) -> int:
    """Runs a command in this process; its exit status."""
    os.environ.clear()
    os.environ.update(said["environment"])
    for number, path in enumerate((os.devnull, *said["streams"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    try:
        if said["arguments"][0] == "-m":
            sys.argv = said["arguments"][1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = said["arguments"]
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Forks for each line that is read, and answers with the exit status."""
    import torch  # noqa: F401 (this is what takes long)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = _become(json.loads(line))
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
