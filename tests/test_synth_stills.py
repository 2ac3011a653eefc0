"""Random stills: the picture and its truth belong together."""

import numpy as np
import pytest
import torch

from unrender.errors import UserError
from unrender.scene.camera import pixel_rays, world_rays
from unrender.scene.environment import sample

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.synth.still import random_still

from unrender.raytrace import backend


@pytest.fixture(scope="module")
def stills():
    try:
        backend.use()
    except UserError as reason:
        pytest.skip(str(reason))
    return [
        random_still(np.random.default_rng([5, test, index]), index, (40, 40), 4, test=bool(test))
        for test in (0, 1)
        for index in range(4)
    ]


def test_maps_are_whole_finite_and_in_range(stills):
    for clip in stills:
        maps, mask = clip.gbuffer.maps, clip.gbuffer.maps["mask"]
        assert set(maps) == {"base_color", "normal", "depth", "roughness", "metallic", "mask", "rgb"}
        assert maps["rgb"].isfinite().all()
        assert maps["rgb"].min() >= 0
        for name in ("base_color", "roughness", "metallic", "mask"):
            assert 0 <= maps[name].min() <= maps[name].max() <= 1, name
        there = mask[0, 0] == 1
        torch.testing.assert_close(maps["normal"][0].norm(dim=0)[there], torch.ones(int(there.sum())))
        assert maps["depth"][0, 0][there].isfinite().all()
        assert (maps["depth"] > 0).all()
        assert clip.gbuffer.depth_kind == "metric"
        assert clip.light.name in clip.caption


def test_what_is_seen_faces_the_camera(stills):
    for clip in stills:
        maps = clip.gbuffer.maps
        there = maps["mask"][0, 0] == 1
        towards = -(maps["normal"] * pixel_rays(clip.gbuffer.camera)).sum(1)[0][there]
        # A mean normal at a fold, or a smooth one near an outline, may lean away a little; no more than that.
        assert (towards > 0).float().mean() > 0.97


def test_pictures_are_exposed_for_display(stills):
    for clip in stills:
        surface = clip.gbuffer.maps["rgb"].mean(1, keepdim=True)[clip.gbuffer.maps["mask"] == 1]
        assert 0.02 < float(surface.median()) < 2


def test_the_background_is_the_light_itself(stills):
    seen, expected = [], []
    for clip in stills:
        nothing = clip.gbuffer.maps["mask"][0, 0] == 0
        radiance = sample(clip.light.radiance, world_rays(clip.gbuffer.camera)[0].permute(1, 2, 0))[0]
        seen.append(clip.gbuffer.maps["rgb"][0][:, nothing])
        expected.append(radiance[:, nothing])
    seen, expected = torch.cat(seen, 1), torch.cat(expected, 1)
    assert seen.shape[1] > 100
    error = (seen - expected).abs() / (expected + 0.02)
    assert float(error.median()) < 0.02


def test_the_seed_is_the_still(stills):
    again = random_still(np.random.default_rng([5, 0, 2]), 2, (40, 40), 4, test=False)
    for name, value in again.gbuffer.maps.items():
        assert torch.equal(value, stills[2].gbuffer.maps[name]), name
    assert not torch.equal(stills[3].gbuffer.maps["rgb"], again.gbuffer.maps["rgb"])
