"""The command that makes what is on the screen."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath
from typing import Annotated

from pydantic import Field

from unrender.serve.requests import Degrees, Name, Request
from unrender.studio.look import Look

LIGHT_FILE, MASK_FILE = "studio-light.exr", "studio-mask.png"


class Inserted(Request):
    """An object that stands in the picture: its name, its foot as shares of the picture, and how it stands."""

    asset: Name
    at: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
    height: Annotated[float, Field(gt=0, le=100)]
    turn: Degrees = 0.0


class Screen(Request):
    """What is on the screen.

    Attributes:
        photo: what the photo is called.
        light: what the light's file is called, where it was opened.
        model: that took it apart.
        look: how it is shown.
        changes: of material.
        masked: whether they are painted somewhere, or everywhere.
        inserted: the object that was put in, in the photo's own light.
    """

    photo: str = Field(max_length=200)
    light: str = Field("", max_length=200)
    model: Name = "mini"
    look: Look = Look()
    changes: list[str] = Field(default_factory=list, max_length=16)
    masked: bool = False
    inserted: Inserted | None = None


def command_of(screen: Screen) -> str:
    """A line for a shell: `unrender relight`, `edit` where materials are changed, `insert` where an object stands. A
    light of lamps and the painted mask are files that the page hands out, `studio-light.exr` and `studio-mask.png`."""
    rig, look = screen.look.rig, screen.look
    if screen.inserted is not None:
        return shlex.join(_insertion(screen, screen.inserted))
    words = ["unrender", "edit" if screen.changes else "relight", _file(screen.photo), "-o", "out"]
    if screen.model != "mini":
        words += ["--model", screen.model]
    own = rig.base == "own" and not rig.lit and not rig.yaw
    if not (own and screen.changes):
        words += ["--light", (_file(screen.light) if screen.light else rig.base) if rig.plain else LIGHT_FILE]
        if rig.yaw and not rig.lit:
            words += ["--yaw", f"{rig.yaw:g}"]
        if look.background != "photo":
            words += ["--background", look.background]
    if not screen.changes:
        words += [] if look.exposure == "auto" else ["--exposure", f"{look.exposure:g}"]
        words += [] if look.walls else ["--no-walls"]
    for change in screen.changes:
        words += ["--set", change]
    if screen.changes and screen.masked:
        words += ["--mask", MASK_FILE]
    return shlex.join(words)


def _insertion(screen: Screen, one: Inserted) -> list[str]:
    words = ["unrender", "insert", _file(screen.photo), "-o", "out", "--asset", one.asset]
    words += ["--at", f"{100 * one.at[0]:.4g}%,{100 * one.at[1]:.4g}%", "--height", f"{one.height:g}%"]
    words += ["--turn", f"{one.turn:g}"] if one.turn else []
    return words + (["--model", screen.model] if screen.model != "mini" else [])


def _file(name: str) -> str:
    """A name as it is typed: the last part of it alone, which never looks like an option."""
    last = re.sub(r"[\x00-\x1f\x7f]", "?", PurePath(name.replace("\\", "/")).name) or "photo.jpg"
    return f"./{last}" if last.startswith("-") else last
