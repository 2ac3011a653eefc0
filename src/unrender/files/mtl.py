"""Materials of OBJ files: MTL with its extension for physically based shading (Pr, Pm, norm and their maps)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.materials import GltfMaterial
from unrender.files.notes import note
from unrender.files.paths import existing_file
from unrender.files.textures import beside, read_alpha, read_texture
from unrender.scene.color import srgb_to_linear

_NUMBERS = {"-mm": 2, "-bm": 1, "-boost": 1, "-texres": 1, "-o": 3, "-s": 3, "-t": 3}
_WORDS = frozenset({"-blendu", "-blendv", "-cc", "-clamp", "-imfchan", "-type", "-colorspace"})
_PLACES = frozenset({"-o", "-s", "-t"})
_CHANNELS = {"r": 0, "g": 1, "b": 2}


@dataclass(frozen=True)
class _Map:
    """The file of a texture, and the options before its name."""

    name: str
    numbers: dict[str, list[float]] = field(default_factory=dict)
    channel: int | None = None


def read_mtl(path: Path) -> dict[str, GltfMaterial]:
    """Reads the materials of an MTL file by name.

    Kd is linear and multiplies map_Kd. map_Pr and map_Pm stand in for Pr and Pm, as the programs that write them mean
    it. Without either, roughness comes from the Phong exponent, alpha = sqrt(2 / (Ns + 2)) (Walter et al. 2007,
    section 5.3). norm, and map_Bump where it is one, is the normal map. Opacity is d, or 1 - Tr, times map_d, or else
    the alpha of map_Kd. A texture that is not there is said, and left
    out.

    Raises:
        UserError: a damaged file, or numbers that are not finite.
    """
    said: dict[str, dict[str, str]] = {}
    statements: dict[str, str] = {}
    for line in existing_file(path).read_text("utf-8-sig", "replace").replace("\\\n", " ").splitlines():
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key.lower() == "newmtl":
            statements = said.setdefault(rest.strip(), {})
        elif key and not key.startswith("#"):
            statements[key.lower()] = rest.strip()
    return {name: _material(path, statements) for name, statements in said.items()}


def _material(path: Path, said: dict[str, str]) -> GltfMaterial:
    color = _texture(path, said, "map_kd")
    roughness, metallic = _texture(path, said, "map_pr"), _texture(path, said, "map_pm")
    red, green, blue = (_numbers(path, said, "kd") * 3)[:3] if "kd" in said else (0.8, 0.8, 0.8)
    exponent = max(_numbers(path, said, "ns")[0], 0.0) if "ns" in said else 0.0
    told = _numbers(path, said, "pr")[0] if "pr" in said else (2 / (exponent + 2)) ** 0.25
    return GltfMaterial(
        base_color=(red, green, blue),
        roughness=1.0 if roughness is not None else told,
        metallic=1.0 if metallic is not None else _numbers(path, said, "pm")[0] if "pm" in said else 0.0,
        base_color_texture=None if color is None else srgb_to_linear(color),
        roughness_texture=None if roughness is None else _single(said["map_pr"], roughness),
        metallic_texture=None if metallic is None else _single(said["map_pm"], metallic),
        normal_texture=_normals(path, said),
        opacity=_opacity(path, said),
        opacity_texture=_opacity_texture(path, said, color is not None),
    )


def _opacity(path: Path, said: dict[str, str]) -> float:
    if "d" in said:
        # `d -halo factor` is opaquest at grazing angles; the factor is what counts here.
        told = _numbers(path, said | {"d": said["d"].removeprefix("-halo")}, "d")[0]
    else:
        told = 1 - _numbers(path, said, "tr")[0] if "tr" in said else 1.0
    return min(max(told, 0.0), 1.0)


def _opacity_texture(path: Path, said: dict[str, str], colored: bool) -> Tensor | None:
    """(1, h, w) of map_d, its alpha where it has one; else the alpha of map_Kd."""
    cut = _texture(path, said, "map_d")
    if cut is not None:
        alpha = read_alpha(beside(path.parent, _map(said["map_d"]).name))
        return _single(said["map_d"], cut) if alpha is None else alpha
    return read_alpha(beside(path.parent, _map(said["map_kd"]).name)) if colored else None


def _numbers(path: Path, said: dict[str, str], key: str) -> list[float]:
    try:
        values = [float(part) for part in said[key].split()]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) for value in values):
        raise UserError(f"{path}: {key} is {said[key][:40]!r}; expected finite numbers")
    return values


def _texture(path: Path, said: dict[str, str], key: str) -> Tensor | None:
    if not said.get(key):
        return None
    found = _map(said[key])
    try:
        texture = read_texture(beside(path.parent, found.name))
    except UserError as error:
        note(path, f"{key} is left out: {error}")
        return None
    if any(value not in ((0, 0, 0), (1, 1, 1))[option == "-s"] for option, value in _placed(found)):
        note(path, f"{key} is moved or scaled by its options, which are not read; the map is read as it lies")
    return texture


def _placed(found: _Map) -> list[tuple[str, float]]:
    return [(option, value) for option in _PLACES for value in found.numbers.get(option, [])]


def _single(statement: str, texture: Tensor) -> Tensor:
    channel = _map(statement).channel
    return texture.mean(0, keepdim=True) if channel is None else texture[channel : channel + 1]


def _normals(path: Path, said: dict[str, str]) -> Tensor | None:
    """(3, h, w) of norm, or of a bump map that holds normals: unit vectors that point outwards."""
    for key in ("norm", "map_bump", "bump"):
        texture = _texture(path, said, key)
        if texture is None:
            continue
        normals = texture * 2 - 1
        if key != "norm" and not _are_normals(normals):
            note(path, f"{key} holds heights, which are not read; expected a normal map (norm)")
            continue
        strength = _map(said[key]).numbers.get("-bm", [1.0])[0]
        if strength != 1:
            normals = normals * torch.tensor((strength, strength, 1.0))[:, None, None]
            normals = torch.nn.functional.normalize(normals, dim=0)
        return normals
    return None


def _are_normals(normals: Tensor) -> bool:
    length = normals.square().sum(0).sqrt()
    return bool((length - 1).abs().median() < 0.1) and bool(normals[2].mean() > 0.3)


def _map(statement: str) -> _Map:
    """`-bm 1.0 my textures/bump.png`: options, then a name that may have blanks in it."""
    numbers: dict[str, list[float]] = {}
    channel, rest = None, statement.strip()
    while rest.startswith("-"):
        option, _, after = rest.partition(" ")
        option = option.lower()
        after = after.lstrip()
        if option in _WORDS:
            word, _, after = after.partition(" ")
            channel = _CHANNELS.get(word.lower(), channel) if option == "-imfchan" else channel
        elif option in _NUMBERS:
            values: list[float] = []
            while len(values) < _NUMBERS[option] and " " in after:
                word, _, following = after.partition(" ")
                try:
                    values.append(float(word))
                except ValueError:
                    break
                after = following.lstrip()
            numbers[option] = values or [1.0]
        else:
            break
        rest = after.lstrip()
    return _Map(rest.strip().strip('"'), numbers, channel)
