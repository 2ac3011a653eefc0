"""Environment maps: .hdr, .exr, display pictures (flagged), and the eight built-in ones."""

from __future__ import annotations

import difflib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import torch

from unrender.errors import UserError
from unrender.files.images import decode, to_frames, write_image
from unrender.files.paths import existing_file
from unrender.files.radiance import require_light
from unrender.scene.environment import ASPECT_TOLERANCE, EnvironmentMap

BALANCE = {"sunset": (1.4, 1.0, 0.5)}
"""White balance of shipped maps, what their R, G and B are multiplied by. The evening sky of `sunset` was taken with
one that makes level ground blue; this one lets it look as an evening does, with the same luminance. The file,
from which `synth` has its test worlds, is as its maker has it."""

EVEN = "even"
"""The name of the light of radiance 1 from everywhere, which takes the shading out of a picture."""

DESCRIPTIONS = {
    "city": "high sun between houses, nearly white",
    "courtyard": "open shade: blue sky on one side, ochre walls around",
    "forest": "soft daylight through trees, a low white sun behind",
    "interior": "a hotel room: tall windows, warm lamps above",
    "night": "dim; yellow street lamps low around",
    "studio": "two white lamps in a dark hall, neutral to cool",
    "sunrise": "a strong pale yellow sun, low, under a clear blue sky",
    "sunset": "a warm orange sky after a low sun, over the sea",
}
"""What a photo looks like under each shipped light, in a few words."""


def read_environment(path: str | Path) -> EnvironmentMap:
    """Reads an equirectangular light, linear Rec.709, in the OpenEXR layout (see `conventions`).

    A display picture (PNG, JPEG, ...) is decoded from sRGB and flagged `hdr=False`: its sun is clipped.

    Raises:
        UserError: what `read_image` raises; a map that is not twice as wide as high; NaN, infinite or negative values
            (with their counts); a map that is black everywhere.
    """
    path = existing_file(path)
    samples = decode(path)
    height, width, count = samples.pixels.shape
    if abs(width / height - 2) > 2 * ASPECT_TOLERANCE:
        raise UserError(f"the light {path} is {width}x{height}; an equirectangular map is twice as wide as high")
    # Pictures with bad values are repaired, lights are refused: so check before the repair.
    require_light(samples.pixels[..., : 1 if count < 3 else 3], str(path))
    frames = to_frames(path, samples)
    return EnvironmentMap(frames.rgb, path.stem, frames.hdr)


def write_environment(path: str | Path, light: EnvironmentMap, colorspace: str | None = None) -> None:
    """Writes a static light as an EXR of half floats, R, G, B, in the linear `colorspace` (see `write_image`)."""
    path = Path(path)
    if path.suffix.lower() != ".exr":
        raise UserError(f"cannot write the light {path}: lights end in .exr")
    if len(light) != 1:
        raise UserError(f"cannot write {path}: the light has {len(light)} frames; write one frame at a time")
    write_image(path, light.radiance[0], colorspace=colorspace)


def builtin_environment_names() -> tuple[str, ...]:
    """Names of the built-in CC0 environment maps, in alphabetical order."""
    files = resources.files("unrender.files").joinpath("worlds").iterdir()
    return tuple(sorted(Path(file.name).stem for file in files if file.name.endswith(".exr")))


def builtin_environment(name: str) -> EnvironmentMap:
    """A built-in environment map by name, in its `BALANCE`; UserError, with the nearest name, where there is none."""
    names = builtin_environment_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the shipped ones are {', '.join(names)}"
        raise UserError(f"there is no shipped light {name!r}; {hint}")
    with resources.as_file(resources.files("unrender.files").joinpath("worlds", f"{name}.exr")) as path:
        light = read_environment(path)
    if name not in BALANCE:
        return light
    return replace(light, radiance=light.radiance * torch.tensor(BALANCE[name])[:, None, None])


def resolve_light(text: str | Path) -> EnvironmentMap:
    """Resolves a light: a file, else a built-in one ("sunset" or "sunset.exr"), or "even": radiance 1 from everywhere,
    under which a picture shows little but its colours.

    Raises:
        UserError: neither a file nor a built-in name (the nearest one is suggested), or what
            `read_environment` raises.
    """
    path = Path(text)
    if path.exists():
        return read_environment(path)
    name = path.name.removesuffix(".exr")
    if path.parent == Path() and name in builtin_environment_names():
        return builtin_environment(name)
    if path == Path(EVEN):
        return EnvironmentMap(torch.ones(1, 3, 16, 32), name=EVEN)
    names = (*builtin_environment_names(), EVEN)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean the shipped {near[0]}?" if near else f"shipped lights are {', '.join(names)}"
    raise UserError(f"the light {text} does not exist; {hint}")
