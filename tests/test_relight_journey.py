"""Relighting with a G-buffer that is known: every step but the network."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from forward_scenes import sphere
from unrender.errors import UserError
from unrender.forward import DeferredRenderer, RenderPasses
from unrender.forward.surface import coverage
from unrender.relight import RelightOptions, decompose, estimate_light, recompose, relight, relight_decomposition
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, texel_directions
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FORWARD = DeferredRenderer("split_sum")
TRUTH = replace(sphere(64, (0.6, 0.5, 0.4), 0.5, 0.0), camera=None)
STRIPES = 1 + 0.3 * torch.sign(torch.sin(torch.arange(64.0)))[None, None, None, :]


def lobe(towards: tuple[float, float, float], color: tuple[float, float, float], height: int = 32) -> EnvironmentMap:
    """A soft light from one side over a dim surround."""
    direction = torch.nn.functional.normalize(torch.tensor(towards), dim=0)
    strength = (4 * (texel_directions((height, 2 * height)) @ direction - 1)).exp()
    return EnvironmentMap(torch.tensor(color)[None, :, None, None] * strength + 0.1)


OLD, NEW = lobe((-1.0, 0.5, 1.0), (3.0, 2.0, 1.0)), lobe((1.0, 1.0, 0.5), (1.0, 2.0, 4.0))


def known(photo: Frames, maps: Sequence[str]) -> GBuffer:
    """Stands where an inverse renderer would, and knows the answer."""
    return TRUTH.with_maps(rgb=photo.rgb, mask=photo.mask)


def surface(passes: RenderPasses) -> torch.Tensor:
    return passes.diffuse + passes.specular


def taken(light: EnvironmentMap, texture: torch.Tensor | float = 1.0) -> Frames:
    """A photo of the sphere, with a texture that its G-buffer lacks."""
    return Frames(surface(FORWARD(TRUTH, light)) * texture, mask=TRUTH.mask, hdr=True)


def relative_error(found: torch.Tensor, right: torch.Tensor) -> float:
    assert TRUTH.mask is not None
    return float(((found - right).abs() * TRUTH.mask).sum() / (right * TRUTH.mask).sum())


def test_the_estimated_light_renders_the_photo_again():
    photo = taken(OLD)
    found = surface(FORWARD(TRUTH, estimate_light(photo, TRUTH)))
    assert relative_error(found, photo.rgb) < 0.05


def test_no_light_is_estimated_where_nothing_is_seen():
    photo = taken(OLD)
    blown_out = Frames(torch.ones_like(photo.rgb), mask=TRUTH.mask)
    nothing = TRUTH.with_maps(mask=torch.zeros_like(TRUTH.maps["mask"]))
    assert estimate_light(blown_out, TRUTH).radiance.abs().max() == 0
    assert estimate_light(photo, nothing).radiance.abs().max() == 0
    assert relight(blown_out, NEW, known, FORWARD).beauty.isfinite().all()


def test_what_lies_outside_the_mask_does_not_count():
    photo = taken(OLD)
    surrounded = Frames(photo.rgb + 5 * (1 - TRUTH.maps["mask"]), mask=TRUTH.mask, hdr=True)
    found, right = (estimate_light(frames, TRUTH).radiance for frames in (surrounded, photo))
    torch.testing.assert_close(found, right, atol=2e-3, rtol=0)


def test_the_estimate_is_deterministic():
    photo = taken(OLD)
    assert torch.equal(estimate_light(photo, TRUTH).radiance, estimate_light(photo, TRUTH).radiance)


def test_relighting_is_the_rendering_under_the_new_light():
    relit = relight(taken(OLD), NEW, known, FORWARD)
    assert relative_error(surface(relit.passes), surface(FORWARD(TRUTH, NEW))) < 0.08


def test_detail_that_the_gbuffer_lacks_is_kept_and_can_be_left_out():
    photo, right = taken(OLD, STRIPES), surface(FORWARD(TRUTH, NEW)) * STRIPES
    kept = relight(photo, NEW, known, FORWARD)
    left_out = relight(photo, NEW, known, FORWARD, RelightOptions(detail=False))
    assert relative_error(surface(kept.passes), right) < 0.14  # 0.1 by least squares alone: stripes are no shading
    assert relative_error(surface(left_out.passes), right) > 0.2
    assert torch.equal(left_out.passes.diffuse, FORWARD(TRUTH, NEW).diffuse)


def test_the_old_light_gives_the_photo_back_but_for_a_part_of_its_detail():
    photo = taken(OLD, STRIPES)
    decomposition = decompose(photo, known, FORWARD)
    assert decomposition.light is not None
    again = recompose(decomposition, decomposition.light, FORWARD, RelightOptions(background="none"))
    bright = (photo.rgb > 0.05).float() * photo.rgb
    assert float(((again.beauty - photo.rgb).abs() * (photo.rgb > 0.05)).sum() / bright.sum()) < 0.08


def test_the_detail_is_divided_by_no_noise():
    photo, noisy = taken(OLD, STRIPES), DeferredRenderer("monte_carlo", samples=2)
    found, right = (decompose(photo, known, forward).gain for forward in (noisy, FORWARD))
    assert torch.equal(found, right)
    by_itself = decompose(photo, known, FORWARD, rerender=noisy).gain
    assert float((by_itself - right).abs().mean()) > 0.01


def test_the_even_light_takes_the_shading_out():
    photo = taken(OLD)
    flat = surface(relight(photo, "even", known, FORWARD).passes)
    inside = TRUTH.maps["mask"][0, 0] > 0.9
    spread = [float((luminance(rgb)[0, 0][inside] + 1e-3).log().std()) for rgb in (photo.rgb, flat)]
    assert spread[1] < 0.5 * spread[0]


def test_yaw_turns_the_light():
    decomposition = decompose(taken(OLD), known, FORWARD, RelightOptions(detail=False))
    turned = recompose(decomposition, NEW, FORWARD, RelightOptions(yaw=90))
    rotated = recompose(decomposition, NEW.rotated(90), FORWARD)
    assert relative_error(surface(turned), surface(rotated)) < 0.02
    assert relative_error(surface(turned), surface(recompose(decomposition, NEW, FORWARD))) > 0.2


def test_passes_add_up_and_backgrounds_are_what_they_say():
    photo = Frames(taken(OLD).rgb + 0.25, mask=TRUTH.mask, hdr=True)
    decomposition = decompose(photo, known, FORWARD)
    outside = (1 - TRUTH.maps["mask"]).bool().expand_as(photo.rgb)
    shown = {
        background: recompose(decomposition, NEW, FORWARD, RelightOptions(background=background))
        for background in ("light", "photo", "none")
    }
    for passes in shown.values():
        assert torch.equal(passes.beauty, passes.diffuse + passes.specular + passes.background)
    assert shown["none"].background.abs().max() == 0
    assert shown["photo"].beauty[outside].abs().max() == 0  # what the photo's alpha hides does not show
    assert shown["light"].alpha is None
    assert torch.equal(shown["photo"].alpha, TRUTH.mask)
    relit = relight_decomposition(decomposition, NEW, FORWARD)
    assert torch.equal(relit.beauty, shown["photo"].beauty)
    whole = decompose(replace(photo, mask=None), lambda *_: TRUTH, FORWARD)  # no surface, and no alpha
    relit = relight_decomposition(whole, NEW, FORWARD)
    behind = photo.rgb * (1 - coverage(whole.gbuffer))
    assert float((behind[outside] / photo.rgb[outside]).median()) > 0.9
    torch.testing.assert_close(relit.passes.background * relit.gain, behind)
    assert relit.passes.alpha is None
    absolute = recompose(whole, NEW, FORWARD, RelightOptions(exposure=0))
    torch.testing.assert_close(absolute.background, behind)
    assert torch.equal(shown["light"].background, FORWARD(TRUTH, NEW).background)


def test_a_clip_and_a_light_of_other_lengths_do_not_fit():
    with pytest.raises(UserError, match="frames"):
        relight(taken(OLD), EnvironmentMap(NEW.radiance.expand(3, -1, -1, -1)), known, FORWARD)


def test_a_gbuffer_without_normals_is_a_mistake():
    def blind(photo: Frames, maps: Sequence[str]) -> GBuffer:
        return known(photo, maps).with_maps(normal=None)

    with pytest.raises(UserError, match="normal"):
        relight(taken(OLD), NEW, blind, FORWARD)
