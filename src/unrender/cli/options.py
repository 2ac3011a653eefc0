"""What every verb takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unrender.cli.outputs import Destination
from unrender.errors import UserError

Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A folder, or a file with a known ending.")]
Light = Annotated[
    str,
    typer.Option(metavar="HDRI", help="An environment map (.exr, .hdr, or a picture), or the name of a shipped one."),
]

Yaw = Annotated[float, typer.Option(metavar="DEG", help="Turn the light about the vertical axis, degrees.")]
Steps = Annotated[int | None, typer.Option(min=1, metavar="N", help="Denoising steps; the model's own.")]
LongSide = Annotated[
    int | None,
    typer.Option(min=0, metavar="PIXELS", help="Long side in the network, 0 for the picture's own; the model's."),
]
Exposure = Annotated[float, typer.Option(metavar="EV", help="Make the light brighter by this many stops.")]

Fps = Annotated[
    str | None,
    typer.Option(metavar="RATE", help="Frames a second of the result, such as 25, 23.976 or 24000/1001; the input's."),
]
Bits = Annotated[Literal["8", "16"], typer.Option(help="Bits of a channel of a PNG.")]
Compression = Annotated[
    Literal["auto", "zip", "dwaa"],
    typer.Option(
        help="Of pictures in EXR. zip: lossless, 32 bits; dwaa: 16 bits, lossy, a quarter as large. auto: zip for a "
        "still, dwaa for a clip. Maps are always lossless."
    ),
]
Profile = Annotated[
    Literal["unrender", "blender", "arnold", "nuke"],
    typer.Option(help="Whose channel names the EXR of a G-buffer carries."),
]

Samples = Annotated[
    int | None,
    typer.Option(
        min=2, metavar="N", help="Directions a pixel, where a deferred renderer draws them.  [default: 16; 64]"
    ),
]


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is run."""

    faithful: Annotated[
        bool, typer.Option("--faithful", help="Follow the model's official code number by number, quirks included.")
    ] = False
    memory: Annotated[
        Literal["normal", "low"],
        typer.Option(help="`low`: in tiles and one map at a time; slower, in less memory."),
    ] = "normal"
    decoder: Annotated[
        str, typer.Option(metavar="ID", help="A tiny decoder to decode with (TAESD's layout): an id or a folder.")
    ] = ""
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network first; worth it for many pictures on a GPU.")
    ] = False


@dataclass(frozen=True)
class SceneOptions:
    """How an inverse renderer sees the picture."""

    domain: Annotated[
        str,
        typer.Option(metavar="NAME", help="Kind of scene, for models that know it: indoor, outdoor, object."),
    ] = ""
    steps: Steps = None
    long_side: LongSide = None
    ensemble: Annotated[
        int, typer.Option(min=1, metavar="N", help="Answers from different noise that are brought together.")
    ] = 1


@dataclass(frozen=True)
class ClipSettings:
    """What the frames of a clip know of one another."""

    temporal: Annotated[
        Literal["attention", "none"],
        typer.Option(help="Of a clip: frames see one another and maps are held steady, or each is by itself."),
    ] = "attention"
    window: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Frames of a clip that are seen together; the model's.")
    ] = None
    overlap: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Frames that neighbouring windows share; half of them.")
    ] = None


@dataclass(frozen=True)
class PromptOptions:
    """What conditions a forward network besides its maps."""

    caption: Annotated[str, typer.Option(metavar="WORDS", help="Words for the picture.")] = ""
    guidance: Annotated[
        float | None,
        typer.Option(min=0, metavar="G", help="How much words count: 1 no guidance, 0 no words at all; the model's."),
    ] = None
    image_guidance: Annotated[
        float | None,
        typer.Option(min=1, metavar="G", help="How much maps count: 1 no guidance by them; the model's."),
    ] = None
    guidance_rescale: Annotated[
        float | None, typer.Option(metavar="SHARE", help="How much contrast guidance gives back, 0 to 1; the model's.")
    ] = None
    shadows: Annotated[
        bool, typer.Option("--shadows", help="Trace the light's shadows in screen space; needs depth.")
    ] = False
    lora: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="How much of the model's adapter is added, where it has one; the model's."),
    ] = None
    elevation: Annotated[
        float,
        typer.Option(metavar="DEG", help="The camera was raised by so much, for networks that are shown the light."),
    ] = 0.0


@dataclass(frozen=True)
class ColourOptions:
    """What colour spaces files are in, where they do not say so, or are not to be linear Rec.709."""

    colorspace_in: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The colour space of INPUT's values, whatever its file says: a name of OpenColorIO's, as 'ACEScg' or "
            "'ARRI LogC4', in the configuration $OCIO or the built-in ACES one.",
        ),
    ] = None
    colorspace_out: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The linear colour space of EXR results, as ACEScg.  [linear Rec.709]"),
    ] = None

    def check_names(self) -> None:
        """Raises UserError, before the work, for names that are none, or not of what they are asked for."""
        if self.colorspace_in is not None or self.colorspace_out is not None:
            from unrender.files.ocio import input_conversion, output_space

            input_conversion(self.colorspace_in)
            output_space(self.colorspace_out)

    def check(self, destination: Destination) -> dict[str, str]:
        """What the run record says of it; UserError, before the work, as `check_names`, and for a space of EXR where
        none is written."""
        self.check_names()
        if self.colorspace_in is None and self.colorspace_out is None:
            return {}
        from unrender.files.ocio import config_name

        if self.colorspace_out is not None and not destination.wants(".exr"):
            raise UserError(
                f"-o {destination.file}: --colorspace-out is of EXR; expected an OUT ending in .exr, or a folder"
            )
        return {"colour_configuration": config_name()}


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how to compute."""

    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Number format of networks.")
    ] = "auto"
    seed: Annotated[int, typer.Option(help="The same seed gives the same result on the same machine.")] = 0
