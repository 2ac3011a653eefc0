"""Meshes: geometry baked into the world, materials in the right channels."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.transformations import rotation_matrix, scale_matrix, translation_matrix
from trimesh.visual.material import PBRMaterial

from unrender.errors import UserError
from unrender.files.meshes import read_meshes
from unrender.scene.color import srgb_to_linear


def textured_sphere() -> trimesh.Trimesh:
    sphere = trimesh.creation.icosphere(subdivisions=1)
    assert sphere.vertex_normals is not None  # makes trimesh export them
    material = PBRMaterial(
        baseColorFactor=[128, 64, 255, 255],
        baseColorTexture=Image.new("RGB", (4, 2), (188, 0, 255)),
        metallicRoughnessTexture=Image.new("RGB", (4, 2), (10, 51, 204)),
        metallicFactor=0.5,
        roughnessFactor=0.75,
        normalTexture=Image.new("RGB", (4, 2), (255, 0, 255)),
    )
    uv = np.stack((np.linspace(0, 1, len(sphere.vertices)), np.linspace(0.25, 0.5, len(sphere.vertices))), axis=1)
    sphere.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return sphere


def test_glb_materials_and_transforms(tmp_path: Path) -> None:
    place = translation_matrix([1, 2, 3]) @ rotation_matrix(0.7, [0, 1, 0]) @ np.diag([2.0, 1, 1, 1])
    scene = trimesh.Scene()
    scene.add_geometry(textured_sphere(), transform=place)
    (tmp_path / "a.glb").write_bytes(export_glb(scene, include_normals=True))
    (mesh,) = read_meshes(tmp_path / "a.glb")
    source = textured_sphere()
    expected = source.vertices @ place[:3, :3].T + place[:3, 3]
    assert torch.allclose(mesh.vertices, torch.from_numpy(expected).float(), atol=1e-5)
    # On an ellipsoid the normal is the gradient of its equation, not the turned normal of the sphere.
    local = torch.from_numpy(source.vertices @ np.diag([0.5, 1, 1])).float()
    gradient = torch.nn.functional.normalize(
        local @ torch.from_numpy(rotation_matrix(0.7, [0, 1, 0])[:3, :3].T).float()
    )
    assert mesh.normals is not None
    assert torch.allclose(mesh.normals, gradient, atol=2e-2)
    material = mesh.material
    assert material.base_color == pytest.approx((128 / 255, 64 / 255, 1))
    assert (material.roughness, material.metallic) == (0.75, 0.5)
    assert material.base_color_texture is not None
    assert material.base_color_texture.shape == (3, 2, 4)
    assert torch.allclose(material.base_color_texture[:, 0, 0], srgb_to_linear(torch.tensor([188.0, 0, 255]) / 255))
    assert torch.allclose(material.roughness_texture, torch.tensor(0.2))
    assert torch.allclose(material.metallic_texture, torch.tensor(0.8))
    assert material.normal_texture is not None
    assert material.normal_texture[:, 0, 0].tolist() == [1, -1, 1]
    assert mesh.uv is not None
    assert torch.allclose(mesh.uv, torch.from_numpy(np.asarray(source.visual.uv)).float(), atol=1e-6)


def test_every_place_of_a_geometry_is_a_mesh_and_mirrors_keep_outsides(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    scene.add_geometry(box, geom_name="box", transform=translation_matrix([5, 0, 0]))
    scene.graph.update(frame_to="mirrored", geometry="box", matrix=scale_matrix(-1))
    scene.export(str(tmp_path / "a.glb"))
    meshes = read_meshes(tmp_path / "a.glb")
    assert len(meshes) == 2
    for mesh in meshes:
        a, b, c = (mesh.vertices[mesh.faces[:, index]] for index in range(3))
        outward = (a + b + c) / 3 - mesh.vertices.mean(0)
        assert ((torch.linalg.cross(b - a, c - a) * outward).sum(1) > 0).all()


def test_obj_with_pbr_material(tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0.8 0.2 0.1\nNs 100\nPr 0.3\nPm 0.9\nmap_Kd a.png\n")
    Image.new("RGB", (4, 4), (188, 0, 255)).save(tmp_path / "a.png")
    lines = ["mtllib a.mtl", "usemtl m", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "vt 1 0", "vt 0 1", "vn 0 0 1"]
    (tmp_path / "a.obj").write_text("\n".join([*lines, "f 1/1/1 2/2/1 3/3/1\n"]))
    (mesh,) = read_meshes(tmp_path / "a.obj")
    assert mesh.material.base_color == pytest.approx((0.8, 0.2, 0.1))
    assert (mesh.material.roughness, mesh.material.metallic) == pytest.approx((0.3, 0.9))
    assert mesh.material.base_color_texture is not None
    assert mesh.uv is not None
    assert mesh.uv.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert mesh.normals is not None
    assert mesh.normals.tolist() == [[0, 0, 1]] * 3


def test_plain_obj_is_triangulated_and_not_metal(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    (mesh,) = read_meshes(tmp_path / "a.obj")
    assert mesh.faces.shape == (2, 3)
    assert mesh.material.metallic == 0
    assert mesh.normals is None
    assert mesh.uv is None


def test_ply_vertex_colours_are_decoded(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.tile(np.array([[188, 0, 255, 255]], np.uint8), (8, 1))
    box.export(str(tmp_path / "a.ply"))
    (mesh,) = read_meshes(tmp_path / "a.ply")
    assert mesh.color is not None
    assert torch.allclose(mesh.color, srgb_to_linear(torch.tensor([188.0, 0, 255]) / 255).expand(8, 3))


TEXTURED = (
    "ply\nformat ascii 1.0\ncomment TextureFile t.png\nelement vertex 3\n"
    + "".join(f"property float {name}\n" for name in ("x", "y", "z", "u", "v"))
    + "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    + "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n"
)


def test_a_texture_of_16_bits_beside_a_ply_is_not_clipped(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text(TEXTURED)
    Image.fromarray(np.full((2, 2), 32768, np.uint16)).save(tmp_path / "t.png")
    (mesh,) = read_meshes(tmp_path / "a.ply")
    assert mesh.material.base_color_texture is not None
    torch.testing.assert_close(mesh.material.base_color_texture, srgb_to_linear(torch.full((3, 2, 2), 32768 / 65535)))


@pytest.mark.parametrize("kind", ["bomb", "missing", "damaged"])
def test_a_texture_beside_a_ply_that_cannot_be_read_is_said(tmp_path: Path, kind: str, caplog) -> None:
    (tmp_path / "a.ply").write_text(TEXTURED)
    if kind == "bomb":
        # Two headers: the second says 8 x 8388653.
        eight = BytesIO()
        Image.new("RGB", (8, 8)).save(eight, "PNG")
        head, rest = eight.getvalue()[:33], eight.getvalue()[33:]
        chunk = b"IHDR" + struct.pack(">IIBBBBB", 8, 8388653, 8, 2, 0, 0, 0)
        second = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        (tmp_path / "t.png").write_bytes(head + second + rest)
    elif kind == "damaged":
        (tmp_path / "t.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (mesh,) = read_meshes(tmp_path / "a.ply")
    assert mesh.material.base_color_texture is None
    assert "its texture is left out" in caplog.text
    assert "t.png" in caplog.text


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_bad_meshes_are_one_line(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"bad.{suffix}"
    for content in (b"", b"this is not a mesh\n" * 20):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_meshes(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "a.fbx").write_text("x")
    with pytest.raises(UserError, match="is not a mesh"):
        read_meshes(tmp_path / "a.fbx")
    assert "".join(capfd.readouterr()) == ""
