"""Training stills in 8 bits on disk: the same as in memory, to a rounding, and read still by still."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import DRAW, truth
from unrender.diffusion.card import LightTokens
from unrender.errors import UserError
from unrender.files.shards import Clip, LitClip, write_shard
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.train.data import Batch, hold_out, lit_frames, load_lit_still_dataset, load_still_dataset, sample_batch
from unrender.train.loop import BatchSpec
from unrender.train.packed import BRIGHTEST, are_packed, packed
from unrender.train.prefetch import Prefetch

LIGHT = EnvironmentMap(torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(0)))


def clip(number: int, **changes) -> Clip:
    """A still under two lights, of which the second is half as bright."""
    frame = truth(number + 1, **changes).frame(number)
    frame = replace(frame, camera=Camera.perspective(frame.size))
    assert frame.rgb is not None
    assert frame.irradiance is not None
    dim = LitClip(EnvironmentMap(LIGHT.radiance / 2), frame.rgb / 2, frame.irradiance / 2)
    return Clip(frame, LIGHT, "", number, lights=(dim,))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        numbers = range(3 * shard, 3 * shard + 3)
        write_shard(folder / f"shard-{shard}.tar", ((f"{n:06d}", clip(n)) for n in numbers))
    return folder


def frames(lit: bool = False):
    pairs = [pair for number in range(6) for pair in lit_frames(clip(number))]
    return load_lit_still_dataset(pairs, LightTokens()) if lit else load_still_dataset(g for g, _ in pairs)


def test_a_world_is_one_still_and_its_maps_are_those_in_memory(shards: Path, tmp_path: Path):
    whole, stills = frames(), packed(tmp_path, [shards], None)
    assert len(stills) == 6
    assert stills.size == whole.size
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    maps, lit = stills.take(torch.tensor([0, 5, 2]), None)
    assert lit is None
    # Every second still in memory is one under the other light.
    first, _ = whole.take(torch.tensor([0, 10, 4]), None)
    assert maps.keys() == {name for name, known in whole.known.items() if known.any()}
    for name, values in maps.items():
        there = first["mask"] > 0 if name == "normal" else torch.ones_like(first["mask"]) > 0
        # Half a code of 255 at the steepest of the curve, of a range of 4 where it is radiance.
        bound = 0.015 * BRIGHTEST if name == "rgb" else 0.012
        expected = first[name].clamp(max=1) if name == "irradiance" else first[name]  # as its codec clips it
        assert ((values - expected).abs() * there).max() < bound, name


def test_lights_are_drawn_and_the_rest_stays(shards: Path, tmp_path: Path):
    stills = packed(tmp_path, [shards], None)
    own, _ = stills.take(torch.zeros(1, dtype=torch.long), None)
    brightness = set()
    for seed in range(12):
        maps, _ = stills.take(torch.zeros(1, dtype=torch.long), torch.Generator().manual_seed(seed))
        assert torch.equal(maps["base_color"], own["base_color"])
        brightness.add(round(float(maps["rgb"].mean() / own["rgb"].mean()), 2))
    assert brightness == {1.0, 0.5}


def test_the_light_conditioning_comes_along(shards: Path, tmp_path: Path):
    whole, stills = frames(lit=True), packed(tmp_path, [shards], LightTokens())
    assert stills.encoding == whole.encoding
    _, lit = stills.take(torch.arange(6), None)
    assert lit is not None
    assert whole.lit is not None
    torch.testing.assert_close(lit.picture, whole.lit.picture[::2].float(), rtol=0, atol=1e-3)  # a light of half floats
    assert (lit.radiance_hint - whole.lit.radiance_hint[::2].float()).abs().max() < 0.06
    assert (lit.rgb - whole.lit.rgb[::2].float()).abs().max() < 0.06


def test_batches_follow_from_the_draw_and_parts_are_parts(shards: Path, tmp_path: Path):
    stills = packed(tmp_path, [shards], None)
    one, again = sample_batch(stills, DRAW), sample_batch(stills, DRAW)
    assert torch.equal(one.photo, again.photo)
    last, _ = stills.part(4).take(torch.tensor([1]), None)
    whole, _ = stills.take(torch.tensor([5]), None)
    assert torch.equal(last["base_color"], whole["base_color"])
    assert len(stills.part(1, 3)) == 2
    held_out, rest = hold_out(stills, 2)
    assert (len(held_out), len(rest)) == (2, 4)
    assert len(stills.in_memory()) == 6


def test_a_set_may_grow_and_sets_may_know_different_maps(shards: Path, tmp_path: Path):
    grown = tmp_path / "grown"
    grown.mkdir()
    write_shard(grown / "shard-0.tar", [("000000", clip(0))])
    assert len(packed(tmp_path / "cache", [grown], None)) == 1

    def with_sky(one: Clip) -> Clip:
        return replace(one, gbuffer=one.gbuffer.with_maps(sky=1 - one.gbuffer.maps["mask"]))

    write_shard(grown / "shard-1.tar", [("000001", with_sky(clip(1))), ("000002", clip(2))])
    stills = packed(tmp_path / "cache", [grown], None)
    assert stills.known["sky"].tolist() == [False, True, False]
    maps, _ = stills.take(torch.arange(3), None)
    torch.testing.assert_close(maps["sky"][1], 1 - maps["mask"][1])
    assert not maps["sky"][[0, 2]].any()


def test_what_cannot_be_read_is_said_in_a_line(shards: Path, tmp_path: Path):
    packed(tmp_path, [shards], None)
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="delete it, and it is packed anew"):
        packed(tmp_path, [shards], None)
    other = tmp_path / "other"
    other.mkdir()

    def small(number: int) -> GBuffer:
        return replace(truth(1, 16), camera=Camera.perspective((16, 16)))

    write_shard(other / "shard-0.tar", [("000000", Clip(small(0), LIGHT, "", 0))])
    with pytest.raises(UserError, match="of 2 kinds"):
        packed(tmp_path / "cache", [shards, other], None)


def test_packed_files_are_data_themselves(shards: Path, tmp_path: Path):
    """Elsewhere, where the shards are not."""
    stills = packed(tmp_path / "packed", [shards], None)
    assert are_packed([tmp_path / "packed"])
    assert not are_packed([shards])
    again = packed(tmp_path / "packed", [tmp_path / "packed"], None)
    assert again.files == tuple(sorted(stills.files))
    assert len(again) == len(stills)


def test_batches_drawn_ahead_are_the_same(shards: Path, tmp_path: Path):
    stills, asked = packed(tmp_path, [shards], None), []

    def draw(spec: BatchSpec) -> Batch:
        asked.append(spec.seed)
        return sample_batch(stills, spec)

    ahead = Prefetch(draw, ahead=3)
    for seed in (7, 9, 11, 40, 42):  # of one of two processes; then after another start
        spec = replace(DRAW, seed=seed)
        assert torch.equal(ahead(spec).photo, sample_batch(stills, spec).photo)
    for _ in range(200):  # what is drawn ahead is drawn by threads
        if {13, 44} <= {*asked}:
            break
        time.sleep(0.05)
    assert {13, 44} <= {*asked}
    assert asked.count(11) == 1
    drawn: list[BatchSpec] = []
    Prefetch(lambda spec: drawn.append(spec) or sample_batch(stills, spec), ahead=0)(DRAW)
    assert drawn == [DRAW]
