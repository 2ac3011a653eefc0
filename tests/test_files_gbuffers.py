"""G-buffers in EXR: opened by an independent reader, and back, in the names of four programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
import torch

from unrender.errors import UserError
from unrender.files.gbuffers import read_gbuffer, read_metadata, write_gbuffer, write_layers
from unrender.files.layers import PROFILES, find_maps
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer


def some_gbuffer() -> GBuffer:
    generator = torch.Generator().manual_seed(3)

    def noise(channels: int) -> torch.Tensor:
        return torch.rand(1, channels, 9, 11, generator=generator)

    depth = noise(1) * 100 + 0.1
    depth[..., 0, :] = torch.inf
    pose = torch.eye(4)[None].clone()
    pose[0, :3, 3] = torch.tensor([1.0, -2, 3])
    return GBuffer(
        base_color=noise(3),
        diffuse_albedo=noise(3),
        normal=torch.nn.functional.normalize(noise(3) - 0.5, dim=1),
        depth=depth,
        roughness=noise(1),
        metallic=noise(1),
        irradiance=noise(3) * 1000,
        mask=noise(1),
        rgb=noise(3) * 10,
        depth_kind="metric",
        camera=Camera.perspective((9, 11), 40.0, pose),
        fps=24000 / 1001,
        model="mini",
    )


def assert_same(one: GBuffer, other: GBuffer) -> None:
    assert set(one.maps) == set(other.maps)
    for name, value in one.maps.items():
        if name in ("normal", "depth"):
            assert torch.equal(value, getattr(other, name)), name
        else:
            assert torch.allclose(value, getattr(other, name), rtol=6e-4, atol=1e-6), name


@pytest.mark.parametrize("profile", list(PROFILES))
def test_round_trip(tmp_path: Path, profile: str) -> None:
    gbuffer = some_gbuffer()
    write_gbuffer(tmp_path / "a.exr", gbuffer, profile=profile)
    back = read_gbuffer(tmp_path / "a.exr")
    assert_same(gbuffer, back)
    assert (back.depth_kind, back.fps, back.model) == ("metric", gbuffer.fps, "mini")
    assert back.camera is not None
    assert gbuffer.camera is not None
    assert back.camera.size == (9, 11)
    assert torch.equal(back.camera.pose, gbuffer.camera.pose)
    assert torch.equal(back.camera.intrinsics, gbuffer.camera.intrinsics)


def test_independent_reader_sees_what_we_promise(tmp_path: Path) -> None:
    gbuffer = some_gbuffer()
    write_gbuffer(tmp_path / "a.exr", gbuffer, metadata={"seed": "7"})
    picture = oiio.ImageBuf(str(tmp_path / "a.exr"))
    spec = picture.spec()
    kinds = {name: str(kind) for name, kind in zip(spec.channelnames, spec.channelformats, strict=True)}
    layers = {name.rpartition(".")[0] for name in kinds}
    assert layers == {
        "",
        "base_color",
        "diffuse_albedo",
        "normal",
        "depth",
        "roughness",
        "metallic",
        "irradiance",
        "mask",
    }
    assert {name for name, kind in kinds.items() if kind == "float"} == {
        *("normal.X", "normal.Y", "normal.Z", "depth.Z"),
    }
    assert {kind for name, kind in kinds.items() if not name.startswith(("normal", "depth"))} == {"half"}
    assert spec["compression"] == "zip"
    assert spec["unrender:model"] == "mini"
    assert spec["unrender:color_space"] == "lin_rec709"
    assert spec["unrender:axes"].startswith("opengl")
    assert spec["unrender:depth_kind"] == "metric"
    assert spec["unrender:seed"] == "7"
    assert spec["chromaticities"][:2] == pytest.approx((0.64, 0.33))
    pixels = picture.get_pixels(oiio.FLOAT)
    normal = pixels[..., [spec.channelnames.index(f"normal.{c}") for c in "XYZ"]]
    assert np.abs(np.linalg.norm(normal, axis=-1) - 1).max() < 1e-6
    assert gbuffer.normal is not None
    assert np.array_equal(normal, gbuffer.normal[0].permute(1, 2, 0).numpy())
    depth = pixels[..., spec.channelnames.index("depth.Z")]
    assert (depth[0] == np.float32(1e10)).all()


def test_metadata_comes_back(tmp_path: Path) -> None:
    write_gbuffer(tmp_path / "a.exr", some_gbuffer(), metadata={"seed": "7"})
    assert read_metadata(tmp_path / "a.exr")["seed"] == "7"


def test_half_overflow_is_clamped(tmp_path: Path) -> None:
    write_gbuffer(tmp_path / "a.exr", GBuffer(irradiance=torch.full((1, 3, 2, 2), 1e6)))
    assert read_gbuffer(tmp_path / "a.exr").irradiance.max() == 65504


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ViewLayer.Normal.X", "ViewLayer.Normal.Y", "ViewLayer.Normal.Z"], "normal"),
        (["RenderLayer.Normal.X", "RenderLayer.Normal.Y", "RenderLayer.Normal.Z"], "normal"),
        (["Normal.X", "Normal.Y", "Normal.Z"], "normal"),
        (["NORMAL.x", "NORMAL.y", "NORMAL.z"], "normal"),
        (["N.X", "N.Y", "N.Z"], "normal"),
        (["n.R", "n.G", "n.B"], "normal"),
        (["normal.red", "normal.green", "normal.blue"], "normal"),
        (["ViewLayer.DiffCol.R", "ViewLayer.DiffCol.G", "ViewLayer.DiffCol.B"], "diffuse_albedo"),
        (["My Layer.Diffuse Color.R", "My Layer.Diffuse Color.G", "My Layer.Diffuse Color.B"], "diffuse_albedo"),
        (["diffuse color.r", "diffuse color.g", "diffuse color.b"], "diffuse_albedo"),
        (["albedo.R", "albedo.G", "albedo.B"], "base_color"),
        (["ViewLayer.Depth.Z"], "depth"),
        (["ViewLayer.Depth.V"], "depth"),
        (["Z"], "depth"),
        (["roughness"], "roughness"),
        (["ViewLayer.Roughness.X"], "roughness"),
        (["metalness.R"], "metallic"),
        (["ViewLayer.Combined.R", "ViewLayer.Combined.G", "ViewLayer.Combined.B"], "rgb"),
        (["rgba.R", "rgba.G", "rgba.B"], "rgb"),
        (["Y"], "rgb"),
    ],
)
def test_names_of_other_programs(names: list[str], expected: str) -> None:
    found = find_maps([*reversed(names), "ViewLayer.IndexMA.X", "crypto_object00.R"])
    assert found == {expected: names}


def test_incomplete_layers_are_left_out() -> None:
    assert find_maps(["normal.X", "normal.Y", "R", "G"]) == {}


def test_parts_are_joined(tmp_path: Path) -> None:
    plane = np.full((3, 4), 0.5, np.float32)
    parts = [
        OpenEXR.Part({}, dict.fromkeys("RGB", plane), name="rgba"),
        OpenEXR.Part({}, {f"N.{c}": plane for c in "XYZ"}, name="N"),
        OpenEXR.Part({}, {"Z": plane}, name="depth"),
    ]
    OpenEXR.File(parts).write(str(tmp_path / "a.exr"))
    assert set(read_gbuffer(tmp_path / "a.exr").maps) == {"rgb", "normal", "depth"}


def test_alpha_of_the_picture_is_the_mask(tmp_path: Path) -> None:
    plane = np.full((3, 4), 0.25, np.float32)
    OpenEXR.File({}, {**dict.fromkeys("RGB", plane), "A": plane * 2}).write(str(tmp_path / "a.exr"))
    gbuffer = read_gbuffer(tmp_path / "a.exr")
    assert torch.allclose(gbuffer.rgb, torch.tensor(0.5))
    assert torch.allclose(gbuffer.mask, torch.tensor(0.5))


def test_depth_of_nothing(tmp_path: Path) -> None:
    plane = np.array([[1e10, 65504, 0, -1, np.nan, np.inf, 2]], np.float32)
    OpenEXR.File({}, {"Z": plane}).write(str(tmp_path / "a.exr"))
    depth = read_gbuffer(tmp_path / "a.exr").depth
    assert depth is not None
    assert depth.flatten().tolist() == [torch.inf, 65504, *[torch.inf] * 4, 2]


def test_bad_gbuffers_are_one_line(tmp_path: Path) -> None:
    plane = np.ones((3, 4), np.float32)
    OpenEXR.File({}, {"foo.X": plane, "bar": plane}).write(str(tmp_path / "foreign.exr"))
    with pytest.raises(UserError, match=r"no map of a G-buffer.*bar, foo\.X"):
        read_gbuffer(tmp_path / "foreign.exr")
    with pytest.raises(UserError, match="3 frames"):
        write_gbuffer(tmp_path / "a.exr", GBuffer(mask=torch.ones(3, 1, 2, 2)))
    with pytest.raises(UserError, match="unknown EXR name profile 'maya'"):
        write_gbuffer(tmp_path / "a.exr", some_gbuffer(), profile="maya")
    with pytest.raises(UserError, match="does not exist"):
        write_gbuffer(tmp_path / "no/a.exr", some_gbuffer())
    OpenEXR.File({"unrender:axes": "opencv"}, {"Z": plane}).write(str(tmp_path / "axes.exr"))
    with pytest.raises(UserError, match="in the axes 'opencv'"):
        read_gbuffer(tmp_path / "axes.exr")
    OpenEXR.File({"unrender:depth_kind": "disparity"}, {"Z": plane}).write(str(tmp_path / "kind.exr"))
    with pytest.raises(UserError, match="metric or relative"):
        read_gbuffer(tmp_path / "kind.exr")
    OpenEXR.File({"unrender:camera": "{}"}, {"Z": plane}).write(str(tmp_path / "camera.exr"))
    with pytest.raises(UserError, match="damaged unrender:camera"):
        read_gbuffer(tmp_path / "camera.exr")


def test_unit_maps_are_clipped_and_bad_values_mended(tmp_path: Path) -> None:
    plane = np.array([[2, -1, np.nan, 0.5]], np.float32)
    channels = {"roughness": plane, **{f"N.{c}": plane for c in "XYZ"}, **{f"irradiance.{c}": plane for c in "RGB"}}
    OpenEXR.File({}, channels).write(str(tmp_path / "a.exr"))
    gbuffer = read_gbuffer(tmp_path / "a.exr")
    assert gbuffer.roughness is not None
    assert gbuffer.normal is not None
    assert gbuffer.irradiance is not None
    assert gbuffer.roughness.flatten().tolist() == [1, 0, 0, 0.5]
    assert gbuffer.irradiance[0, 0, 0].tolist() == [2, 0, 0, 0.5]
    assert gbuffer.normal[0, 0, 0].tolist() == [2, -1, 0, 0.5]


def test_gbuffer_without_normals_reads(tmp_path: Path) -> None:
    write_gbuffer(tmp_path / "a.exr", GBuffer(depth=torch.ones(1, 1, 2, 2)))
    assert set(read_gbuffer(tmp_path / "a.exr").maps) == {"depth"}


def test_light_groups_add_up_for_other_readers(tmp_path: Path) -> None:
    layers = {name: torch.rand(3, 5, 6) for name in ("diffuse", "specular", "background")}
    write_layers(tmp_path / "a.exr", layers, sum(layers.values(), torch.zeros(3, 5, 6)))
    picture = oiio.ImageBuf(str(tmp_path / "a.exr"))
    names, pixels = picture.spec().channelnames, picture.get_pixels(oiio.FLOAT)
    for component in "RGB":
        total = sum(pixels[..., names.index(f"{layer}.{component}")] for layer in layers)
        assert np.allclose(total, pixels[..., names.index(component)], atol=2e-3)
