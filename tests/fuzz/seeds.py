"""A whole small file, or folder, of every kind that is read, with the public call that reads it."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pillow_heif
import torch
from PIL import Image, ImageCms

from dataset_layouts import write_hypersim, write_interiorverse, write_matrixcity, write_vkitti
from model_folders import hold
from test_cases_media import corner, film, glb, png, quad
from test_files_shards import clip
from tiny_models import tiny_folder
from tiny_task import Line
from unrender.cli.run_record import put_away
from unrender.device import choose_compute
from unrender.diffusion.card.file import read_card
from unrender.diffusion.checkpoints.hub.recognise import cards_in, local_model
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.options import InferenceOptions
from unrender.evaluate.claims.models import Models
from unrender.evaluate.claims.stills.contestants import TRAILING
from unrender.evaluate.metrics.lpips import Lpips
from unrender.evaluate.metrics.weights import read_weights
from unrender.files import (
    open_dataset,
    open_frames,
    open_gbuffers,
    read_clips,
    read_co3d,
    read_colmap,
    read_environment,
    read_image,
    read_mask,
    read_meshes,
    read_transforms,
    write_gbuffer,
    write_image,
)
from unrender.files.cameras import read_cameras
from unrender.files.lock import LOCK_FILE, locked
from unrender.files.shards import read_about, write_shard
from unrender.raytrace.assets import read_asset
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer
from unrender.synth.generation import _claim
from unrender.synth.recipe import GENERATOR
from unrender.train.loop import run
from unrender.train.packed import open_packed, packed
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder


@dataclass(frozen=True)
class Seed:
    """A kind of input.

    Attributes:
        name: what it is called in the table, and in the number of a case.
        write: writes it into a folder; the path in the folder that is read.
        read: reads that path, all of it; what comes of it is checked.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]


def _picture(height: int = 24, width: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack((rows * 255 // height, columns * 255 // width, (rows + columns) % 256), -1).astype(np.uint8)


# Stills.


def _by_pillow(name: str, mode: str = "RGB", **how: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        Image.fromarray(_picture()).convert(mode).save(folder / name, **how)
        return folder / name

    return write


def _by_oiio(name: str, kind: str = "uint8", attributes: dict[str, Any] | None = None, **layout: Any) -> Callable:
    def write(folder: Path) -> Path:
        pixels = _picture()
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, kind)
        for key, value in {**(attributes or {}), **layout}.items():
            setattr(spec, key, value) if hasattr(spec, key) else spec.attribute(key, value)
        target = oiio.ImageOutput.create(str(folder / name))
        target.open(str(folder / name), spec)
        target.write_image(pixels)
        target.close()
        return folder / name

    return write


def _tiles(folder: Path) -> Path:
    return _by_oiio("a.tif", "uint16", tile_width=16, tile_height=16)(folder)


def _heic(folder: Path) -> Path:
    pillow_heif.from_pillow(Image.fromarray(_picture(64, 64))).save(folder / "a.heic", quality=50)
    return folder / "a.heic"


def _psd(folder: Path) -> Path:
    planes = _picture(8, 16).transpose(2, 0, 1).tobytes()
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 8, 16, 8, 3)
    (folder / "a.psd").write_bytes(head + struct.pack(">IIIH", 0, 0, 0, 0) + planes)
    return folder / "a.psd"


def _exr(folder: Path) -> Path:
    write_image(folder / "a.exr", torch.rand(3, 16, 32), alpha=torch.rand(1, 16, 32))
    return folder / "a.exr"


_ICC = {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
_EXIF = Image.Exif()
_EXIF[0x0112], _EXIF[0x8769] = 6, {0xA405: 35}

_STILLS: tuple[tuple[str, Callable[[Path], Path]], ...] = (
    ("png", _by_pillow("a.png", **_ICC)),
    ("png palette", _by_pillow("a.png", "P", transparency=1)),
    ("png 16", _by_oiio("a.png", "uint16")),
    ("jpeg", _by_pillow("a.jpg", exif=_EXIF, **_ICC)),
    ("jpeg cmyk", _by_pillow("a.jpg", "CMYK")),
    ("webp", _by_pillow("a.webp", "RGBA")),
    ("gif", _by_pillow("a.gif", save_all=True, append_images=[Image.new("RGB", (48, 24))])),
    ("bmp", _by_pillow("a.bmp")),
    ("tga", _by_pillow("a.tga", "RGBA", compression="tga_rle")),
    ("avif", _by_pillow("a.avif", quality=50)),
    ("jp2", _by_pillow("a.jp2")),
    ("heic", _heic),
    ("tiff", _by_pillow("a.tif", compression="tiff_lzw", **_ICC)),
    ("tiff tiles", _tiles),
    ("dpx", _by_oiio("a.dpx", "uint16")),
    ("jxl", _by_oiio("a.jxl")),
    ("psd", _psd),
    ("pnm", _by_pillow("a.ppm")),
    ("pfm", _by_oiio("a.pfm", "float")),
    ("hdr", _by_oiio("a.hdr", "float")),
    ("exr", _exr),
)


# Films and sequences.


def _film(name: str, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: film(folder / name, [corner(32, 48)] * 3, **how)


def _numbered(folder: Path) -> Path:
    for number in (1001, 1002, 1003):
        write_image(folder / f"a.{number}.exr", torch.rand(3, 12, 16))
    return folder / "a.####.exr"


def _folder_of_frames(folder: Path) -> Path:
    (folder / "shot").mkdir()
    for number in range(3):
        Image.fromarray(_picture()).save(folder / "shot" / f"f{number}.png")
    return folder / "shot"


_FILMS: tuple[tuple[str, Callable[[Path], Path]], ...] = (
    ("mp4", _film("a.mp4")),
    ("mkv", _film("a.mkv", times=[0, 40, 500])),
    ("webm", _film("a.webm", codec="libvpx-vp9", pix_fmt="yuva420p", rate=25)),
    ("mov", _film("a.mov", codec="prores_ks", pix_fmt="yuv444p10le")),
    ("avi", _film("a.avi", codec="mpeg4")),
    ("ts", _film("a.ts", codec="mpeg2video")),
    ("mxf", _film("a.mxf", codec="mpeg2video")),
    ("flv", _film("a.flv", codec="flv")),
    ("ogg", _film("a.ogg", codec="libvpx", format="ogg")),
    ("asf", _film("a.wmv", codec="msmpeg4", format="asf")),
    ("y4m", _film("a.y4m", codec="wrapped_avframe", format="yuv4mpegpipe")),
    ("gif film", _film("a.mp4", codec="gif", pix_fmt="rgb8", format="gif")),
)


def _all_frames(path: Path) -> list[Any]:
    return list(open_frames(path))


# G-buffers.


def _gbuffer(folder: Path, **how: Any) -> Path:
    torch.manual_seed(0)
    size, one, three = (12, 16), (1, 1, 12, 16), (1, 3, 12, 16)
    maps = {"base_color": torch.rand(three), "roughness": torch.rand(one), "metallic": torch.rand(one)}
    normal = torch.nn.functional.normalize(torch.rand(three), dim=1)
    depth = 1 + torch.rand(one)
    camera = Camera.perspective(size, 40.0, torch.eye(4)[None])
    whole = GBuffer(rgb=torch.rand(three), normal=normal, depth=depth, camera=camera, fps=24.0, **maps)
    write_gbuffer(folder / "a.exr", whole, **how)
    return folder / "a.exr"


def _foreign(folder: Path) -> Path:
    """As a renderer writes it: nothing said of axes."""
    from unrender.files.exr import write_channels

    g = np.random.default_rng(0)
    names = [f"ViewLayer.{layer}.{c}" for layer in ("Combined", "DiffCol") for c in "RGB"]
    wall = {"Normal.X": 0.0, "Normal.Y": 0.0, "Normal.Z": 1.0, "Depth.Z": 2.0}
    channels = {name: g.random((12, 16), np.float32) for name in names}
    channels |= {f"ViewLayer.{name}": np.full((12, 16), value, np.float32) for name, value in wall.items()}
    write_channels(folder / "a.exr", channels, {})
    return folder / "a.exr"


def _map_pictures(folder: Path) -> Path:
    (folder / "normal").mkdir()
    for name in ("0.albedo.png", "normal/0.png", "0.depth.png", "0.material.jpg"):
        Image.fromarray(_picture()).save(folder / name)
    return folder


# Meshes.


def _glb(folder: Path) -> Path:
    placed = {"index": 0, "extensions": {"KHR_texture_transform": {"offset": [0.5, 0], "rotation": 0.1}}}
    material = {"pbrMetallicRoughness": {"baseColorTexture": placed}, "normalTexture": placed, "alphaMode": "MASK"}
    said, chunk = quad(material=material, images=[png()], attributes={"COLOR_0": np.full((4, 4), 128, np.uint8)})
    said["nodes"][0] |= {"rotation": [0, 0, 0, 1], "scale": [1, 2, 3], "children": [1]}
    said["nodes"].append({"matrix": np.eye(4).ravel().tolist()})
    said["accessors"][0] |= {"byteOffset": 0, "max": [1, 1, 0], "min": [0, 0, 0]}
    (folder / "a.glb").write_bytes(glb(said, chunk))
    return folder / "a.glb"


def _gltf(folder: Path) -> Path:
    said, chunk = quad(material={"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
    said["buffers"][0]["uri"] = "sub/a.bin"
    said |= {"images": [{"uri": "sub/t.png"}], "textures": [{"source": 0}]}
    (folder / "sub").mkdir()
    (folder / "sub" / "a.bin").write_bytes(chunk)
    (folder / "sub" / "t.png").write_bytes(png())
    (folder / "a.gltf").write_text(json.dumps(said))
    return folder / "a.gltf"


def _obj(folder: Path) -> Path:
    (folder / "a.obj").write_text(
        "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nvt 0 0\nvt 1 1\nvn 0 0 1\n"
        "f 1/1/1 2/2/1 3/1/1\nf 2//1 4//1 3//1\nf 1 2 4 3\n"
    )
    (folder / "a.mtl").write_text(
        "newmtl m\nKd 1 1 1\nPr 0.5\nPm 0.1\nNs 10\nmap_Kd t.png\nmap_Pr -o 1 1 -clamp on t.png\nmap_Bump -bm 2 t.png\n"
    )
    (folder / "t.png").write_bytes(png())
    return folder / "a.obj"


_PLY = "ply\nformat {}\ncomment TextureFile t.png\nelement vertex 3\n" + "".join(
    f"property float {name}\n" for name in ("x", "y", "z", "s", "t")
)
_PLY += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"


def _ply(folder: Path) -> Path:
    text = _PLY.format("ascii 1.0") + "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n"
    (folder / "a.ply").write_text(text)
    (folder / "t.png").write_bytes(png())
    return folder / "a.ply"


def _binary_ply(folder: Path) -> Path:
    numbers = struct.pack("<15f", 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1) + struct.pack("<B3i", 3, 0, 1, 2)
    (folder / "a.ply").write_bytes(_PLY.format("binary_little_endian 1.0").encode() + numbers)
    return folder / "a.ply"


# Cameras.

_EYE = np.eye(4).tolist()


def _transforms(folder: Path) -> Path:
    frame = {"file_path": "a.png", "transform_matrix": _EYE}
    lens = {"camera_model": "OPENCV", "fl_x": 50.0, "fl_y": 50.0, "cx": 32, "cy": 24, "w": 64, "h": 48, "k1": 0}
    said = {**lens, "camera_angle_x": 0.7, "applied_transform": _EYE[:3], "frames": [frame, {**frame, "w": 64}]}
    (folder / "transforms.json").write_text(json.dumps(said))
    return folder / "transforms.json"


def _sizeless_transforms(folder: Path) -> Path:
    frame = {"file_path": "./sub/a", "transform_matrix": _EYE}
    (folder / "sub").mkdir()
    (folder / "sub" / "a.png").write_bytes(png())
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.7, "frames": [frame]}))
    return folder / "transforms.json"


def _colmap_text(folder: Path) -> Path:
    (folder / "cameras.txt").write_text("# c\n1 PINHOLE 64 48 50 50 32 24\n2 SIMPLE_RADIAL 64 48 50 32 24 0\n")
    (folder / "images.txt").write_text("1 1 0 0 0 1 2 3 1 a.png\n1 2 -1\n2 1 0 0 0 0 0 0 2 b.png\n\n")
    return folder


def _colmap_binary(folder: Path) -> Path:
    image = struct.pack("<i7di", 1, 1, 0, 0, 0, 1, 2, 3, 1) + b"a.png\0" + struct.pack("<Q2dq", 1, 1, 2, -1)
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, 64, 48, 50, 50, 32, 24))
    (folder / "images.bin").write_bytes(struct.pack("<Q", 2) + image + image)
    return folder


def _co3d(folder: Path) -> Path:
    view = {"R": np.eye(3).tolist(), "T": [0, 0, 1], "focal_length": [2, 2], "principal_point": [0, 0]}
    view["intrinsics_format"] = "ndc_isotropic"
    image = {"path": "a.jpg", "size": [48, 64]}
    frames = [{"sequence_name": "s", "frame_number": n, "image": image, "viewpoint": view} for n in (0, 1)]
    (folder / "frame_annotations.jgz").write_bytes(gzip.compress(json.dumps(frames).encode()))
    return folder / "frame_annotations.jgz"


# Sets of data.


def _shards(folder: Path) -> Path:
    write_shard(folder / "shard-000000.tar", [("000009", clip())])
    return folder


def _read_shards(folder: Path) -> list[Any]:
    return [*read_clips(folder), list(read_about(folder / "shard-000000.tar"))]


def _synth_folder(folder: Path) -> Path:
    (folder / "recipe.json").write_text(json.dumps({"generator": GENERATOR, "clips": 1}, indent=1))
    return folder


def _packed(folder: Path) -> Path:
    shards = folder / "shards"
    shards.mkdir()
    packed(folder, [_shards(shards)], None)
    shutil.rmtree(shards)
    return folder


def _read_packed(folder: Path) -> Any:
    return open_packed(sorted(folder.glob("stills-*.safetensors"))).in_memory()


def _photos(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.png").write_bytes(png())
    return folder


def _dataset(name: str, write: Callable[[Path], Path]) -> Seed:
    return Seed(f"dataset {name}", write, lambda folder: list(open_dataset(name, folder)[:10]))


# Models and runs.


def _load(folder: Path) -> Any:
    return load_checkpoint(local_model(folder), choose_compute("cpu", "float32"), inference_only=True).tokens


def _card(folder: Path) -> Path:
    tiny_folder(folder / "model")
    for path in (*folder.rglob("*.safetensors"), *folder.rglob("config.json")):
        path.unlink()
    return folder / "model"


def _old_card(folder: Path) -> Path:
    codec = {"map": "normal", "signs": [-1, 1, 1]}
    pictures = [{"name": "normal", "maps": [codec], "prompt": "normal"}]
    said = {"id": "x", "system": "y", "licence": "z", "pictures": pictures, "source": {"rest": "a/b"}, "noise": "zeros"}
    (folder / "unrender.json").write_text(json.dumps({**said, "schedule": {"steps": 1}, "given": []}))
    return folder


def _published(folder: Path) -> Path:
    hold(folder, "unet", "vae", "scheduler", "text_encoder", "tokenizer")
    said = {"_class_name": "MarigoldIntrinsicsPipeline", "target_properties": {"target_names": ["albedo", "material"]}}
    (folder / "model_index.json").write_text(json.dumps(said))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDIMScheduler"}))
    return folder


def _identify(folder: Path) -> Any:
    return cards_in(folder), local_model(folder, cards_in(folder)[0].task)


def _torch_weights(folder: Path) -> Path:
    torch.save({"a.weight": torch.rand(3, 4), "a.bias": torch.rand(4)}, folder / "a.pth")
    return folder / "a.pth"


def _lpips_weights(folder: Path) -> Path:
    """AlexNet's layout, two channels wide."""
    shapes = {"0": (2, 3, 11, 11), "3": (2, 2, 5, 5), **dict.fromkeys(("6", "8", "10"), (2, 2, 3, 3))}
    weights = {f"features.{name}.weight": torch.rand(shape) for name, shape in shapes.items()}
    weights |= {f"features.{name}.bias": torch.rand(2) for name in shapes}
    torch.save({**weights, **{f"lin{n}.model.1.weight": torch.rand(1, 2, 1, 1) for n in range(5)}}, folder / "a.pth")
    return folder / "a.pth"


def _distance(path: Path) -> float:
    return Lpips.read(path)(torch.zeros(3, 64, 64), torch.ones(3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))


def _safe_weights(folder: Path) -> Path:
    import safetensors.torch

    safetensors.torch.save_file({"a.weight": torch.rand(3, 4), "a.bias": torch.rand(4)}, folder / "a.safetensors")
    return folder / "a.safetensors"


_CONFIG = TrainConfig(steps=3, stages=(Stage(1.0, 8, 1),), warmup=1, precision="no", save_every=1, validate_every=0)


class _Stopped(BaseException):
    """Ends a run before its last step."""


def _training(folder: Path) -> Path:
    def stop(step: int, loss: float) -> None:
        if step == 2:
            raise _Stopped

    run_folder = RunFolder(folder)
    run_folder.claim(_CONFIG)
    try:
        run(Line(), _CONFIG, run_folder, stop)
    except _Stopped:
        return folder
    raise AssertionError("the run was to be stopped")


def _go_on(folder: Path) -> Any:
    run_folder = RunFolder(folder)
    run_folder.claim(_CONFIG)
    return run(Line(), _CONFIG, run_folder)


def _claims(folder: Path) -> Path:
    tiny_folder(folder / "inverse-multi" / "model")
    (folder / "inverse-multi" / "recipe.json").write_text(json.dumps({"config": {"steps": 9}}))
    return folder


def _lock(folder: Path) -> Path:
    said = {"pid": 2**22 + 1, "host": "x", "place": "y", "started": 1, "since": "2026"}
    (folder / LOCK_FILE).write_text(json.dumps(said))
    return folder


def _take_lock(folder: Path) -> None:
    with locked(folder):
        pass


def _records(folder: Path) -> Path:
    for name, source in (("run.json", "a.png"), ("new.json", "b.png")):
        (folder / name).write_text(json.dumps({"verb": "relight", "settings": {"input": source}}))
    return folder


def _seeds() -> tuple[Seed, ...]:
    claim = partial(_claim, {"generator": GENERATOR, "clips": 1})
    stills = [Seed(name, write, read_image) for name, write in _STILLS]
    films = [Seed(name, write, _all_frames) for name, write in _FILMS]
    return (
        *stills,
        Seed("light", _exr, read_environment),
        Seed("mask", _by_pillow("a.png", "L"), read_mask),
        *films,
        Seed("numbered", _numbered, _all_frames),
        Seed("folder", _folder_of_frames, _all_frames),
        Seed("gbuffer", _gbuffer, lambda path: list(open_gbuffers(path))),
        Seed("gbuffer nuke", partial(_gbuffer, profile="nuke"), lambda path: list(open_gbuffers(path))),
        Seed("gbuffer foreign", _foreign, lambda path: list(open_gbuffers(path))),
        Seed("gbuffer pictures", _map_pictures, lambda path: list(open_gbuffers(path))),
        Seed("camera file", _gbuffer, lambda path: read_cameras(path).camera),
        Seed("glb", _glb, read_meshes),
        Seed("gltf", _gltf, read_meshes),
        Seed("obj", _obj, read_meshes),
        Seed("ply", _ply, read_meshes),
        Seed("ply binary", _binary_ply, read_meshes),
        Seed("asset", _glb, lambda path: read_asset(path, 16)),
        Seed("transforms", _transforms, read_transforms),
        Seed("transforms, no size", _sizeless_transforms, read_transforms),
        Seed("colmap text", _colmap_text, read_colmap),
        Seed("colmap binary", _colmap_binary, read_colmap),
        Seed("co3d", _co3d, lambda path: read_co3d(path, "s")),
        Seed("shards", _shards, _read_shards),
        Seed("synth recipe", _synth_folder, claim),
        Seed("packed", _packed, _read_packed),
        _dataset("hypersim", write_hypersim),
        _dataset("vkitti2", write_vkitti),
        _dataset("interiorverse", write_interiorverse),
        _dataset("matrixcity", write_matrixcity),
        _dataset("photos", _photos),
        Seed("card", _card, read_card),
        Seed("card of 0.1", _old_card, read_card),
        Seed("published", _published, _identify),
        Seed("model", lambda folder: tiny_folder(folder / "m"), _load),
        Seed("weights pth", _torch_weights, lambda path: read_weights(path, "expected weights")),
        Seed("weights safe", _safe_weights, lambda path: read_weights(path, "expected weights")),
        Seed("weights lpips", _lpips_weights, _distance),
        Seed("run state", _training, _go_on),
        Seed("claims", _claims, lambda folder: Models(folder, InferenceOptions()).trained(TRAILING)),
        Seed("lock", _lock, _take_lock),
        Seed("run record", _records, lambda folder: put_away(folder / "run.json", folder / "new.json")),
    )


SEEDS: dict[str, Seed] = {seed.name: seed for seed in _seeds()}
