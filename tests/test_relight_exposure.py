"""How bright a relit picture is shown, and that nothing on its way to the EXR clips or exposes it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unrender as ur
from forward_scenes import sphere
from unrender.errors import UserError
from unrender.files.gbuffers import read_metadata
from unrender.files.images import read_image
from unrender.forward import DeferredRenderer
from unrender.forward.surface import coverage
from unrender.relight import RelightOptions, display_gain, relight, relight_stream
from unrender.relight.exposure import FLOOR
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import tone_map

FORWARD = DeferredRenderer("split_sum")
TRUTH = replace(sphere(32, (0.6, 0.5, 0.4), 0.5, 0.0), camera=None)
LIGHT = EnvironmentMap(torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(1)) * 2)


def known(photo: Frames, maps: Sequence[str] | None) -> GBuffer:
    """Stands where an inverse renderer would: a flat wall of the photo's size, seen from the front."""
    count, (height, width) = len(photo), photo.size
    normal = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(count, 3, height, width)
    return GBuffer(base_color=torch.full((count, 3, height, width), 0.5), normal=normal.contiguous())


def photo(frames: int = 1) -> Frames:
    values = 0.05 + 0.4 * torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(3))
    return Frames(values.expand(frames, -1, -1, -1) * torch.linspace(1, 0.5, frames)[:, None, None, None])


def log_average(rgb: torch.Tensor) -> float:
    return float(luminance(rgb).clamp(min=FLOOR).log().mean().exp())


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e4])
def test_the_display_picture_is_as_bright_as_the_photo(strength: float):
    light = replace(LIGHT, radiance=LIGHT.radiance * strength)
    for background in ("photo", "light", "none"):
        relit = relight(photo(), light, known, FORWARD, RelightOptions(background=background))
        assert log_average(relit.display) == pytest.approx(log_average(photo().rgb), rel=0.02)
        assert 0 <= relit.display.min() <= relit.display.max() <= 1
    unexposed = relight(photo(), light, known, FORWARD, RelightOptions(exposure=0))
    torch.testing.assert_close(relit.beauty, unexposed.beauty)  # the passes stay in the units of the light


def test_stops_make_the_light_brighter_as_they_say():
    plain, brighter = (relight(photo(), LIGHT, known, FORWARD, RelightOptions(exposure=ev)) for ev in (0, 1.5))
    torch.testing.assert_close(brighter.beauty, plain.beauty * 2**1.5)
    assert brighter.gain == plain.gain == 1.0
    torch.testing.assert_close(plain.display, tone_map(plain.beauty))


def test_a_clip_and_a_turn_have_one_exposure():
    parts = list(relight_stream(photo(3), LIGHT, known, FORWARD))
    assert len(parts) == 3
    assert len({part.gain for part in parts}) == 1
    assert parts[0].gain == relight(photo(), LIGHT, known, FORWARD).gain
    turn = list(relight_stream(photo(), LIGHT, known, FORWARD, RelightOptions(turn=360, frames=4)))
    assert {part.gain for part in turn} == {relight(photo(), LIGHT, known, FORWARD).gain}


@pytest.mark.parametrize(("photo_value", "relit_value", "gain"), [(0.0, 0.5, 1.0), (0.5, 0.0, 1.0), (0.3, 0.1, 3.0)])
def test_the_gain_of_flat_pictures(photo_value: float, relit_value: float, gain: float):
    flat = torch.ones(1, 3, 4, 4)
    assert display_gain(flat * photo_value, flat * relit_value) == pytest.approx(gain, rel=1e-5)
    assert display_gain(flat, flat, torch.zeros(1, 1, 4, 4)) == 1.0


@pytest.mark.parametrize("exposure", ["bright", float("nan"), float("inf"), 1e9])
def test_exposures_that_cannot_be(exposure: object):
    with pytest.raises(UserError, match="expected 'auto', or stops"):
        RelightOptions(exposure=exposure)  # ty: ignore[invalid-argument-type]


@settings(max_examples=15, deadline=None)
@given(st.floats(1e3, 1e4), st.sampled_from(["auto", 0.0]), st.booleans(), st.sampled_from(["photo", "light"]))
def test_bright_values_pass_every_stage_to_the_exr(
    tmp_path_factory: pytest.TempPathFactory, bright: float, exposure: float, detail: bool, background: str
):
    light = EnvironmentMap(torch.full((1, 3, 8, 16), bright))
    plate = Frames(torch.full((1, 3, 16, 24), 0.25), hdr=True)
    options = RelightOptions(detail=detail, exposure=exposure, background=background)
    relit = relight(plate, light, known, FORWARD, options)
    path = tmp_path_factory.mktemp("bright") / "relit.exr"
    ur.write(path, relit)
    again = read_image(path).rgb
    torch.testing.assert_close(again, relit.beauty, rtol=1e-6, atol=0)
    assert again.min() > 0.3 * bright  # a wall of 0.5, and what its gloss adds
    assert float(read_metadata(path)["display_gain"]) == pytest.approx(relit.gain, rel=1e-6)


def test_a_photo_of_great_values_passes_behind_the_surfaces(tmp_path: Path):
    rgb = torch.full((1, 3, 16, 24), 0.25)
    rgb[..., :8] = 1e4
    nothing = torch.arange(24) < 8

    def beside_nothing(photo: Frames, maps: Sequence[str] | None) -> GBuffer:
        return known(photo, maps).with_maps(mask=(~nothing).float().expand(1, 1, 16, 24))

    relit = relight(Frames(rgb, hdr=True), LIGHT, beside_nothing, FORWARD)
    ur.write(tmp_path / "relit.exr", relit)
    again = read_image(tmp_path / "relit.exr").rgb
    behind = rgb * (1 - coverage(relit.decomposition.gbuffer))
    assert behind.max() > 5e3
    torch.testing.assert_close(again * relit.gain, behind + relit.passes.surface * relit.gain)


def test_one_verb_writes_the_display_picture(tmp_path: Path):
    alpha = torch.ones(1, 1, 16, 24)
    alpha[..., :8] = 0
    relit = relight(replace(photo(), mask=alpha), replace(LIGHT, radiance=LIGHT.radiance * 100), known, FORWARD)
    ur.write(tmp_path / "relit.png", relit)
    again = read_image(tmp_path / "relit.png")
    assert again.mask is not None
    assert torch.equal(again.mask, alpha)
    torch.testing.assert_close(again.rgb[..., 8:], relit.display[..., 8:], atol=0.01, rtol=0)
