"""What random scenes are drawn from: shapes, patterns, lights, and what is held out of training."""

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="scipy is not installed; the extra [raytrace] brings it")
pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.files.environments import world_names
from unrender.scene.environment import texel_solid_angles
from unrender.synth.lights import PROCEDURAL, SIZE, TEST_WORLDS, TRAIN_WORLDS, random_light
from unrender.synth.materials import HELD_OUT, PATTERNS, random_material
from unrender.synth.objects import FAMILIES, random_object
from unrender.synth.shapes import vertex_normals


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
    assert sorted(TRAIN_WORLDS + TEST_WORLDS) == sorted(world_names())
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
