"""OUT is read right, and appears whole or not at all; run.json tells what was run."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from unrender.cli.outputs import Destination, atomic_outputs, parse_destination
from unrender.cli.progress import progress_bar, track
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError


def test_an_ending_makes_a_file_and_none_a_folder(tmp_path: Path):
    assert parse_destination(tmp_path / "a.EXR", (".exr",)) == Destination(tmp_path, "a.EXR")
    assert parse_destination(tmp_path / "results", (".exr",)) == Destination(tmp_path / "results")
    assert parse_destination(tmp_path / "take.12", (".exr",)) == Destination(tmp_path / "take.12")
    (tmp_path / "odd.exr").mkdir()
    assert parse_destination(tmp_path / "odd.exr", (".exr",)).file is None


def test_an_unknown_ending_and_a_file_in_the_way_are_mistakes(tmp_path: Path):
    with pytest.raises(UserError, match=r"\.gif"):
        parse_destination(tmp_path / "a.gif", (".exr", ".png"))
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="that is a file"):
        parse_destination(tmp_path / "taken", (".exr",))


def test_results_appear_together(tmp_path: Path):
    folder = tmp_path / "deep" / "out"
    with atomic_outputs(Destination(folder)) as work_dir:
        (work_dir / "a.txt").write_text("a")
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_nothing_appears_when_the_work_fails(tmp_path: Path):
    (tmp_path / "old.txt").write_text("old")

    def work() -> None:
        with atomic_outputs(Destination(tmp_path)) as work_dir:
            (work_dir / "old.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.txt": "old"}


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write there"), atomic_outputs(Destination(tmp_path / "file" / "out")):
        pytest.fail("the work began")


def test_the_record_tells_settings_versions_and_seconds(tmp_path: Path):
    @dataclass(frozen=True)
    class Job:
        input: Path = Path("kitchen.jpg")
        yaw: float = 30.0

    record = RunRecord("relight", (Job(),))
    record.facts["model"] = {"id": "mini", "licence": "Apache-2.0"}
    with record.timed("load"):
        pass
    record.write(tmp_path / "run.json")
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["verb"] == "relight"
    assert told["settings"] == {"input": "kitchen.jpg", "yaw": 30.0}
    assert told["model"]["id"] == "mini"
    assert {"python", "unrender", "torch", "diffusers"} <= told["versions"].keys()
    assert told["seconds"].keys() == {"load", "total"}


def test_of_timers_within_one_another_the_innermost_counts():
    record = RunRecord("relight", ())
    render = record.timed("forward")(lambda: time.sleep(0.03))

    def items() -> Iterator[int]:
        for index in range(2):
            render()
            yield index

    start = time.perf_counter()
    with record.timed("write"):
        assert list(record.timed_items("relight", items())) == [0, 1]
        time.sleep(0.02)
    assert record.seconds["forward"] >= 0.06
    assert 0.02 <= record.seconds["write"] < 0.06
    assert sum(record.seconds.values()) <= time.perf_counter() - start


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    assert list(track(range(3), "counting", 3)) == [0, 1, 2]
    with progress_bar("working") as show:
        show(1, 2)
    told = capsys.readouterr()
    assert told.out == told.err == ""
