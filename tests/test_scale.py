"""Items are done once with the same results wherever they are done; what fails or is killed stops nobody else."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from scale_items import Squares, missing, results, workers
from unrender.cli import main
from unrender.cli.several import item_names
from unrender.errors import UserError
from unrender.scale import Executor, Inline, Needs, Part, Processes, RayCluster
from unrender.scale.cluster import ATTEMPTS, _connected

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    """Two workers of a cluster that begins once: it takes seconds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), before)))
    cluster = RayCluster(workers=2)
    with _connected(cluster, Needs()):
        yield cluster
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def square(executor: Executor, folder: Path, numbers: range = range(12), **harm) -> tuple[dict[int, str], int]:
    """The reasons of items that failed, and the units of progress that were told."""
    folder.mkdir()
    told = [0]

    def tell(more: int) -> None:
        told[0] += more

    outcomes = list(executor.run(Squares(folder, **harm), numbers, tell))
    assert sorted(outcome.item for outcome in outcomes) == list(numbers)
    assert all(outcome.result == outcome.item**2 for outcome in outcomes if not outcome.reason)
    return {outcome.item: outcome.reason for outcome in outcomes if outcome.reason}, told[0]


def test_ray_does_what_one_process_does_and_sets_aside_what_kills_workers(
    ray: RayCluster, tmp_path: Path, capfd: pytest.CaptureFixture
):
    assert square(Inline(), tmp_path / "inline", poisoned=frozenset({3})) == ({3: "3 is poisoned"}, 11)
    failed, told = square(ray, tmp_path / "ray", poisoned=frozenset({3}), deadly=frozenset({7}))
    assert failed == {3: "3 is poisoned", 7: f"{ATTEMPTS} workers died of it, perhaps out of memory"}
    assert told == 10
    whole = results(tmp_path / "inline")
    assert results(tmp_path / "ray") == {name: held for name, held in whole.items() if name != "00007.txt"}
    assert len(workers(tmp_path / "ray")) >= ATTEMPTS
    assert capfd.readouterr() == ("", "")


def test_processes_of_this_machine_do_the_same_and_live_as_long_as_they_should(tmp_path: Path):
    harm = {"poisoned": frozenset({3})}
    assert square(Processes(2), tmp_path / "new", needs=Needs(lifetime=3), **harm) == ({3: "3 is poisoned"}, 11)
    square(Inline(), tmp_path / "inline", **harm)
    assert results(tmp_path / "new") == results(tmp_path / "inline")
    assert 2 <= len(workers(tmp_path / "new")) <= 4  # two batches of six, by two processes at most


def test_a_worker_of_this_machine_that_is_killed_ends_the_run_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="killed from outside, perhaps out of memory"):
        square(Processes(2), tmp_path / "dead", range(2), deadly=frozenset({0}))


def test_a_full_disk_is_nobodys_item(tmp_path: Path):
    with pytest.raises(OSError, match="File too large") as caught:
        square(Processes(1), tmp_path / "full", range(4), room=50)
    assert caught.value.errno == errno.EFBIG
    assert results(tmp_path / "full") == {}


@given(count=st.integers(1, 9), items=st.integers(0, 40))
def test_parts_share_items_without_a_rest(count: int, items: int):
    parts = [Part(index, count) for index in range(1, count + 1)]
    assert sorted(item for part in parts for item in part.of(range(items))) == list(range(items))
    assert all(part.has(item) for part in parts for item in part.of(range(items)))
    assert max(len(part.of(range(items))) for part in parts) <= -(-items // count)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/", "-1/2", "1/0"])
def test_parts_that_are_none_are_refused(text: str):
    with pytest.raises(UserError, match="expected"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["a/one.png", "a/two.jpg"], ["one", "two"]),
        (["a/one.png", "a/one.jpg"], ["one.png", "one.jpg"]),
        (["s1/rgb.mp4", "s2/rgb.mp4"], ["s1/rgb", "s2/rgb"]),
        (["shot.####.exr", "other.%04d.png"], ["shot", "other"]),
        (["v1.2/rgb.mp4"], ["rgb"]),
    ],
)
def test_inputs_have_folders_of_their_own(inputs: list[str], names: list[str]):
    assert [str(name) for name in item_names([Path(path) for path in inputs])] == names
    with pytest.raises(UserError, match="given twice"):
        item_names([Path(inputs[0])] * 2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        Image.fromarray(data.astronaut()).rotate(7 * number).resize((64, 48)).save(tmp_path / f"p{number}.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "p0.png").read_bytes()[:300])
    names = ("broken", "p0", "p1", "p2")
    (tmp_path / "list.txt").write_text("# inputs\n\n" + "\n".join(str(tmp_path / f"{name}.png") for name in names))
    return tmp_path


def pictures(out: Path) -> dict[str, bytes]:
    """All results but the records, which have times in them."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }


def test_several_inputs_one_by_one_by_shards_and_again(photos: Path, capsys: pytest.CaptureFixture):
    out, alone = photos / "out", photos / "alone"
    command = ["inverse", f"@{photos / 'list.txt'}", "-o", str(out)]
    assert main([*command, "--shard", "1/2"]) == 1
    said = capsys.readouterr()
    assert "1 of 2 inputs done, 1 set aside" in said.out
    assert "broken.png is damaged" in said.err
    assert main([*command, "--shard", "2/2"]) == 0
    told = json.loads((out / "run.1-of-2.json").read_text())
    assert (told["done"], told["before"], [name for name, _ in told["failed"]]) == (1, 0, [str(photos / "broken.png")])
    assert {path.name for path in out.iterdir()} == {"p0", "p1", "p2", "run.1-of-2.json", "run.2-of-2.json"}
    assert main(["inverse", str(photos / "p1.png"), "-o", str(alone)]) == 0
    assert pictures(alone) == pictures(out / "p1")

    before = {path: path.stat().st_mtime_ns for path in out.glob("p*/*")}
    os.utime(photos / "p0.png")  # what is done is known by its bytes
    Image.new("RGB", (64, 48), (90, 80, 70)).save(photos / "p2.png")
    capsys.readouterr()
    assert main([str(part) for part in command]) == 1
    assert "1 of 4 inputs done, 2 there before, 1 set aside" in capsys.readouterr().out
    changed = {path.parent.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"p2"}
    assert main([*command, "--maps", "normal", "--shard", "2/4"]) == 0  # other settings are another result
    assert "1 of 1 inputs done" in capsys.readouterr().out


def test_several_inputs_into_one_file_are_refused(photos: Path, capsys: pytest.CaptureFixture):
    several = [str(photos / "p0.png"), str(photos / "p1.png")]
    assert main(["inverse", *several, "-o", str(photos / "a.exr")]) == 2
    assert "several inputs have a folder each" in capsys.readouterr().err
    assert main(["inverse", f"@{photos / 'none.txt'}", "-o", str(photos / "out")]) == 2
    assert "none.txt does not exist" in capsys.readouterr().err
    assert main(["inverse", *several, "-o", str(photos / "out"), "--shard", "3/2"]) == 2
    assert not (photos / "out").exists()


def test_nobody_at_an_address_is_said_in_one_line(photos: Path, capsys: pytest.CaptureFixture):
    command = ["inverse", str(photos / "p0.png"), "-o", str(photos / "out"), "--ray", "127.0.0.1:1"]
    assert main(command) == 2
    assert "--ray 127.0.0.1:1: no Ray cluster answers there" in capsys.readouterr().err


# The heavier ones: each begins clusters and processes of its own.


def drive(folder: Path, count: int, pause: float) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(HERE / "scale_items.py"), str(folder), str(count), str(pause)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        start_new_session=True,
    )


def wait_until(there, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_along_and_the_next_one_goes_on(tmp_path: Path):
    folder = tmp_path / "squares"
    process = drive(folder, 60, 0.2)
    wait_until(lambda: len(missing(folder, 60)) <= 50)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_running, workers(folder))))
    left = missing(folder, 60)
    assert 0 < len(left) <= 50
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.txt")}
    assert drive(folder, 60, 0.0).wait(timeout=120) == 0
    square(Inline(), tmp_path / "inline", range(60))
    for path in folder.glob(".unrender-*"):  # of an item that was in hand: nothing under its name
        path.unlink()
    assert results(folder) == results(tmp_path / "inline")
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept


@pytest.mark.slow
def test_workers_killed_at_random_change_nothing(ray: RayCluster, tmp_path: Path):
    folder, ended = tmp_path / "squares", threading.Event()
    folder.mkdir()
    killed = []

    def kill_now_and_then() -> None:
        while not ended.wait(0.5):
            alive = [pid for pid in workers(folder) if is_running(pid)] if (folder / "workers").exists() else []
            if alive:
                os.kill(alive[len(killed) % len(alive)], signal.SIGKILL)
                killed.append(alive)

    killer = threading.Thread(target=kill_now_and_then, daemon=True)
    killer.start()
    outcomes = list(ray.run(Squares(folder, pause=0.05), range(100), lambda units: None))
    ended.set()
    killer.join()
    assert sorted(outcome.item for outcome in outcomes) == list(range(100))
    assert not any(outcome.reason for outcome in outcomes)
    assert len(killed) >= 3
    square(Inline(), tmp_path / "inline", range(100))
    for path in folder.glob(".unrender-*"):
        path.unlink()
    assert results(folder) == results(tmp_path / "inline")


@pytest.mark.slow
def test_a_full_disk_of_a_ray_worker_ends_the_run(ray: RayCluster, tmp_path: Path):
    with pytest.raises(OSError, match="File too large"):
        square(ray, tmp_path / "full", range(4), room=50)
    assert results(tmp_path / "full") == {}


GPUS = """
import sys
from pathlib import Path
import ray
from scale_items import Squares
from unrender.scale import Needs, RayCluster

ray.init(address="local", num_cpus=8, num_gpus=2, include_dashboard=False)
work = Squares(Path(sys.argv[1]), crew=2, needs=Needs(threads=1, gpu=True))
assert all(not outcome.reason for outcome in RayCluster("local").run(work, range(8), lambda units: None))
"""


@pytest.mark.slow
def test_each_worker_of_a_cluster_with_gpus_begins_once_and_has_one_to_itself(tmp_path: Path):
    settings = {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", GPUS, str(tmp_path)], env=os.environ | settings, check=True, timeout=240)
    assert sorted(path.read_text() for path in (tmp_path / "workers").iterdir()) == ["0", "1"]


LOST_NODE = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from scale_items import Squares, missing
from unrender.scale import Needs, RayCluster

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
lost = nodes.add_node(num_cpus=1)
nodes.wait_for_nodes()
folder, seen, reasons = Path(sys.argv[1]), 0, []
work = Squares(folder, pause=0.1, crew=2)
for outcome in RayCluster(nodes.address).run(work, range(30), lambda units: None):
    seen += 1
    reasons += [outcome.reason] if outcome.reason else []
    if seen == 5:
        nodes.remove_node(lost, allow_graceful=False)
print(seen, reasons, missing(folder, 30), len(list((folder / "workers").iterdir())), flush=True)
nodes.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_is_lost_is_done_without(tmp_path: Path):
    settings = {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", LOST_NODE, str(tmp_path)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "30 [] [] 2", done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["inverse", "relight", "label", "synth"])
def test_every_verb_has_the_same_bytes_on_ray(verb: str, photos: Path):
    names = [str(photos / f"{name}.png") for name in ("broken", "p0", "p1", "p2")]
    commands = {
        "inverse": ["inverse", *names],
        "relight": ["relight", *names, "--light", "sunset"],
        "label": ["label", *names, "--frames", "1", "--resolution", "48"],
        "synth": ["synth", "--clips", "3", "--frames", "2", "--resolution", "16", "--samples", "1", "--seed", "11"],
    }
    expected = 0 if verb == "synth" else 1

    def command(out: str, *more: str) -> int:
        place = [str(photos / out)] if verb == "synth" else ["-o", str(photos / out)]
        made = subprocess.run(
            [sys.executable, "-m", "unrender", *commands[verb], *place, *more],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in made.stderr, made.stderr
        return made.returncode

    assert command("here") == expected
    assert command("there", "--ray", "local", "--workers", "2") == expected
    assert pictures(photos / "there") == pictures(photos / "here") != {}
    assert {path.name for path in (photos / "there").iterdir()} == {path.name for path in (photos / "here").iterdir()}
