"""Furnished rooms, and tables seen from above. In metres."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from unrender.raytrace.mesh import Array
from unrender.synth.framing import camera_at
from unrender.synth.furniture import board
from unrender.synth.materials import SMALL, WIDE, paint, random_material
from unrender.synth.pieces import Piece, Use, piece
from unrender.synth.placement import Extent, about_y
from unrender.synth.rooms import room_lamps, room_shell
from unrender.synth.shapes import plane
from unrender.synth.sources import Sources
from unrender.synth.wear import labelled, random_finish
from unrender.synth.world import Composition, Thing

Random = np.random.Generator


@dataclass
class Furnishing:
    """What has been set down so far: things, their extents, and the pieces with a top and where they stand."""

    rng: Random
    sources: Sources
    test: bool
    things: list[Thing] = field(default_factory=list)
    extents: list[Extent] = field(default_factory=list)
    carriers: list[tuple[Piece, Array, int]] = field(default_factory=list)

    def draw(self, use: Use) -> Piece | None:
        """A piece for `use`."""
        return piece(self.rng, self.sources, use, test=self.test)

    def put(self, drawn: Piece, turn: Array, place: Array, group: int | None = None) -> bool:
        """Sets a piece down where it is clear of everything else; whether it was."""
        number = len(self.things) + 1 if group is None else group
        thing, extent = drawn.at(turn, place, number)
        if not all(extent.apart(other) for other in self.extents):
            return False
        self.things.append(thing)
        self.extents.append(extent)
        if drawn.top is not None and group is None:
            self.carriers.append((drawn, place, number))
        return True

    def clutter(self, carrier: Piece, place: Array, group: int, count: int) -> None:
        """Sets small things down on a piece that stands at `place`."""
        half = carrier.size[[0, 2]].min() / 2
        for _ in range(count):
            drawn = self.draw("small")
            if drawn is None or carrier.top is None or max(drawn.size[0], drawn.size[2]) > 1.6 * half:
                continue
            spread = half - 0.5 * max(drawn.size[0], drawn.size[2])
            x, z = self.rng.uniform(-1, 1, 2) * max(spread, 0.0)
            where = place + [x, carrier.top + 1e-3, z]
            self.put(drawn, about_y(self.rng.uniform(0, 2 * np.pi)), where, group)


def furnished_room(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool) -> Composition:
    """A room with furniture along its walls and in its middle, clutter on it, doors, pictures, rugs and lamps; the
    camera stands in it, and shows much of it or one thing."""
    extent = np.array([rng.uniform(2.6, 6.5), rng.uniform(2.3, 3.2), rng.uniform(2.6, 6.5)])
    low, high = extent * [-0.5, 0, -0.5], extent * [0.5, 1, 0.5]
    eye = np.array([0, rng.uniform(0.7, 1.9), 0]) + (rng.uniform(-0.5, 0.5, 3) * (extent - 0.7)) * [1, 0, 1]
    setting = Furnishing(rng, sources, test)
    # Nobody stands where the camera is.
    corners = np.array([[-0.35, -3, -0.35], [0.35, 3, 0.35], [-0.35, 0, 0.35], [0.35, 0, -0.35]])
    setting.extents.append(Extent.of(eye + corners))
    _along_walls(setting, extent)
    _in_the_middle(setting, extent)
    for carrier, place, group in list(setting.carriers):
        setting.clutter(carrier, place, group, int(rng.integers(0, 6)))
    fixed = [*_on_walls(setting, extent), *_on_floor_and_ceiling(setting, extent)]
    shell, words, openings = room_shell(rng, low, high, test=test)
    if rng.random() < 0.6:
        shell += room_lamps(rng, (low, high), eye, setting.extents[1:], paint(rng))
    names = ", ".join(thing.name for thing in setting.things[:6])
    target, fov = _view(setting, eye, extent)
    camera = camera_at(rng, size, eye, target, fov)
    return Composition((*shell, *fixed, *setting.things), camera, f"{names} {words}", openings)


def table_from_above(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool) -> Composition:
    """Small things spread on a table, a desk or the ground, seen from steeply above."""
    setting = Furnishing(rng, sources, test)
    half = rng.uniform(0.25, 0.7)
    for _ in range(int(rng.integers(4, 14))):
        drawn = setting.draw("small")
        if drawn is not None and drawn.size.max() < 1.4 * half:
            x, z = rng.uniform(-half, half, 2)
            setting.put(drawn, about_y(rng.uniform(0, 2 * np.pi)), np.array([x, 0.0, z]))
    finish = random_material(rng, WIDE, test=test, metal_share=0.06)
    scenery = [Thing(plane(2.5 * half, 2.5 * half), finish, name=f"{finish.name} table")]
    if rng.random() < 0.6:
        sheet = board((0, 0.0, 0), (half * rng.uniform(0.3, 0.9), 0.001, half * rng.uniform(0.3, 0.9)))
        scenery.append(Thing(sheet, random_finish(rng, SMALL, test=test, metal_share=0.06), name="sheet"))
        setting.things = [_raised(thing, 0.0012) for thing in setting.things]
    steep, turn = np.radians(rng.uniform(45, 89)), rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(steep) * np.sin(turn), np.sin(steep), np.cos(steep) * np.cos(turn)])
    target = np.array([*rng.uniform(-0.3, 0.3, 2) * half, 0.0])[[0, 2, 1]]
    fov = rng.uniform(28, 60)
    distance = half * rng.uniform(0.8, 1.6) / np.tan(np.radians(fov / 2))
    names = ", ".join(thing.name for thing in setting.things[:6])
    camera = camera_at(rng, size, target + distance * toward, target, fov)
    return Composition((*scenery, *setting.things), camera, f"{names} on a {finish.name} table from above")


def _along_walls(setting: Furnishing, extent: Array) -> None:
    rng = setting.rng
    for _ in range(int(rng.integers(4, 12))):
        use: Use = "large" if rng.random() < 0.8 else "plant" if rng.random() < 0.7 else "person"
        drawn = setting.draw(use)
        side = int(rng.integers(4))
        length, depth = (extent[0], extent[2]) if side % 2 == 0 else (extent[2], extent[0])
        if drawn is None or drawn.size[0] > length - 0.1 or drawn.size[2] > 0.6 * depth or drawn.size[1] > extent[1]:
            continue
        turn = about_y(np.pi + side * np.pi / 2)
        along = rng.uniform(-1, 1) * (length - drawn.size[0] - 0.06) / 2
        setting.put(drawn, turn, turn @ [along, 0.0, -depth / 2 + drawn.size[2] / 2 + 0.03])


def _in_the_middle(setting: Furnishing, extent: Array) -> None:
    rng = setting.rng
    for _ in range(int(rng.integers(1, 5))):
        drawn = setting.draw("large" if rng.random() < 0.7 else "person" if rng.random() < 0.6 else "small")
        if drawn is None or drawn.size[1] > extent[1] or max(drawn.size[0], drawn.size[2]) > 0.5 * extent.min():
            continue
        half = extent / 2 - 0.7 * max(drawn.size[0], drawn.size[2])
        place = rng.uniform(-1, 1, 3) * np.maximum(half, 0) * [1, 0, 1]
        turn = about_y(rng.choice([0, 0.5, 1, 1.5]) * np.pi if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi))
        setting.put(drawn, turn, place)


def _on_walls(setting: Furnishing, extent: Array) -> list[Thing]:
    """Doors, windows that are shut, and pictures, flat on the walls; they may hang behind furniture."""
    rng, fixed, taken = setting.rng, [], []
    for _ in range(int(rng.integers(1, 7))):
        side = int(rng.integers(4))
        length, depth = (extent[0], extent[2]) if side % 2 == 0 else (extent[2], extent[0])
        door = setting.draw("opening") if rng.random() < 0.3 else None
        if door is not None and (door.size[1] > extent[1] - 0.1 or door.size[2] > 0.4):
            continue
        drawn = _framed(setting) if door is None else door
        if drawn.size[0] > 0.8 * length:
            continue
        bottom = 0.0 if drawn.size[1] > 1.6 else rng.uniform(1.0, max(1.05, extent[1] - drawn.size[1] - 0.15))
        turn = about_y(np.pi + side * np.pi / 2)
        along = rng.uniform(-1, 1) * (length - drawn.size[0]) / 2
        place = turn @ [along, 0.0, -depth / 2 + drawn.size[2] / 2 + 0.002] + [0.0, bottom, 0.0]
        thing, where = drawn.at(turn, place, 0)
        if all(where.apart(other) for other in (*taken, *setting.extents[1:])):
            fixed.append(thing)
            taken.append(where)
    return fixed


def _framed(setting: Furnishing) -> Piece:
    """A picture in a frame: print, pattern or painting."""
    rng = setting.rng
    wide, high = rng.uniform(0.15, 0.6, 2)
    picture = random_finish(rng, SMALL, test=setting.test, metal_share=0.06)
    if rng.random() < 0.5:
        picture = labelled(rng, picture)
    return Piece("picture", board((0, high, 0), (wide, high, 0.015)), picture)


def _on_floor_and_ceiling(setting: Furnishing, extent: Array) -> list[Thing]:
    """Rugs, and what hangs from the ceiling."""
    rng, fixed = setting.rng, []
    if rng.random() < 0.4:
        half = extent[[0, 2]] * rng.uniform(0.15, 0.4, 2)
        rug = random_finish(rng, WIDE // 2, test=setting.test, metal_share=0.06)
        fixed.append(Thing(board((0, 0.0, 0), (half[0], 0.004, half[1])), rug, name="rug"))
        setting.things[:] = [_raised(thing, 0.005) for thing in setting.things]
    for _ in range(int(rng.integers(0, 3))):
        lamp = setting.draw("hanging")
        if lamp is not None and lamp.size[1] < extent[1] - 1.6:
            x, z = rng.uniform(-0.3, 0.3, 2) * extent[[0, 2]]
            thing, where = lamp.at(np.eye(3), np.array([x, extent[1] - lamp.size[1] - 0.005, z]), 0)
            if all(where.apart(other) for other in setting.extents):
                fixed.append(thing)
                setting.extents.append(where)
    return fixed


def _view(setting: Furnishing, eye: Array, extent: Array) -> tuple[Array, float]:
    """What the camera looks at, and its field of view in degrees: one thing, or the far side of the room."""
    rng = setting.rng
    far = [thing for thing in setting.things if np.linalg.norm(thing.placed.mean(0) - eye) > 0.7]
    if far and rng.random() < 0.6:
        target = far[int(rng.integers(len(far)))].placed.mean(0)
        return target + rng.uniform(-0.2, 0.2, 3), rng.uniform(28, 65)
    away = -np.sign(eye + 1e-9) * extent * rng.uniform(0.1, 0.5, 3)
    return np.array([away[0], eye[1] * rng.uniform(0.3, 1.1), away[2]]), rng.uniform(45, 80)


def _raised(thing: Thing, by: float) -> Thing:
    pose = thing.pose.copy()
    pose[1, 3] += by
    return Thing(thing.mesh, thing.material, pose, thing.emission, thing.name, thing.group)
