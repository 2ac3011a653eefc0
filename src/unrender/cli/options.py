"""What every verb takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.errors import UserError

if TYPE_CHECKING:
    import torch

Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A folder, or a file with a known ending.")]
Light = Annotated[
    str, typer.Option(metavar="HDRI", help="An environment map (.exr, .hdr, or a picture), or the name of a shipped one.")
]

Yaw = Annotated[float, typer.Option(metavar="DEG", help="Turn the light about the vertical axis, degrees.")]
Exposure = Annotated[float, typer.Option(metavar="EV", help="Make the light brighter by this many stops.")]


@dataclass(frozen=True)
class Compute:
    """Where and how to compute."""

    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Number format of networks.")
    ] = "auto"
    seed: Annotated[int, typer.Option(help="The same seed gives the same result on the same machine.")] = 0

    def torch_device(self) -> torch.device:
        """The device asked for, the best one present for `auto`. Raises UserError where it is absent."""
        import torch

        present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if self.device == "auto":
            return torch.device(next(name for name in ("cuda", "mps", "cpu") if present[name]))
        if not present[self.device]:
            usable = ", ".join(name for name, here in present.items() if here)
            raise UserError(f"--device {self.device}: torch finds no such device here; {usable} would be right")
        return torch.device(self.device)

    def torch_dtype(self) -> torch.dtype | None:
        """The number format asked for; None leaves the choice to the model's card and the device."""
        import torch

        return None if self.dtype == "auto" else getattr(torch, self.dtype)
