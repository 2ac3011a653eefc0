"""Tiny decoders that stand in for a model's own: TAESD, two hundred times lighter, a little softer."""

from __future__ import annotations

from pathlib import Path

from unrender.diffusion.checkpoints.hub.cache import snapshots
from unrender.diffusion.checkpoints.hub.components import weight_files
from unrender.errors import UserError

DECODERS = {"madebyollin/taesd": "MIT"}
"""Hub ids of decoders for the latents of Stable Diffusion 1 and 2, with their licences."""


def find_decoder(model: str | Path) -> Path:
    """The folder of a tiny decoder: a pulled one, or the caller's own. Nothing is downloaded.

    Raises:
        UserError: it was never pulled, or there is no such folder, or no network in it.
    """
    if str(model) in DECODERS:
        here = [folder for folder in snapshots(str(model)) if _is_decoder(folder)]
        if not here:
            raise UserError(f"{model} is not on this machine; run `unrender models pull {model}`")
        return here[0]
    folder = Path(model)
    if not _is_decoder(folder):
        raise UserError(
            f"{folder} is no decoder; expected {', '.join(DECODERS)}, or a folder with config.json and safetensors"
        )
    return folder


def decoder_files(listing: list[str], half: bool) -> list[str]:
    """The files of a decoder's repository that are pulled; [] where it is none."""
    names = [name for name in listing if "/" not in name]
    weights = weight_files(names, half)
    return ["config.json", *weights] if weights and "config.json" in names else []


def _is_decoder(folder: Path) -> bool:
    return folder.is_dir() and bool(decoder_files([path.name for path in folder.iterdir() if path.is_file()], False))
