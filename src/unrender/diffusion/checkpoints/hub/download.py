"""Downloads weights from their repositories on the hub into the hub's cache on this machine.

What is fetched is chosen from the repository's listing first: one variant of safetensors for each component that the
card needs. The hub's library does the download: within a run, an interrupted file is resumed; a later
run keeps every file that was finished.
"""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub import cache
from unrender.diffusion.checkpoints.hub.bases import BASE_COMPONENTS, base_repository
from unrender.diffusion.checkpoints.hub.components import choose_files, is_whole, required, wanted
from unrender.diffusion.checkpoints.hub.decoders import decoder_files
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.errors import UserError

Report = Callable[[str], None]

_HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")


@dataclass(frozen=True)
class Share:
    """The files to fetch from one repository.

    Attributes:
        repository: its hub id.
        commit: the commit that a branch or tag stood for when it was listed.
        sizes: the files, and the bytes of each.
    """

    repository: str
    commit: str
    sizes: dict[str, int]

    @property
    def missing(self) -> dict[str, int]:
        """The files that are not in the cache, and the bytes of each."""
        folder = cache.store(self.repository) / "snapshots" / self.commit
        return {name: size for name, size in self.sizes.items() if not (folder / name).is_file()}

    def __str__(self) -> str:
        return (
            f"{self.repository}: commit {self.commit}, {len(self.sizes)} files, {sum(self.sizes.values()) / 1e9:.2f} GB"
        )


def pull(
    card: ModelCard,
    *,
    revision: str | None = None,
    half: bool = False,
    report: Report = lambda line: None,
    prepare: Callable[[ModelLocation], None] | None = None,
) -> ModelLocation:
    """Fetches the weights of a published model, and those of the repository that has its other components.

    Args:
        revision: a branch, tag or commit; None for the card's own, else the commit that was pulled before, else the
            newest. What is pulled is what later runs take.
        half: whether weights in half precision are preferred, where they are published.
        report: called with each repository and commit before it is fetched.
        prepare: called once everything is downloaded.

    Raises:
        UserError: the hub cannot be reached, or has no such repository or revision; a component is missing or comes as
            pickles only; there is no room. Nothing is fetched then. Or the connection was lost; the next call resumes.
    """
    repository = card.identity.source.repository
    if not repository:
        raise UserError(f"{card.id} cannot be pulled: it is embedded in unrender, or is a folder of yours")
    own = _share(repository, card, half, None, revision or card.identity.source.revision)
    fallback = _fallback(card, own, half)
    shares = [own, fallback] if isinstance(fallback, Share) else [own]
    _check_room(shares)
    folders = [_fetch(share, report) for share in shares]
    for share in shares:
        cache.pin(share.repository, share.commit)
    location = ModelLocation(card, folders[0], folders[-1] if isinstance(fallback, Share) else fallback, own.commit)
    if prepare is not None:
        prepare(location)
    return location


def pull_decoder(
    repository: str, *, revision: str | None = None, half: bool = False, report: Report = lambda line: None
) -> Path:
    """Fetches a tiny decoder, and returns its folder. Arguments and errors as in `pull`."""
    share = _listed(repository, lambda sizes: decoder_files(list(sizes), half), revision)
    if not share.sizes:
        raise UserError(f"{repository} has no decoder in safetensors at {share.commit}; choose another revision")
    _check_room([share])
    folder = _fetch(share, report)
    cache.pin(repository, share.commit)
    return folder


def _share(
    repository: str, card: ModelCard, half: bool, components: Sequence[str] | None, revision: str | None = None
) -> Share:
    return _listed(repository, lambda sizes: choose_files(sizes, card, half, components), revision)


def _listed(repository: str, choose: Callable[[dict[str, int]], list[str]], revision: str | None) -> Share:
    """What `choose` takes of the files of a repository, by name and size."""
    from huggingface_hub import HfApi

    revision = revision or cache.pinned(repository) or "main"
    with _errors_in_one_line(repository, revision):
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return Share(repository, info.sha or revision, {name: sizes[name] for name in choose(sizes)})


def _fallback(card: ModelCard, own: Share, half: bool) -> Share | Path | None:
    """What a repository lacks: from the one that its card names, or from the base that it was fine-tuned from."""
    missing = _missing(card, own)
    if not missing:
        return None
    source = card.identity.source
    from_base = set(missing) <= set(BASE_COMPONENTS) and not card.is_video
    if source.unet in missing or not (source.fallback or from_base):
        raise UserError(f"{own.repository} has no {missing[0]} in safetensors at {own.commit}; choose another revision")
    place = source.fallback or base_repository("stable-diffusion-2")
    if Path(place).is_dir():
        if absent := [name for name in missing if not is_whole(Path(place), name)]:
            raise UserError(
                f"{own.repository} has no {absent[0]} in safetensors, nor has {place}; expected a complete base model"
            )
        return Path(place)
    lacked = [name for name in wanted(card) if not any(file.startswith(f"{name}/") for file in own.sizes)]
    fallback = _share(place, card, half, lacked)
    absent = [name for name in missing if name in _missing(card, fallback)]
    if absent:
        raise UserError(f"neither {own.repository} nor {place} has {absent[0]} in safetensors; choose another revision")
    return fallback


def _missing(card: ModelCard, share: Share) -> list[str]:
    return [name for name in required(card) if not any(file.startswith(f"{name}/") for file in share.sizes)]


def _check_room(shares: Sequence[Share]) -> None:
    wanted_bytes = sum(sum(share.missing.values()) for share in shares)
    place = cache.store(shares[0].repository)
    existing = next(folder for folder in (place, *place.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if wanted_bytes > free:
        raise UserError(
            f"{shares[0].repository} needs {wanted_bytes / 1e9:.1f} GB in {place.parent}, and {free / 1e9:.1f} "
            "are free; make room, or name another folder with HF_HOME"
        )


def _fetch(share: Share, report: Report) -> Path:
    """Fetches what is missing of a share, and returns its folder."""
    from huggingface_hub import snapshot_download

    report(str(share))
    with _errors_in_one_line(share.repository, share.commit, fetching=True), _bars_on_terminals():
        folder = Path(
            snapshot_download(share.repository, revision=share.commit, allow_patterns=list(share.sizes), max_workers=4)
        )
    # Where the hub cannot be reached, the library returns what it has of a snapshot as if it were all.
    if share.missing:
        raise _broken_off(share.repository, f"{next(iter(share.missing))} is missing")
    return folder


@contextmanager
def _bars_on_terminals() -> Generator[None]:
    """Lets the library draw its progress bars only on a terminal, or where the environment asks for them."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _errors_in_one_line(repository: str, revision: str, fetching: bool = False) -> Generator[None]:
    """Turns the errors of the hub's library into one line that says what to do, and suppresses its warnings."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        mistake = _explained(error, repository, revision, fetching)
        if mistake is None:
            raise
        raise mistake from error
    finally:
        logging.set_verbosity(before)


def _explained(error: Exception, repository: str, revision: str, fetching: bool) -> UserError | None:
    """The message for an error of the hub's library; None for errors that neither the network nor the hub caused."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return UserError(
                f"{repository} is gated: accept its terms on {constants.ENDPOINT}/{repository}, "
                "`hf auth login`, and pull again"
            )
        case RepositoryNotFoundError():
            return UserError(
                f"the hub has no {repository}, or it is private; expected `hf auth login` with access to it, "
                "or a folder with its weights"
            )
        case HFValidationError():
            return UserError(f"{repository} is no hub id; expected OWNER/NAME")
        case RevisionNotFoundError():
            return UserError(f"{repository} has no revision {revision}; expected a branch, tag or commit of it")
        case OfflineModeIsEnabled():
            return UserError(f"pulling {repository} needs the network, and HF_HUB_OFFLINE forbids it; unset it")
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return UserError(
                f"no room for {repository} in {constants.HF_HUB_CACHE}; make room, or set another HF_HOME, "
                "and pull again: what was downloaded is kept"
            )
        case PermissionError():
            return UserError(f"{constants.HF_HUB_CACHE} cannot be written to; name another folder with HF_HOME")
    network = isinstance(error, HfHubHTTPError) or type(error).__module__.split(".")[0] in _HTTP_LIBRARIES
    # While files are fetched, whatever else goes wrong in the library (its own checks, its other protocol) is too.
    if fetching and (network or isinstance(error, OSError | RuntimeError)):
        return _broken_off(repository, f"{type(error).__name__}")
    if isinstance(error, HfHubHTTPError):
        return UserError(f"{constants.ENDPOINT} answers {error.response.status_code} for {repository}; try again later")
    if network:
        return UserError(
            f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}), and pulling {repository} needs it; "
            "check the network, or give a folder with its weights"
        )
    return None


def _broken_off(repository: str, why: str) -> UserError:
    return UserError(f"pulling {repository} was interrupted ({why}); run the command again, finished files are kept")
