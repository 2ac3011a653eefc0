"""What the verbs read, checked before anything slow is imported or run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from unrender.cli.options import ClipSettings
from unrender.cli.outputs import Destination
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.files.readers import Item, Reader
    from unrender.output import PictureFormat
    from unrender.relight.options import Exposure

_FASTEST = 1000


def parse_rate(text: str | None) -> Fraction | None:
    """`25`, `23.976` or `24000/1001` to frames a second; decimals near a broadcast rate mean that rate. None stays
    None."""
    if text is None:
        return None
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _FASTEST:
        raise UserError(f"--fps {text}: expected frames a second above 0 and up to {_FASTEST}, 24000/1001 for example")
    from unrender.scene.plate import exact_rate

    return exact_rate(rate)


def at_rate(reader: Reader[Item], rate: Fraction | None) -> Reader[Item]:
    """The same frames, played at another rate, which is said in every EXR that is made of them; None for their own."""
    if rate is None:
        return reader
    fps = float(rate)

    def frames() -> Iterator[Item]:
        for frame in reader:
            plate = frame.plate.at_rate(fps) if frame.plate is not None else None
            yield replace(frame, fps=fps, plate=plate)

    return replace(reader, fps=fps, open=frames, times=())


def parse_exposure(text: str) -> Exposure:
    """`--exposure`: "auto", or stops."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise UserError(f"--exposure {text!r}; expected auto, or a number of stops such as -1.5") from None


def check_windows(clip: ClipSettings, frames: int, source: Path) -> None:
    """Says that the settings of clips do nothing to a still, where they were given for one."""
    from unrender.files.notes import note

    given = [name for name, value in asdict(clip).items() if value != getattr(ClipSettings(), name)]
    if frames == 1 and given:
        options = ", ".join(f"--{name}" for name in given)
        note(source, f"is a still, and {options} {'are' if len(given) > 1 else 'is'} of clips: without effect")


def listed(inputs: Sequence[Path]) -> list[Path]:
    """What a verb was given, with the lines of `@FILE` in place of it; empty ones and those that begin with # are
    nobody's.

    Raises:
        UserError: there is no such file, or nothing in it.
    """
    found: list[Path] = []
    for given in inputs:
        if not str(given).startswith("@") or given.exists():
            found.append(given)
            continue
        from unrender.files.paths import existing_file
        from unrender.files.reading import reading

        file = existing_file(str(given)[1:])
        with reading(file, "a list of inputs, one a line"):
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        found += [Path(line) for line in lines if line and not line.startswith("#")]
    if not found:
        raise UserError("no inputs; expected one at least")
    return found


def picture_format(
    destination: Destination, bits: str, compression: str, frames: int, colorspace: str | None = None
) -> PictureFormat:
    """How the pictures of a clip are stored; `compression` "auto" is lossless for a still and lossy for several frames.

    Raises:
        UserError: a choice that the one file asked for cannot follow.
    """
    from unrender.output import PictureFormat

    if bits == "16" and not destination.wants(".png"):
        raise UserError(f"-o {destination.file}: --bits 16 is for PNG; expected an OUT ending in .png, or a folder")
    if compression != "auto" and not destination.wants(".exr"):
        raise UserError(f"-o {destination.file}: --compression is for EXR; expected an OUT ending in .exr, or a folder")
    lossy = compression == "dwaa" or (compression == "auto" and frames > 1)
    return PictureFormat(16 if bits == "16" else 8, "dwaa" if lossy else "zip", colorspace=colorspace)


def parse_maps(text: str | None) -> tuple[str, ...] | None:
    """`base_color,normal` to names of G-buffer maps; None, for all that a model gives, stays None."""
    if text is None:
        return None
    from unrender.scene.gbuffer import CHANNELS

    known = [name for name in CHANNELS if name != "rgb"]
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(f"--maps is empty; expected some of {', '.join(known)}")
    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected some of {', '.join(known)}"
            raise UserError(f"--maps {name}: there is no such map; {hint}")
    return tuple(dict.fromkeys(names))
