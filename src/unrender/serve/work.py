"""What a job works with: files by their ids, models and lights by name, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from unrender.errors import UserError
from unrender.serve.requests import Request

if TYPE_CHECKING:
    from unrender.files.readers import FrameReader, Reader
    from unrender.forward import ForwardRenderer
    from unrender.inverse.clips import ClipInverse
    from unrender.inverse.renderer import InverseRenderer
    from unrender.scene.environment import EnvironmentMap

Item = TypeVar("Item")
Report = Callable[[float, str], None]
"""Is told how much is done, in [0, 1], and what is done at the moment."""


def _tell_nobody(share: float, says: str) -> None:
    """A `Report` for tests, and for a job that is still on its way to its process."""


@dataclass(frozen=True)
class JobWork:
    """One job, as the process that does it sees it.

    Attributes:
        verb: its name.
        request: what was asked for.
        folder: where the results go.
        files: of the request, by id.
        models: folders that the service was started with, by name.
        pixels: most of a frame.
        report: is told how far it is.
    """

    verb: str
    request: Request
    folder: Path
    files: dict[str, Path]
    models: dict[str, Path] = field(default_factory=dict)
    pixels: int = 64_000_000
    report: Report = _tell_nobody

    def file(self, id: str) -> Path:
        """Where the file of an id of the request lies."""
        return self.files[id]

    def frames(self, id: str) -> FrameReader:
        """The picture or clip of an id.

        Raises:
            UserError: it is none, or larger than is taken.
        """
        from unrender.files.sequences import open_frames

        return self._sized(open_frames(self.file(id)))

    def _sized(self, reader: Reader) -> Reader:
        height, width = reader.size
        if height * width > self.pixels:
            raise UserError(f"{reader.name} is {width} x {height}; expected at most {self.pixels} pixels")
        return reader

    def light(self, name: str) -> EnvironmentMap:
        """A shipped light, or that of a file."""
        from unrender.files.environments import EVEN, builtin_environment_names, read_environment, resolve_light

        if name in self.files:
            return read_environment(self.file(name))
        names = (*builtin_environment_names(), EVEN)
        if name not in names:
            raise UserError(f"there is no light {name!r}; expected the id of a file, or one of {', '.join(names)}")
        return resolve_light(name)

    def model(self, name: str) -> str | Path:
        """A model that callers may name: no path is looked at."""
        from unrender.diffusion.checkpoints.hub.ids import known_ids
        from unrender.forward.renderer import DEFERRED

        if name in self.models:
            return self.models[name]
        if name not in known_ids() and name not in DEFERRED:
            raise UserError(f"there is no model {name!r}; expected an id of GET /v1/models")
        return name

    def inverse(self, model: str, seed: int = 0) -> ClipInverse:
        """The inverse renderer of a model, kept for the next job."""
        from unrender.diffusion.windows import ClipOptions
        from unrender.inverse.clips import ClipInverse

        self.report(0.0, "loading the model")
        renderer = load_inverse(self.model(model))
        return ClipInverse(renderer, ClipOptions.of(renderer.card), seed=seed)

    def forward(self, model: str, seed: int = 0, samples: int | None = None) -> ForwardRenderer:
        """The forward renderer of a model, kept for the next job."""
        return _forward_renderer(self.model(model), seed, samples)

    def counted(self, items: Iterable[Item], total: int, says: str) -> Iterator[Item]:
        """Passes `items` on, and reports how many have gone by."""
        self.report(0.02, says)
        for done, item in enumerate(items, start=1):
            yield item
            self.report(min(0.98, done / max(total, 1)), f"{says}, {done} of {total}" if total > 1 else says)


@lru_cache(maxsize=2)
def load_inverse(model: str | Path) -> InverseRenderer:
    """An inverse renderer; the last two are kept."""
    from unrender.inverse.renderer import InverseRenderer

    return InverseRenderer.from_pretrained(model)


@lru_cache(maxsize=2)
def _forward_renderer(model: str | Path, seed: int, samples: int | None) -> ForwardRenderer:
    from unrender.forward import ForwardOptions, ForwardRenderer

    return ForwardRenderer.from_pretrained(model, options=ForwardOptions(seed=seed), samples=samples)
