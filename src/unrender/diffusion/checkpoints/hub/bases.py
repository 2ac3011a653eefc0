"""The base models that published checkpoints were fine-tuned from.

Stable Diffusion 2 was removed from its original repository in 2025, so its location is a setting, with a community
mirror as default.
"""

from __future__ import annotations

import os
from typing import Literal

Base = Literal["stable-diffusion-2", "stable-diffusion-2-1"]

BASE_COMPONENTS = ("vae", "text_encoder", "tokenizer")
"""What a published repository that lacks it has from its base, unchanged."""


def base_repository(name: Base) -> str:
    """The hub id, or the folder, of a base model: the environment variable (`UNRENDER_STABLE_DIFFUSION_2`,
    `UNRENDER_STABLE_DIFFUSION_2_1`), else the mirror."""
    variable = f"UNRENDER_{name.upper().replace('-', '_')}"
    return os.environ.get(variable, "").strip() or f"sd2-community/{name}"
