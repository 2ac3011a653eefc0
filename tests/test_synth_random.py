"""What random scenes are drawn from: shapes, patterns, lights, and what is held out of training."""

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="scipy is not installed; the extra [raytrace] brings it")
pytest.importorskip("manifold3d", reason="manifold3d is not installed; the extra [raytrace] brings it")

from unrender.files.environments import builtin_environment_names
from unrender.raytrace.mesh import is_closed, vertex_normals
from unrender.scene.environment import texel_directions, texel_solid_angles
from unrender.synth.lights import OUTDOORS, PEAK, PROCEDURAL, SIZE, TEST_WORLDS, TRAIN_WORLDS, random_light, sunny
from unrender.synth.materials import random_material, relief
from unrender.synth.objects import FAMILIES, FURNITURE, random_object, random_primitive
from unrender.synth.patterns import HELD_OUT, PATTERNS
from unrender.synth.wear import labelled, random_finish, scuffed, worn


def generator(*key):
    return np.random.default_rng(key)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_closed_and_face_outward(family):
    for seed in range(3):
        mesh = FAMILIES[family][0](generator(seed))
        assert np.isfinite(mesh.vertices).all()
        assert mesh.uv.min() >= 0
        assert mesh.uv.max() <= 1
        a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
        # Of a closed surface the area vectors cancel, all but the ends of a mug's handle, which are inside the mug;
        # and the volume (divergence theorem) is positive where it faces outward.
        assert is_closed(mesh) or family == "mug"
        area = np.cross(b - a, c - a) / 2
        assert np.abs(area.sum(0)).max() < 1e-2 * np.linalg.norm(area, axis=1).sum()
        assert (a * np.cross(b, c)).sum() / 6 > 0
        normals = vertex_normals(mesh.vertices, mesh.faces)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_objects_fill_the_unit_sphere():
    drawn = [random_object(generator(seed)) for seed in range(40)]
    assert len({name for name, _ in drawn}) > len(FAMILIES) // 2
    for _, mesh in drawn:
        assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_choose_between_two_colours(pattern):
    for seed in range(4):
        value = PATTERNS[pattern][0](generator(seed), 32)
        assert value.shape == (32, 32)
        assert value.min() >= 0
        assert value.max() <= 1.3  # wood and brick go a little beyond their second colour


def test_materials_stay_in_range_and_splits_share_no_pattern():
    def patterns_of(test):
        found = set()
        for seed in range(200):
            material = random_material(generator(seed, test), 16, test=test)
            assert material.base_color.shape == (16, 16, 3)
            for values in (material.base_color, material.roughness, material.metallic):
                assert values.dtype == np.float32
                assert values.min() >= 0
                assert values.max() <= 1
            found |= {pattern for pattern in PATTERNS if pattern in material.name.split()}
        return found

    train, test = patterns_of(False), patterns_of(True)
    assert train == set(PATTERNS) - set(HELD_OUT)
    assert test == {"plain", *HELD_OUT}


def test_splits_share_no_world():
    assert sorted(TRAIN_WORLDS + TEST_WORLDS) == sorted(builtin_environment_names())
    for test, worlds in ((False, TRAIN_WORLDS), (True, TEST_WORLDS)):
        drawn = {random_light(generator(seed, test), test=test, world_share=1.0).name for seed in range(40)}
        assert drawn == set(worlds)


def test_lights_have_a_mean_of_about_one():
    drawn = [random_light(generator(seed), test=False, world_share=0.2) for seed in range(30)]
    assert {light.name for light in drawn} >= set(PROCEDURAL)
    share = texel_solid_angles(SIZE) / (4 * torch.pi)
    for light in drawn:
        assert light.radiance.shape == (1, 3, *SIZE)
        assert light.radiance.isfinite().all()
        assert light.radiance.min() >= 0
        # Less where a small sun was clipped.
        assert 0.4 < float((light.radiance.mean(1) * share).sum()) < 1.01, light.name


def test_the_sun_casts_hard_shadows():
    share = (texel_solid_angles(SIZE) / (4 * torch.pi)).numpy()[..., None]
    for seed in range(8):
        radiance = sunny(generator(seed))
        radiance /= (radiance * share).sum() / 3
        assert radiance.mean(-1).max() < PEAK
        bright = radiance.mean(-1) > 50
        given = (radiance * share * bright[..., None]).sum() / 3
        assert 0.5 < given < 0.92
        direction = texel_directions(SIZE).numpy()[bright]
        middle = direction.mean(0) / np.linalg.norm(direction.mean(0))
        assert np.degrees(np.arccos((direction @ middle).clip(-1, 1))).max() < 4.5
        assert middle[1] > 0


def test_rooms_look_out_on_worlds_and_skies():
    drawn = {random_light(generator(seed), test=False, outdoors=True).name for seed in range(40)}
    assert drawn <= {*TRAIN_WORLDS, *OUTDOORS}


def test_primitives_and_subsets_of_families():
    assert {random_primitive(generator(seed))[0] for seed in range(20)} == {"cube", "ball", "cylinder"}
    assert {random_object(generator(seed), FURNITURE)[0] for seed in range(40)} == set(FURNITURE)


def test_relief_has_the_slope_that_is_asked_for():
    x = np.arange(256) / 256
    wave = np.broadcast_to(np.sin(2 * np.pi * 4 * x), (256, 256))
    bump = relief(wave, 0.1)
    down, right = np.gradient(bump, 1 / 256)
    assert np.sqrt((down**2 + right**2).mean()) == pytest.approx(0.1, rel=0.02)
    assert not relief(np.full((8, 8), 0.3), 0.1).any()
    assert relief(np.broadcast_to(x, (256, 256)), 9.0).max() == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("wear", [worn, scuffed, labelled])
def test_wear_stays_in_range_and_changes_what_it_should(wear):
    for seed in range(4):
        fresh = random_material(generator(seed), 64, test=False, metal_share=0.0)
        material = wear(generator(seed), fresh)
        for values in (material.base_color, material.roughness, material.metallic, material.bump):
            assert values.dtype == np.float32
            assert np.isfinite(values).all()
        for values in (material.base_color, material.roughness, material.metallic):
            assert 0 <= values.min() <= values.max() <= 1
        assert material.name == f"{wear.__name__} {fresh.name}"
        changed = (material.base_color != fresh.base_color).any(-1)
        assert 0.01 < changed.mean() <= 1
        if wear is worn:
            assert material.metallic.max() > 0.5
        if wear is labelled:
            assert changed.mean() < 0.7
            assert not material.metallic[changed].any()


def test_finishes_of_plain_and_worn():
    names = [random_finish(generator(seed), 16, test=False).name.split()[0] for seed in range(150)]
    for word in ("worn", "scuffed", "labelled"):
        assert 2 <= names.count(word) <= 30
