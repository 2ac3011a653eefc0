"""Colour spaces by name, through OpenColorIO: camera curves to linear Rec.709, and the spaces that an EXR can be in.

Names are those of the configuration that `$OCIO` says (a file, or `ocio://NAME`), else of the ACES studio configuration
that OpenColorIO carries in itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.files.linear_spaces import REC709, LinearSpace, space_of_matrix
from unrender.files.radiance import Array, clean

BUILT_IN = "ocio://studio-config-v4.0.0_aces-v2.0_ocio-v2.5"
"""By its whole name: what a name means should not change with the library."""

_REC709_NAME = "lin_rec709_srgb"  # in the library's own default configuration


@dataclass(frozen=True)
class Conversion:
    """Stored values of one colour space to linear Rec.709, in the place of what a file says of its colour (see
    `colour_statements.ColourStatement`).

    Attributes:
        name: of the space.
        processor: OpenColorIO's.
        hdr: whether values may pass 1, as those of cameras do.
    """

    name: str
    processor: Any
    hdr: bool

    def planes(self, values: NDArray[Any]) -> Array:
        """Integer values (H, W, C) as linear planes (3, H, W); not below 0."""
        return clean(self.rotated(values.transpose(2, 0, 1) / np.float32(np.iinfo(values.dtype).max)))

    def rotated(self, planes: NDArray[Any]) -> Array:
        """Stored values (C, H, W), C = 1 or 3, as linear planes (3, H, W)."""
        pixels = np.empty((*planes.shape[1:], 3), np.float32)
        pixels[:] = planes.transpose(1, 2, 0)
        self.processor.applyRGB(pixels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def config_name() -> str:
    """The configuration that names are looked up in."""
    return os.environ.get("OCIO") or BUILT_IN


def input_conversion(name: str | None) -> Conversion | None:
    """From a colour space, which need not be linear, to linear Rec.709; None for None.

    Raises:
        UserError: no such space (with near ones), one of a display or of no colour, a configuration that cannot be
            read, or OpenColorIO not installed.
    """
    return None if name is None else _conversion(config_name(), name)


def output_space(name: str | None) -> LinearSpace:
    """The linear space of that name, an EXR's; Rec.709 for None.

    Raises:
        UserError: as `input_conversion`, or a space that is not linear.
    """
    if name is None:
        return REC709
    found = input_conversion(name)
    assert found is not None
    config = _config(config_name())
    if not config.isColorSpaceLinear(found.name, _library().REFERENCE_SPACE_SCENE):
        raise UserError(f"the colour space {name!r} is not linear, and EXR is; expected one such as ACEScg")
    matrix = found.rotated(np.eye(3, dtype=np.float32)[:, None]).reshape(3, 3)
    space = config.getColorSpace(found.name)
    interop_id = space.getInteropID() if hasattr(space, "getInteropID") else ""
    return space_of_matrix(found.name, matrix.astype(np.float64), interop_id)


@cache
def _conversion(config: str, name: str) -> Conversion:
    library, known = _library(), _config(config)
    space = known.getColorSpace(name)
    if space is None:
        raise UserError(f"there is no colour space {name!r} in {config}; {_near(known, name)}")
    if space.isData():
        raise UserError(f"the colour space {name!r} is for what is no colour; expected one of a picture")
    if space.getReferenceSpaceType() != library.REFERENCE_SPACE_SCENE:
        raise UserError(
            f"the colour space {name!r} is a display's, after a view was chosen; expected one of a scene or a camera"
        )
    try:
        processor = library.Config.GetProcessorToBuiltinColorSpace(known, space.getName(), _REC709_NAME)
        return Conversion(space.getName(), processor.getDefaultCPUProcessor(), space.getEncoding() != "sdr-video")
    except (library.Exception, library.ExceptionMissingFile) as error:
        raise UserError(f"{config} cannot bring {name!r} to linear Rec.709: {_line(error)}") from error


@cache
def _config(name: str) -> Any:
    library = _library()
    try:
        return library.Config.CreateFromFile(name)
    except (library.Exception, library.ExceptionMissingFile) as error:
        raise UserError(f"the colour configuration {name} cannot be read ({_line(error)}); check $OCIO") from error


def _library() -> Any:
    try:
        import PyOpenColorIO
    except ImportError as error:
        raise UserError("colour spaces by name need OpenColorIO; `pip install 'unrender[color]'` brings it") from error
    return PyOpenColorIO


def _near(config: Any, name: str) -> str:
    """What a wrong name may have been meant for: names and aliases are looked through, names are told."""
    named = {}
    for space in config.getColorSpaces():
        if space.getReferenceSpaceType() == _library().REFERENCE_SPACE_SCENE and not space.isData():
            named |= {one.lower(): space.getName() for one in (space.getName(), *space.getAliases())}
    close = get_close_matches(name.lower(), list(named), n=6, cutoff=0.5)
    held = [one for one in named if name.lower() in one]
    found = list(dict.fromkeys(named[one] for one in (*close, *held)))[:3]
    some = found or list(dict.fromkeys(named.values()))[:3]
    return f"{'did you mean' if found else 'it has'} {', '.join(map(repr, some))}{'?' if found else ', ...'}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
