"""Traced light transport: against our own path tracer, and against Mitsuba's PRB in value and gradient."""

import pytest
import torch

from unrender.errors import UserError

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

from insertion_scenes import LIGHT_SIZE, LIGHTS, camera, light, psnr, scenes, surfaces
from unrender.raytrace import transport
from unrender.raytrace.atlas import pack_atlas
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import build_path_tracer_scene
from unrender.raytrace.prb import MaterialEdit, prb_scene, prb_shadow_ratio, render_prb
from unrender.raytrace.products import row_product
from unrender.raytrace.shadows import sent_ratio, shadow_ratio, trace_shadows
from unrender.raytrace.transport import trace_foreground

SIZE = 24


pytestmark = pytest.mark.usefixtures("vectorised_mitsuba")


@pytest.fixture(scope="module")
def traced():
    objects, ground = scenes(SIZE)
    return trace_foreground(objects, LIGHT_SIZE, samples=256), trace_shadows(objects, ground, LIGHT_SIZE, samples=64)


def test_products_in_half_precision_have_exact_gradients():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(7, 11, generator=generator).half()
    row, weight = torch.rand(7, generator=generator).requires_grad_(), torch.rand(11, generator=generator)
    (row_product(row, matrix) * weight).sum().backward()
    torch.testing.assert_close(row_product(row, matrix), row @ matrix.float())
    torch.testing.assert_close(row.grad, matrix.float() @ weight)


@pytest.mark.parametrize("name", LIGHTS)
def test_the_matrices_give_the_path_traced_pictures(traced, name):
    foreground, shadow = traced
    objects, ground = scenes(SIZE)
    lit = light(name)
    expected = render_lights(objects, [lit], samples=1024, seed=5, seen_faces=len(objects.surface.faces))
    seen = (foreground.coverage > 0).expand_as(expected.rgb)
    assert psnr(foreground.render(lit.radiance[0])[seen], expected.rgb[seen]) > 33
    open_ground = (foreground.coverage == 0).expand_as(seen)
    ratio = shadow_ratio(objects, ground, [lit], samples=256, seed=6)
    assert ratio[open_ground].min() < 0.8
    assert psnr(shadow.render(lit.radiance[0])[open_ground], ratio[open_ground]) > 40


def test_the_ground_gets_the_light_that_objects_send_on():
    (objects, ground), (thing, floor) = scenes(SIZE), surfaces()
    together = build_path_tracer_scene(pack_atlas([thing, floor])[0], camera(SIZE), max_depth=5)
    lit = light("sunset")
    with_it, without = (
        render_lights(scene, [lit], samples=1024, seed=7, indirect_roughness=0.5).rgb for scene in (together, ground)
    )
    coverage = render_lights(objects, [lit], samples=64, seed=8).coverage
    open_ground = (coverage == 0).expand_as(with_it)
    expected = (with_it / without)[open_ground]
    straight = shadow_ratio(objects, ground, [lit], samples=256, seed=9)
    sent, known = sent_ratio(objects, ground, [lit], samples=256, seed=9)
    assert bool(known[coverage == 0].any())
    assert float(known[coverage == 1].float().mean()) < 0.1  # behind objects nothing is seen
    bounced, straight = (straight + sent)[open_ground], straight[open_ground]
    assert float((bounced - expected).square().mean()) < 0.1 * float((straight - expected).square().mean())


def test_a_white_light_is_reflected_as_the_path_tracer_has_it_and_casts_no_colour(traced):
    foreground, shadow = traced
    white = torch.ones(3, *LIGHT_SIZE)
    whole = (foreground.coverage == 1)[0, 0]
    assert foreground.render(white)[0][:, whole].max() < 1
    ratio = shadow.render(white)
    torch.testing.assert_close(ratio[:, :1].expand_as(ratio), ratio)
    far = shadow.render(white)[0, 0, -1, 0]
    assert far > 0.9


def test_values_and_gradients_are_those_of_prb(traced):
    foreground, shadow = traced
    thing, ground = surfaces()
    alone = prb_scene(pack_atlas([thing])[0], camera(SIZE), LIGHT_SIZE)
    both, bare = (
        prb_scene(pack_atlas(parts)[0], camera(SIZE), LIGHT_SIZE, max_depth=2, kind="lambertian")
        for parts in ([thing, ground], [ground])
    )
    weight = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    seen, out = (mask.expand_as(weight) for mask in (foreground.coverage > 0, foreground.coverage == 0))
    start = light("city").radiance[0]

    def gradient(render, where):
        radiance = start.clone().requires_grad_()
        picture = render(radiance)
        (picture * weight * where).sum().backward()
        return picture.detach()[where], radiance.grad

    for mine, theirs, where, least in (
        (foreground.render, lambda x: render_prb(alone, x, samples=2048, seed=1), seen, 33),
        (shadow.render, lambda x: prb_shadow_ratio(both, bare, x, samples=1024, seed=1), out, 45),
    ):
        (picture, slope), (expected, steep) = gradient(mine, where), gradient(theirs, where)
        assert psnr(picture, expected) > least
        assert (slope - steep).norm() < 0.03 * steep.norm()


def test_materials_have_gradients_by_prb():
    thing, _ = surfaces()
    scene = prb_scene(pack_atlas([thing])[0], camera(12), LIGHT_SIZE, max_depth=3, kind="glowing")
    radiance = light("studio").radiance[0]

    def total(change):
        return render_prb(scene, radiance, change, samples=256, seed=2).sum()

    names = ("base_color", "roughness", "metallic", "emission")
    start = MaterialEdit(emission=torch.full((3,), 0.1))
    leaves = {name: getattr(start, name).clone().requires_grad_() for name in names}
    total(MaterialEdit(**leaves)).backward()
    step = 0.02
    for name in names:
        up, down = (MaterialEdit(**(vars(start) | {name: getattr(start, name) + sign * step})) for sign in (1, -1))
        slope = float(total(up) - total(down)) / (2 * step)
        assert float(leaves[name].grad.sum()) == pytest.approx(slope, rel=0.12, abs=0.3), name


def test_what_cannot_be_traced_is_refused(monkeypatch):
    objects, _ = scenes(SIZE)
    away = scenes(SIZE)[0].camera
    behind = type(away)(away.intrinsics, away.pose @ torch.diag(torch.tensor([-1.0, 1, -1, 1])), away.size)
    from unrender.raytrace.path_tracer_scene import set_camera

    with pytest.raises(UserError, match="no pixel sees the object"):
        trace_foreground(set_camera(objects, behind), LIGHT_SIZE, samples=1)
    monkeypatch.setattr(transport, "MOST_BYTES", 1 << 10)
    with pytest.raises(UserError, match="trace it smaller"):
        trace_foreground(objects, LIGHT_SIZE, samples=1)
