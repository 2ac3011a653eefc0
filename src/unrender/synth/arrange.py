"""Selects objects and places them without intersections."""

from __future__ import annotations

import numpy as np

from unrender.raytrace.assets import asset_name, read_asset
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh, transformed
from unrender.synth.materials import SMALL
from unrender.synth.objects import FURNITURE, random_object, random_primitive
from unrender.synth.placement import Extent, about_y, any_rotation, free_spot, posed
from unrender.synth.sources import Sources
from unrender.synth.wear import random_finish
from unrender.synth.world import Thing

Random = np.random.Generator

_TUMBLES = (
    *("rock", "box", "torus", "superquadric", "polyhedron", "crystal"),
    *("pebble", "carved block", "cratered stone", "bracket", "cube"),
)
_CARRIERS = ("table", "stool")


def close_up(rng: Random, sources: Sources, *, test: bool) -> Thing:
    """One object at the origin, randomly rotated."""
    kind, mesh, material = _asset(rng, sources, (), test)
    return Thing(mesh, material, posed(any_rotation(rng)), name=f"{material.name} {kind}".strip(), group=1)


def arrangement(rng: Random, sources: Sources, *, test: bool, indoors: bool) -> tuple[list[Thing], list[Extent]]:
    """One to three assets and, in a third of the cases, one to three cubes, balls and cylinders, on y = 0 or on a
    table or stool among them; with their extents, which do not overlap.

    Indoors there are more objects, and more furniture.
    """
    things: list[Thing] = []
    extents: list[Extent] = []
    carriers: list[int] = []
    assets = int(rng.choice([1, 2, 3], p=[0.2, 0.35, 0.45] if indoors else [0.35, 0.35, 0.3]))
    primitives = int(rng.integers(1, 4)) if rng.random() < 0.35 else 0
    for index in range(assets + primitives):
        if index < assets:
            among = FURNITURE if indoors and rng.random() < 0.5 else ()
            kind, mesh, material = _asset(rng, sources, among, test)
        else:
            (kind, mesh), material = random_primitive(rng), random_finish(rng, SMALL, test=test)
        upright = kind in FURNITURE or bool(sources.assets)
        tumbles = rng.random() < (0.0 if upright else 0.5 if kind in _TUMBLES else 0.12)
        turn = any_rotation(rng) if tumbles else about_y(rng.uniform(0, 2 * np.pi))
        pose, group = None, index + 1
        if carriers and kind not in FURNITURE and rng.random() < 0.6:
            pose = _on_top(rng, mesh, turn, things[carriers[-1]], extents)
        if pose is not None:
            group = things[carriers[-1]].group
        else:
            small, large = (0.2, 0.6) if index >= assets else (0.8, 1.3) if kind in FURNITURE else (0.45, 1.1)
            pose = _on_ground(rng, mesh, posed(turn, rng.uniform(small, large)), extents)
        if kind in _CARRIERS and not sources.assets:
            carriers.append(index)
        things.append(Thing(mesh, material, pose, name=f"{material.name} {kind}".strip(), group=group))
        extents.append(Extent.of(transformed(mesh, pose).vertices))
    return things, extents


def _asset(rng: Random, sources: Sources, among: tuple[str, ...], test: bool) -> tuple[str, Mesh, Material]:
    """Its name, mesh, and material; the material of an asset file has an empty name."""
    if sources.assets:
        path = sources.assets[int(rng.integers(len(sources.assets)))]
        return asset_name(path), *read_asset(path, SMALL)
    kind, mesh = random_object(rng, among)
    return kind, mesh, random_finish(rng, SMALL, test=test)


def _on_ground(rng: Random, mesh: Mesh, pose: Array, extents: list[Extent]) -> Array:
    """`pose` moved so that the mesh stands on y = 0, clear of all `extents`."""
    extent = Extent.of(transformed(mesh, pose).vertices)
    up = np.array([0.0, -extent.low[8], 0.0])
    pose[:3, 3] += up + free_spot(rng, extent.moved(up), extents)
    return pose


def _on_top(rng: Random, mesh: Mesh, turn: Array, carrier: Thing, extents: list[Extent]) -> Array | None:
    """A pose on the flat top of `carrier`, scaled to fit; None where a few tries find no room."""
    top = carrier.mesh.vertices[:, 1].max()
    board = carrier.mesh.vertices[carrier.mesh.vertices[:, 1] > top - 1e-3]
    # The inscribed square of a round top, the middle of a long one.
    half = 0.68 * float(np.abs(board[:, [0, 2]]).max(0).min())
    turned = mesh.vertices @ turn.T
    radius = float(np.linalg.norm(turned[:, [0, 2]], axis=1).max())
    for _ in range(8):
        share = rng.uniform(0.25, 0.7)
        spread = half * (1 - share)
        local = np.array([rng.uniform(-spread, spread), top, rng.uniform(-spread, spread), 1.0])
        scale = float(np.cbrt(np.linalg.det(carrier.pose[:3, :3]))) * share * half / radius
        pose = posed(turn, scale, (carrier.pose @ local)[:3])
        pose[1, 3] += 1e-4 - scale * float(turned[:, 1].min())
        extent = Extent.of(transformed(mesh, pose).vertices)
        if all(extent.apart(other) for other in extents):
            return pose
    return None
