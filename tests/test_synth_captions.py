"""Captions of synthetic stills: words for what is seen, in colours as they are, and a vocabulary for them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.shards import Clip, LitClip, write_shard
from unrender.scene.camera import Camera
from unrender.scene.color import srgb_to_linear
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.synth.captions import COLORS, FINISHES, WEARS, caption, color_name, scene_words, vocabulary
from unrender.synth.objects import FAMILIES
from unrender.train.captioned import CaptionedStills, hold_out_captioned, load_captioned
from unrender.train.tokenizer import build_tokenizer

RED, BLUE, BROWN = (0.8, 0.1, 0.1), (0.15, 0.2, 0.85), (0.45, 0.3, 0.18)


def linear(srgb: tuple[float, float, float]) -> Tensor:
    return srgb_to_linear(torch.tensor(srgb))


def clip(things=("matte wooden ground", "worn glossy checked chair", "brushed plain metal cratered stone", "gear"),
         lights=("night",), light="clear sky") -> Clip:  # fmt: skip
    """A ground in brown, a large blue chair, a smaller red stone, and a gear of one pixel."""
    instance = torch.ones(1, 1, 24, 32)
    instance[..., 4:16, 4:16] = 2
    instance[..., 10:16, 20:26] = 3
    instance[..., 0, 0] = 4
    palette = torch.stack([torch.zeros(3), linear(BROWN), linear(BLUE), linear(RED), linear(RED)])
    base_color = palette[instance.long()[:, 0]].permute(0, 3, 1, 2)
    camera = Camera.perspective((24, 32), 40.0, torch.eye(4)[None])
    own = GBuffer(
        base_color=base_color, instance=instance, mask=torch.ones_like(instance), rgb=base_color * 0.7,
        camera=camera, depth_kind="metric",
    )  # fmt: skip
    g = torch.Generator().manual_seed(1)
    lit = [
        LitClip(EnvironmentMap(torch.ones(1, 3, 4, 8), name), *torch.rand(2, 1, 3, 24, 32, generator=g).unbind(0))
        for name in lights
    ]
    return Clip(own, EnvironmentMap(torch.ones(1, 3, 4, 8), light), "", 0, things=things, lights=tuple(lit))


def test_what_is_seen_is_named_with_its_colour_material_and_light():
    day, night = scene_words(clip())
    assert caption(day) == (
        "a photo of a worn glossy blue checked chair and a brushed red metal cratered stone "
        "on a matte brown wooden ground, under a clear sky"
    )
    assert caption(night).endswith("at night")
    assert [thing.noun for thing in day.things] == ["chair", "cratered stone"]  # the gear is one pixel


def test_a_room_is_one_and_unknown_names_are_words_too():
    things = ("matte plain walls", "glossy cloudy floor", "old toy car")
    (words,) = scene_words(clip(things, (), "my hdri"))
    assert words.indoors
    assert caption(words).startswith("a photo of an old toy car") or "toy car" in caption(words)
    assert "in a room with matte" in caption(words)
    assert caption(words).endswith("in the light of my hdri")
    (empty,) = scene_words(clip(("matte plain ground", "", ""), ()))
    assert caption(empty).startswith("a photo of an empty scene")


def test_captions_vary_by_seed_and_by_nothing_else():
    (words,) = scene_words(clip(lights=()))
    said = [caption(words, torch.Generator().manual_seed(seed)) for seed in range(80)]
    assert said == [caption(words, torch.Generator().manual_seed(seed)) for seed in range(80)]
    assert len(set(said)) > 40
    assert all("chair" in text for text in said)  # the subject always is among what is said
    assert any(text == "a photo of a blue chair" or text == "a blue chair" for text in said)
    for word in ("stone", "brown", "sky", "checked", "ground"):
        assert 5 < sum(word in text for text in said) < 75


def test_every_word_of_the_generator_has_a_token_of_its_own():
    words = set(vocabulary())
    assert {word for name in FAMILIES for word in name.split()} <= words
    assert {*COLORS, *FINISHES, *WEARS, "sks", "photo", "style", "rendering", "scene"} <= words
    tokenizer = build_tokenizer(vocabulary(), 40)
    assert all(len(tokenizer(word).input_ids) == 3 for word in words)
    assert len(tokenizer) < 1000


def test_any_text_is_spelt_and_none_is_unknown():
    tokenizer = build_tokenizer(vocabulary(), 12)
    for text in ("Zürich 2026!", "日本", "xylophone", "", "a PHOTO of a red chair"):
        ids = tokenizer(text, padding="max_length", max_length=12, truncation=True).input_ids
        assert len(ids) == 12
        spelt = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)[1:-1]
        assert "<|endoftext|>" not in spelt
        assert bool(spelt) == bool(text)
    assert tokenizer("a PHOTO").input_ids == tokenizer("a photo").input_ids


def test_merges_are_the_same_in_every_process():
    """The hash maps of another process have another order."""
    code = (
        "from unrender.train.tokenizer import merges_of; print(merges_of('a red chair and a car in the rain'.split()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("srgb", "name"),
    [((0.1, 0.1, 0.1), "black"), ((0.95, 0.94, 0.93), "white"), ((0.5, 0.5, 0.52), "grey"), ((0.8, 0.1, 0.1), "red"),
     ((0.95, 0.55, 0.1), "orange"), ((0.9, 0.85, 0.15), "yellow"), ((0.2, 0.7, 0.25), "green"),
     ((0.1, 0.7, 0.7), "teal"), ((0.15, 0.2, 0.85), "blue"), ((0.5, 0.15, 0.8), "purple"), ((0.9, 0.3, 0.7), "pink"),
     ((0.95, 0.7, 0.7), "pink"), ((0.45, 0.3, 0.18), "brown"), ((0.9, 0.8, 0.65), "beige")],
)  # fmt: skip
def test_colours_are_called_as_people_call_them(srgb, name):
    assert color_name(linear(srgb)) == name


def test_every_colour_has_a_name():
    values = np.random.default_rng(0).uniform(0, 1, (500, 3))
    assert {color_name(torch.tensor(value)) for value in values} <= set(COLORS)


# Read out of shards.


def test_stills_of_shards_come_with_their_words_and_are_kept(tmp_path):
    (tmp_path / "set").mkdir()
    write_shard(tmp_path / "set" / "shard-000000.tar", [("000000", clip()), ("000001", clip(lights=()))])
    fresh = load_captioned([tmp_path / "set"], side=16)
    assert fresh.pictures.shape == (3, 3, 16, 16)
    assert fresh.words == (*scene_words(clip()), *scene_words(clip(lights=())))
    middle = fresh.shown(torch.tensor([0]))[0, :, 12, 8]  # of the square in the middle: on the ground
    assert float((middle * 0.5 + 0.5 - torch.tensor(BROWN)).abs().max()) < 0.15
    kept = load_captioned([tmp_path / "set"], tmp_path / "cache", side=16)
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_mtime_ns
    again = load_captioned([tmp_path / "set"], tmp_path / "cache", side=16)
    assert file.stat().st_mtime_ns == written
    for found in (kept, again):
        assert torch.equal(found.pictures, fresh.pictures)
        assert found.words == fresh.words


def test_a_set_without_instances_has_no_words(tmp_path):
    bare = clip()
    bare = replace(bare, gbuffer=bare.gbuffer.with_maps(instance=None))
    write_shard(tmp_path / "shard-000000.tar", [("000000", bare)])
    with pytest.raises(UserError, match="a caption needs the map instance"):
        load_captioned([tmp_path])
    with pytest.raises(UserError, match="no shards in"):
        load_captioned([Path(tmp_path / "nothing")])


def test_a_few_are_held_out():
    (words,) = scene_words(clip(lights=()))
    stills = CaptionedStills(torch.arange(60).byte()[:, None, None, None].expand(60, 3, 2, 2), (words,) * 60)
    held_out, rest = hold_out_captioned(stills, 8)
    assert (len(held_out), len(rest)) == (8, 52)
    assert int(held_out.pictures[0, 0, 0, 0]) == 52
    assert hold_out_captioned(stills.part(0, 9), 8)[1].pictures.shape[0] == 9
