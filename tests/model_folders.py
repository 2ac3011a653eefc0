"""Folders that look like models: whole to those who look at names, with nothing to load."""

from pathlib import Path

from unrender.diffusion.checkpoints.hub.cache import store

WORDS = ("text_encoder", "tokenizer")
OLD, NEW = "a" * 40, "b" * 40


def hold(folder: Path, *components: str) -> Path:
    """A folder with components that look whole; nothing here reads their tensors."""
    for component in components:
        stem = "model" if "encoder" in component else "diffusion_pytorch_model"
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text("{}")
        (folder / component / f"{stem}.safetensors").write_bytes(b"weights")
    return folder


def snapshot(model: str, commit: str, *components: str) -> Path:
    return hold(store(model) / "snapshots" / commit, *components)
