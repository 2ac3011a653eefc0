"""Clips: what Python gives whole is what streaming gives frame by frame, and lights drift and turn."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from forward_scenes import sphere
from unrender.cli import relight as command
from unrender.errors import UserError
from unrender.forward import DeferredRenderer, RenderPasses
from unrender.relight import (
    RelightOptions,
    count_pictures,
    decompose,
    decompose_stream,
    estimate_light,
    recompose,
    relight,
    relight_stream,
)
from unrender.relight.options import TURN_FRAMES
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FORWARD = DeferredRenderer("split_sum")
TRUTH = replace(sphere(32, (0.6, 0.5, 0.4), 0.5, 0.0), camera=None)
OLD, NEW = (
    EnvironmentMap(torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(seed)) * 2) for seed in (1, 2)
)
TURN = RelightOptions(yaw=10, turn=90)


def known(photo: Frames, maps: Sequence[str] | None) -> GBuffer:
    """Stands where an inverse renderer would, and knows the answer."""
    still = TRUTH.with_maps(mask=None)
    return GBuffer.concatenate([still] * len(photo)).with_maps(rgb=photo.rgb, mask=photo.mask)


def fading(frames: int = 4) -> Frames:
    """The sphere under a light that goes out."""
    lit = FORWARD(TRUTH, OLD).surface
    return Frames(
        torch.cat([lit * 0.8**i for i in range(frames)]), TRUTH.mask.expand(frames, -1, -1, -1), 12.0, hdr=True
    )


def same(found: RenderPasses, right: RenderPasses) -> bool:
    return all(torch.equal(found.passes[name], right.passes[name]) for name in right.passes)


@pytest.mark.parametrize(
    "options", [RelightOptions(), TURN, replace(TURN, frames=3), replace(TURN, window=3, overlap=1)], ids=str
)
def test_a_clip_held_whole_is_relit_as_one_that_is_streamed(options: RelightOptions):
    clip = fading()
    whole = relight(clip, NEW, known, FORWARD, options)
    parts = list(relight_stream(iter(clip), NEW, known, FORWARD, replace(options, frames=options.frames or len(clip))))
    assert len(whole.passes) == (options.frames or 4)
    assert same(whole.passes, RenderPasses.concatenate([part.passes for part in parts]))
    assert same(recompose(decompose(clip, known, FORWARD, options), NEW, FORWARD, options), whole.passes)
    gains = torch.cat([part.decomposition.gain for part in parts])
    assert torch.equal(whole.decomposition.gain, gains)


def test_a_single_frame_is_relit_as_a_still():
    still = fading().frame(0)
    whole = relight(still, NEW, known, FORWARD)
    decomposition = whole.decomposition
    assert same(whole.passes, recompose(decomposition, NEW, FORWARD))
    right = FORWARD(decomposition.gbuffer, NEW, 0.0).times(decomposition.gain)
    trusting = recompose(replace(decomposition, belief=torch.ones(1, 1, 1, 1)), NEW, FORWARD)
    assert torch.equal(trusting.surface, right.surface)
    assert torch.equal(decomposition.light.radiance, estimate_light(still, decomposition.gbuffer).radiance)


def test_the_light_of_each_window_stays_close_to_the_one_before():
    clip = fading()
    lights = [part.light.radiance for part in decompose_stream(clip, known, FORWARD)]
    free = [estimate_light(frame, known(frame, None)).radiance for frame in clip]
    assert torch.equal(lights[0], free[0])
    for index in (1, 2, 3):
        held, alone = ((light[index] - light[index - 1]).norm() for light in (lights, free))
        assert held < alone
    assert torch.equal(decompose(clip, known, FORWARD).light.radiance, torch.cat(lights))


def test_the_light_turns_over_the_clip():
    clip = fading()
    turned = relight(clip, NEW, known, FORWARD, TURN)
    for index in range(4):
        one = turned.decomposition.part(index, index + 1)
        still = recompose(one, NEW, FORWARD, RelightOptions(yaw=10 + 90 * index / 4))
        assert same(turned.passes.frame(index), still)


def test_a_turning_light_makes_a_clip_of_a_still():
    still, options = fading().frame(0), replace(TURN, frames=3)
    relit = relight(still, NEW, known, FORWARD, options)
    assert (len(relit.passes), len(relit.decomposition)) == (3, 1)
    assert same(recompose(relit.decomposition, NEW, FORWARD, options), relit.passes)
    assert same(relit.passes.frame(0), relight(still, NEW, known, FORWARD, RelightOptions(yaw=10)).passes)
    assert count_pictures(still, TURN) == 48


def test_a_light_for_every_frame():
    clip, lights = fading(2), EnvironmentMap(torch.cat([OLD.radiance, NEW.radiance]))
    relit = relight(clip, lights, known, FORWARD, RelightOptions(window=2))
    for index in range(2):
        one = recompose(relit.decomposition.part(index, index + 1), lights.frame(index), FORWARD)
        assert same(relit.passes.frame(index), one)
    with pytest.raises(UserError, match="2 frames"):
        relight_stream(fading(3), lights, known, FORWARD)


def test_a_clip_is_read_as_it_is_relit():
    read = []

    def frames() -> Iterator[Frames]:
        for index, frame in enumerate(fading()):
            read.append(index)
            yield frame

    stream = relight_stream(frames(), NEW, known, FORWARD)
    assert read == []
    next(stream)
    assert read == [0]
    with pytest.raises(UserError, match="unknown length"):
        relight_stream(frames(), NEW, known, FORWARD, TURN)


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"window": 0}, {"window": 2, "overlap": 2}, {"overlap": -1}], ids=str)
def test_options_that_cannot_be(wrong: dict[str, int]):
    with pytest.raises(UserError, match="expected"):
        RelightOptions(**wrong)


def test_the_help_tells_the_number_of_pictures_of_a_turn():
    assert command.TURN_FRAMES == TURN_FRAMES
