"""The one training loop: read it from top to bottom. One process or many, on whatever accelerate finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, is_tensorboard_available
from PIL import Image
from torch import Tensor, nn

from unrender.device import cpu_has_bfloat16
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.train.recipe import TrainConfig
from unrender.train.run_folder import RunFolder

Networks = Mapping[str, nn.Module]
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class BatchSpec:
    """The specification of one batch. All of its randomness follows from `seed`, so that a run that was killed resumes
    with the same batches: there is no other random state.

    Attributes:
        side: of its pictures, in pixels.
        count: of its pictures.
        seed: unique among all batches of the run, on all processes.
    """

    side: int
    count: int
    seed: int

    def generator(self, purpose: int) -> torch.Generator:
        """A generator for one of several purposes, on the CPU: every device gets the same numbers."""
        return torch.Generator().manual_seed(self.seed * 64 + purpose)


class Task(Protocol):
    """A training task: the recipe-specific part of training."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by name; parameters that require a gradient are trained, averaged (EMA) and saved."""
        ...

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The weighted losses of one batch, by name; `networks` are those above, prepared by accelerate."""
        ...

    def validate(self) -> dict[str, Tensor]:
        """Validation pictures (3, H, W) in [0, 1], display-encoded, by name."""
        ...

    def export(self, folder: Path) -> None:
        """Writes the model as a folder that `from_pretrained` takes."""
        ...


def run(task: Task, config: TrainConfig, folder: RunFolder, report: Report | None = None) -> Path:
    """Trains, or resumes training, and returns the folder of the model: the EMA of the weights.

    The same call on the same folder resumes where it stopped, and ends with the same weights, bit by bit.

    Args:
        folder: already claimed for the recipe.
        report: called after each step with (step, loss).

    Raises:
        UserError: tensorboard is not installed; another run is in the folder; its state is damaged.
    """
    _check_tensorboard()
    accelerator = Accelerator(
        mixed_precision=_precision(config),
        gradient_accumulation_steps=config.accumulate,
        log_with="tensorboard",
        project_dir=folder.path,
    )
    try:
        _check_replicas(accelerator)
        with folder.held() if accelerator.is_main_process else nullcontext():
            accelerator.init_trackers("tensorboard")
            trainer = _Trainer.start(task, config, accelerator)
            trainer.restore(folder)
            while config.progress(trainer.step, trainer.seconds) < 1:
                started = time.perf_counter()
                losses, seconds = _means(accelerator, trainer.train_step(), time.perf_counter() - started)
                trainer.seconds += seconds
                if accelerator.is_main_process:
                    trainer.after_step(folder, losses, time.perf_counter() - started)
                accelerator.log({f"loss/{name}": value for name, value in losses.items()}, step=trainer.step)
                if report is not None:
                    report(trainer.step, sum(losses.values()))
            if accelerator.is_main_process and not folder.model.exists():
                trainer.export(folder.model)
            accelerator.wait_for_everyone()
            accelerator.end_training()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)  # or later runs in this process would keep it
    return folder.model


@dataclass
class _Trainer:
    """The mutable state of training."""

    task: Task
    config: TrainConfig
    accelerator: Accelerator
    networks: dict[str, nn.Module]
    optimiser: Any
    ema: dict[str, Tensor]
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, task: Task, config: TrainConfig, accelerator: Accelerator) -> _Trainer:
        groups = _parameter_groups(task, config)
        optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
        networks = {name: accelerator.prepare(network) for name, network in task.networks.items()}
        ema = {name: value.detach().clone() for name, value in _trained(task.networks).items()}
        return cls(task, config, accelerator, networks, accelerator.prepare(optimiser), ema)

    def train_step(self) -> dict[str, float]:
        """One optimiser step, of `accumulate` batches on every process."""
        config, accelerator = self.config, self.accelerator
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr_at(self.step, self.seconds) * group.get("rate", 1.0)
        sums: dict[str, float] = {}
        for part in range(config.accumulate):
            with accelerator.accumulate(*self.networks.values()):
                with accelerator.autocast():
                    losses = self.task.losses(self.networks, self._batch_spec(part))
                accelerator.backward(torch.stack(list(losses.values())).sum())
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(_trained(self.task.networks).values(), config.max_grad_norm)
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss.detach()) / config.accumulate
        self._update_ema()
        self.step += 1
        return sums

    def after_step(self, folder: RunFolder, losses: dict[str, float], seconds: float) -> None:
        """Logs the step; every so many steps saves the state and writes validation pictures."""
        config = self.config
        folder.log({"step": self.step, "loss": sum(losses.values()), **losses, "seconds": round(seconds, 3)})
        last = config.progress(self.step, self.seconds) >= 1
        if self.step % config.save_every == 0 or last:
            folder.save(self._state())
        if config.validate_every and (self.step % config.validate_every == 0 or last):
            with self._ema_weights():
                _write_pictures(self.task.validate(), folder.path / "validation", self.step, self.accelerator)

    def restore(self, folder: RunFolder) -> None:
        """Restores the last saved state of the folder, where it has one."""
        state = folder.restore()
        if state is not None:
            self._check(state, folder)
            _load(self.task.networks, state["weights"])
            _copy(state["ema"], self.ema)
            try:
                self.optimiser.load_state_dict(state["optimiser"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise folder.damaged("its optimiser is another one's") from error
            if not all(_is_adam_state(parameter, held) for parameter, held in self.optimiser.state.items()):
                raise folder.damaged("its optimiser is another one's")
            self.step = state["step"]
            self.seconds = float(state.get("seconds", 0.0))
            if self.accelerator.scaler is not None and state["scaler"]:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.accelerator.is_main_process:
            folder.cut_log(self.step)

    def _check(self, state: dict[str, Any], folder: RunFolder) -> None:
        """Raises UserError where a state is none of this run."""
        step = state["step"]
        if type(step) is not int or not 0 < step <= self.config.steps:
            raise folder.damaged(f"it says step {step!r} of {self.config.steps}")
        for name in ("weights", "ema"):
            held, ours = state[name], _trained(self.task.networks)
            shapes = {key: tuple(value.shape) for key, value in ours.items()}
            if not isinstance(held, dict) or shapes != {
                key: tuple(value.shape) for key, value in held.items() if isinstance(value, Tensor)
            }:
                raise folder.damaged(f"its {name} are not those of this recipe's networks")

    def export(self, model: Path) -> None:
        """Writes the EMA weights as a model."""
        with self._ema_weights(), atomic_write(model) as temporary:
            self.task.export(temporary)

    def _batch_spec(self, part: int) -> BatchSpec:
        config, accelerator = self.config, self.accelerator
        stage = config.stage_at(self.step, self.seconds)
        batch = (self.step * config.accumulate + part) * accelerator.num_processes + accelerator.process_index
        return BatchSpec(stage.side, stage.batch, config.seed * 10_000_019 + batch)

    def _update_ema(self) -> None:
        # A lower decay at the start, or the EMA would remember the random initial weights.
        keep = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in _trained(self.task.networks).items():
                self.ema[name].lerp_(value, 1 - keep)

    def _state(self) -> dict[str, Any]:
        weights = {name: value.detach() for name, value in _trained(self.task.networks).items()}
        return {
            "step": self.step,
            "seconds": self.seconds,
            "weights": weights,
            "ema": self.ema,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {},
        }

    @contextmanager
    def _ema_weights(self) -> Generator[None]:
        """Puts the EMA weights into the networks, and restores the trained ones bit by bit at the end."""
        trained = {name: value.detach().clone() for name, value in _trained(self.task.networks).items()}
        _load(self.task.networks, self.ema)
        try:
            yield
        finally:
            _load(self.task.networks, trained)


def _parameter_groups(task: Task, config: TrainConfig) -> list[dict[str, Any]]:
    """All that is trained at one rate; apart from it, without weight decay, what the task's `rates` name, if it has
    any: parts of names, and how many times as fast these learn."""
    rates: Mapping[str, float] = getattr(task, "rates", {})
    named = _trained(task.networks)
    apart = {name: next((part for part in rates if part in name), None) for name in named}
    groups = [{"params": [value for name, value in named.items() if apart[name] is None]}]
    for part, rate in rates.items():
        chosen = [value for name, value in named.items() if apart[name] == part]
        if chosen:
            groups.append({"params": chosen, "rate": rate, "weight_decay": 0.0})
    return groups


def _means(accelerator: Accelerator, losses: dict[str, float], seconds: float) -> tuple[dict[str, float], float]:
    """Losses and seconds of a step as the mean of all processes: the losses of the whole batch, and one time that all
    go by, for a run that ends by it ends on all."""
    if accelerator.num_processes == 1:
        return losses, seconds
    told = torch.tensor([*losses.values(), seconds], dtype=torch.float64, device=accelerator.device)
    *values, seconds = accelerator.reduce(told, "mean").tolist()
    return dict(zip(losses, values, strict=True)), seconds


def _check_replicas(accelerator: Accelerator) -> None:
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"{accelerator.distributed_type.value} shards networks, and training has whole ones on every process; "
            "expected a configuration of accelerate for several GPUs or CPUs without it"
        )


def _check_tensorboard() -> None:
    if not is_tensorboard_available():
        raise UserError("training logs to tensorboard, which is not installed; run `pip install 'unrender[train]'`")


def _precision(config: TrainConfig) -> str:
    if config.precision != "auto":
        return config.precision
    return "bf16" if cpu_has_bfloat16() or torch.cuda.is_available() else "no"


def _trained(networks: Networks) -> dict[str, nn.Parameter]:
    return {
        f"{name}.{key}": value
        for name, network in networks.items()
        for key, value in network.named_parameters()
        if value.requires_grad
    }


def _load(networks: Networks, weights: dict[str, Tensor]) -> None:
    _copy(weights, _trained(networks))


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    for name, value in into.items():
        value.copy_(source[name])


def _is_adam_state(parameter: Tensor, held: dict[str, Any]) -> bool:
    """Whether what an optimiser holds of a parameter is what AdamW goes on from."""
    moments = [held.get(name) for name in ("exp_avg", "exp_avg_sq")]
    return isinstance(held.get("step"), Tensor) and all(
        isinstance(moment, Tensor) and moment.shape == parameter.shape for moment in moments
    )


def _write_pictures(pictures: dict[str, Tensor], folder: Path, step: int, accelerator: Accelerator) -> None:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        with atomic_write(folder / f"{name}-{step:06d}.png") as path:
            Image.fromarray(pixels).save(path)
        tracker = accelerator.get_tracker("tensorboard")
        tracker.log_images({name: pixels[None]}, step=step, dataformats="NHWC")
