"""`unrender doctor`: what works on this machine."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unrender.cli.options import ComputeOptions
from unrender.cli.run_record import installed_versions
from unrender.errors import UserError

ENOUGH_DISK_GB = 2
WANTED_CODECS = {"libx264": "mp4 for looking", "ffv1": "FFV1 for work", "prores_ks": "ProRes 4444 for work"}


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and whether it is as it should be."""

    subject: str
    found: str
    ok: bool = True


def doctor(compute: ComputeOptions) -> None:
    """Say what works on this machine.

    Versions, processor, torch device, ray tracing, video codecs, free disk; each line is ok or a warning.
    """
    for finding in _findings(compute):
        print(f"{'ok  ' if finding.ok else 'warn'}  {finding.subject:<12} {finding.found}")


def _findings(compute: ComputeOptions) -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    for package, found in installed_versions().items():
        yield Finding(package, found)
    yield from _torch(compute)
    yield _mini()
    yield _ray_tracing()
    yield from _codecs()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Finding("free disk", f"{free:.0f} GiB here", free > ENOUGH_DISK_GB)


def _torch(compute: ComputeOptions) -> Iterator[Finding]:
    import torch

    from unrender.device import choose_compute, cpu_has_bfloat16

    chosen = choose_compute(compute.device, compute.dtype)
    name = torch.cuda.get_device_name() if chosen.device.type == "cuda" else f"{torch.get_num_threads()} threads"
    yield Finding("device", f"{chosen.device.type} ({name}), {str(chosen.dtype).removeprefix('torch.')}")
    width = torch.backends.cpu.get_cpu_capability()
    yield Finding("processor", f"{width}, bfloat16 {'in hardware' if cpu_has_bfloat16() else 'emulated'}")


def _mini() -> Finding:
    from unrender.diffusion.card.file import read_card
    from unrender.diffusion.checkpoints.hub.registry import resolve

    try:
        card = read_card(resolve("mini"))
    except UserError as error:
        return Finding("mini", str(error), ok=False)
    return Finding("mini", f"weights are here ({card.identity.licence})")


def _ray_tracing() -> Finding:
    try:
        from unrender.raytrace import backend

        return Finding("ray tracing", f"Mitsuba renders with {backend.variant()}")
    except ModuleNotFoundError:
        return Finding("ray tracing", "Mitsuba is not installed; pip install 'unrender[raytrace]'", ok=False)
    except UserError as error:
        return Finding("ray tracing", str(error), ok=False)


def _codecs() -> Iterator[Finding]:
    import av

    for codec, purpose in WANTED_CODECS.items():
        here = codec in av.codecs_available
        yield Finding(codec, purpose if here else f"missing, so no {purpose}", here)
