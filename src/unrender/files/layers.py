"""EXR channel names: the name profiles of renderers and compositors, and one parser for them all.

A profile changes names only, never values: normals are always in OpenGL camera axes, depth is always planar. Sources of
the names:

unrender  `conventions`; layer.component, singles as `.Y`, mask as `.A`, the picture as bare R, G, B.
blender   multi-layer render results: view layer first, data passes by Cycles' pass names. Colour passes under the
          names that releases up to 4.x write (`DiffCol`); newest sources say `Diffuse Color`, which is read too.
arnold    the driver's AOV names: `N`, `Z`, `albedo`, `diffuse_albedo`; single floats are bare channels.
nuke      what Nuke's Write node writes: `.red/.green/.blue`, the built-in `depth.Z` and `mask.a`, and the picture as
          bare R, G, B, since a named main layer confuses it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from unrender.errors import UserError
from unrender.files.notes import note
from unrender.scene.gbuffer import CHANNELS

Profile = Literal["unrender", "blender", "arnold", "nuke"]

_RGB, _XYZ, _LONG = ("R", "G", "B"), ("X", "Y", "Z"), ("red", "green", "blue")


def _layer(name: str, components: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}.{component}" for component in components)


_SHARES = ("sky", *(name for name in CHANNELS if name.endswith("_deviation")))
"""Maps of one number that only we know, called the same in every profile."""


def _shares(pattern: str) -> dict[str, tuple[str, ...]]:
    return {name: (pattern.format(name),) for name in _SHARES}


PROFILES: dict[Profile, dict[str, tuple[str, ...]]] = {
    "unrender": {
        "base_color": _layer("base_color", _RGB),
        "diffuse_albedo": _layer("diffuse_albedo", _RGB),
        "normal": _layer("normal", _XYZ),
        "depth": ("depth.Z",),
        "disparity": ("disparity.Y",),
        "roughness": ("roughness.Y",),
        "metallic": ("metallic.Y",),
        "irradiance": _layer("irradiance", _RGB),
        "shading": _layer("shading", _RGB),
        "residual": _layer("residual", _RGB),
        "mask": ("mask.A",),
        **_shares("{}.Y"),
        "instance": ("instance.Y",),
        "rgb": _RGB,
    },
    "blender": {
        "base_color": _layer("ViewLayer.base_color", _RGB),
        "diffuse_albedo": _layer("ViewLayer.DiffCol", _RGB),
        "normal": _layer("ViewLayer.Normal", _XYZ),
        "depth": ("ViewLayer.Depth.Z",),
        "disparity": ("ViewLayer.disparity.X",),
        "roughness": ("ViewLayer.roughness.X",),
        "metallic": ("ViewLayer.metallic.X",),
        "irradiance": _layer("ViewLayer.irradiance", _RGB),
        "shading": _layer("ViewLayer.shading", _RGB),
        "residual": _layer("ViewLayer.residual", _RGB),
        "mask": ("ViewLayer.mask.X",),
        **_shares("ViewLayer.{}.X"),
        "instance": ("ViewLayer.instance.X",),
        "rgb": _layer("ViewLayer.Combined", _RGB),
    },
    "arnold": {
        "base_color": _layer("albedo", _RGB),
        "diffuse_albedo": _layer("diffuse_albedo", _RGB),
        "normal": _layer("N", _XYZ),
        "depth": ("Z",),
        "disparity": ("disparity",),
        "roughness": ("roughness",),
        "metallic": ("metalness",),
        "irradiance": _layer("irradiance", _RGB),
        "shading": _layer("shading", _RGB),
        "residual": _layer("residual", _RGB),
        "mask": ("mask",),
        **_shares("{}"),
        "instance": ("instance",),
        "rgb": _RGB,
    },
    "nuke": {
        "base_color": _layer("base_color", _LONG),
        "diffuse_albedo": _layer("diffuse_albedo", _LONG),
        "normal": _layer("normal", _LONG),
        "depth": ("depth.Z",),
        "disparity": ("disparity.red",),
        "roughness": ("roughness.red",),
        "metallic": ("metallic.red",),
        "irradiance": _layer("irradiance", _LONG),
        "shading": _layer("shading", _LONG),
        "residual": _layer("residual", _LONG),
        "mask": ("mask.a",),
        **_shares("{}.red"),
        "instance": ("instance.red",),
        "rgb": _RGB,
    },
}
"""Channel names that each profile writes, in the order of the map's components."""

_ALIASES = {
    "basecolor": "base_color",
    "albedo": "base_color",
    "diffusealbedo": "diffuse_albedo",
    "diffcol": "diffuse_albedo",
    "diffusecolor": "diffuse_albedo",
    "normal": "normal",
    "normals": "normal",
    "n": "normal",
    "depth": "depth",
    "disparity": "disparity",
    "roughness": "roughness",
    "metallic": "metallic",
    "metalness": "metallic",
    "irradiance": "irradiance",
    "shading": "shading",
    "residual": "residual",
    "mask": "mask",
    **{name.replace("_", ""): name for name in _SHARES},
    "instance": "instance",
    "rgb": "rgb",
    "rgba": "rgb",
    "combined": "rgb",
    "beauty": "rgb",
    "image": "rgb",
    "composite": "rgb",
    "": "rgb",
}
_GLOSSY = frozenset({"glosscol", "glossycolor", "specularalbedo", "specularcolor"})
_COMPONENTS = {
    **dict.fromkeys(("r", "red", "x"), 0),
    **dict.fromkeys(("g", "green", "y"), 1),
    **dict.fromkeys(("b", "blue", "z"), 2),
    **dict.fromkeys(("a", "alpha"), 3),
}


def channel_names(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The channel names that a profile writes for each map; UserError for an unknown profile."""
    if profile not in PROFILES:
        raise UserError(f"unknown EXR name profile {profile!r}; expected one of {', '.join(get_args(Profile))}")
    return PROFILES[profile]


@dataclass(frozen=True)
class Found:
    """The maps that were found among channels.

    Attributes:
        channels: those of each map, in the order of its components; "alpha" is the picture's own.
        notes: what was chosen where there was a choice, for people.
    """

    channels: dict[str, list[str]]
    notes: tuple[str, ...] = ()


def find_maps(names: Iterable[str]) -> dict[str, list[str]]:
    """Which channels carry which map: {"normal": ["N.X", "N.Y", "N.Z"], ...}, plus "alpha" for the picture's own.

    Takes the names of every profile, upper or lower case, with or without a view layer in front, and old and new
    Blender pass names. A grey picture (bare Y) is an "rgb" of one channel. Unknown layers, and known
    ones with components missing, are left out. See `choose_maps` for several layers of one map.
    """
    return choose_maps(names).channels


def choose_maps(names: Iterable[str]) -> Found:
    """`find_maps`, with what was chosen.

    Of two layers for one map the one in the view layer that has most maps counts, then the alphabetically first; of
    pictures the one that is called so, before one without a name.
    """
    candidates: dict[str, list[tuple[str, dict[str, list[str]]]]] = {}
    for layer, components in sorted(_by_layer(names).items()):
        name = _map_of(layer)
        channels = _components_of(name, components) if name is not None else None
        if name is not None and channels is not None:
            candidates.setdefault(name, []).append((layer, channels))
    groups = Counter(_group(layer) for several in candidates.values() for layer, _ in several)
    found: dict[str, list[str]] = {}
    chosen_groups: dict[str, None] = {}
    passed_over: dict[str, None] = {}
    for several in candidates.values():
        first, *rest = sorted(several, key=lambda item: (not item[0], -groups[_group(item[0])]))
        found |= first[1]
        chosen_groups[_group(first[0])] = None
        passed_over |= {layer: None for layer, _ in rest if layer}
    left = [layer for layer in passed_over if _group(layer) not in chosen_groups or not _group(layer)]
    notes = (f"has more than one layer of a map, and leaves out {', '.join(left[:6])}",) if left else ()
    return Found(found, notes)


def find_picture(path: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """The channels of an EXR that are its picture, "rgb" and "alpha"; where it has one colour layer and no other, that
    is the picture, and it is said.

    Raises:
        UserError: none is called so, and there is none or a choice.
    """
    names = list(names)
    chosen = choose_maps(names)
    if "rgb" in chosen.channels:
        return {name: chosen.channels[name] for name in ("rgb", "alpha") if name in chosen.channels}
    layers = {layer: parts for layer, parts in _by_layer(names).items() if _is_colour(layer, parts)}
    if len(layers) == 1:
        ((layer, parts),) = layers.items()
        note(path, f"has no layer that is called a picture, and its only colour layer {layer} is taken as one")
        return {"rgb": [parts[i] for i in range(3)]} | ({"alpha": [parts[3]]} if 3 in parts else {})
    listed = ", ".join(sorted(names)[:12])
    raise UserError(f"{path} has no picture in its {len(names)} channels ({listed}); expected R, G, B or Y")


def find_glossy_color(names: Iterable[str]) -> list[str] | None:
    """The channels of a renderer's glossy colour (Blender's GlossCol, Arnold's specular_albedo); None where there is
    none."""
    for layer, parts in sorted(_by_layer(names).items()):
        if _plain(layer.rpartition(".")[2]) in _GLOSSY and all(index in parts for index in range(3)):
            return [parts[index] for index in range(3)]
    return None


def is_picture_name(name: str) -> bool:
    """Whether a layer or part of that name is the picture."""
    return _map_of(name) == "rgb"


def _is_colour(layer: str, components: dict[int, str]) -> bool:
    last = {components[i].rpartition(".")[2].lower()[:1] for i in range(3) if i in components}
    return last == {"r", "g", "b"} and not layer.rpartition(".")[2].lower().startswith("crypto")


def _map_of(layer: str) -> str | None:
    """The map that a layer is called after, by the last piece of its name."""
    return _ALIASES.get(_plain(layer.rpartition(".")[2]))


def _group(layer: str) -> str:
    """What is in front of a layer's own name: a view layer."""
    return layer.rpartition(".")[0]


def _components_of(name: str, components: dict[int, str]) -> dict[str, list[str]] | None:
    """The channels of a map, and of the picture's alpha; None where some are missing."""
    if name == "sky" and len(components) > 1:  # a picture of a sky, which others render as a layer
        return None
    if CHANNELS[name] == 1:
        return {name: [next(iter(components.values()))]}
    if all(index in components for index in range(3)):
        alpha = {"alpha": [components[3]]} if name == "rgb" and 3 in components else {}
        return {name: [components[index] for index in range(3)], **alpha}
    if name == "rgb" and set(components) <= {1, 3} and 1 in components and components[1][-1] in "yY":
        return {"rgb": [components[1]]} | ({"alpha": [components[3]]} if 3 in components else {})
    return None


def _by_layer(names: Iterable[str]) -> dict[str, dict[int, str]]:
    layers: dict[str, dict[int, str]] = {}
    for full in names:
        layer, _, last = full.rpartition(".")
        if not layer and _plain(last) == "z":
            layer = "depth"
        elif not layer and CHANNELS.get(_ALIASES.get(_plain(last), "")) == 1:
            layer = last
        index = _COMPONENTS.get(last.lower(), 0 if layer else None)
        if index is not None:
            layers.setdefault(layer, {}).setdefault(index, full)
    return layers


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
