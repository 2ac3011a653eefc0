"""The smallest thing that the training loop trains, and what its runs leave behind; nothing slow to import."""

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from unrender.train.loop import BatchSpec, Networks


def weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the model that a run left in `folder`, by the name of its file and its own."""
    return {
        f"{path.relative_to(folder)}:{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in safetensors.torch.load_file(path).items()
    }


def same_weights(first: Path, second: Path) -> bool:
    """Whether two models are the same, bit by bit."""
    one, other = weights(first), weights(second)
    return bool(one) and one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logged(run: Path) -> list[dict[str, float]]:
    """The lines of a run's log, without its times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


class Killed(BaseException):
    """What a run is ended with in the middle."""


class Line:
    """The smallest task: a linear layer that learns to double what it is given."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)
        self.networks: dict[str, nn.Module] = {"line": self.layer}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        given = torch.randn(spec.count, 3, generator=spec.generator(0))
        answer = networks["line"](given)
        return {"first": (answer - 2 * given)[:, 0].square().mean(), "rest": (answer - 2 * given)[:, 1:].abs().mean()}

    def validate(self) -> dict[str, Tensor]:
        return {"weights": self.layer.weight.detach()[None].expand(3, -1, -1)}

    def export(self, folder: Path) -> None:
        folder.mkdir()
        safetensors.torch.save_file(
            {name: value.detach().clone() for name, value in self.layer.state_dict().items()},
            folder / "line.safetensors",
        )
