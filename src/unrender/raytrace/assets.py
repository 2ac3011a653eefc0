"""User assets: GLB, glTF, OBJ and PLY files as one mesh with one small texture."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from unrender.errors import UserError
from unrender.files import meshes
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh, box_mapped, is_closed, merge, unit, vertex_normals, with_creases

MOST_TRIANGLES = 2_000_000
_MOST_REPEATS = 16  # of a texture across one mesh: beyond that one texel here would average all of it
_THICKNESS = 2e-3  # between the two sides of an open surface, the asset's radius being 1


@dataclass(frozen=True)
class Asset:
    """What an asset file holds.

    Attributes:
        mesh: with a bounding sphere of about 1 round the origin.
        material: its textures.
        file_from_mesh: (4, 4) float64, a scale and a shift: from the mesh to the coordinates of the file.
    """

    mesh: Mesh
    material: Material
    file_from_mesh: Array


def read_asset(path: Path, size: int) -> tuple[Mesh, Material]:
    """The mesh and the material of `load_asset`, which see."""
    asset = load_asset(path, size)
    return asset.mesh, asset.material


@functools.lru_cache(maxsize=64)
def load_asset(path: Path, size: int) -> Asset:
    """An asset with its textures of `size` x `size` texels.

    Base colour, roughness and metallic come from the file's textures and factors (see `files.meshes`); parts of
    different materials share the texture, each in a cell of its own. A part without texture coordinates is
    box-mapped. Open surfaces get a back. Normal maps become heights. What glass and cut-outs lack is the material's
    opacity.

    Raises:
        UserError: a missing, damaged or foreign file, one without triangles or with more than `MOST_TRIANGLES`, or one
            whose vertices coincide or are not finite.
    """
    parts = meshes.read_meshes(path)
    count = sum(len(part.faces) for part in parts)
    if count > MOST_TRIANGLES:
        raise UserError(f"{path} has {count} triangles; decimate it to {MOST_TRIANGLES} or fewer")
    points = torch.cat([part.vertices for part in parts])
    if not points.isfinite().all() or float((points.amax(0) - points.amin(0)).max()) < 1e-9:
        raise UserError(f"{path} has no extent, or vertices that are not finite; expected a mesh of finite size")
    cells = int(np.ceil(np.sqrt(len(parts))))
    if cells > size // 4:
        raise UserError(f"{path} has {len(parts)} parts; join them to {(size // 4) ** 2} or fewer")
    side = size // cells
    base, others = np.full((size, size, 3), 0.5, np.float32), np.zeros((size, size, 4), np.float32)
    placed = []
    for index, part in enumerate(parts):
        mesh, repeats = _geometry(part)
        window = tuple(slice(i * side, (i + 1) * side) for i in divmod(index, cells))
        base[window], others[window] = _textures(part, side, repeats)
        # Half a texel inside the cell, so that a bilinear look-up never sees the neighbour.
        corner = np.array([window[1].start, window[0].start])
        uv = (mesh.uv * (side - 1) + 0.5 + corner) / size
        placed.append(Mesh(mesh.vertices, uv, mesh.faces))
    whole = merge(placed)
    mesh = unit(whole)
    rough, metal, height, there = np.ascontiguousarray(others.transpose(2, 0, 1))
    opacity = None if all(_is_solid(part) for part in parts) else there
    # A cell's height is in multiples of its own side.
    material = Material(base, np.maximum(rough, 0.05), metal, "", height / cells, opacity)
    back = np.eye(4)
    low, high = whole.vertices.min(0), whole.vertices.max(0)
    back[:3, :3] *= np.linalg.norm(whole.vertices - (low + high) / 2, axis=1).max()
    back[:3, 3] = (low + high) / 2
    return Asset(mesh if is_closed(mesh) else _with_back(mesh), material, back)


def _is_solid(part: meshes.MeshPrimitive) -> bool:
    return part.material.opacity >= 1 and part.material.opacity_texture is None


def asset_name(path: Path) -> str:
    """The name of an asset in captions: its file name with spaces."""
    return path.stem.replace("_", " ").replace("-", " ").strip().lower() or "thing"


def _facing_out(part: meshes.MeshPrimitive) -> Array:
    """The faces (F, 3), each turned to the side that its normals in the file face: windings are often mixed."""
    faces = part.faces.numpy()
    if part.normals is None:
        return faces
    a, b, c = (part.vertices[part.faces[:, i]] for i in range(3))
    told = part.normals[part.faces].sum(1)
    away = ((torch.linalg.cross(b - a, c - a) * told).sum(1) < 0).numpy()
    return np.where(away[:, None], faces[:, ::-1], faces)


def _geometry(part: meshes.MeshPrimitive) -> tuple[Mesh, tuple[int, int]]:
    """The part with texture coordinates in [0, 1], v down, and how often its texture repeats (down, across) in them."""
    vertices, faces = part.vertices.double().numpy(), _facing_out(part)
    if part.uv is None:
        mesh, repeats = box_mapped(vertices, faces), (1, 1)
    else:
        uv = part.uv.double().numpy() * [1, -1] + [0, 1]
        low = np.floor(uv.min(0) + 1e-4)
        reach = np.maximum(np.ceil(uv.max(0) - low - 1e-4), 1)
        mesh = Mesh(vertices, np.clip((uv - low) / reach, 0, 1), faces)
        across, down = (int(min(value, _MOST_REPEATS)) for value in reach)
        repeats = (down, across)
    # Without normals in the file its faces are flat (glTF 2.0, section 3.7.2.1); else shared vertices mean smooth.
    return (with_creases(mesh) if part.normals is None else mesh), repeats


def _textures(part: meshes.MeshPrimitive, side: int, repeats: tuple[int, int]) -> tuple[Array, Array]:
    """Base colour (side, side, 3), and roughness, metallic, height, in multiples of the side, and opacity,
    (side, side, 4)."""
    material = part.material
    color = torch.tensor(material.base_color) * (1 if part.color is None else part.color.mean(0))
    rows = [
        _resampled(material.base_color_texture, 3, side, repeats) * color[:, None, None],
        _resampled(material.roughness_texture, 1, side, repeats) * material.roughness,
        _resampled(material.metallic_texture, 1, side, repeats) * material.metallic,
    ]
    base, rough, metal = (row.clamp(0, 1).permute(1, 2, 0).numpy() for row in rows)
    bumps = torch.zeros(1, side, side)
    if material.normal_texture is not None:
        bumps = _resampled(height_of(material.normal_texture, 2 * side), 1, side, repeats) / max(repeats)
    there = _resampled(material.opacity_texture, 1, side, repeats) * material.opacity
    rest = torch.cat((bumps, there.clamp(0, 1))).permute(1, 2, 0).numpy()
    return base, np.concatenate((rough, metal, rest), -1)


def height_of(normal: Tensor, most: int) -> Tensor:
    """The periodic height (1, h, w), in multiples of the texture's side, whose slopes are nearest to those of a normal
    map (3, h, w), which is downsampled to `most` texels (Frankot and Chellappa 1988, equation 21)."""
    small = interpolate(normal[None], (min(normal.shape[1], most), min(normal.shape[2], most)), mode="area")[0]
    up = small[2].clamp(min=0.1)
    # The map's y points up, rows go down.
    right, down = (torch.fft.fft2(slope) for slope in (-small[0] / up, small[1] / up))
    rows, columns = up.shape
    fy, fx = (
        2j * torch.pi * torch.fft.fftfreq(rows, 1 / rows)[:, None],
        2j * torch.pi * torch.fft.fftfreq(columns, 1 / columns),
    )
    power = (fx.abs() ** 2 + fy.abs() ** 2).clamp(min=1.0)
    return torch.fft.ifft2((fx.conj() * right + fy.conj() * down) / power).real[None].float()


def _resampled(texture: Tensor | None, channels: int, side: int, repeats: tuple[int, int]) -> Tensor:
    """A texture (C, h, w) at (C, side, side), side by side as often as `repeats`; ones where there is none."""
    if texture is None:
        return torch.ones(channels, side, side)
    # Downsampled first: the repeats of a large texture would not fit into memory.
    most = (min(texture.shape[1], 2 * side), min(texture.shape[2], 2 * side))
    small = interpolate(texture[None], most, mode="area")
    tiled = small.repeat(1, 1, *repeats)
    shrinks = min(tiled.shape[2:]) >= side
    return interpolate(tiled, (side, side), mode="area" if shrinks else "bilinear")[0]


def _with_back(mesh: Mesh) -> Mesh:
    """An open surface and its other side, a little below it: its back has the same material."""
    below = mesh.vertices - _THICKNESS * vertex_normals(mesh.vertices, mesh.faces)
    return merge([mesh, Mesh(below, mesh.uv, mesh.faces[:, ::-1])])
