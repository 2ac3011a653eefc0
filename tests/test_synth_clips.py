"""Random clips: pictures, maps, lights and cameras belong together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_worlds import MATERIAL, ball, square, world
from unrender.errors import UserError
from unrender.scene.camera import pixel_rays, project, unproject, world_rays
from unrender.scene.environment import sample

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.raytrace import backend
from unrender.raytrace.atlas import move_vertices, pack_atlas
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.path_tracer_scene import build_path_tracer_scene
from unrender.synth import clip as clip_module
from unrender.synth import gate
from unrender.synth.clip import Shot, random_clip
from unrender.synth.sources import Sources

SHOT = Shot((40, 40), 4, frames=2, lights=1, cameras=1)
MAPS = {
    *("base_color", "diffuse_albedo", "normal", "depth", "roughness", "metallic"),
    *("irradiance", "mask", "instance", "rgb"),
}


@pytest.fixture(scope="module")
def clips():
    try:
        backend.use()
    except UserError as reason:
        pytest.skip(str(reason))
    return [random_clip((5, test, i), i, SHOT, Sources(), test=bool(test)) for test in (0, 1) for i in range(3)]


def gbuffers(clips):
    return [gbuffer for clip in clips for gbuffer in (clip.gbuffer, *clip.views)]


def test_maps_are_whole_finite_and_in_range(clips):
    for clip in clips:
        assert clip.light.name in clip.caption
        assert int(clip.gbuffer.maps["instance"].max()) <= len(clip.things)
    for gbuffer in gbuffers(clips):
        maps, mask = gbuffer.maps, gbuffer.maps["mask"]
        assert set(maps) in (MAPS, MAPS | {"sky"})
        if "sky" in maps:
            assert (maps["sky"] + mask <= 1 + 1e-6).all()
        assert len(gbuffer) == 2
        for name in ("rgb", "irradiance"):
            assert maps[name].isfinite().all()
            assert maps[name].min() >= 0
        for name in ("base_color", "diffuse_albedo", "roughness", "metallic", "mask"):
            assert 0 <= maps[name].min() <= maps[name].max() <= 1, name
        there = mask[:, 0] == 1
        torch.testing.assert_close(maps["normal"].norm(dim=1)[there], torch.ones(int(there.sum())))
        assert maps["depth"][:, 0][there].isfinite().all()
        assert (maps["instance"][:, 0][there] > 0).all()
        assert (maps["instance"][mask == 0] == 0).all()
        assert (maps["depth"] > 0).all()
        assert (gbuffer.depth_kind, gbuffer.fps) == ("metric", 24.0)


def test_what_is_seen_faces_the_camera(clips):
    for gbuffer in gbuffers(clips):
        there = gbuffer.maps["mask"][:, 0] == 1
        towards = -(gbuffer.maps["normal"] * pixel_rays(gbuffer.camera)).sum(1)[there]
        # A mean normal at a fold, or a smooth one near an outline, may lean away a little; no more than that.
        assert (towards > 0).float().mean() > 0.95


def test_pictures_are_exposed_for_display(clips):
    for clip in clips:
        there = clip.gbuffer.maps["mask"] == 1
        for rgb in (clip.gbuffer.maps["rgb"], clip.lights[0].rgb):
            assert 0.02 < float(rgb.mean(1, keepdim=True)[there].median()) < 2


def test_the_background_is_the_light_itself_in_every_frame(clips):
    seen, expected = [], []
    for clip in clips:
        rays = world_rays(clip.gbuffer.camera).permute(0, 2, 3, 1)
        for t in range(2):
            nothing = clip.gbuffer.maps["mask"][t, 0] == 0
            for other, rgb in enumerate((clip.gbuffer.maps["rgb"], clip.lights[0].rgb)):
                radiance = sample(clip.light_of(t, other).radiance, rays[t])[0]
                seen.append(rgb[t][:, nothing])
                expected.append(radiance[:, nothing])
    seen, expected = torch.cat(seen, 1), torch.cat(expected, 1)
    assert seen.shape[1] > 100
    error = (seen - expected).abs() / (expected + 0.02)
    assert float(error.median()) < 0.05


def test_irradiance_is_on_the_scale_of_the_picture(clips):
    """What is rough and no metal sends out albedo * irradiance / pi, and a highlight."""
    ratios = []
    for clip in clips:
        maps = clip.gbuffer.maps
        for rgb, irradiance in (
            (maps["rgb"], maps["irradiance"]),
            (clip.lights[0].rgb, clip.lights[0].irradiance),
        ):
            dull = (maps["mask"] == 1) & (maps["roughness"] > 0.6) & (maps["metallic"] == 0)
            if int(dull.sum()) < 20:
                continue
            diffuse = (maps["diffuse_albedo"] * irradiance / torch.pi).mean(1, keepdim=True)[dull]
            ratios.append(rgb.mean(1, keepdim=True)[dull].sum() / diffuse.sum())
    assert len(ratios) >= 4
    assert 0.9 < float(torch.stack(ratios).median()) < 1.6


def test_views_agree_on_where_things_are(clips):
    errors = []
    for clip in clips:
        own, view = clip.gbuffer, clip.views[0]
        for t in range(2):
            camera = own.camera.frame(t)
            there = (own.maps["mask"][t, 0] == 1) & own.maps["depth"][t, 0].isfinite()
            points = unproject(own.maps["depth"][t : t + 1], camera)[0][:, there].T
            points = points @ camera.pose[0, :3, :3].T + camera.pose[0, :3, 3]
            pixel, depth = project(points, view.camera.frame(t))
            x, y = pixel[0].floor().long().unbind(-1)
            inside = (depth[0] > 0) & (x >= 0) & (x < 40) & (y >= 0) & (y < 40)
            x, y = x[inside], y[inside]
            same = view.maps["instance"][t, 0, y, x] == own.maps["instance"][t, 0][there][inside]
            found, wanted = view.maps["depth"][t, 0, y, x][same], depth[0][inside][same]
            if len(found) < 20:  # in a furnished room the two may look at different corners
                continue
            # What the other camera sees there is this point, or something before it.
            assert float((found < wanted * 1.1).float().mean()) > 0.85
            if "in a room" not in clip.caption:  # whose four walls are one thing, and hide one another
                errors.append((found - wanted).abs() / wanted)
    assert len(torch.cat(errors)) > 500
    # A good part of what both see is the same point; the rest hides behind its own thing, or meets a pixel at a slant.
    assert float((torch.cat(errors) < 0.03).float().mean()) > 0.25


def test_the_key_is_the_clip_and_more_of_it_shows_the_same_scene(clips):
    again = random_clip((5, 0, 1), 1, SHOT, Sources(), test=False)
    for name, value in again.gbuffer.maps.items():
        assert torch.equal(value, clips[1].gbuffer.maps[name]), name
    assert torch.equal(again.lights[0].rgb, clips[1].lights[0].rgb)
    still = random_clip((5, 0, 1), 1, replace(SHOT, frames=1, lights=0, cameras=0), Sources(), test=False)
    assert still.gbuffer.fps is None
    assert still.yaw == still.lights == still.views == ()
    for name in MAPS - {"rgb", "irradiance"}:
        assert torch.equal(still.gbuffer.maps[name][0], again.gbuffer.maps[name][0]), name
    assert still.caption == again.caption
    assert not torch.equal(clips[2].gbuffer.maps["rgb"], again.gbuffer.maps["rgb"])


def test_a_refused_draw_is_replaced_by_the_next_and_endless_refusal_is_an_error(clips, monkeypatch):
    monkeypatch.setattr(gate, "COVERED", 1.01)
    monkeypatch.setattr(clip_module, "ATTEMPTS", 2)
    with pytest.raises(UserError, match=r"clip 3: 2 attempts in a row were rejected, .*less than 101%"):
        random_clip((5, 0, 3), 3, replace(SHOT, frames=1, lights=0, cameras=0), Sources(), test=False)


@pytest.fixture(scope="module")
def gbuffer(clips):
    scene = world(square(3.0), ball(0.0, 0.0))
    surface, owners = pack_atlas(scene.things)
    return trace_gbuffer(build_path_tracer_scene(surface, scene.camera), owners=owners[surface.faces[:, 0]] + 1)


def test_the_gate_lets_a_ball_on_the_ground_pass(gbuffer):
    assert set(gbuffer.maps["instance"].unique().tolist()) == {0, 1, 2}
    assert gate.seen(gbuffer, (False, True), first=True) == ""
    assert "things fill 0.0%" in gate.seen(gbuffer, (False, False), first=True)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"mask": 0.01}, "surfaces fill 0.0%"),
        ({"instance": 0.5}, "things fill 0.0%"),  # nothing but scenery
        ({"depth": 1e-3}, "nearer than 0.02"),
        ({"normal": -1.0}, "seen from behind"),
        ({"roughness": torch.nan}, "not finite"),
    ],
)
def test_the_gate_refuses(gbuffer, changes, fault):
    spoilt = {name: gbuffer.maps[name] * by for name, by in changes.items()}
    if "instance" in spoilt:
        spoilt["instance"] = spoilt["instance"].ceil()
    assert fault in gate.seen(gbuffer.with_maps(**spoilt), (False, True), first=True)


def test_the_gate_refuses_what_is_burnt_or_black_or_broken():
    mask, grey = torch.ones(1, 1, 8, 8), torch.full((1, 3, 8, 8), 0.4)
    assert gate.exposed(grey, mask) == ""
    assert "100% of the surface is clipped" in gate.exposed(grey * 4, mask)
    assert "100% of the surface is black" in gate.exposed(grey / 1000, mask)
    for bad in (torch.nan, torch.inf, -0.1):
        broken = grey.clone()
        broken[0, 0, 0, 0] = bad
        assert gate.exposed(broken, mask) == "a pixel is not finite or below zero"
        assert not gate.finite(grey, broken)


def test_the_atlas_keeps_every_material_in_its_tile_and_moves_things_alone():
    others = [replace(MATERIAL, base_color=np.full((n, n, 3), n / 100, np.float32)) for n in (8, 16)]
    others[1] = replace(
        others[1], **{name: np.zeros((16, 16), np.float32) for name in ("roughness", "metallic", "bump")}
    )
    things = [replace(ball(2.0 * i, 0.0), material=material) for i, material in enumerate((MATERIAL, *others))]
    surface, owners = pack_atlas([*things, replace(things[0], emission=(3.0, 2.0, 1.0))])
    size = np.array(surface.roughness.shape)[::-1]
    for index, (thing, tile) in enumerate(zip(things, (MATERIAL, *others), strict=True)):
        texel = np.floor(surface.uv[owners == index] * size).astype(int)
        found = surface.base_color[texel[:, 1], texel[:, 0]]
        own = np.rint(thing.mesh.uv * (len(tile.roughness) - 1) + 1e-4).astype(int)
        assert np.abs(found - tile.base_color[own[:, 1], own[:, 0]]).mean() < 0.05
    lit = surface.emission.any(axis=1)
    np.testing.assert_array_equal(lit, owners[surface.faces[:, 0]] == 3)

    motion = np.stack([np.eye(4)] * 4)
    motion[1] = [[0, 0, 1, 5], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]
    vertices, normals = move_vertices(surface, owners, motion)
    still = owners != 1
    np.testing.assert_allclose(vertices[still], surface.vertices[still], atol=1e-6)
    np.testing.assert_allclose(
        vertices[owners == 1], surface.vertices[owners == 1] @ motion[1, :3, :3].T + [5, 0, 0], atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_single_bright_pixels_take_the_median_around_them_and_edges_stay():
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 12, 16) * 0.2 + 0.4
    pictures[1, :, :, 8:] *= 20
    expected = pictures.clone()
    for k, y, x in ((0, 5, 5), (0, 0, 0), (1, 11, 3), (1, 6, 12)):
        patch = torch.nn.functional.pad(pictures[k : k + 1], (1, 1, 1, 1), mode="replicate")[0, :, y : y + 3, x : x + 3]
        patch = patch.clone()
        pictures[k, :, y, x] = 500
        patch[:, 1, 1] = 500
        if (y, x) == (0, 0):  # a corner is repeated around itself: four of nine
            expected[k, :, y, x] = 500
        else:
            expected[k, :, y, x] = patch.flatten(1).median(dim=1).values
    mended = clip_module._without_fireflies(pictures)
    bottom = mended[1, :, 11, 3]  # the border repeats it: two of nine
    expected[1, :, 11, 3] = bottom
    assert float(bottom.max()) < 1
    assert torch.equal(mended, expected)
