"""A run that is ended from outside leaves nothing under a final name, and the next one cleans up after it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from unrender.cli import main
from unrender.cli.messages import one_line
from unrender.cli.outputs import Destination, atomic_outputs
from unrender.cli.process import free_cores
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import clean_leftovers, is_alive, place, started, unfinished_name
from unrender.files.lock import LOCK_FILE, locked

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")

ENDED = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).resize((96, 64)).save(path)
    return path


def begin(*arguments: str | Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "unrender", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".unrender-")]


def wait_for(there, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200  # a machine may be busy
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", ENDED, ids=lambda number: number.name)
def test_a_signal_leaves_nothing_and_says_nothing(number: signal.Signals, photo: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = begin("relight", photo, "-o", out, "--light", "sunset", "--turn", "90", "--frames", "48")
    wait_for(lambda: unfinished(tmp_path) and list(unfinished(tmp_path)[0].iterdir()), process)
    process.send_signal(number)
    said, errors = process.communicate(timeout=80)
    errors = [line for line in errors.splitlines() if not line.startswith("relighting: ")]  # of a busy machine
    assert (process.returncode, said, errors) == (ENDED[number], "", [])
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("number", ENDED, ids=lambda number: number.name)
def test_a_signal_while_the_command_line_is_imported_says_nothing(number: signal.Signals):
    program = (
        "import importlib.abc, os, sys\n"
        "from unrender.cli import main\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'typer': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Watch())\n"
        "sys.argv = ['unrender', '--version']\n"
        "main()\n"
        "print('it went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (ENDED[number], "", "")


@pytest.mark.parametrize("argument", ["-m", "/usr/bin/unrender", "other.py"])
def test_ctrl_c_before_the_command_line_is_imported_says_nothing(argument: str):
    program = (
        "import importlib.abc, os, sys\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'unrender.lazy': os.kill(os.getpid(), {int(signal.SIGINT)})\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"sys.argv = [{argument!r}]\n"
        "import unrender\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if argument == "other.py":  # of a program of one's own, signals are its own
        assert "KeyboardInterrupt" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [*ENDED, signal.SIGKILL], ids=lambda number: number.name)
def test_at_any_moment(number: signal.Signals, photo: Path, tmp_path: Path):
    """Signals every tenth of a second through a whole run; then the same command completes."""
    out = tmp_path / "out"
    command = ("relight", photo, "-o", out, "--light", "sunset", "--turn", "9", "--frames", "6")
    for tenths in range(1, 40):
        process = begin(*command)
        time.sleep(tenths / 10)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, ENDED.get(number, -number), -number), errors
        assert "Traceback" not in errors
        if number is not signal.SIGKILL:
            assert not unfinished(tmp_path)
        if process.returncode == 0:
            break
        if (out / "run.json").exists():  # it comes last: the signal came after the work
            assert len(list(out.iterdir())) == 6
    assert main([*map(str, command)]) == 0
    assert not unfinished(tmp_path)
    assert not unfinished(out)


DIE = """
import os, signal, sys
from pathlib import Path
from unrender.cli import outputs
moved = []
replace = os.replace
def dying(*names):
    if len(moved) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    moved.append(names)
    replace(*names)
with outputs.atomic_outputs(outputs.Destination(Path(sys.argv[1]))) as work_dir:
    for name in ("a.exr", "run.json", "z.png"):
        (work_dir / name).write_text("new " + name)
    outputs.os.replace = dying
"""


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_killed_between_two_moves_a_rerun_completes(moves: int, tmp_path: Path):
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", DIE, str(out), str(moves)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert unfinished(tmp_path)
    assert [path.name for path in sorted(out.iterdir())] == ["a.exr", "z.png"][:moves]
    with atomic_outputs(Destination(out)) as work_dir:
        (work_dir / "run.json").write_text("{}")
    assert not unfinished(tmp_path)
    assert not unfinished(out)


def test_what_a_run_that_lives_is_writing_is_left_alone(tmp_path: Path):
    with atomic_outputs(Destination(tmp_path)) as first:
        (first / "a").write_text("a")
        with atomic_outputs(Destination(tmp_path)) as second:
            (second / "b").write_text("b")
        assert first.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_leftovers_are_told_by_their_owner(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    ours, other = unfinished_name(".exr"), "0" * 8
    assert place() in ours
    names = {
        ours: True,
        f".unrender-{place()}-{ended.pid}-1-00000000.exr": False,
        f".unrender-{place()}-{os.getpid()}-{started(os.getpid()) + 7}-00000000": False,  # an id given out again
        f".unrender-{other}-{ended.pid}-1-00000000": True,  # another machine's
        ".unrender-mine": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    clean_leftovers(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names
    assert is_alive(os.getpid(), started(os.getpid()))


def test_an_unfinished_file_has_a_name_of_its_owner_and_no_length_of_its_target(tmp_path: Path):
    target = tmp_path / ("a" * 250 + ".txt")
    with atomic_write(target) as partial:
        assert partial.name.startswith(f".unrender-{place()}-{os.getpid()}-")
        partial.write_text("whole")
    assert target.read_text() == "whole"


def test_a_folder_has_one_run_at_a_time(tmp_path: Path):
    with locked(tmp_path):
        with pytest.raises(UserError, match=rf"in use by another run \(process {os.getpid()} on "), locked(tmp_path):
            pytest.fail("two runs in one folder")
        assert (tmp_path / LOCK_FILE).exists()
    assert not list(tmp_path.iterdir())


HOLD = """
import sys, time
from pathlib import Path
from unrender.files.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_run_is_stale(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {process.pid}"), locked(tmp_path):
            pytest.fail("two runs in one folder")
        process.kill()
        process.wait()
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == process.pid
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_lines_are_bounded_and_obeyed_by_no_terminal():
    assert one_line("a\nb\x1b[31m\udce9\u202e") == "a b\\x1b[31m\\xe9\\u202e"
    long = one_line("x" * 10_000_000 + "end")
    assert len(long) <= 600
    assert long.endswith("xend")


def test_threads_are_fewer_only_where_others_run():
    free = free_cores()
    assert free is None or 1 <= free < len(os.sched_getaffinity(0))
