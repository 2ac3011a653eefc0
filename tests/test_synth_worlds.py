"""Random worlds: nothing cuts into anything, the camera is where it can be, rooms are rooms, and seeds are worlds."""

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="scipy is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")
pytest.importorskip("manifold3d", reason="manifold3d is not installed; the extra [raytrace] brings it")

from scipy.spatial import ConvexHull

from unrender.raytrace.mesh import transformed
from unrender.synth.arrange import arrangement
from unrender.synth.compose import SHARES, another_light, random_world
from unrender.synth.furniture import board, table
from unrender.synth.interiors import furnished_room, table_from_above
from unrender.synth.lights import OUTDOORS, TEST_WORLDS, TRAIN_WORLDS
from unrender.synth.materials import HELD_OUT, PATTERNS, SMALL, WIDE
from unrender.synth.outdoors import open_ground, street
from unrender.synth.pieces import piece, use_of
from unrender.synth.placement import GAP, Extent, about_y, any_rotation, free_spot, posed
from unrender.synth.rooms import random_room
from unrender.synth.sources import Sources


def world(seed, test=False):
    return random_world(np.random.default_rng([8, seed]), (48, 64), Sources(), test=test)


@pytest.fixture(scope="module")
def worlds():
    return [world(seed) for seed in range(24)]


def in_world(thing):
    """The thing's mesh where it stands."""
    return transformed(thing.mesh, thing.pose)


def placed(drawn):
    """The meshes of the things, without scenery."""
    return [in_world(thing) for thing in things(drawn)]


def things(drawn):
    return [t for t in drawn.things if t.group]


def outline(mesh):
    """The convex hull of a mesh seen from above."""
    return ConvexHull(mesh.vertices[:, [0, 2]])


def holds_any(hull, points):
    """Whether any of `points` (N, 2) lies in a convex `hull`."""
    normal, offset = hull.equations[:, :2], hull.equations[:, 2]
    return bool(((points[:, None] * normal).sum(-1) + offset <= 0).all(1).any())


def test_things_stand_apart(worlds):
    pairs = 0
    for drawn in worlds:
        meshes = placed(drawn)
        extents, outlines = [Extent.of(mesh.vertices) for mesh in meshes], [outline(mesh) for mesh in meshes]
        for i in range(len(meshes)):
            for j in range(i):
                pairs += 1
                assert extents[i].apart(extents[j])
                # Said otherwise: above or below, or with no vertex within the other's outline from above.
                if extents[i].low[8] >= extents[j].high[8] or extents[j].low[8] >= extents[i].high[8]:
                    continue
                for a, b in ((i, j), (j, i)):
                    assert not holds_any(outlines[a], outlines[b].points[outlines[b].vertices])
    assert pairs > 20


@pytest.mark.parametrize(("seed", "carried"), [(0, 1), (4, 1), (6, 2), (9, 0)])
def test_things_rest_on_the_ground_or_on_a_table_that_they_move_with(seed, carried):
    drawn, _ = arrangement(np.random.default_rng(seed), Sources(), test=False, indoors=True)
    found = 0
    for thing in drawn:
        low = thing.placed[:, 1].min()
        if abs(low) < 1e-6:
            continue
        found += 1
        carriers = [other for other in drawn if other.group == thing.group and other is not thing]
        assert any(low == pytest.approx(other.placed[:, 1].max() + 1e-4, abs=1e-6) for other in carriers)
    assert found == carried
    assert len({thing.group for thing in drawn}) == len(drawn) - carried


def test_extents_tell_apart_what_touches_and_what_does_not():
    cube = board((0, 0.5, 0), (0.5, 0.5, 0.5)).vertices
    one = Extent.of(cube)
    assert not one.apart(one.moved(np.array([0.9, 0, 0])))
    assert not one.apart(one.moved(np.array([1 + GAP / 2, 0, 0])))
    assert one.apart(one.moved(np.array([1 + 2 * GAP, 0, 0])))
    assert one.apart(one.moved(np.array([0, 1.0, 0])))  # stands on it
    # Corner to corner, as circles about them could not: 1.2 between centres, 1.41 the circles' diameters.
    turned = Extent.of(cube @ about_y(np.pi / 4).T)
    assert turned.apart(turned.moved(np.array([0.85, 0, 0.85])))
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert one.moved(free_spot(rng, one, [one])).apart(one)


def test_rotations_and_poses():
    rng = np.random.default_rng(1)
    for rotation in (about_y(0.3), any_rotation(rng)):
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
    # Right-handed about +Y: what was at +Z comes to +X after a quarter turn.
    np.testing.assert_allclose(about_y(np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    pose = posed(about_y(np.pi / 2), 2.0, (1, 2, 3))
    np.testing.assert_allclose(transformed(board((0, 0, 1), (0.1, 0.1, 0.1)), pose).vertices.mean(0), [3, 2, 3])


def test_the_shares_of_kinds(worlds):
    """Of 24 worlds, each kind within three standard deviations of its share."""
    told = {
        "close-up": lambda drawn: len(drawn.things) == 1,
        "rooms": lambda drawn: drawn.enclosed,
        "table": lambda drawn: "from above" in drawn.caption,
        "street": lambda drawn: "in a street" in drawn.caption,
        "open ground": lambda drawn: "outdoors," in drawn.caption,
    }
    shares = SHARES | {"rooms": SHARES["box room"] + SHARES["furnished room"]}
    for kind, is_one in told.items():
        spread = 3 * (len(worlds) * shares[kind] * (1 - shares[kind])) ** 0.5
        assert abs(sum(map(is_one, worlds)) - len(worlds) * shares[kind]) < spread, kind
    assert sum(SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize("draw", [furnished_room, table_from_above, street, open_ground])
def test_metric_worlds_show_what_stands_in_them(draw):
    """Half of the pictures at least show a thing, none is taken from within one, and what is under the sky has no
    ceiling."""
    shown = 0
    for seed in range(6):
        drawn = draw(np.random.default_rng([3, seed]), (48, 48), Sources(), test=False)
        assert drawn.under_sky == (draw in (street, open_ground))
        assert (len(drawn.openings) > 0) == (draw is furnished_room)
        camera, eye = drawn.camera, drawn.camera.pose[0, :3, 3].double().numpy()
        for thing in (thing for thing in drawn.things if thing.group):
            low, high = thing.placed.min(0), thing.placed.max(0)
            assert not ((eye > low) & (eye < high)).all()
            inside = (thing.placed - eye) @ camera.pose[0, :3, :3].double().numpy()
            shown += bool(((inside[:, 2] < 0) & (np.abs(inside[:, :2] / inside[:, 2:]) < 0.5).all(1)).any())
    assert shown >= 3


def test_things_of_catalogues_have_their_size_and_stand_on_the_floor(catalogue):
    models = Sources.of_folders(catalogue).models
    assert [model.name for model in models] == ["oak table", "mug", "door"]
    assert [use_of(model) for model in models] == ["large", "small", "opening"]
    drawn = _drawn_from_a_catalogue(models[0])
    np.testing.assert_allclose(drawn.size, [1.2, 0.75, 0.6], atol=1e-6)
    assert drawn.mesh.vertices[:, 1].min() == pytest.approx(0, abs=1e-9)
    assert drawn.top == pytest.approx(0.75)
    turned = _drawn_from_a_catalogue(models[1])
    np.testing.assert_allclose(turned.size, [0.08, 0.1, 0.12], atol=1e-6)


def _drawn_from_a_catalogue(model):
    for seed in range(50):  # a fifth of pieces are built in
        drawn = piece(np.random.default_rng(seed), Sources(models=(model,)), use_of(model), test=False)
        if drawn is not None and drawn.name == model.name:
            return drawn
    raise AssertionError("no piece of the catalogue in fifty")


@pytest.fixture
def catalogue(tmp_path):
    """A table, a mug that lies on its side in its file, and a door, of one box each."""
    box = board((0, 0, 0), (0.5, 0.5, 0.5))
    lines = []
    entries = (
        ("oak table", "width=120 depth=60 height=75"),
        ("mug", "width=8 depth=12 height=10 dropOnTopElevation=-1 modelRotation=1_0_0_0_0_-1_0_1_0"),
        ("door", "width=90 depth=10 height=200 doorOrWindow=true"),
    )
    for number, (name, said) in enumerate(entries, 1):
        obj = [f"v {x} {y} {z}" for x, y, z in box.vertices] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in box.faces]
        (tmp_path / f"{number}.obj").write_text("\n".join(obj))
        lines += [f"name#{number}={name}", f"model#{number}=/{number}.obj", f"creator#{number}=somebody"]
        lines += [
            f"{key}#{number}={value.replace('_', ' ')}" for key, value in (pair.split("=") for pair in said.split())
        ]
    (tmp_path / "PluginFurnitureCatalog.properties").write_text("\n".join(lines), "latin-1")
    return tmp_path


def test_splits_share_no_file_of_a_folder(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02d}.png").write_bytes(b"")
    sources = Sources.of_folders(normals=tmp_path)
    train, test = sources.of_split(test=False).normals, sources.of_split(test=True).normals
    assert len(test) == 2
    assert {*train, *test} == {*sources.normals}
    assert not {*train} & {*test}
    few = Sources(normals=sources.normals[:3])
    assert few.of_split(test=True) == few.of_split(test=False) == few


def test_worlds_are_as_the_interface_says(worlds):
    for drawn in worlds:
        assert drawn.light.radiance.shape == (1, 3, 128, 256)
        assert drawn.light.radiance.dtype == torch.float32
        assert len(drawn.camera) == 1
        assert drawn.camera.size == (48, 64)
        assert drawn.caption.endswith(f", {drawn.light.name}")
        materials = {id(thing.material): thing.material for thing in drawn.things}.values()
        sides = [len(material.roughness) for material in materials]
        assert set(sides) <= {WIDE, WIDE // 2, SMALL, 16, 8}
        assert sides.count(WIDE) <= 6
        for thing in drawn.things:
            assert thing.mesh.uv.min() >= 0
            assert thing.mesh.uv.max() <= 1
            assert thing.pose.dtype == np.float64
            scale = np.cbrt(np.linalg.det(thing.pose[:3, :3]))
            np.testing.assert_allclose(thing.pose[:3, :3].T @ thing.pose[:3, :3], np.eye(3) * scale**2, atol=1e-9)
            material = thing.material
            for values in (material.base_color, material.roughness, material.metallic):
                assert values.dtype == np.float32
                assert 0 <= values.min() <= values.max() <= 1
            assert material.bump.shape == material.roughness.shape
            assert material.bump.dtype == np.float32
            assert np.ptp(material.bump) < 0.1


def test_the_camera_is_outside_of_things_and_sees_them(worlds):
    around = [drawn for drawn in worlds if len(drawn.things) == 1 or " ground" in drawn.caption.split(",")[-2]]
    assert len(around) > 3
    for drawn in around:
        eye = drawn.camera.pose[0, :3, 3].double().numpy()
        points = np.concatenate([mesh.vertices for mesh in placed(drawn)])
        middle = (points.min(0) + points.max(0)) / 2
        assert np.linalg.norm(eye - middle) > np.linalg.norm(points - middle, axis=1).max()
        ahead = -drawn.camera.pose[0, :3, 2].double().numpy()
        assert (middle - eye) @ ahead > 0
        if len(drawn.things) > 1:
            assert eye[1] > 0


def test_rooms_hold_the_camera_and_everything(worlds):
    rooms = [drawn for drawn in worlds if drawn.enclosed]
    for drawn in rooms:
        walls = in_world(next(thing for thing in drawn.things if thing.name.endswith("walls")))
        floor = in_world(next(thing for thing in drawn.things if thing.name.endswith("floor")))
        low, high = floor.vertices.min(0), floor.vertices.max(0)
        high[1] = walls.vertices[:, 1].max()
        eye = drawn.camera.pose[0, :3, 3].double().numpy()
        for point in (
            eye,
            *(vertex for mesh in placed(drawn) for vertex in (mesh.vertices.min(0), mesh.vertices.max(0))),
        ):
            assert (point > low - 1e-3).all()
            assert (point < high + 1e-3).all()
        assert all(not thing.group for thing in drawn.things if any(thing.emission))
        assert drawn.light.name in (*TRAIN_WORLDS, *OUTDOORS)
        assert another_light(np.random.default_rng(0), drawn, Sources(), test=False).name in (*TRAIN_WORLDS, *OUTDOORS)


def test_room_surfaces_face_inward_and_windows_are_holes():
    extent = Extent.of(table(np.random.default_rng(0)).vertices)
    open_share = []
    for seed in range(5):
        eye = np.array([1.5, 1.0, 2.0])
        scenery, words, openings = random_room(np.random.default_rng(seed), [extent], eye, test=False)
        assert words.startswith("in a room with ")
        floor, ceiling, walls = (in_world(thing) for thing in scenery[:3])
        low, high = floor.vertices.min(0), floor.vertices.max(0)
        high[1] = ceiling.vertices[0, 1]
        middle = (low + high) / 2
        covered = 0.0
        for mesh in (floor, ceiling, walls):
            a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
            normal = np.cross(b - a, c - a)
            # The reveals lie behind the walls' planes; what lies in these faces the middle.
            inside = ((a > low - 1e-6) & (a < high + 1e-6)).all(1) & ((c > low - 1e-6) & (c < high + 1e-6)).all(1)
            inside &= ((b > low - 1e-6) & (b < high + 1e-6)).all(1)
            assert inside.any()
            assert ((normal * (middle - a)).sum(1)[inside] > 0).all()
            covered += np.linalg.norm(normal[inside], axis=1).sum() / 2
        x, y, z = high - low
        area = 2 * (x * y + y * z + z * x)
        open_share.append(1 - covered / area)
        sizes = np.linalg.norm(openings, axis=1)
        assert sizes.sum() / area == pytest.approx(open_share[-1])
        for outward in openings / sizes[:, None]:
            reveals, corners = walls.vertices @ outward, np.array([low, high]) @ outward
            assert reveals.max() > corners.max() + 0.07
        for thing in scenery:
            assert all(value >= 0 for value in thing.emission)
    # All of them have a window, and none is a glass house.
    assert min(open_share) > 0.02
    assert max(open_share) < 0.5


def test_a_world_is_its_seed(worlds):
    again = world(7)
    assert again.caption == worlds[7].caption
    assert torch.equal(again.light.radiance, worlds[7].light.radiance)
    assert torch.equal(again.camera.pose, worlds[7].camera.pose)
    for one, other in zip(again.things, worlds[7].things, strict=True):
        assert np.array_equal(one.mesh.vertices, other.mesh.vertices)
        assert np.array_equal(one.pose, other.pose)
        assert np.array_equal(one.material.base_color, other.material.base_color)
        assert np.array_equal(one.material.bump, other.material.bump)


def test_splits_share_no_pattern_and_no_world(worlds):
    def words(drawn):
        return {word for thing in drawn.things for word in thing.name.split()} & set(PATTERNS)

    assert not any(words(drawn) & set(HELD_OUT) for drawn in worlds)
    tests = [world(seed, test=True) for seed in range(5)]
    assert all(words(drawn) <= {"plain", *HELD_OUT} for drawn in tests)
    assert not {drawn.light.name for drawn in worlds} & set(TEST_WORLDS)
    assert not {drawn.light.name for drawn in tests} & set(TRAIN_WORLDS)
