"""Where a picture is relit: softly, along the photo's edges, steadily, and as its alpha says."""

import torch

from unrender.relight.surface import HELD, SURE, UNSURE, follow_photo, soft_surface
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FRONT = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 64, 96)


def street(edge: int = 30, guessed: int = 30) -> tuple[Frames, GBuffer]:
    """A bright sky above a dark street: the photo's edge at row `edge`, the guessed mask's at row `guessed`."""
    rgb = torch.full((1, 3, 64, 96), 0.9)
    rgb[:, :, edge:] = 0.05
    mask = torch.full((1, 1, 64, 96), 0.02)
    mask[:, :, guessed:] = 0.95
    normal = FRONT * (mask > UNSURE)
    return Frames(rgb), GBuffer(base_color=rgb * 0.5, normal=normal, mask=mask)


def test_sure_surfaces_are_relit_wholly_and_sure_skies_not_at_all():
    frames, gbuffer = street()
    mask = soft_surface(frames, gbuffer)[0].maps["mask"]
    assert mask[:, :, :15].max() == 0
    assert mask[:, :, 45:].min() == 1
    assert float((mask - (gbuffer.mask > 0.5).float()).abs().mean()) < 0.03


def test_an_edge_moves_to_that_of_the_photo():
    frames, gbuffer = street(edge=30, guessed=33)
    steps = soft_surface(frames, gbuffer)[0].maps["mask"].mean((0, 1, 3)).diff()
    assert int(steps.argmax()) == 29  # between rows 29 and 30; the guess had it between 32 and 33
    assert float(steps.max()) > 0.4


def test_what_is_the_same_all_around_stays():
    rgb = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    for value in (0.0, 1.0):
        mask = torch.full((1, 1, 64, 96), value)
        torch.testing.assert_close(follow_photo(mask, rgb), mask, atol=1e-5, rtol=0)


def test_doubt_is_soft_and_grows_smoothly():
    frames = Frames(torch.full((1, 3, 64, 96), 0.4))
    levels = [0.0, UNSURE, (UNSURE + SURE) / 2, SURE, 1.0]
    found = [
        float(
            soft_surface(frames, GBuffer(normal=FRONT, mask=torch.full((1, 1, 64, 96), level)))[0].maps["mask"].mean()
        )
        for level in levels
    ]
    torch.testing.assert_close(torch.tensor(found), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]), atol=1e-4, rtol=0)


def test_there_is_a_normal_wherever_anything_is_relit():
    frames, gbuffer = street(edge=28, guessed=32)
    found = soft_surface(frames, gbuffer)[0]
    there = found.maps["mask"] > 0
    assert bool((there & (gbuffer.normal.square().sum(1, keepdim=True) == 0)).any())
    torch.testing.assert_close(found.maps["normal"].norm(dim=1, keepdim=True)[there], torch.ones(int(there.sum())))
    known = (gbuffer.normal != 0).any(1, keepdim=True).expand_as(gbuffer.normal)
    assert torch.equal(found.maps["normal"][known], gbuffer.normal[known])


def test_an_alpha_is_obeyed_and_one_that_says_nothing_is_not():
    frames, gbuffer = street()
    alpha = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(2))
    cut, handed_on = soft_surface(Frames(frames.rgb, alpha), gbuffer)
    assert torch.equal(cut.maps["mask"], alpha)
    assert handed_on is None
    opaque = soft_surface(Frames(frames.rgb, torch.ones_like(alpha)), gbuffer)[0]
    assert torch.equal(opaque.maps["mask"], soft_surface(frames, gbuffer)[0].maps["mask"])


def test_the_guess_of_a_clip_is_steady():
    frames, gbuffer = street()
    flickering = gbuffer.with_maps(mask=gbuffer.mask * 0.5)
    guess = soft_surface(frames, gbuffer)[1]
    held = soft_surface(frames, flickering, guess)[1]
    torch.testing.assert_close(held, gbuffer.mask * (0.5 * (1 - HELD) + HELD))
    both = soft_surface(
        Frames(torch.cat([frames.rgb] * 2)), GBuffer.concatenate([gbuffer, flickering])
    )  # frames of one window are held as those of several
    torch.testing.assert_close(both[1], held)
