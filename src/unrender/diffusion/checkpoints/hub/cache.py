"""What the hub's cache on this machine holds.

A finished pull leaves a reference beside the hub's own, `refs/unrender`, with the commit that was pulled: later
runs take that commit, whatever the hub's newest is by then, and whatever other programs have fetched since.
"""

from __future__ import annotations

import re
from pathlib import Path

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.bases import BASE_COMPONENTS, base_repository
from unrender.diffusion.checkpoints.hub.components import is_whole, lacking, networks, required
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.files.atomic import atomic_write

PIN = "unrender"
_COMMIT = re.compile(r"\w[\w.-]{0,99}", re.ASCII)


def store(repository: str) -> Path:
    """The folder of a repository in the hub's cache; it need not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def pinned(repository: str) -> str:
    """The commit that was pulled last, "" where none was."""
    return _reference(repository, PIN)


def pin(repository: str, commit: str) -> None:
    """Makes `commit` the one that later runs take."""
    references = store(repository) / "refs"
    references.mkdir(parents=True, exist_ok=True)
    with atomic_write(references / PIN) as path:
        path.write_text(commit)


def snapshots(repository: str, revision: str | None = None) -> list[Path]:
    """The snapshot folders that stand for a repository, best first: `revision` alone where it is given; else the pinned
    one, the newest that was ever fetched, or the only one."""
    folder = store(repository) / "snapshots"
    if revision is not None:
        commits = [revision, _reference(repository, revision)]
    else:
        here = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        commits = [pinned(repository), _reference(repository, "main"), *(here if len(here) == 1 else [])]
    return [folder / commit for commit in dict.fromkeys(commits) if commit and (folder / commit).is_dir()]


def pulled(card: ModelCard) -> ModelLocation | None:
    """Where a published model is in the cache; None where it is missing or incomplete."""
    repository = card.identity.source.repository
    for folder in snapshots(repository, card.identity.source.revision):
        location = ModelLocation(card, folder, fallback_of(card, folder), folder.name)
        # A pinned commit was complete once. Its text encoder may be deleted by now: its embedded prompts are kept.
        if not lacking(location, networks(card) if folder.name == pinned(repository) else required(card)):
            return location
    return None


def fallback_of(card: ModelCard, folder: Path) -> Path | None:
    """The folder here with the components that `folder` lacks; None where it lacks none, or no folder has them."""
    missing = [name for name in required(card) if not is_whole(folder, name)]
    if not missing:
        return None
    if card.identity.source.fallback:
        places = snapshots(card.identity.source.fallback)
    elif set(missing) <= set(BASE_COMPONENTS) and not card.is_video:
        base = base_repository("stable-diffusion-2")
        places = [Path(base)] if Path(base).is_dir() else snapshots(base)
    else:
        return None
    return next((place for place in places if not lacking(ModelLocation(card, folder, place), networks(card))), None)


def _reference(repository: str, name: str) -> str:
    """The commit that a reference names, "" where there is none or it is damaged: it must not lead anywhere else."""
    path = store(repository) / "refs" / name
    try:
        commit = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, ValueError):
        return ""
    return commit if _COMMIT.fullmatch(commit) else ""
