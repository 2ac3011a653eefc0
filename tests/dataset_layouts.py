"""Tiny sets of public datasets, in their true layouts, in closed form: a tilted plane seen by a camera."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from planes import NORMAL, everywhere, plane_depth
from unrender.files.datasets.hypersim import SPLIT_FILE
from unrender.files.exr import write_channels
from unrender.files.images import write_image
from unrender.scene.camera import Camera, depth_to_ray_distance

SIZE = (12, 16)
CODES = torch.full((3, *SIZE), 128 / 255)


def coded(path: Path, codes: Tensor = CODES, bits: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, codes, transfer="linear", bits=bits)  # ty: ignore[invalid-argument-type]


def exr(path: Path, values: Tensor, names: str = "RGB", kind: type = np.float32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_channels(path, {n: p.numpy().astype(kind) for n, p in zip(names, values, strict=True)}, {})


def grey16(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)


# Virtual KITTI 2

VKITTI = Camera(torch.tensor([[[20.0, 0, 8.0], [0, 20, 6.5], [0, 0, 1]]]), torch.eye(4)[None], SIZE)
TO_CAMERA = np.array([[0.0, 0, -1, 3], [0, 1, 0, -2], [1, 0, 0, 5], [0, 0, 0, 1]])


def write_vkitti(folder: Path) -> Path:
    """The layout of Virtual KITTI 2, in a folder; the folder."""
    depth = (plane_depth(VKITTI, offset=-30)[0, 0] * 100).round().numpy()
    depth[0, :3] = 65535
    for scene, variation in (("Scene01", "clone"), ("Scene02", "fog"), ("Scene20", "sunset")):
        inside = f"{scene}/{variation}/frames"
        coded(folder / "vkitti_2.0.3_rgb" / inside / "rgb" / "Camera_1" / "rgb_00007.jpg")
        grey16(folder / "vkitti_2.0.3_depth" / inside / "depth" / "Camera_1" / "depth_00007.png", depth)
        text = folder / "vkitti_2.0.3_textgt" / scene / variation
        text.mkdir(parents=True)
        (text / "intrinsic.txt").write_text("frame cameraID K[0,0] ...\n7 0 1 1 1 1\n7 1 20 20 7.5 6\n")
        numbers = " ".join(map(str, TO_CAMERA.ravel()))
        (text / "extrinsic.txt").write_text(f"frame cameraID r1,1\n7 0 1\n7 1 {numbers}\n")
    return folder


# InteriorVerse

ROOM = Camera.perspective(SIZE, math.degrees(2 * math.atan(12 / 16 * math.tan(math.radians(85 / 2)))))


def write_interiorverse(folder: Path) -> Path:
    """The layout of InteriorVerse, in a folder; the folder."""
    root = folder / "dataset_85"
    depth = 1000 * plane_depth(ROOM)[0]
    depth[..., 0, 0] = torch.inf
    material = everywhere(torch.tensor([0.3, 0.7, 0.0]), SIZE)[0]
    material[:, 2, 2] = 0
    mask = torch.ones(1, *SIZE)
    mask[..., 1, 1] = 0
    for name, values, channels in (
        ("im", everywhere(torch.tensor([0.5, 1.0, 3.0]), SIZE)[0], "RGB"),
        ("albedo", everywhere(torch.tensor([0.2, 0.4, 0.6]), SIZE)[0], "RGB"),
        ("normal", everywhere(2 * NORMAL, SIZE)[0], "RGB"),
        ("depth", depth.expand(3, *SIZE), "RGB"),
        ("material", material, "RGB"),
        ("mask", mask, "Y"),
    ):
        exr(root / "L3D1" / f"004_{name}.exr", values, channels)
    (root / "train.txt").write_text("L3D1\nL3D2\n")
    (root / "test.txt").write_text("L3D3\n")
    return folder


# MatrixCity

BLOCK = "block_1"
TO_WORLD = np.array([[0.0, -0.6, 0.8, 100], [1, 0, 0, 200], [0, 0.8, 0.6, 50], [0, 0, 0, 1]])
CITY = Camera.perspective(SIZE, math.degrees(2 * math.atan(12 / 16)), torch.eye(4)[None])


def write_matrixcity(folder: Path) -> Path:
    """The layout of MatrixCity, in a folder; the folder."""
    poses = TO_WORLD.copy()
    poses[:3, :3] /= 100
    for split, block in (("train", BLOCK), ("test", f"{BLOCK}_test")):
        block_folder = folder / "small_city" / "aerial" / split / block
        coded(block_folder / "0012.png")
        frames = [{"frame_index": 12, "rot_mat": poses.tolist()}]
        (block_folder / "transforms.json").write_text(json.dumps({"camera_angle_x": math.pi / 2, "frames": frames}))
    # The engine's world is that of the poses with Y the other way.
    engine = torch.from_numpy(np.diag([1.0, -1, 1]) @ TO_WORLD[:3, :3] @ NORMAL.numpy()).float()
    normal = everywhere(engine, SIZE)[0] / 2 + 0.5
    normal[:, 0] = 0
    depth = 100 * plane_depth(CITY)[0].expand(3, *SIZE).clone()
    depth[:, 1] = 65504
    inside = Path("aerial") / "train"
    exr(folder / "small_city_normal" / inside / f"{BLOCK}_normal" / "0012.exr", normal)
    exr(
        folder / "small_city_depth" / inside / f"{BLOCK}_depth" / f"{BLOCK}_depth" / "0012.exr",
        depth,
        kind=np.float16,
    )
    for name, code in (("diffuse", 64), ("roughness", 128), ("metallic", 255)):
        coded(folder / f"small_city_{name}" / inside / f"{BLOCK}_{name}" / "0012.png", CODES / 128 * code)
    return folder


# Hypersim

FIXED = Camera.perspective(SIZE, math.degrees(2 * math.atan(12 / 16 * math.tan(math.pi / 6))))
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
POSITION = np.array([10.0, 20, 30])
METRES = 0.5
SCENE, FRAME = "ai_001_002", 3


def dataset(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["dataset"] = values


def table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def image(value: Tensor) -> np.ndarray:
    return value[0].permute(1, 2, 0).squeeze(-1).numpy()


def split_row(scene: str, frame: int, split: str, public: bool = True) -> dict[str, object]:
    return {
        "scene_name": scene,
        "camera_name": "cam_00",
        "frame_id": frame,
        "included_in_public_release": public,
        "exclude_reason": "",
        "split_partition_name": split,
    }


def write_scene(folder: Path, distance: Tensor, normal: Tensor) -> None:
    """One frame: color = albedo illumination + residual, two pixels without a surface."""
    images = folder / SCENE / "images"
    final, geometry = images / "scene_cam_00_final_hdf5", images / "scene_cam_00_geometry_hdf5"
    albedo = np.full((*SIZE, 3), (0.25, 0.5, 0.75), np.float16)
    light = np.linspace(0, 4, 192, dtype=np.float16).reshape(*SIZE, 1).repeat(3, 2)
    residual = np.full((*SIZE, 3), 0.125, np.float16)
    entity = np.ones(SIZE, np.int32)
    entity[0, :2] = -1
    stored = {"color": albedo * light + residual, "diffuse_reflectance": albedo}
    stored |= {"diffuse_illumination": light, "residual": residual}
    for name, values in stored.items():
        dataset(final / f"frame.{FRAME:04d}.{name}.hdf5", values)
    shapes = {"depth_meters": image(distance), "normal_cam": image(normal), "render_entity_id": entity}
    for name, values in shapes.items():
        dataset(geometry / f"frame.{FRAME:04d}.{name}.hdf5", values)
    detail = folder / SCENE / "_detail"
    dataset(detail / "cam_00" / "camera_keyframe_orientations.hdf5", np.stack([np.eye(3)] * FRAME + [TURN]))
    dataset(detail / "cam_00" / "camera_keyframe_positions.hdf5", np.stack([np.zeros(3)] * FRAME + [POSITION]))
    table(detail / "metadata_scene.csv", [{"parameter_name": "meters_per_asset_unit", "parameter_value": METRES}])


def write_hypersim(folder: Path) -> Path:
    """The layout of Hypersim, in a folder; the folder."""
    normal = everywhere(0.5 * NORMAL, SIZE)
    normal[..., 5, :] *= -1
    normal[..., 6, 6] = 0
    distance = depth_to_ray_distance(plane_depth(FIXED), FIXED)
    distance[..., 7, 7] = 70
    write_scene(folder, distance, normal)
    rows = [split_row(SCENE, FRAME, "train"), split_row(SCENE, 4, "train", public=False), split_row(SCENE, 9, "test")]
    table(folder / SPLIT_FILE, [*rows, split_row("ai_055_010", 0, "train")])
    return folder
