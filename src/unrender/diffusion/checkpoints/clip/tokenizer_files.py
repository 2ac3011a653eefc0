"""CLIP's tokenizer as files, in today's layout and in the older one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, and CLIP's older `vocab.json` and `merges.txt`."""
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
