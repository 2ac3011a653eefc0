"""Objects that ship, made in code: what to insert where nobody has an asset at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unrender.raytrace.atlas import PlacedMesh
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh, merge
from unrender.synth.furniture import board, chair
from unrender.synth.materials import WOODS
from unrender.synth.patterns import PATTERNS
from unrender.synth.shapes import displaced_sphere, lathe, rounded_box, smooth_profile, tube

_TEXELS = 16
_GRAIN = 256  # texels of textures that are not plain

Parts = tuple[PlacedMesh, ...]


def _plain(color: tuple[float, float, float], roughness: float, metallic: float = 0.0, name: str = "plain") -> Material:
    """A material of one linear colour."""
    flat = np.ones((_TEXELS, _TEXELS), np.float32)
    return Material(flat[..., None] * np.array(color, np.float32), flat * roughness, flat * metallic, name, 0 * flat)


def _ball(material: Material, radius: float) -> Parts:
    mesh = displaced_sphere(lambda d: np.full(d.shape[:-1], radius))
    return (PlacedMesh(Mesh(mesh.vertices + [0, radius, 0], mesh.uv, mesh.faces), material),)


def _chair() -> Parts:
    grain = PATTERNS["wooden"][0](np.random.default_rng(4), _GRAIN).astype(np.float32)
    dark, light = np.array(WOODS[1], np.float32), np.array(WOODS[3], np.float32)
    base = dark + (light - dark) * grain[..., None]
    material = Material(base, np.full_like(grain, 0.45), 0 * grain, "wood", 0 * grain)
    return (PlacedMesh(chair(np.random.default_rng(21)), material),)


def _cone() -> Parts:
    """A traffic cone, 0.7 m high: orange with two white bands on a black foot."""
    orange, white, black = (
        _plain((0.9, 0.13, 0.015), 0.45),
        _plain((0.85, 0.85, 0.83), 0.3),
        _plain((0.02, 0.02, 0.02), 0.7),
    )

    def radius(y: float) -> float:
        return 0.155 - 0.118 * (y - 0.04) / 0.66

    def band(low: float, high: float, thick: float = 0.0) -> Mesh:
        outline = [(0, low), (radius(low) + thick, low), (radius(high) + thick, high), (0, high)]
        return lathe(smooth_profile(np.array(outline), 0.004), 64)

    foot = rounded_box(np.array([0.19, 0.02, 0.19]), 0.012)
    return (
        PlacedMesh(Mesh(foot.vertices + [0, 0.02, 0], foot.uv, foot.faces), black),
        PlacedMesh(band(0.03, 0.7), orange),
        PlacedMesh(merge([band(0.25, 0.38, 0.0015), band(0.48, 0.57, 0.0015)]), white),
    )


def _crate() -> Parts:
    """A wooden crate, 0.5 m wide: a box with boards along its edges."""
    grain = PATTERNS["wooden"][0](np.random.default_rng(2), _GRAIN).astype(np.float32)
    light, dark = np.array(WOODS[3], np.float32), np.array(WOODS[1], np.float32)
    wood = Material(light + (dark - light) * grain[..., None], np.full_like(grain, 0.7), 0 * grain, "wood", 0 * grain)
    half, edge = 0.25, 0.03
    rails = []
    for a in (-1, 1):
        for b in (-1, 1):
            rails.append(board((0, half + a * (half - edge), b * (half - edge / 2)), (half, edge, edge)))
            rails.append(board((b * (half - edge / 2), half + a * (half - edge), 0), (edge, edge, half)))
            rails.append(board((a * (half - edge), half, b * (half - edge)), (edge, half, edge)))
    inside = board((0, half, 0), (half - edge / 2, half - edge / 2, half - edge / 2))
    return (PlacedMesh(inside, wood), PlacedMesh(merge(rails), wood))


def _vessel(profile: Array, thick: float) -> Mesh:
    """A turned vessel of the outer `profile` (N, 2) from its foot up, with walls `thick`."""
    inner = profile[::-1].copy()
    inner[:, 0] = np.maximum(inner[:, 0] - thick, 0)
    inner[:, 1] = np.maximum(inner[:, 1], profile[0, 1] + thick)
    outline = np.concatenate(([[0, profile[0, 1]]], profile, inner, [[0, profile[0, 1] + thick]]))
    return lathe(smooth_profile(outline, thick * 0.4), 96)


def _vase() -> Parts:
    t = np.linspace(0, 1, 40)
    radius = 0.055 + 0.05 * np.sin(np.pi * t**0.75) ** 2 - 0.022 * t + 0.018 * t**8
    return (PlacedMesh(_vessel(np.stack((radius, 0.3 * t), 1), 0.006), _plain((0.03, 0.12, 0.32), 0.15)),)


def _teapot() -> Parts:
    """A teapot of turned parts and two tubes, 0.16 m high."""
    clay = _plain((0.55, 0.57, 0.5), 0.2)
    a = np.linspace(-0.42 * np.pi, 0.36 * np.pi, 40)
    body = np.stack((0.09 * np.cos(a), 0.075 + 0.075 * np.sin(a)), 1)
    body = np.concatenate(([[0, 0], [0.05, 0]], body + [0, 0.0], [[0, body[-1, 1]]]))
    top = body[-1, 1]
    b = np.linspace(0, np.pi / 2, 16)
    lid = np.stack((0.042 * np.cos(b), top + 0.016 * np.sin(b)), 1)
    knob = np.stack((0.011 * np.cos(c := np.linspace(-1.2, np.pi / 2, 20)), top + 0.025 + 0.011 * np.sin(c)), 1)
    lid = np.concatenate(([[0, top - 0.004], [0.042, top - 0.004]], lid[:-3], knob))
    t = np.linspace(0, 1, 40)
    spout = np.stack((0.07 + 0.085 * t, 0.05 + 0.075 * t**1.8 + 0.012 * np.sin(np.pi * t), 0 * t), 1)
    angle = np.linspace(0.62, 2 * np.pi - 0.75, 48)
    handle = np.stack((-0.098 - 0.042 * -np.cos(angle), 0.078 + 0.046 * np.sin(angle), 0 * angle), 1)
    mesh = merge(
        [
            lathe(smooth_profile(body, 0.004), 96),
            lathe(lid, 96),
            _capped(spout, 0.02 - 0.0105 * t),
            _capped(handle, np.full(48, 0.008)),
        ]
    )
    return (PlacedMesh(mesh, clay),)


def _capped(path: Array, radius: Array) -> Mesh:
    """A tube whose ends close to a point."""
    ends = (path[:1] + (path[:1] - path[1:2]) * 0.2, path[-1:] + (path[-1:] - path[-2:-1]) * 0.2)
    return tube(np.concatenate((ends[0], path, ends[1])), np.concatenate(([1e-4], radius, [1e-4])))


BUILTIN: dict[str, Callable[[], Parts]] = {
    "ball": lambda: _ball(_plain((0.75, 0.06, 0.05), 0.3), 0.11),
    "chair": _chair,
    "chrome": lambda: _ball(_plain((0.9, 0.9, 0.9), 0.06, 1.0), 0.11),
    "cone": _cone,
    "crate": _crate,
    "grey": lambda: _ball(_plain((0.5, 0.5, 0.5), 0.9), 0.11),
    "teapot": _teapot,
    "vase": _vase,
}
"""What ships, by name, in metres: parts that stand on y = 0, +Y up."""
