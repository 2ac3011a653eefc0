"""Pieces in metres for rooms, streets and tables: models of a catalogue, or built-in families at their usual size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from unrender.raytrace.assets import asset_name, read_asset
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh
from unrender.synth import thin
from unrender.synth.catalogue import CatalogueModel
from unrender.synth.materials import SMALL
from unrender.synth.objects import FAMILIES, FURNITURE, random_object
from unrender.synth.placement import Extent, posed
from unrender.synth.sources import Sources
from unrender.synth.wear import random_finish
from unrender.synth.world import Thing

Random = np.random.Generator
Use = Literal["large", "small", "plant", "person", "vehicle", "outdoors", "hanging", "opening"]

_PLANT = re.compile(r"plant|tree|flower|palm|bush|maple|beech|poplar|ivy|lily|bonsai|cactus|grass|bouquet|fern", re.I)
_HEIGHTS = {"table": (0.4, 0.78), "stool": (0.42, 0.75), "chair": (0.8, 1.05), "shelf": (0.8, 2.0), "lamp": (0.5, 1.7)}
_SIZES = {"large": (0.5, 1.8), "small": (0.05, 0.35), "outdoors": (0.4, 2.5)}
_THIN: tuple[tuple[str, Callable[[Random], Mesh]], ...] = (
    ("rods", thin.rods),
    ("wire", thin.wire),
    ("plant", thin.plant),
    ("fence", thin.fence),
)


@dataclass(frozen=True)
class Piece:
    """A thing that can be set down.

    Attributes:
        name: of what it is.
        mesh: in metres, its lowest point at y = 0, its middle at x = z = 0, its front towards +Z.
        material: of the mesh.
        top: height at which smaller things can stand on it, None where none can.
    """

    name: str
    mesh: Mesh
    material: Material
    top: float | None = None

    @property
    def size(self) -> Array:
        """(3,) of its bounding box, metres."""
        return np.ptp(self.mesh.vertices, axis=0)

    def at(self, turn: Array, place: Array, group: int) -> tuple[Thing, Extent]:
        """The piece turned by `turn` (3, 3), its foot at `place` (3,), and its extent."""
        pose = posed(turn, 1.0, place)
        name = f"{self.material.name} {self.name}".strip()
        thing = Thing(self.mesh, self.material, pose, name=name, group=group)
        return thing, Extent.of(thing.placed)


def use_of(model: CatalogueModel) -> Use:
    """What a model of a catalogue is for."""
    width, height, depth = model.size
    if model.opening or model.category == "Doors and windows":
        return "opening"
    if _PLANT.search(model.name):
        return "plant"
    for category, use in (("Characters", "person"), ("Vehicles", "vehicle"), ("Exterior", "outdoors")):
        if model.category == category:
            return use
    if model.category == "Lights" and model.elevation > 1.2:
        return "hanging"
    return "large" if max(width, depth) > 0.45 or height > 0.6 else "small"


def piece(rng: Random, sources: Sources, use: Use, *, test: bool) -> Piece | None:
    """A piece for `use`, from the catalogue where it has one (a fifth of the time not); None where nobody has one.

    Raises:
        UserError: a file of the catalogue cannot be read; see `read_asset`.
    """
    if sources.assets and use in ("large", "small", "outdoors"):
        path = sources.assets[int(rng.integers(len(sources.assets)))]
        mesh, material = read_asset(path, SMALL)
        low, high = _SIZES[use]
        return Piece(asset_name(path), _standing(mesh, rng.uniform(low, high)), material)
    fitting = [model for model in sources.models if use_of(model) == use]
    if fitting and rng.random() < 0.8:
        return _from_catalogue(rng, fitting[int(rng.integers(len(fitting)))], test=test)
    return _built_in(rng, use, test=test)


def _from_catalogue(rng: Random, model: CatalogueModel, *, test: bool) -> Piece:
    mesh, material = read_asset(model.path, SMALL)
    vertices = mesh.vertices
    if model.rotation is not None:
        vertices = vertices @ np.array(model.rotation).reshape(3, 3).T
    low, extent = vertices.min(0), np.maximum(np.ptp(vertices, axis=0), 1e-6)
    vertices = (vertices - low - extent * [0.5, 0, 0.5]) * (np.array(model.size) / extent)
    if rng.random() < 0.35:
        material = _repainted(rng, material, test=test)
    return Piece(model.name, Mesh(vertices, mesh.uv, mesh.faces), material, model.top)


def _repainted(rng: Random, material: Material, *, test: bool) -> Material:
    """The material in another colour or with another finish: a catalogue's own are mostly matte."""
    base = material.base_color * rng.uniform(0.4, 1.5, 3)
    if rng.random() < 0.3:
        base = random_finish(rng, len(material.roughness), test=test, metal_share=0.1).base_color
    rough = material.roughness
    if rng.random() < 0.7:
        rough = np.full_like(rough, rng.uniform(0.08, 0.95))
    metal = np.full_like(material.metallic, float(rng.random() < 0.12))
    return replace(
        material,
        base_color=np.clip(base, 0.005, 1).astype(np.float32),
        roughness=np.clip(rough, 0.05, 1).astype(np.float32),
        metallic=np.maximum(material.metallic, metal),
    )


def _built_in(rng: Random, use: Use, *, test: bool) -> Piece | None:
    if use in ("person", "vehicle", "opening", "hanging"):
        return None
    if use == "large":
        name, mesh = random_object(rng, FURNITURE)
        low, high = _HEIGHTS[name]
        mesh = _standing(mesh, rng.uniform(low, high))
        return Piece(name, mesh, random_finish(rng, SMALL, test=test, metal_share=0.1), _top(name, mesh))
    if use == "plant" or (use == "small" and rng.random() < 0.2):
        name, family = _THIN[2] if use == "plant" else _THIN[int(rng.integers(len(_THIN)))]
        mesh, high = family(rng), rng.uniform(0.3, 1.8) if use == "plant" else rng.uniform(0.05, 0.3)
    else:
        name, mesh = random_object(rng, [name for name in FAMILIES if name not in FURNITURE])
        high = rng.uniform(*_SIZES[use])
    return Piece(name, _standing(mesh, high), random_finish(rng, SMALL, test=test, metal_share=0.1))


def _standing(mesh: Mesh, high: float) -> Mesh:
    """The mesh `high` metres high, or as much across where it is flat, on y = 0."""
    extent = np.ptp(mesh.vertices, axis=0)
    scale = high / max(extent[1], 0.35 * extent[0], 0.35 * extent[2])
    middle = mesh.vertices.min(0) + extent * [0.5, 0, 0.5]
    return Mesh((mesh.vertices - middle) * scale, mesh.uv, mesh.faces)


def _top(name: str, mesh: Mesh) -> float | None:
    return float(mesh.vertices[:, 1].max()) if name in ("table", "stool", "shelf") else None
