"""glTF 2.0 and GLB: triangles of every place in the scene, with vertex colours, texture transforms and materials.

Section numbers are those of the glTF 2.0 specification. What a file requires and this reader does not know is refused
by name; what it merely uses is left out, and a note says so. Skins and morph targets are read as they rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrender.errors import UserError
from unrender.files.materials import GltfMaterial, MeshPrimitive
from unrender.files.notes import note
from unrender.files.paths import existing_file
from unrender.files.textures import beside, decode_texture
from unrender.scene.color import srgb_to_linear

MAGIC = b"glTF"

_UNDERSTOOD = frozenset(
    {"KHR_texture_transform", "KHR_mesh_quantization", "KHR_materials_unlit", "EXT_texture_webp", "KHR_lights_punctual"}
)
# They change what this reader gives of a material or of triangles, where it does not know them.
_LOOKS = ("KHR_materials_", "KHR_draco_", "EXT_meshopt_", "EXT_mesh_gpu_")
_KINDS: dict[int, type] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_LARGEST = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535, 5125: 4294967295}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_MOST_ELEMENTS = 50_000_000  # vertices and indices of all places together
_MOST_ZEROS = 1 << 20  # of an accessor without data

Array = NDArray[Any]


@dataclass(frozen=True)
class _Placement:
    """How texture coordinates become those of a texture: the set's number, and an affine map of (u, v), v down."""

    texcoord: int = 0
    linear: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass
class _File:
    """A glTF file: what it says, its binary chunk, and what was read of it so far."""

    path: Path
    said: dict[str, Any]
    chunk: bytes | None
    buffers: dict[int, bytes] = field(default_factory=dict)
    images: dict[int, Tensor] = field(default_factory=dict)
    elements: int = 0

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """The `index`-th of `kind`: of the nodes, meshes, accessors, ..."""
        listed = self.said.get(kind, [])
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(listed):
            raise UserError(f"{self.path} names one of its {kind} that is not there; expected 0 to {len(listed) - 1}")
        if not isinstance(listed[index], dict):
            raise UserError(f"{self.path}: number {index} of its {kind} is damaged; expected named values")
        return listed[index]

    def count(self, elements: int) -> None:
        self.elements += elements
        if self.elements > _MOST_ELEMENTS:
            raise UserError(f"{self.path} has more than {_MOST_ELEMENTS} vertices and indices; expected fewer")


def read_gltf(path: Path) -> list[MeshPrimitive]:
    """Reads the triangles of the file's scene; one `MeshPrimitive` for each primitive and place.

    Raises:
        UserError: an extension that the file requires and that is not known, or a damaged file. (Other exceptions mean
            damage, too; `meshes.read_meshes` says so.)
    """
    file = _open(path)
    _check_extensions(file)
    return [
        primitive
        for transform, mesh in _places(file)
        for said in mesh.get("primitives", [])
        if (primitive := _primitive(file, said, transform)) is not None
    ]


def _open(path: Path) -> _File:
    stored = path.read_bytes()
    if not stored.startswith(MAGIC):
        return _File(path, _named(path, json.loads(stored.decode("utf-8-sig"))), None)
    version, at, text, chunk = struct.unpack_from("<I", stored, 4)[0], 12, None, None
    if version != 2:
        raise UserError(f"{path} is glTF {version}; expected glTF 2")
    while at + 8 <= len(stored):
        length, kind = struct.unpack_from("<I4s", stored, at)
        if at + 8 + length > len(stored):
            raise UserError(f"{path} is truncated: it has {len(stored)} of its {at + 8 + length} bytes")
        content, at = stored[at + 8 : at + 8 + length], at + 8 + length
        if kind == b"JSON" and text is None:
            text = content
        elif kind == b"BIN\0" and chunk is None:
            chunk = content
    if text is None:
        raise UserError(f"{path} cannot be read as a mesh: it is truncated, or has no JSON in it")
    return _File(path, _named(path, json.loads(text)), chunk)


def _named(path: Path, said: Any) -> dict[str, Any]:
    if not isinstance(said, dict) or "asset" not in said:
        raise UserError(f"{path} is JSON, and no glTF; expected a glTF with its asset")
    return said


def _check_extensions(file: _File) -> None:
    required = [str(name)[:60] for name in file.said.get("extensionsRequired", [])]
    unknown = [name for name in required if name not in _UNDERSTOOD]
    if unknown:
        known = (
            "a file that is not compressed"
            if any("draco" in name or "meshopt" in name for name in unknown)
            else (f"none, or {', '.join(sorted(_UNDERSTOOD))}")
        )
        raise UserError(f"{file.path} requires {', '.join(unknown)}, which is not read here; expected {known}")
    ignored = [str(name)[:60] for name in file.said.get("extensionsUsed", []) if name not in _UNDERSTOOD]
    ignored = sorted({name for name in ignored if name.startswith(_LOOKS)})
    if ignored:
        note(file.path, f"uses {', '.join(ignored)}, which is not read here; the rest is")


def _places(file: _File) -> Iterator[tuple[Array, dict[str, Any]]]:
    """Every mesh of the scene, with its (4, 4) transform to the world (section 3.5)."""
    nodes = file.said.get("nodes", [])
    if "scenes" in file.said:
        roots = file.item("scenes", file.said.get("scene", 0)).get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in children]
    waiting, seen = [(index, np.eye(4)) for index in roots], set()
    while waiting:
        index, above = waiting.pop()
        node = file.item("nodes", index)
        if index in seen:
            raise UserError(f"{file.path} has a node with two parents, or in a circle; expected a tree")
        seen.add(index)
        transform = above @ _transform(node)
        if "mesh" in node:
            yield transform, file.item("meshes", node["mesh"])
        waiting += [(child, transform) for child in node.get("children", [])]


def _transform(node: dict[str, Any]) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    length = max(np.sqrt(x * x + y * y + z * z + w * w), 1e-12)
    x, y, z, w = x / length, y / length, z / length, w / length
    turn = np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
    )
    transform = np.eye(4)
    transform[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64).reshape(3)
    transform[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64)
    return transform


def _primitive(file: _File, said: dict[str, Any], transform: Array) -> MeshPrimitive | None:
    mode, attributes = said.get("mode", 4), said["attributes"]
    if mode not in (4, 5, 6) or "POSITION" not in attributes:
        return None
    if "KHR_draco_mesh_compression" in said.get("extensions", {}) and "bufferView" not in file.item(
        "accessors", attributes["POSITION"]
    ):
        raise UserError(f"{file.path} is compressed by KHR_draco_mesh_compression; expected an export without it")
    vertices = _accessor(file, attributes["POSITION"], 3)
    if "indices" in said:
        indices = _accessor(file, said["indices"], 1)[:, 0].astype(np.int64)
    else:
        indices = np.arange(len(vertices))
    faces = _triangles(indices, mode)
    if not len(faces):
        return None
    linear = transform[:3, :3]
    if np.linalg.det(linear) < 0:
        faces = faces[:, ::-1].copy()
    normals = None
    if "NORMAL" in attributes and abs(np.linalg.det(linear)) > 1e-18:
        turned = torch.from_numpy(_accessor(file, attributes["NORMAL"], 3) @ np.linalg.inv(linear)).float()
        normals = torch.nn.functional.normalize(turned, dim=1)
    color = None
    if "COLOR_0" in attributes:  # linear, and multiplied with the material's (section 3.7.2.1)
        color = torch.from_numpy(_accessor(file, attributes["COLOR_0"], None)[:, :3]).float().clamp(min=0)
    material, placement = _material(file, said.get("material"), color is not None)
    uv = None
    if placement is not None and (name := f"TEXCOORD_{placement.texcoord}") in attributes:
        stored = _accessor(file, attributes[name], 2)
        placed = stored @ np.array(placement.linear).reshape(2, 2).T + placement.offset
        uv = torch.from_numpy(placed * (1, -1) + (0, 1)).float()
    return MeshPrimitive(
        vertices=torch.from_numpy(vertices @ linear.T + transform[:3, 3]).float(),
        faces=torch.from_numpy(faces),
        normals=normals,
        uv=uv,
        color=color,
        material=material,
    )


def _triangles(indices: Array, mode: int) -> Array:
    """(F, 3) of a list, a strip or a fan (section 3.7.2.1)."""
    if mode == 4:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    count = max(len(indices) - 2, 0)
    if mode == 6:
        return np.stack((indices[1 : count + 1], indices[2 : count + 2], np.repeat(indices[:1], count)), 1)
    strip = np.stack((indices[:count], indices[1 : count + 1], indices[2 : count + 2]), 1)
    strip[1::2] = strip[1::2][:, (0, 2, 1)]
    return strip


def _accessor(file: _File, index: Any, components: int | None) -> Array:
    """(count, components) float64, integers as they are or, where the accessor says so, in [-1, 1] (section 3.6.2)."""
    said = file.item("accessors", index)
    kind, width, count = _KINDS[said["componentType"]], _COMPONENTS[said["type"]], said["count"]
    if (components not in (None, width)) or not isinstance(count, int) or count < 1 or width > 4:
        raise UserError(
            f"{file.path}: accessor {index} is {count} x {width}; expected rows of {components or '3 or 4'}"
        )
    file.count(count)
    if "bufferView" in said:
        values = _view(file, said["bufferView"], said.get("byteOffset", 0), kind, width, count)
    elif count <= _MOST_ZEROS or ("sparse" in said and count <= 64 * _MOST_ZEROS):
        values = np.zeros((count, width), kind)
    else:
        raise UserError(f"{file.path}: accessor {index} has {count} values and no data; expected a buffer view")
    if "sparse" in said:
        sparse = said["sparse"]
        places, stored = sparse["indices"], sparse["values"]
        most = sparse["count"]
        where = _view(file, places["bufferView"], places.get("byteOffset", 0), _KINDS[places["componentType"]], 1, most)
        values = values.copy()
        values[where[:, 0].astype(np.int64)] = _view(
            file, stored["bufferView"], stored.get("byteOffset", 0), kind, width, most
        )
    if said.get("normalized") and kind is not np.float32:
        return np.maximum(values.astype(np.float64) / _LARGEST[said["componentType"]], -1)
    return values.astype(np.float64)


def _view(file: _File, index: Any, offset: int, kind: type, width: int, count: int) -> Array:
    """(count, width) values of a buffer view, from `offset` on, checked to lie in it."""
    said = file.item("bufferViews", index)
    stored = _buffer(file, said["buffer"])
    start, length = said.get("byteOffset", 0), said["byteLength"]
    row = np.dtype(kind).itemsize * width
    step = said.get("byteStride", row)
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (start, length, offset, step, count)):
        raise UserError(f"{file.path}: buffer view {index} is damaged; expected whole numbers of bytes")
    end = offset + (count - 1) * step + row
    if min(start, offset) < 0 or step < row or count < 1 or end > length or start + length > len(stored):
        raise UserError(f"{file.path} is truncated or damaged: buffer view {index} reaches beyond its data")
    first = start + offset
    rows = np.lib.stride_tricks.as_strided(
        np.frombuffer(stored, np.uint8, end - offset, first), (count, row), (step, 1), writeable=False
    )
    return np.ascontiguousarray(rows).view(kind).reshape(count, width)


def _buffer(file: _File, index: Any) -> bytes:
    said = file.item("buffers", index)
    if index not in file.buffers:
        if "uri" in said:
            file.buffers[index] = _uri(file, said["uri"])
        elif file.chunk is not None:
            file.buffers[index] = file.chunk
        else:
            raise UserError(f"{file.path}: buffer {index} has no data; expected a uri, or a binary chunk")
    return file.buffers[index]


def _uri(file: _File, uri: str) -> bytes:
    if uri.startswith("data:"):
        try:
            return base64.b64decode(uri.partition(",")[2], validate=True)
        except binascii.Error as error:
            raise UserError(f"{file.path} has damaged data in a uri; expected base64") from error
    return existing_file(beside(file.path.parent, unquote(uri))).read_bytes()


def _material(file: _File, index: Any, colored: bool) -> tuple[GltfMaterial, _Placement | None]:
    """A material, and how its textures are placed; None where it has no texture."""
    if index is None:
        white = GltfMaterial(base_color=(1.0, 1.0, 1.0)) if colored else GltfMaterial()
        return white, _Placement()
    said = file.item("materials", index)
    pbr = said.get("pbrMetallicRoughness", {})
    base, packed, normal = pbr.get("baseColorTexture"), pbr.get("metallicRoughnessTexture"), said.get("normalTexture")
    red, green, blue = (float(value) for value in pbr.get("baseColorFactor", (1, 1, 1, 1))[:3])
    material = GltfMaterial(
        base_color=(red, green, blue),
        roughness=float(pbr.get("roughnessFactor", 1)),
        metallic=float(pbr.get("metallicFactor", 1)),
    )
    if not all(np.isfinite((*material.base_color, material.roughness, material.metallic))):
        raise UserError(f"{file.path}: material {index} has factors that are not finite; expected numbers")
    placements = [_placement(info) for info in (base, packed, normal) if info is not None]
    placement = placements[0] if placements else _Placement()
    if base is not None:
        material = replace(material, base_color_texture=srgb_to_linear(_texture(file, base)))
    if packed is not None:
        texture = _texture(file, packed)
        if _placement(packed) != placement:
            note(file.path, f"roughness of material {index} is not placed as its colour is; its mean is read")
            texture = texture.mean((1, 2), keepdim=True)
        material = replace(material, roughness_texture=texture[1:2], metallic_texture=texture[2:3])
    if normal is not None and _placement(normal) == placement:
        bumps = _texture(file, normal) * 2 - 1
        scale = float(normal.get("scale", 1))
        if scale != 1:
            bumps = torch.nn.functional.normalize(bumps * torch.tensor((scale, scale, 1.0))[:, None, None], dim=0)
        material = replace(material, normal_texture=bumps)
    elif normal is not None:
        note(file.path, f"the normal map of material {index} is not placed as its colour; it is not read")
    return material, placement


def _placement(info: dict[str, Any]) -> _Placement:
    """KHR_texture_transform: translation x rotation x scale, counter-clockwise where v points down."""
    said = info.get("extensions", {}).get("KHR_texture_transform", {})
    across, down = (float(value) for value in said.get("scale", (1, 1)))
    right, below = (float(value) for value in said.get("offset", (0, 0)))
    cos, sin = np.cos(float(said.get("rotation", 0))), np.sin(float(said.get("rotation", 0)))
    linear = (float(cos * across), float(sin * down), float(-sin * across), float(cos * down))
    return _Placement(said.get("texCoord", info.get("texCoord", 0)), linear, (right, below))


def _texture(file: _File, info: dict[str, Any]) -> Tensor:
    said = file.item("textures", info["index"])
    index = said.get("extensions", {}).get("EXT_texture_webp", {}).get("source", said.get("source"))
    if index is None:
        names = ", ".join(said.get("extensions", {})) or "no picture"
        raise UserError(f"{file.path} has a texture of {names}; expected PNG, JPEG or WebP")
    if index not in file.images:
        image = file.item("images", index)
        name = f"{file.path}: its picture {index}"
        if "bufferView" in image:
            view = file.item("bufferViews", image["bufferView"])
            rows = _view(file, image["bufferView"], 0, np.uint8, 1, view["byteLength"])
            file.images[index] = decode_texture(rows.tobytes(), name)
        elif str(image["uri"]).startswith("data:"):
            file.images[index] = decode_texture(_uri(file, image["uri"]), name)
        else:
            beside_it = existing_file(beside(file.path.parent, unquote(image["uri"])))
            file.images[index] = decode_texture(beside_it.read_bytes(), f"{file.path}: its picture {beside_it.name}")
    return file.images[index]
