"""Training: the one loop. Stopped and started again it ends with the same weights, bit by bit."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.utils import DistributedType
from PIL import Image

from tiny_task import Killed, Line, logged, same_weights, weights
from unrender.errors import UserError
from unrender.train.loop import BatchSpec, run
from unrender.train.recipe import Stage, TrainConfig, resolved
from unrender.train.run_folder import RunFolder

CONFIG = TrainConfig(
    steps=7,
    stages=(Stage(1.0, 8, 4),),
    lr=1e-2,
    warmup=2,
    precision="no",
    save_every=2,
    validate_every=3,
)


def train(out: Path, config: TrainConfig = CONFIG, report=None) -> Path:
    folder = RunFolder(out)
    folder.claim(config)
    return run(Line(), config, folder, report)


def kill_after(step: int):
    def report(now: int, loss: float) -> None:
        if now == step:
            raise Killed

    return report


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("loop") / "undisturbed"
    train(out)
    return out


def test_a_run_leaves_its_recipe_log_state_pictures_and_model(undisturbed: Path):
    here = {path.name for path in undisturbed.iterdir()}
    assert here == {"recipe.json", "log.jsonl", "state.pt", "validation", "tensorboard", "model"}
    assert (undisturbed / "recipe.json").read_text() == resolved(CONFIG)
    assert {path.name for path in (undisturbed / "validation").iterdir()} == {
        f"weights-{step:06d}.png" for step in (3, 6, 7)
    }
    with Image.open(undisturbed / "validation" / "weights-000007.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (3, 3))
    events = list((undisturbed / "tensorboard").rglob("events.out.tfevents.*"))
    assert sum(path.stat().st_size for path in events) > 1000


def test_the_log_has_a_line_a_step_with_every_loss(undisturbed: Path):
    lines = logged(undisturbed)
    assert [line["step"] for line in lines] == list(range(1, 8))
    for line in lines:
        assert line["loss"] == pytest.approx(line["first"] + line["rest"])
    assert '"seconds": ' in (undisturbed / "log.jsonl").read_text()


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, undisturbed: Path, step: int):
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        train(out, report=kill_after(step))
    assert not (out / "model").exists()
    train(out)
    assert same_weights(out / "model", undisturbed / "model")
    assert logged(out) == logged(undisturbed)


PROGRAM = """
import os, signal, sys
from pathlib import Path
from test_train_loop import train

def report(step, loss):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), report=report)
"""


def test_a_run_killed_by_the_system_ends_with_the_same_weights(tmp_path: Path, undisturbed: Path):
    out = tmp_path / "killed"
    tests = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(out)], cwd=tests, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 4
    train(out)
    assert same_weights(out / "model", undisturbed / "model")
    assert logged(out) == logged(undisturbed)


@pytest.mark.parametrize("moment", [None, torch.zeros(2), "none"])
def test_a_state_whose_optimiser_lacks_a_moment_is_damaged(tmp_path: Path, moment):
    with pytest.raises(Killed):
        train(tmp_path / "run", report=kill_after(3))
    path = tmp_path / "run" / "state.pt"
    state = torch.load(path, weights_only=True)
    held = state["optimiser"]["state"][0]
    held.pop("exp_avg") if moment is None else held.update(exp_avg=moment)
    torch.save(state, path)
    with pytest.raises(UserError, match="its optimiser is another one's"):
        train(tmp_path / "run")


def test_half_a_line_of_the_log_is_cut_off(tmp_path: Path, undisturbed: Path):
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        train(out, report=kill_after(3))
    with (out / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')
    train(out)
    assert logged(out) == logged(undisturbed)


def test_a_finished_run_is_left_as_it_is(undisturbed: Path):
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "model").iterdir()}
    steps: list[int] = []
    assert train(undisturbed, report=lambda step, loss: steps.append(step)) == undisturbed / "model"
    assert steps == []
    assert {path: path.stat().st_mtime_ns for path in (undisturbed / "model").iterdir()} == before


def test_a_run_of_another_recipe_is_refused(undisturbed: Path):
    with pytest.raises(UserError, match="another recipe"):
        train(undisturbed, replace(CONFIG, lr=1.0))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create"):
        train(tmp_path / "file" / "run")


def test_the_average_is_what_the_closed_form_says(tmp_path: Path):
    """Of one step from w0 to w1 with a share of min(average, 1/10): the model is w1 + keep (w0 - w1)."""
    start = Line().layer.weight.detach().clone()
    config = replace(CONFIG, steps=1, save_every=1, validate_every=0)
    for average, keep in ((0.0, 0.0), (0.05, 0.05), (0.998, 0.1)):
        out = tmp_path / str(average)
        model = train(out, replace(config, ema_decay=average))
        reached = torch.load(out / "state.pt", weights_only=True)["weights"]["line.weight"]
        assert not torch.equal(reached, start)
        found = weights(model)["line.safetensors:weight"]
        torch.testing.assert_close(found, reached + keep * (start - reached))


def test_accumulated_batches_make_one_step_of_their_mean(tmp_path: Path):
    """Two batches to a step: as many steps as without, and the gradient is the mean of theirs."""
    config = replace(
        CONFIG, steps=1, warmup=0, lr=0.1, weight_decay=0.0, ema_decay=0.0, max_grad_norm=1e9, accumulate=2
    )
    out = tmp_path / "two"
    train(out, config)
    assert len(logged(out)) == 1
    task = Line()
    losses = [sum(task.losses(task.networks, BatchSpec(8, 4, seed)).values()) for seed in (0, 1)]
    (sum(losses) / 2).backward()
    optimiser = torch.optim.AdamW(task.layer.parameters(), lr=0.1, betas=config.betas, weight_decay=0.0)
    optimiser.step()
    torch.testing.assert_close(weights(out / "model")["line.safetensors:weight"], task.layer.weight.detach())
    assert logged(out)[0]["loss"] == pytest.approx(float(sum(losses).detach() / 2))


def test_an_accumulating_run_goes_on_too(tmp_path: Path):
    config = replace(CONFIG, steps=4, accumulate=2)
    train(tmp_path / "whole", config)
    with pytest.raises(Killed):
        train(tmp_path / "killed", config, kill_after(3))
    train(tmp_path / "killed", config)
    assert same_weights(tmp_path / "whole" / "model", tmp_path / "killed" / "model")


def test_rates_and_sides_follow_the_recipe():
    config = TrainConfig(steps=1000, warmup=100, lr=1e-3, final_lr=0.01, stages=(Stage(0.5, 64, 2), Stage(0.5, 96, 1)))
    assert config.lr_at(49) == pytest.approx(5e-4)
    assert config.lr_at(100) == pytest.approx(1e-3)
    assert config.lr_at(1000) == pytest.approx(1e-5)
    assert [config.stage_at(step).side for step in (0, 499, 500, 999)] == [64, 64, 96, 96]
    with pytest.raises(UserError, match=r"add up to 0\.5; expected 1"):
        replace(config, stages=(Stage(0.5, 64, 2),))
    with pytest.raises(UserError, match="expected 1 or more"):
        replace(config, accumulate=0)


def test_a_time_budget_ends_a_run_and_moves_its_rate_and_stages(tmp_path: Path):
    config = replace(CONFIG, steps=10**6, hours=1.0, warmup=1, stages=(Stage(0.5, 16, 1), Stage(0.5, 32, 1)))
    assert config.progress(10) == pytest.approx(1e-5)
    assert config.progress(10, 1800) == 0.5
    assert config.lr_at(10, 3600) == pytest.approx(config.lr * config.final_lr, rel=1e-3)
    assert [config.stage_at(10, seconds).side for seconds in (0, 1700, 1900)] == [16, 16, 32]
    short = replace(CONFIG, steps=10**6, hours=1e-4)  # 0.36 s
    model = train(tmp_path / "run", short)
    steps = len(logged(tmp_path / "run"))
    assert model.is_dir()
    assert 0 < steps < 10**6
    assert train(tmp_path / "run", short) == model  # and is over, however often it is asked for
    assert len(logged(tmp_path / "run")) == steps
    with pytest.raises(UserError, match="0 hours; expected more"):
        replace(CONFIG, hours=0)


def test_training_without_tensorboard_says_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("unrender.train.loop.is_tensorboard_available", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'unrender\[train\]'"):
        train(tmp_path / "run")


def test_a_resolved_recipe_is_json():
    assert json.loads(resolved(CONFIG))["stages"] == [{"share": 1.0, "side": 8, "batch": 4}]


# With --cpu accelerate leaves several processes to MPI; its launcher of GPUs takes CPUs where the environment says so.
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
ON_ONE_MACHINE = [["--num_machines", "1"]]
ON_TWO_MACHINES = [["--num_machines", "2", "--machine_rank", str(rank)] for rank in range(2)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("machines", [ON_ONE_MACHINE, ON_TWO_MACHINES], ids=["one machine", "two machines"])
def test_two_processes_are_two_batches_to_a_step(machines: list[list[str]], tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys; from pathlib import Path; from test_train_loop import train; train(Path(sys.argv[1]))"
    )
    out = tmp_path / "two"
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    meet = ["--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    launched = [
        subprocess.Popen([*LAUNCH, *machine, *meet, *plain, str(program), str(out)], env=environment, stderr=-1)
        for machine in machines
    ]
    for process in launched:
        said = process.communicate(timeout=240)[1]
        assert process.returncode == 0, said.decode()
    train(tmp_path / "one", replace(CONFIG, accumulate=2))
    found, expected = weights(out / "model"), weights(tmp_path / "one" / "model")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    for two, one in zip(logged(out), logged(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)


def test_sharded_networks_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accelerate.Accelerator.distributed_type", DistributedType.FSDP)
    with pytest.raises(UserError, match="FSDP shards networks, and training has whole ones"):
        train(tmp_path / "run")
