"""Without a terminal a line now and then says how far it is, and libraries' warnings say nothing."""

import os
import subprocess
import sys

import pytest

from unrender.cli import process, progress


def test_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_bar("rendering") as show:
        for done in range(101):
            now[0] = float(done)
            show(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "rendering: 10 of 100, about 90 s left",
        "rendering: 40 of 100, about 60 s left",
        "rendering: 70 of 100, about 30 s left",
    ]


def test_what_is_soon_done_says_nothing(capsys: pytest.CaptureFixture[str]):
    assert list(progress.track(range(3), "counting", 3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("running", "free"), [("1/90", None), ("3/90", 2), ("9/90", 1)])
def test_threads_are_those_that_are_free(running, free, monkeypatch, tmp_path):
    told = tmp_path / "loadavg"
    told.write_text(f"9.00 9.00 9.00 {running} 4711\n")
    monkeypatch.setattr(process.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(process.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(process, "open", lambda *_, **__: told.open(), raising=False)
    monkeypatch.setattr(process, "_quota", lambda: 1 << 16)
    assert process.free_cores() == free


def test_the_callers_number_of_threads_stays():
    program = (
        "import os; from unrender.cli import process; process.free_cores = lambda: 1\n"
        "process.begin(['relight']); print(os.environ.get('OMP_NUM_THREADS'))\n"
        "del os.environ['OMP_NUM_THREADS']; process.begin(['train']); print(os.environ.get('OMP_NUM_THREADS'))\n"
        "process.begin(['relight']); print(os.environ.get('OMP_NUM_THREADS'))\n"
        "import warnings; warnings.warn('of a library')\n"
    )
    env = os.environ | {"OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "None", "1"]
    assert done.stderr == ""
