"""How a checkpoint is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unrender.device import DeviceName, DtypeName

MemoryMode = Literal["normal", "low"]


@dataclass(frozen=True)
class InferenceOptions:
    """How a checkpoint is run.

    Attributes:
        device, dtype: where, and in which precision; `auto` takes the fastest that is present, but float32 on a CPU
            where the reading is faithful.
        memory: `low` encodes and decodes in tiles and asks for one picture at a time: slower, in less memory.
        faithful: read the card as the official code does, number by number, quirks included.
        decoder: id or folder of a tiny decoder (TAESD's layout) to decode with; "" for the model's own.
        long_side: pixels of a picture's long side in the network; 0 for the picture's own; the card's when None.
        compile: compile the network before its first run (torch.compile); worth it for many pictures of one size.
    """

    device: DeviceName = "auto"
    dtype: DtypeName = "auto"
    memory: MemoryMode = "normal"
    faithful: bool = False
    decoder: str = ""
    long_side: int | None = None
    compile: bool = False
