"""A random world: things on a ground, against walls, in a room or close up; a light; a camera.

A world is a pure function of the random generator and of the files in `Sources`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unrender.raytrace.mesh import Array, Mesh
from unrender.raytrace.principled import Shading
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.synth.arrange import arrangement, close_up
from unrender.synth.framing import camera_at
from unrender.synth.interiors import furnished_room, table_from_above
from unrender.synth.lights import random_light
from unrender.synth.materials import SMALL, WIDE, embossed, random_material
from unrender.synth.outdoors import open_ground, street
from unrender.synth.placement import about_y, posed
from unrender.synth.rooms import random_room
from unrender.synth.shapes import plane
from unrender.synth.sources import Sources
from unrender.synth.world import Composition, Thing, World

Random = np.random.Generator

SHARES = {
    "close-up": 0.10,
    "objects": 0.17,
    "box room": 0.08,
    "furnished room": 0.30,
    "table": 0.10,
    "street": 0.13,
    "open ground": 0.12,
}
"""The share of each kind of world: a single object without surroundings; objects on a ground, or by a wall; a box room
round objects; see `interiors` and `outdoors` for the others."""

_METRIC = {
    "furnished room": furnished_room,
    "table": table_from_above,
    "street": street,
    "open ground": open_ground,
}


def random_world(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool) -> World:
    """Samples a world.

    No two things intersect (`placement.Extent`), but for what hangs on walls. Things that share a material hold the
    same object.

    Args:
        rng: the random generator.
        size: (height, width) of the camera, in pixels.
        sources: files that replace built-in objects and environment maps.
        test: whether built-in environment maps and patterns are those held out of training.

    Raises:
        UserError: a file of `sources` cannot be read; see `read_asset` and `random_light`.
    """
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if kind in _METRIC:
        scene = _METRIC[kind](rng, size, sources, test=test)
    elif kind == "close-up":
        thing = close_up(rng, sources, test=test)
        scene = Composition((thing,), _camera(rng, thing.placed, size, (-60, 60), (0.6, 1.0))[0], thing.name)
    else:
        scene = _objects(rng, size, sources, test=test, enclosed=kind == "box room")
    return _lit(rng, scene, sources, test=test)


def _objects(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool, enclosed: bool) -> Composition:
    """Objects on a ground, sometimes by a wall, or in a box room."""
    things, extents = arrangement(rng, sources, test=test, indoors=enclosed)
    points = np.concatenate([thing.placed for thing in things])
    camera, away = _camera(rng, points, size, (5, 45) if enclosed else (8, 85), (0.7, 1.5))
    openings = np.zeros((0, 3))
    if enclosed:
        scenery, place, openings = random_room(rng, extents, camera.pose[0, :3, 3].double().numpy(), test=test)
    else:
        reach = float(np.linalg.norm(points[:, [0, 2]], axis=1).max())
        scenery, place = _scenery(rng, reach, away, test)
    caption = f"{', '.join(thing.name for thing in things)} {place}"
    return Composition((*scenery, *things), camera, caption, openings)


def _lit(rng: Random, scene: Composition, sources: Sources, *, test: bool) -> World:
    light = _light(rng, sources, test=test, enclosed=len(scene.openings) > 0, under_sky=scene.under_sky)
    caption = f"{scene.caption}, {light.name}"
    # Another renderer's surfaces scatter light otherwise: half of the worlds have a BSDF of their own.
    shading = None
    if rng.random() < 0.5:
        shading = Shading(rng.choice([0.0, 1.0, rng.uniform(0, 1.5)]), rng.uniform(0.3, 1.7), rng.uniform(1.7, 2.3))
    things = tuple(_embossed(rng, thing, sources) for thing in scene.things) if sources.normals else scene.things
    return World(things, light, scene.camera, caption, scene.openings, scene.under_sky, shading)


def _embossed(rng: Random, thing: Thing, sources: Sources) -> Thing:
    """Some things with the relief of a normal map; what has none of its own is given it the likelier."""
    flat = not thing.material.bump.any()
    if len(thing.material.bump) < SMALL or rng.random() >= (0.15 if flat else 0.04):
        return thing
    path = sources.normals[int(rng.integers(len(sources.normals)))]
    return replace(thing, material=embossed(rng, thing.material, path))


def another_light(rng: Random, world: World, sources: Sources, *, test: bool) -> EnvironmentMap:
    """Another light for `world`, of the kinds that fit it."""
    return _light(rng, sources, test=test, enclosed=world.enclosed, under_sky=world.under_sky)


def _light(rng: Random, sources: Sources, *, test: bool, enclosed: bool, under_sky: bool) -> EnvironmentMap:
    share = 0.0 if under_sky else 0.6 if sources.lights else 0.45
    return random_light(rng, test=test, world_share=share, user_maps=sources.lights, outdoors=enclosed or under_sky)


def _camera(
    rng: Random, points: Array, size: tuple[int, int], elevations: tuple[float, float], fills: tuple[float, float]
) -> tuple[Camera, float]:
    """A camera with the points (N, 3) in frame, and the azimuth of its view direction in radians.

    It stands outside their bounding sphere; `elevations` in degrees, low ones the likelier where none is below 0, and
    `fills` is about how many times as far off as would frame the sphere.
    """
    low, high = points.min(0), points.max(0)
    center = (low + high) / 2
    radius = float(np.linalg.norm(points - center, axis=1).max())
    fov = rng.uniform(30, 60)
    distance = max(radius / np.sin(np.radians(fov / 2)) * rng.uniform(*fills), 1.25 * radius + 0.1)
    lowest, highest = elevations
    drawn = rng.random() if lowest < 0 else rng.beta(1.3, 1.8)
    elevation = np.radians(lowest + (highest - lowest) * drawn)
    azimuth = rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    eye = center + distance * toward
    target = center + radius * rng.uniform(-0.25, 0.25, 3)
    return camera_at(rng, size, eye, target, fov), azimuth + np.pi


def _scenery(rng: Random, reach: float, away: float, test: bool) -> tuple[list[Thing], str]:
    """The ground, and sometimes a back wall or a corner of two, beyond the `reach` of things round the origin as the
    camera sees them; and words for it."""
    material = random_material(rng, WIDE, test=test, metal_share=0.06)
    extent = rng.uniform(5, 9)
    turn = posed(about_y(rng.uniform(0, 2 * np.pi)))
    ground = Thing(plane(extent, extent), material, turn, name=f"{material.name} ground")
    words = f"on a {material.name} ground"
    kind = rng.random()
    if kind > 0.25:
        return [ground], words
    coat = random_material(rng, WIDE, test=test, metal_share=0.02)
    sides = (0.0,) if kind < 0.13 else (-np.pi / 4, np.pi / 4)
    tilt = rng.uniform(-0.4, 0.4)
    height = rng.uniform(2.5, 7)
    flat = plane(9.0, height)
    wall = Mesh(flat.vertices[:, [0, 2, 1]] * [1, -1, 1], flat.uv, flat.faces)
    parts = [ground]
    for side in sides:
        distance = reach * rng.uniform(1.1, 2.2) + 0.2
        # The wall stands at -Z and faces +Z; `away` is measured from +Z.
        turn = about_y(away + np.pi + side + tilt)
        parts.append(Thing(wall, coat, posed(turn, 1.0, turn @ [0, 0, -distance]), name=f"{coat.name} wall"))
    return parts, f"{words} by a {coat.name} wall"
