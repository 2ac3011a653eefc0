"""Virtual KITTI 2, InteriorVerse, MatrixCity and photographs: tiny sets in their true layouts, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dataset_layouts import (
    BLOCK,
    CITY,
    ROOM,
    SIZE,
    TO_CAMERA,
    VKITTI,
    coded,
    exr,
    write_interiorverse,
    write_matrixcity,
    write_vkitti,
)
from planes import NORMAL, everywhere, plane_depth
from unrender.errors import UserError
from unrender.files import open_dataset
from unrender.files.datasets.interiorverse import open_interiorverse, valid_material
from unrender.files.datasets.matrixcity import open_matrixcity
from unrender.files.datasets.vkitti2 import open_vkitti2
from unrender.scene.camera import project
from unrender.scene.color import srgb_to_linear
from unrender.scene.gbuffer import GBuffer


def angle(one: Tensor, other: Tensor) -> float:
    """The largest angle between two maps of normals, degrees."""
    return math.degrees(torch.acos((one * other).sum(1).clamp(-1, 1)).max().item())


# Virtual KITTI 2


@pytest.fixture
def vkitti(tmp_path: Path) -> Path:
    return write_vkitti(tmp_path)


def test_vkitti_depth_is_centimetres_and_the_sky_is_nothing(vkitti: Path) -> None:
    (picture,) = open_dataset("vkitti2", vkitti)
    expected = plane_depth(VKITTI, offset=-30)
    expected[..., 0, :3] = torch.inf
    torch.testing.assert_close(picture.depth, expected, atol=0.00501, rtol=0)
    torch.testing.assert_close(picture.mask, expected.isfinite().float())
    torch.testing.assert_close(picture.rgb.mean(), srgb_to_linear(torch.tensor(128 / 255)))


def test_vkitti_normals_follow_from_depth_or_are_read_as_e2e_ft_wrote_them(vkitti: Path) -> None:
    (derived,) = open_vkitti2(vkitti)
    expected = everywhere(NORMAL, SIZE)
    assert angle(derived.normal[..., 1:, :], expected[..., 1:, :]) < 2
    inside = "Scene20/sunset/frames/normal/Camera_1/normal_00007.png"
    left_up_back = everywhere(NORMAL * torch.tensor([-1.0, 1, 1]), SIZE)[0]
    coded(vkitti / "vkitti_DAG_normals" / inside, left_up_back / 2 + 0.5, bits=16)
    (read,) = open_vkitti2(vkitti)
    torch.testing.assert_close(read.normal[..., 1:, :], expected[..., 1:, :], atol=1e-4, rtol=0)
    assert not read.normal[..., 0, :3].any()


def test_vkitti_cameras_put_points_where_the_dataset_does(vkitti: Path) -> None:
    (picture,) = open_vkitti2(vkitti)
    point = np.array([-4.0, 2.2, 2.6, 1])
    x, y, z, _ = TO_CAMERA @ point
    pixel, depth = project(torch.tensor([[1.0, -1, -1]]) * torch.from_numpy(point[:3]).float(), picture.camera)
    # Its pixel (0, 0) is the centre of the first one, ours is the corner.
    torch.testing.assert_close(pixel[0, 0], torch.tensor([20 * x / z + 7.5 + 0.5, 20 * y / z + 6 + 0.5]).float())
    assert depth.item() == pytest.approx(z)


def test_vkitti_splits_are_those_of_marigold_and_e2e_ft(vkitti: Path) -> None:
    keys = {split: open_vkitti2(vkitti, split).keys for split in ("train", "val", "e2e", "all")}
    first, second, third = (f"{s}/Camera_1/00007" for s in ("Scene01/clone", "Scene02/fog", "Scene20/sunset"))
    assert keys == {"train": (third,), "val": (first,), "e2e": (second, third), "all": (first, second, third)}
    listed = vkitti / "list.txt"
    listed.write_text("rgb/Scene02/fog/frames/rgb/Camera_1/rgb_00007.jpg depth/Scene02/fog/...\n")
    assert open_vkitti2(vkitti, listed).keys == (second,)


def test_vkitti_without_text_has_the_published_lens_and_a_crop_keeps_rays(tmp_path: Path) -> None:
    inside = "Scene01/clone/frames"
    coded(tmp_path / "rgb" / inside / "rgb" / "Camera_0" / "rgb_00000.jpg", torch.zeros(3, 375, 1242))
    (whole,) = open_vkitti2(tmp_path, "val", maps=[])
    (cut,) = open_vkitti2(tmp_path, "val", maps=[], benchmark_crop=True)
    assert (whole.size, cut.size) == ((375, 1242), (352, 1216))
    assert whole.camera.intrinsics[0, :2, 2].tolist() == [621, 187.5]
    assert cut.camera.intrinsics[0, :2, 2].tolist() == [621 - 13, 187.5 - 23]


# InteriorVerse


@pytest.fixture
def interiorverse(tmp_path: Path) -> Path:
    return write_interiorverse(tmp_path)


def test_interiorverse_is_millimetres_and_metallic_roughness(interiorverse: Path) -> None:
    pictures = open_dataset("interiorverse", interiorverse)
    assert (pictures.keys, pictures.left_out) == (("L3D1/004",), 1)
    picture = pictures[0]
    expected = plane_depth(ROOM)
    expected[..., 0, 0] = torch.inf
    torch.testing.assert_close(picture.depth, expected)
    torch.testing.assert_close(picture.normal, everywhere(NORMAL, SIZE))
    torch.testing.assert_close(picture.base_color, everywhere(torch.tensor([0.2, 0.4, 0.6]), SIZE))
    assert (picture.roughness[0, 0, 3, 3].item(), picture.metallic[0, 0, 3, 3].item()) == pytest.approx((0.3, 0.7))
    torch.testing.assert_close(picture.camera.intrinsics, ROOM.intrinsics)
    assert picture.diffuse_albedo is None


def test_interiorverse_masks(interiorverse: Path) -> None:
    (picture,) = open_interiorverse(interiorverse)
    assert (picture.mask == 0).nonzero()[:, 2:].tolist() == [[0, 0], [1, 1]]
    assert (valid_material(picture) == 0).nonzero()[:, 2:].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_interiorverse_display_pictures_are_clipped(interiorverse: Path) -> None:
    assert open_interiorverse(interiorverse)[0].rgb[0, :, 0, 0].tolist() == [0.5, 1, 3]
    (shown,) = open_interiorverse(interiorverse / "dataset_85", ldr=True, maps=["roughness"])
    assert shown.rgb[0, :, 0, 0].tolist() == [0.5, 1, 1]
    assert set(shown.maps) == {"rgb", "roughness"}


def test_interiorverse_lists_of_marigold(interiorverse: Path) -> None:
    listed = interiorverse / "list.txt"
    listed.write_text("scenes_85/L3D1/004_im.exr scenes_85/L3D1/004_albedo.exr\nL3D1/004_img.png L3D1/004_depth.npy\n")
    assert open_interiorverse(interiorverse, listed).keys == ("L3D1/004", "L3D1/004")


# MatrixCity


@pytest.fixture
def matrixcity(tmp_path: Path) -> Path:
    return write_matrixcity(tmp_path)


def test_matrixcity_normals_come_from_the_engines_world(matrixcity: Path) -> None:
    (picture,) = open_dataset("matrixcity", matrixcity)
    expected = everywhere(NORMAL, SIZE)
    expected[..., 0, :] = 0
    torch.testing.assert_close(picture.normal, expected)


def test_matrixcity_depth_is_centimetres_without_sky_and_overflow(matrixcity: Path) -> None:
    (picture,) = open_matrixcity(matrixcity)
    expected = plane_depth(CITY)
    expected[..., :2, :] = torch.inf
    torch.testing.assert_close(picture.depth, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(picture.mask, expected.isfinite().float())
    # In 32 bits 65504 cm is a distance like others; they are taken first.
    depth = torch.full((3, *SIZE), 65504.0)
    exr(matrixcity / "small_city_depth_float32" / "aerial" / "train" / f"{BLOCK}_depth" / "0012.exr", depth)
    (precise,) = open_matrixcity(matrixcity, maps=["depth"])
    torch.testing.assert_close(precise.depth, torch.full((1, 1, *SIZE), 655.04))


def test_matrixcity_materials_are_srgb_encoded(matrixcity: Path) -> None:
    (picture,) = open_matrixcity(matrixcity)
    found = [m[0, 0, 0, 0].item() for m in (picture.diffuse_albedo, picture.roughness, picture.metallic)]
    assert found == pytest.approx(srgb_to_linear(torch.tensor([64, 128, 255]) / 255).tolist())
    assert picture.base_color is None


def test_matrixcity_poses_are_turned_up_and_unit(matrixcity: Path) -> None:
    (camera,) = [picture.camera for picture in open_matrixcity(matrixcity)]
    torch.testing.assert_close(camera.intrinsics, CITY.intrinsics)
    pose = camera.pose[0]
    torch.testing.assert_close(pose[:3, 3], torch.tensor([100.0, 50, -200]))
    torch.testing.assert_close(pose[:3, 2], torch.tensor([0.8, 0.6, 0]))
    torch.testing.assert_close(pose[:3, :3] @ pose[:3, :3].T, torch.eye(3))


def test_matrixcity_maps_that_were_not_downloaded_are_absent(matrixcity: Path) -> None:
    (matrixcity / "small_city_roughness").rename(matrixcity / "elsewhere")
    assert "roughness" not in open_matrixcity(matrixcity)[0].maps
    with pytest.raises(UserError, match=r"small_city_roughness.*0012.png does not exist"):
        open_matrixcity(matrixcity, maps=["roughness"])[0]
    assert open_matrixcity(matrixcity, "test").keys == (f"small_city/aerial/test/{BLOCK}_test/0012",)


# Photographs


def test_photos_yield_rgb_alone_in_natural_order(tmp_path: Path) -> None:
    for name, size in (("10.png", (4, 5)), ("9.png", (6, 3)), ("b/1.jpg", (2, 2))):
        coded(tmp_path / name, torch.full((3, *size), 0.5))
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = open_dataset("photos", tmp_path)
    assert pictures.keys == ("9.png", "10.png", "b/1.jpg")
    assert [picture.size for picture in pictures] == [(6, 3), (4, 5), (2, 2)]
    assert set(pictures[0].maps) == {"rgb"}
    assert pictures[0].camera is None


# Mistakes


def test_a_folder_or_a_name_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for name in ("hypersim", "interiorverse", "matrixcity", "photos", "vkitti2"):
        with pytest.raises(UserError, match="nowhere does not exist; expected one that holds") as caught:
            open_dataset(name, tmp_path / "nowhere")
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match=r"expected|copy it from"):
            open_dataset(name, tmp_path)
    with pytest.raises(UserError, match="a dataset is 'nyu'; expected hypersim, interiorverse"):
        open_dataset("nyu", tmp_path)


Act = Callable[[Path], GBuffer | object]


@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("the split of Virtual KITTI 2 is 'dev'", lambda f: open_vkitti2(f, "dev")),
        ("a map of Virtual KITTI 2 is 'albedo'", lambda f: open_vkitti2(f, maps=["albedo"])),
        ("depth_00007.png does not exist", lambda f: _unlinked(f, "depth_*.png", open_vkitti2)[0]),
        ("3 channels of 8 bits; expected 1 of 16 bits", lambda f: _eight_bits(f)),
        ("no line for frame 7 of camera 1", lambda f: _rewritten(f, "extrinsic.txt", "7 0 1\n")),
        ("1 numbers for frame 7; expected 4", lambda f: _rewritten(f, "intrinsic.txt", "7 1 20\n")),
        ("cannot be cropped", lambda f: open_vkitti2(f, benchmark_crop=True)[0]),
        ("has the line 'Scene01'", lambda f: _list(f, "Scene01\n")),
        ("list.txt does not exist", lambda f: open_vkitti2(f, f / "list.txt")),
        ("no picture of this split", lambda f: _list(f, "Scene06/fog/frames/rgb/Camera_0/rgb_00000.jpg\n")),
    ],
)
def test_vkitti_mistakes(vkitti: Path, message: str, act: Act) -> None:
    with pytest.raises(UserError, match=message) as caught:
        act(vkitti)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("val.txt does not exist", lambda f: open_interiorverse(f, "val")),
        ("no picture of this split .*L3D3", lambda f: open_interiorverse(f, "test")),
        ("004_albedo.exr does not exist", lambda f: _unlinked(f, "*_albedo.exr", open_interiorverse)[0]),
        ("has the channels Y; expected R, G, B", lambda f: _grey_albedo(f)),
        ("InteriorVerse with 60 degrees", lambda f: open_interiorverse(f, fov_degrees=60)),
        ("say fov_degrees=85", lambda f: open_interiorverse(f / "dataset_85", fov_degrees=120)),
    ],
)
def test_interiorverse_mistakes(interiorverse: Path, message: str, act: Act) -> None:
    with pytest.raises(UserError, match=message) as caught:
        act(interiorverse)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("the city of MatrixCity is 'rome'", lambda f: open_matrixcity(f, city="rome")),
        ("a view of MatrixCity is 'sea'", lambda f: open_matrixcity(f, views=["sea"])),
        ("no block of MatrixCity for the split train_dense", lambda f: open_matrixcity(f, "train_dense")),
        ("follows from depth or normal", lambda f: open_matrixcity(f, maps=["mask"])),
        ("block_1_test_diffuse/0012.png does not exist", lambda f: open_matrixcity(f, "test")[0]),
        ("transforms.json has no camera_angle_x", lambda f: _rewritten(f, "transforms.json", "{}")),
    ],
)
def test_matrixcity_mistakes(matrixcity: Path, message: str, act: Act) -> None:
    with pytest.raises(UserError, match=message) as caught:
        act(matrixcity)
    assert "\n" not in str(caught.value)


def _unlinked(folder: Path, pattern: str, opener: Callable[[Path], object]) -> object:
    for path in folder.rglob(pattern):
        path.unlink()
    return opener(folder)


def _rewritten(folder: Path, name: str, text: str) -> object:
    for path in folder.rglob(name):
        path.write_text(text)
    return (open_matrixcity if name == "transforms.json" else open_vkitti2)(folder)[0]


def _list(folder: Path, text: str) -> object:
    (folder / "list.txt").write_text(text)
    return open_vkitti2(folder, folder / "list.txt")


def _eight_bits(folder: Path) -> object:
    for path in folder.rglob("depth_*.png"):
        coded(path)
    return open_vkitti2(folder)[0]


def _grey_albedo(folder: Path) -> object:
    exr(folder / "dataset_85" / "L3D1" / "004_albedo.exr", torch.zeros(1, *SIZE), "Y")
    return open_interiorverse(folder)[0]
