"""Shards: every member of a clip comes back, and nothing else is in the bytes."""

import io
import json
import tarfile
from dataclasses import replace

import pytest
import torch

from unrender.errors import UserError
from unrender.files.shards import Clip, LitClip, read_about, read_clips, write_shard
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import CHANNELS, GBuffer

MAPS = ("rgb", "base_color", "diffuse_albedo", "normal", "roughness", "metallic", "depth", "irradiance", "mask")
EXACT = ("depth", "normal", "instance")


def gbuffer(frames=2, size=(6, 8), shift=0.1):
    values = {name: torch.rand(frames, CHANNELS[name], *size) for name in MAPS}
    values["depth"][0, 0, 0, 0] = torch.inf
    values["irradiance"] *= 300
    values["instance"] = torch.randint(0, 40, (frames, 1, *size)).float()
    pose = torch.eye(4).repeat(frames, 1, 1)
    pose[:, 0, 3] = shift * torch.arange(frames)
    camera = Camera.perspective(size, 40.0, pose)
    return GBuffer(rgb=values["rgb"], depth_kind="metric", camera=camera, fps=24.0).with_maps(**values)


def light(name):
    return EnvironmentMap(torch.rand(1, 3, 4, 8) * 50, name)


def clip(**changes):
    torch.manual_seed(0)
    own = Clip(gbuffer(), light("dusk"), "a thing", 9, yaw=(0.0, 45.0), things=("", "mug"), replaced=2)
    lit = tuple(LitClip(light(f"light {n}"), *torch.rand(2, 2, 3, 6, 8).unbind(0)) for n in range(3))
    return replace(own, lights=lit, views=(gbuffer(shift=0.0), gbuffer(shift=0.3)), **changes)


def through_a_file(folder, value, **options):
    write_shard(folder / "shard-000000.tar", [("000009", value)])
    (found,) = read_clips(folder, **options)
    return found


def assert_same_maps(found, wanted):
    assert set(found.maps) == set(wanted.maps)
    for name, value in wanted.maps.items():
        assert torch.equal(found.maps[name], value if name in EXACT else value.half().float()), name
    assert torch.equal(found.camera.pose, wanted.camera.pose)
    assert torch.equal(found.camera.intrinsics, wanted.camera.intrinsics)
    assert (found.depth_kind, found.fps) == (wanted.depth_kind, wanted.fps)


def test_a_clip_comes_back_with_geometry_whole_and_colour_to_a_half(tmp_path):
    wanted = clip()
    found = through_a_file(tmp_path, wanted)
    for name in ("caption", "seed", "yaw", "things", "replaced"):
        assert getattr(found, name) == getattr(wanted, name)
    assert_same_maps(found.gbuffer, wanted.gbuffer)
    for view, other in zip(found.views, wanted.views, strict=True):
        assert_same_maps(view, other)
    for lit, other in zip(found.lights, wanted.lights, strict=True):
        assert lit.light.name == other.light.name
        assert torch.equal(lit.light.radiance, other.light.radiance.half().float())
        assert torch.equal(lit.rgb, other.rgb.half().float())
        assert torch.equal(lit.irradiance, other.irradiance.half().float())


def test_others_are_left_unread(tmp_path):
    found = through_a_file(tmp_path, clip(), others=False)
    assert found.lights == found.views == ()
    assert_same_maps(found.gbuffer, clip().gbuffer)


def test_lights_turn_together(tmp_path):
    found = through_a_file(tmp_path, clip())
    assert torch.equal(found.light_of(0).radiance, found.light.radiance)
    assert torch.equal(found.light_of(1).radiance, found.light.rotated(45).radiance)
    assert torch.equal(found.light_of(1, other=2).radiance, found.lights[1].light.rotated(45).radiance)
    assert replace(found, yaw=()).light_of(1) is found.light


def test_members_follow_webdataset_and_the_same_clip_is_the_same_bytes(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [("000009", clip())])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
    assert {name.split(".")[0] for name in names} == {"000009"}
    assert names[:3] == ["000009.gbuffer.0000.exr", "000009.gbuffer.0001.exr", "000009.light.exr"]
    assert {"000009.light-3.exr", "000009.rgb-3.0001.exr", "000009.view-2.0000.exr"} < set(names)
    assert names[-1] == "000009.json"
    (about,) = read_about(tmp_path / "a.tar")
    assert (about["caption"], about["replaced"], len(about["views"])) == ("a thing", 2, 2)


def test_shards_of_the_first_generator_are_read(tmp_path):
    write_shard(tmp_path / "new.tar", [("000009", clip(things=(), yaw=(), replaced=0))])
    with tarfile.open(tmp_path / "new.tar") as new, tarfile.open(tmp_path / "old.tar", "w") as old:
        for info in new:
            data = new.extractfile(info).read()
            if info.name.endswith(".json"):
                about = json.loads(data)
                kept = ("caption", "seed", "light", "depth_kind", "camera")
                data = json.dumps({name: about[name] for name in kept}).encode()
                info.size = len(data)
            if "-" not in info.name:
                old.addfile(info, io.BytesIO(data))
    (tmp_path / "new.tar").unlink()
    (found,) = read_clips(tmp_path)
    assert (found.yaw, found.things, found.lights, found.views, found.replaced) == ((), (), (), (), 0)
    assert_same_maps(found.gbuffer, replace(clip().gbuffer, fps=None))


def test_a_clip_without_a_camera_is_refused(tmp_path):
    value = Clip(GBuffer(rgb=torch.rand(1, 3, 4, 4)), EnvironmentMap(torch.rand(1, 3, 4, 8)), "", 0)
    with pytest.raises(UserError, match="without a camera"):
        write_shard(tmp_path / "shard-000000.tar", [("000000", value)])
