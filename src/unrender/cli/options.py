"""What every verb takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A folder, or a file with a known ending.")]
Light = Annotated[
    str,
    typer.Option(metavar="HDRI", help="An environment map (.exr, .hdr, or a picture), or the name of a shipped one."),
]

Yaw = Annotated[float, typer.Option(metavar="DEG", help="Turn the light about the vertical axis, degrees.")]
Exposure = Annotated[float, typer.Option(metavar="EV", help="Make the light brighter by this many stops.")]


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how to compute."""

    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Number format of networks.")
    ] = "auto"
    seed: Annotated[int, typer.Option(help="The same seed gives the same result on the same machine.")] = 0
