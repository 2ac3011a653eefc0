"""Where networks run, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from unrender.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Compute:
    """A device and the precision that networks run in there."""

    device: torch.device
    dtype: torch.dtype


def choose_compute(device: DeviceName = "auto", dtype: DtypeName = "auto") -> Compute:
    """The device and precision of a request; `auto` takes the fastest that is present.

    On a CPU that computes in bfloat16 (avx512-bf16, amx) that is bfloat16, on other CPUs float32; half precision on
    GPUs.

    Raises:
        UserError: the device is not present, or cannot run the precision.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device != "auto" and not present.get(device, False):
        raise UserError(
            f"device {device} is not present; expected {', '.join(d for d, there in present.items() if there)}"
        )
    name = device if device != "auto" else next(d for d in ("cuda", "mps", "cpu") if present[d])
    if dtype == "float16" and name == "cpu":
        raise UserError("float16 does not run on the CPU; expected float32 or bfloat16")
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
    return Compute(torch.device(name), precision or _fastest(name))


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; without it bfloat16 is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def _fastest(device: str) -> torch.dtype:
    if device == "cpu":
        return torch.bfloat16 if cpu_has_bfloat16() else torch.float32
    return torch.float16
