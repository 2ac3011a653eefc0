"""Training: batches follow from the draw alone, and views keep picture, maps and light together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forward_scenes import sphere
from training import DRAW, inverse_card, lit_stills, stills, truth
from unrender.diffusion.card import LightTokens
from unrender.diffusion.codec import relative_depth
from unrender.errors import UserError
from unrender.files.images import write_image
from unrender.scene.encoding import MINI, mirror_encoded
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.train.data import (
    StillDataset,
    hold_out,
    join,
    load_lit_still_dataset,
    load_still_dataset,
    require_known,
    sample_batch,
)
from unrender.train.datasets import dataset_named, load_dataset
from unrender.train.loop import BatchSpec


def test_relative_depth_spans_one_to_two_and_background_is_far():
    depth = torch.linspace(3, 30, 64).reshape(1, 1, 8, 8).clone()
    depth[..., 0] = torch.inf
    relative = relative_depth(depth, depth.isfinite().float())
    assert (float(relative.min()), float(relative.max())) == (1.0, 2.0)
    assert (relative[..., 0] == 2).all()
    torch.testing.assert_close(relative_depth(depth * 7, depth.isfinite().float()), relative)


def test_batches_follow_from_the_draw_alone():
    known = lit_stills()
    first, again, other = (sample_batch(known, BatchSpec(20, 3, seed)) for seed in (5, 5, 6))
    assert torch.equal(first.photo, again.photo)
    assert all(torch.equal(first.maps[name], again.maps[name]) for name in first.maps)
    assert first.lit is not None
    assert again.lit is not None
    assert torch.equal(first.lit.picture, again.lit.picture)
    assert not torch.equal(first.photo, other.photo)
    assert first.photo.shape == (3, 3, 20, 20)
    assert 0 <= float(first.photo.min()) <= float(first.photo.max()) <= 1


def facing_right() -> GBuffer:
    """Normals to the right, and colour in the right half."""
    normal, base = torch.zeros(1, 3, 24, 24), torch.zeros(1, 3, 24, 24)
    normal[:, 0], base[..., 12:] = 1.0, 1.0
    return truth(1, normal=normal, base_color=base, mask=torch.ones(1, 1, 24, 24))


def test_mirroring_turns_the_x_of_normals():
    """After any number of random mirrorings half of them face left, with their pixels."""
    batch = sample_batch(load_still_dataset([facing_right()]), BatchSpec(24, 64, 0))
    bright_right = batch.maps["base_color"][:, 0, :, -1].mean(1) > batch.maps["base_color"][:, 0, :, 0].mean(1)
    faces_right = batch.maps["normal"][:, 0].mean((1, 2)) > 0
    assert torch.equal(bright_right, faces_right)
    assert 0 < int(bright_right.sum()) < 64


def light_from_the_right() -> EnvironmentMap:
    radiance = torch.full((1, 3, 16, 32), 0.01)
    radiance[..., 8, 8] = 50.0
    return EnvironmentMap(radiance)


def test_mirroring_turns_light_and_first_render_with_the_picture():
    """A ball lit from the right: where the view is mirrored it is bright at the left, and so is its light."""
    ball = sphere(24, (0.8, 0.8, 0.8), 0.5, 0.0)
    ball = ball.with_maps(rgb=torch.rand(1, 3, 24, 24))
    batch = sample_batch(
        load_lit_still_dataset([(ball, light_from_the_right())], LightTokens((8, 16))), BatchSpec(24, 32, 0)
    )
    assert batch.lit is not None
    left, right = batch.lit.radiance_hint[..., :12].mean((1, 2, 3)), batch.lit.radiance_hint[..., 12:].mean((1, 2, 3))
    columns = batch.lit.picture[:, 0].mean(1)
    light_right = columns[:, :8].sum(1) > columns[:, 8:].sum(1)
    assert torch.equal(right > left, light_right)
    assert 0 < int(light_right.sum()) < 32
    mirrored, straight = batch.lit.picture[~light_right][0], batch.lit.picture[light_right][0]
    torch.testing.assert_close(mirror_encoded(straight[None], MINI)[0], mirrored)
    torch.testing.assert_close(mirrored[6:], straight[6:])


def test_sets_that_know_different_maps_are_joined():
    both = join([stills(2), stills(3, irradiance=None)])
    assert both.known["irradiance"].tolist() == [True, True, False, False, False]
    assert both.known["normal"].all()
    assert (both.maps["irradiance"][2:] == 0).all()
    assert len(both) == 5


def test_sets_with_lights_keep_them():
    both = join([lit_stills(2), lit_stills(3)])
    assert both.lit is not None
    assert both.lit.picture.shape == (5, 9, 8, 16)
    assert torch.equal(both.lit.radiance_hint[2:], lit_stills(3).lit.radiance_hint)
    with pytest.raises(UserError, match="with lights and without; expected one or the other"):
        join([lit_stills(2), stills(2)])


def test_pictures_of_several_sizes_are_refused_in_a_line():
    for several in (
        lambda: load_still_dataset([truth(1, 24), truth(1, 32)]),
        lambda: join([load_still_dataset([truth(1, size)]) for size in (24, 32)]),
    ):
        with pytest.raises(UserError, match="2 sizes; expected one"):
            several()
    for none in (lambda: load_still_dataset([]), lambda: load_lit_still_dataset([], LightTokens((8, 16)))):
        with pytest.raises(UserError, match="no training pictures"):
            none()


def test_a_map_that_no_picture_has_cannot_be_learnt():
    require_known(stills(2), inverse_card())
    with pytest.raises(UserError, match="no training picture has irradiance, a target of tiny-inverse"):
        require_known(stills(2, irradiance=None), inverse_card())


def test_a_sun_brighter_than_half_precision_stays_a_number():
    sun = truth(1).maps["rgb"].clone()
    sun[..., 5:7, 5:7] = 1e6
    batch = sample_batch(stills(1, rgb=sun), DRAW)
    assert all(values.isfinite().all() for values in (batch.photo, *batch.maps.values()))


def test_the_last_stills_are_held_out_where_there_are_many():
    many = StillDataset({"rgb": torch.arange(20.0)[:, None, None, None]}, {"rgb": torch.ones(20, dtype=torch.bool)})
    held_out, rest = hold_out(many)
    assert held_out.maps["rgb"].flatten().tolist() == list(range(12, 20))
    assert rest.maps["rgb"].flatten().tolist() == list(range(12))
    few = many.part(0, 16)
    assert [len(part) for part in hold_out(few)] == [16, 16]


def test_photos_are_squares_of_which_only_the_picture_is_known(tmp_path):
    picture = torch.zeros(1, 3, 40, 80)
    picture[..., 20:60] = 1.0
    write_image(tmp_path / "wide.png", picture[0])
    photos = load_dataset("photos", tmp_path, side=32)
    assert photos.maps["rgb"].shape == (1, 3, 32, 32)
    assert float(photos.maps["rgb"].float().min()) > 0.99
    assert {name for name, known in photos.known.items() if known.any()} == {"rgb"}
    batch = sample_batch(photos, DRAW)
    assert (batch.surface() == 1).all()


def test_a_forward_network_answers_the_surfaces_under_the_light():
    batch = sample_batch(lit_stills(), DRAW)
    assert batch.lit is not None
    assert torch.equal(batch.seen_forward().maps["rgb"], batch.lit.rgb)
    plain = replace(batch, lit=None)
    assert plain.seen_forward() is plain


def test_a_dataset_is_told_by_name_and_folder():
    assert dataset_named("hypersim=/data/hyper=sim") == ("hypersim", Path("/data/hyper=sim"))
    for wrong in ("hypersim", "=folder", "hypersim="):
        with pytest.raises(UserError, match=r"expected NAME=FOLDER, with one of hypersim"):
            dataset_named(wrong)
    with pytest.raises(UserError, match="hypersin"):
        load_dataset("hypersin", Path("nowhere"))
