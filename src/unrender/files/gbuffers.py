"""G-buffers as EXR: one multi-layer file for each frame."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrender.conventions import CAMERA_AXES
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.exr import Compression, ExrImage, Plane, read_channels, row_writer, to_half, write_channels
from unrender.files.gbuffer_pictures import find_frames, read_pictures
from unrender.files.layers import Profile, channel_names, choose_maps, find_glossy_color
from unrender.files.linear_spaces import LinearSpace
from unrender.files.normal_axes import NormalAxes
from unrender.files.notes import note
from unrender.files.ocio import output_space
from unrender.files.paths import existing_file
from unrender.files.radiance import clean, premultiplied_to_straight, to_rec709
from unrender.files.renderer_passes import complete
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import CHANNELS, DepthKind, GBuffer, IrradianceKind
from unrender.scene.plate import Plate
from unrender.scene.strips import strips
from unrender.version import VERSION

Kind = TypeVar("Kind", bound=str)
CameraLike = Camera | float
"""A camera, or the vertical field of view, in degrees, of one that is centred and level."""

DEPTH_OF_NOTHING = 1e10
"""The value in files for a depth of +inf, as Blender writes it and Nuke users key on it."""

_COLOUR_MAPS = ("base_color", "diffuse_albedo", "irradiance", "shading", "residual", "rgb")
_UNIT_MAPS = ("base_color", "diffuse_albedo", "disparity", "roughness", "metallic", "mask")
_PREFIX = "unrender:"


def write_gbuffer(
    path: str | Path,
    gbuffer: GBuffer,
    *,
    profile: Profile = "unrender",
    metadata: Mapping[str, str] | None = None,
    colorspace: str | None = None,
) -> None:
    """Writes a still G-buffer as one EXR: half for colour and single values, float for depth and normal, ZIP.

    Colour is linear Rec.709, or in the linear `colorspace` of that name (see `ocio`), normals unit in OpenGL camera
    axes, depth planar with `DEPTH_OF_NOTHING` for +inf. The header says so (`unrender:color_space`, `:axes`,
    `:depth_kind`, `:model`, `:version`), carries the camera as JSON (`unrender:camera`), and every item of `metadata`
    as `unrender:<key>`.

    Raises:
        UserError: a clip (T > 1; clips are sequences of files), an unknown profile, an output that cannot be written.
    """
    if len(gbuffer) != 1:
        raise UserError(f"{path} is one file and the G-buffer has {len(gbuffer)} frames; expected name.####.exr")
    space = output_space(colorspace)
    names = channel_names(profile)
    channels: dict[str, Plane] = {}
    for name, value in gbuffer.maps.items():
        planes = value[0].detach().cpu().float()
        planes = (space.of_rec709(planes) if name in _COLOUR_MAPS else planes).numpy()
        stored = _STORED.get(name, _half)
        channels |= {own: Plane(plane, stored) for own, plane in zip(names[name], planes, strict=True)}
    with atomic_write(path) as partial:
        header = _header(gbuffer, space, metadata or {})
        write_channels(partial, channels, header, _plate(gbuffer), space=space)


def read_gbuffer(
    path: str | Path,
    normals: NormalAxes = "auto",
    camera: CameraLike | None = None,
    colorspace: str | None = None,
) -> GBuffer:
    """Reads a G-buffer of one frame from an EXR of any profile (see `layers`), or from a folder with a picture for
    each map, as official codes write them (see `gbuffer_pictures`).

    Depths that are not positive, not finite or at least `DEPTH_OF_NOTHING` become +inf; maps that live in [0, 1] are
    clipped to it. A picture with alpha has its colour un-premultiplied, and gives the mask where the file has no other.

    The normal passes of Cycles and Arnold are in world axes. So normals of a file that does not say its axes
    (`unrender:axes`) are held against those of its depth, and turned into OpenGL camera axes where they differ by a
    turn; what was found is said (see `notes`). Where a file of a renderer has no base colour, its diffuse and glossy
    colours are taken for one, and for metallicity (see `renderer_passes`), and that is said, too.

    Args:
        path: an EXR, or a folder of pictures.
        normals: "camera" takes normals as they are, "world" turns them by what the depth says, "auto" finds out.
        camera: that of the picture, T = 1, or its vertical field of view in degrees, where the caller knows it; in
            place of what the file says.
        colorspace: the linear space of its colours, by OpenColorIO's name, whatever the file says.

    Raises:
        UserError: a missing, damaged or foreign file, one with other axes, one without a map of a G-buffer (its
            channels are listed), or normals in axes that cannot be found out.
    """
    if Path(path).is_dir():
        if colorspace is not None:
            raise UserError(f"{path} is a folder of pictures, and the colour space {colorspace!r} is of EXR files")
        return _of_pictures(Path(path), camera)
    known = None if colorspace is None else output_space(colorspace)
    path = existing_file(path)
    image = read_channels(path)
    if known is not None:
        image = replace(image, chromaticities=known.chromaticities)
    chosen = choose_maps(image.channels)
    found = chosen.channels
    if not set(found) & set(CHANNELS):
        listed = ", ".join(sorted(image.channels)[:12])
        raise UserError(
            f"{path} has no map of a G-buffer, only the channels {listed}; try base_color.R, normal.X, depth.Z"
        )
    maps = {name: _tensor(name, image, channels) for name, channels in found.items() if name in CHANNELS}
    if "alpha" in found:
        alpha = _tensor("mask", image, found["alpha"])
        maps["rgb"] = premultiplied_to_straight(maps["rgb"], alpha)
        maps.setdefault("mask", alpha)
    for said in chosen.notes:
        note(path, said)
    header = _own_attributes(image)
    if header.get("axes", CAMERA_AXES) != CAMERA_AXES:
        raise UserError(f"{path} has its normals in the axes {header['axes']!r}; expected {CAMERA_AXES!r}")
    if isinstance(camera, Camera):
        camera = camera.fitted(image.size, str(path))
    elif camera is not None:
        camera = Camera.perspective(image.size, require_angle(camera))
    if "axes" not in header and "version" not in header:
        complete(path, maps, _gloss(image), normals, camera)
    plate = image.plate
    fps = plate.fps[0] / plate.fps[1] if plate is not None and plate.fps is not None else None
    return GBuffer(
        **maps,  # ty: ignore[invalid-argument-type]
        # A file that states no kind comes from a renderer, whose depth is metric.
        depth_kind=_one_of(get_args(DepthKind), header, "depth_kind", path),
        irradiance_kind=_one_of(get_args(IrradianceKind), header, "irradiance_kind", path),
        camera=_said_camera(header, path, image.size) if camera is None else camera,
        fps=_rate(header["fps"], path) if "fps" in header else fps,
        model=header.get("model", ""),
        plate=plate,
    )


def with_camera(gbuffer: GBuffer, camera: CameraLike | None, what: str) -> GBuffer:
    """The G-buffer of one frame, seen by a camera that the caller knows; None for its own."""
    if camera is None:
        return gbuffer
    known = camera if isinstance(camera, Camera) else Camera.perspective(gbuffer.size, require_angle(camera))
    return replace(gbuffer, camera=known.fitted(gbuffer.size, what))


def _of_pictures(folder: Path, camera: CameraLike | None) -> GBuffer:
    frames = find_frames(folder)
    if len(frames) != 1:
        what = (
            f"{len(frames)} frames of maps; `open_gbuffers` reads them all" if frames else "no pictures named by maps"
        )
        raise UserError(f"{folder} has {what}; expected one picture for each map (albedo.png, normal.png, ...)")
    return with_camera(read_pictures(folder, frames[0][1]), camera, str(folder))


def require_angle(degrees: float) -> float:
    """`degrees`, if they are a field of view; else a UserError."""
    if not 0.01 <= degrees <= 179:
        raise UserError(f"a field of view of {degrees:g} degrees; expected 0.01 to 179")
    return float(degrees)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The `unrender:*` header attributes of an EXR, without their prefix."""
    return _own_attributes(read_channels(existing_file(path)))


def write_layers(
    path: str | Path,
    layers: Mapping[str, Tensor],
    beauty: Tensor,
    alpha: Tensor | None = None,
    plate: Plate | None = None,
    metadata: Mapping[str, str] | None = None,
    compression: Compression = "zip",
    colorspace: str | None = None,
) -> None:
    """Writes render passes as layers beside the beauty, in one EXR.

    With the compression "zip" in 32-bit float, so that they still add up to it; with "dwaa" in 16 bits, a quarter as
    large.

    Args:
        path: an .exr file.
        layers: (3, H, W) linear each, by layer name ("diffuse" is written as diffuse.R, .G, .B).
        beauty: (3, H, W) linear, written as bare R, G, B.
        alpha: (1, H, W), written as A; layers and beauty are multiplied by it already.
        plate: windows and numbers that the file carries.
        metadata: for the header, each item as `unrender:<key>`.
        compression: see `exr.Compression`.
        colorspace: the linear space of the file, by OpenColorIO's name; Rec.709.
    """
    size = (beauty.shape[1], beauty.shape[2])
    about = LayerFile(tuple(layers), alpha is not None, size, plate, metadata or {}, compression, colorspace)
    with layer_rows(Path(path), about) as write:
        for rows in strips(size):
            part = {name: rgb[:, rows] for name, rgb in layers.items()}
            write(part, beauty[:, rows], None if alpha is None else alpha[:, rows])


@dataclass(frozen=True)
class LayerFile:
    """What an EXR of render passes is like; see `write_layers`.

    Attributes:
        layers: names.
        alpha: whether it has one.
        size: (height, width).
        plate, metadata, compression, colorspace: see `write_layers`.
    """

    layers: tuple[str, ...]
    alpha: bool
    size: tuple[int, int]
    plate: Plate | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "zip"
    colorspace: str | None = None


LayerRows = Callable[[Mapping[str, Tensor], Tensor, Tensor | None], None]


@contextmanager
def layer_rows(path: Path, about: LayerFile) -> Generator[LayerRows]:
    """Yields what writes the next rows of every layer, of the beauty and of the alpha, from the top."""
    space = output_space(about.colorspace)
    stored = clean if about.compression == "zip" else _half
    names = [f"{layer}.{c}" for layer in about.layers for c in "RGB"] + list("RGB") + ["A"] * about.alpha
    said = {"color_space": space.name, **about.metadata}
    header = {f"{_PREFIX}{key}": value for key, value in said.items()}
    kinds = dict.fromkeys(names, np.dtype(np.float32 if about.compression == "zip" else np.float16))
    with (
        atomic_write(path) as partial,
        row_writer(partial, about.size, kinds, header, about.plate, about.compression, space) as write,
    ):

        def write_rows(layers: Mapping[str, Tensor], beauty: Tensor, alpha: Tensor | None) -> None:
            pictures = [*(layers[layer] for layer in about.layers), beauty]
            planes = [plane for picture in pictures for plane in space.of_rec709(picture)]
            planes += [] if alpha is None else [alpha[0].clamp(0, 1)]
            numbers = (stored(plane.detach().cpu().float().numpy()) for plane in planes)
            write(dict(zip(names, numbers, strict=True)))

        yield write_rows


def _gloss(image: ExrImage) -> Tensor | None:
    """A renderer's glossy colour, (1, 3, H, W); None where a file has none."""
    channels = find_glossy_color(image.channels)
    return _tensor("base_color", image, channels) if channels else None


def _plate(gbuffer: GBuffer) -> Plate | None:
    """What an EXR of it says of windows and numbers, its frame rate too."""
    if gbuffer.fps is None:
        return gbuffer.plate
    return (gbuffer.plate or Plate.of_size(gbuffer.size)).at_rate(gbuffer.fps)


def _half(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return to_half(clean(values))


def _finite_depth(depth: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.nan_to_num(depth, nan=DEPTH_OF_NOTHING, posinf=DEPTH_OF_NOTHING)


_STORED = {"depth": _finite_depth, "normal": lambda normal: normal}
"""What a map becomes in files; others become `_half`."""


def _own_attributes(image: ExrImage) -> dict[str, str]:
    return {key.removeprefix(_PREFIX): value for key, value in image.header.items() if key.startswith(_PREFIX)}


def _header(gbuffer: GBuffer, space: LinearSpace, metadata: Mapping[str, str]) -> dict[str, str]:
    said = {
        "version": VERSION,
        "color_space": space.name,
        "axes": CAMERA_AXES,
        "depth_kind": gbuffer.depth_kind,
        "irradiance_kind": gbuffer.irradiance_kind,
        "model": gbuffer.model,
    }
    if gbuffer.camera is not None:
        said["camera"] = _camera_to_json(gbuffer.camera)
    if gbuffer.fps is not None:
        said["fps"] = repr(gbuffer.fps)
    return {f"{_PREFIX}{key}": str(value) for key, value in {**said, **metadata}.items()}


def _tensor(name: str, image: ExrImage, channels: list[str]) -> Tensor:
    planes = np.stack([image.channels[channel] for channel in channels]).astype(np.float32)
    if name == "depth":
        nothing = ~np.isfinite(planes) | (planes <= 0) | (planes >= DEPTH_OF_NOTHING)
        planes = np.where(nothing, np.float32(math.inf), planes)
    elif name == "normal":
        planes = np.nan_to_num(planes, nan=0.0, posinf=0.0, neginf=0.0)
    else:
        planes = clean(planes)
    if name in _COLOUR_MAPS:
        planes = to_rec709(planes, image.chromaticities)
    if name in _UNIT_MAPS:
        planes = planes.clip(0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


def _one_of(known: tuple[Kind, ...], header: Mapping[str, str], key: str, path: Path) -> Kind:
    said = header.get(key, known[0])
    for kind in known:
        if said == kind:
            return kind
    raise UserError(f"{path} says unrender:{key} = {said!r}; expected {' or '.join(known)}")


def _rate(text: str, path: Path) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < 1e6:
        raise UserError(f"{path} says unrender:fps = {text[:40]!r}; expected a number above 0")
    return rate


def _camera_to_json(camera: Camera) -> str:
    first = camera.frame(0)
    return json.dumps(
        {"size": list(first.size), "intrinsics": first.intrinsics[0].tolist(), "pose": first.pose[0].tolist()}
    )


def _said_camera(header: Mapping[str, str], path: Path, size: tuple[int, int]) -> Camera | None:
    """The camera that a file says was its own; None where it says none."""
    text = header.get("camera")
    if text is None:
        return None
    try:
        said = json.loads(text)
        height, width = said["size"]
        intrinsics, pose = (torch.tensor([said[name]], dtype=torch.float32) for name in ("intrinsics", "pose"))
        camera = Camera(intrinsics, pose, (int(height), int(width)))
        if intrinsics.shape != (1, 3, 3) or pose.shape != (1, 4, 4) or camera.size != size:
            raise ValueError("of another shape, or for a picture of another size")
        if not (intrinsics.isfinite().all() and pose.isfinite().all() and (intrinsics[0].diagonal() > 0).all()):
            raise ValueError("with numbers that no camera has")
        return camera
    except (UserError, ValueError, KeyError, TypeError, OverflowError, RuntimeError, RecursionError) as error:
        raise UserError(
            f"{path} has a damaged unrender:camera attribute; expected size, intrinsics and pose"
        ) from error
