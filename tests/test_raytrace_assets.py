"""What users bring to synthetic worlds: meshes of common formats, HDRIs, and mistakes in one line."""

import numpy as np
import pytest
import torch

pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")
pytest.importorskip("manifold3d", reason="manifold3d is not installed; the extra [raytrace] brings it")

import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from unrender.errors import UserError
from unrender.files.environments import write_environment
from unrender.raytrace import assets
from unrender.raytrace.assets import read_asset
from unrender.raytrace.mesh import is_closed, vertex_normals
from unrender.scene.environment import EnvironmentMap, mean_direction
from unrender.synth.compose import Sources, another_light, random_world
from unrender.synth.lights import SIZE, random_light


def quad(uv, material):
    """A unit square that faces +Z, open, with texture coordinates (v up) at its corners, from the lower left round."""
    corners = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=TextureVisuals(uv, material=material), process=False)


def halves(upper, lower, size=32):
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[: size // 2], pixels[size // 2 :] = upper, lower
    return Image.fromarray(pixels)


def pbr(**said):
    return PBRMaterial(baseColorFactor=[255, 255, 255, 255], **said)


def look_up(texture, mesh, point):
    """The texel of `texture` at the vertex nearest to `point`, on the side that was in the file."""
    nearest = np.linalg.norm(mesh.vertices - point, axis=1).argmin()
    column, row = (mesh.uv[nearest] * len(texture)).astype(int).clip(0, len(texture) - 1)
    return texture[row, column]


def test_a_glb_keeps_its_textures_and_their_way_up(tmp_path):
    packed = halves((0, 51, 255), (0, 204, 0))
    material = pbr(baseColorTexture=halves((255, 0, 0), (0, 0, 255)), metallicRoughnessTexture=packed)
    material.roughnessFactor = material.metallicFactor = 1.0
    path = tmp_path / "sign.glb"
    quad([[0, 0], [1, 0], [1, 1], [0, 1]], material).export(path)
    mesh, read = read_asset(path, 64)
    top, bottom = np.array([0, 0.7, 0]), np.array([0, -0.7, 0])
    np.testing.assert_allclose(look_up(read.base_color, mesh, top), [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(look_up(read.base_color, mesh, bottom), [0, 0, 1], atol=0.02)
    assert look_up(read.roughness, mesh, top) == pytest.approx(0.2, abs=0.02)
    assert look_up(read.metallic, mesh, top) == pytest.approx(1, abs=0.02)
    assert look_up(read.roughness, mesh, bottom) == pytest.approx(0.8, abs=0.02)
    assert look_up(read.metallic, mesh, bottom) == pytest.approx(0, abs=0.02)
    assert not read.bump.any()
    # Open in the file, it has a back here, which faces away.
    assert len(mesh.faces) == 4
    normals = vertex_normals(mesh.vertices, mesh.faces)
    assert {tuple(np.round(normal)) for normal in normals} == {(0, 0, 1), (0, 0, -1)}


def test_a_normal_map_becomes_the_height_it_was_made_from(tmp_path):
    rows, columns = np.meshgrid((np.arange(128) + 0.5) / 128, (np.arange(128) + 0.5) / 128, indexing="ij")
    phase = 2 * np.pi * (2 * columns + rows)
    height = 0.01 * np.sin(phase)
    right, down = 0.01 * 4 * np.pi * np.cos(phase), 0.01 * 2 * np.pi * np.cos(phase)
    normal = np.stack((-right, down, np.ones_like(right)), -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    picture = Image.fromarray(np.round((normal * 0.5 + 0.5) * 255).astype(np.uint8))
    path = tmp_path / "waves.glb"
    quad([[0, 0], [1, 0], [1, 1], [0, 1]], pbr(normalTexture=picture)).export(path)
    _, read = read_asset(path, 128)
    np.testing.assert_allclose(read.bump, height, atol=2e-4)


def test_repeated_textures_are_repeated(tmp_path):
    path = tmp_path / "tiles.glb"
    quad([[0, 0], [3, 0], [3, 2], [0, 2]], pbr(baseColorTexture=halves((255, 0, 0), (0, 0, 255)))).export(path)
    mesh, read = read_asset(path, 96)
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    column = read.base_color[:, 48, 0]
    assert np.abs(np.diff((column > 0.5).astype(int))).sum() == 3  # two repeats of two halves


def test_an_obj_with_factors_alone(tmp_path):
    (tmp_path / "cube.mtl").write_text("newmtl skin\nKd 0.2 0.4 0.6\nPr 0.3\nPm 1.0\n")
    box = trimesh.creation.box((2, 1, 1))
    lines = ["mtllib cube.mtl", *(f"v {x} {y} {z}" for x, y, z in box.vertices), "usemtl skin"]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in box.faces]
    (tmp_path / "cube.obj").write_text("\n".join(lines))
    mesh, read = read_asset(tmp_path / "cube.obj", 32)
    assert is_closed(mesh)
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(read.base_color.reshape(-1, 3).mean(0), [0.2, 0.4, 0.6], atol=1e-3)
    np.testing.assert_allclose(read.roughness, 0.3, atol=1e-3)
    np.testing.assert_allclose(read.metallic, 1.0, atol=1e-3)
    # Without normals a file's faces are flat: every normal lies along an axis.
    np.testing.assert_allclose(np.abs(vertex_normals(mesh.vertices, mesh.faces)).max(1), 1, atol=1e-6)


def test_parts_keep_their_own_materials(tmp_path):
    scene = trimesh.Scene()
    for x, color in ((0, (255, 0, 0)), (3, (0, 255, 0))):
        ball = trimesh.creation.icosphere(subdivisions=1).apply_translation((x, 0, 0))
        ball.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=[*color, 255], metallicFactor=0.0))
        scene.add_geometry(ball)
    path = tmp_path / "two.glb"
    scene.export(path)
    mesh, read = read_asset(path, 64)
    for x, color in ((-1, [1, 0, 0]), (1, [0, 1, 0])):
        np.testing.assert_allclose(look_up(read.base_color, mesh, [x, 0, 0]), color, atol=0.02)


def test_worlds_of_brought_assets_and_lights(tmp_path):
    # Asset files and lights in one folder: each kind is told by its ending.
    trimesh.creation.box((1, 2, 1)).export(tmp_path / "tall_box.obj")
    (tmp_path / "deeper").mkdir()
    trimesh.creation.icosphere().export(tmp_path / "deeper" / "globe.glb")
    radiance = torch.full((1, 3, 32, 64), 0.1)
    radiance[..., 8, 20] = 1e6
    write_environment(tmp_path / "lamp_lit.exr", EnvironmentMap((radiance).clamp(max=6e4)))
    sources = Sources.of_folders(tmp_path, tmp_path)
    assert [path.name for path in sources.assets] == ["globe.glb", "tall_box.obj"]
    names, lights = set(), set()
    for seed in range(12):
        world = random_world(np.random.default_rng(seed), (32, 32), sources, test=False)
        names |= {thing.name for thing in world.things if thing.group}
        lights |= {world.light.name, another_light(np.random.default_rng(seed), world, sources, test=False).name}
    assert {"globe", "tall box"} <= names
    assert "lamp lit" not in names
    assert "lamp_lit" in lights


def test_a_brought_light_keeps_where_its_lamp_is_but_for_yaw(tmp_path):
    radiance = torch.full((1, 3, 64, 128), 0.1)
    radiance[..., 16, 20] = 5e4
    write_environment(tmp_path / "a.exr", EnvironmentMap(radiance))
    light = random_light(np.random.default_rng(0), test=False, world_share=1.0, user_maps=[tmp_path / "a.exr"])
    assert light.size == SIZE
    toward = mean_direction(light)[0]
    # Row 16 of 64 lies 45 degrees up.
    assert float(toward[1] / toward.norm()) == pytest.approx(np.sin(np.pi / 4), abs=0.02)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken.glb", b"glTF\x02\x00\x00\x00damaged", "cannot be read as a mesh"),
        ("point.obj", b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "has no extent"),
        ("none.obj", b"v 0 0 0\n", "triangles"),
    ],
)
def test_a_broken_asset_is_one_line(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text)
    with pytest.raises(UserError, match=said) as raised:
        random_world(np.random.default_rng(0), (32, 32), Sources(assets=(path,)), test=False)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_too_many_triangles_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "MOST_TRIANGLES", 11)
    trimesh.creation.box().export(tmp_path / "box.obj")
    with pytest.raises(UserError, match="has 12 triangles; decimate it to 11"):
        read_asset(tmp_path / "box.obj", 16)


def test_folders_without_what_is_asked_for_are_refused(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        Sources.of_folders(assets=tmp_path / "missing")
    with pytest.raises(UserError, match=r"no file in \.exr, \.hdr"):
        Sources.of_folders(lights=tmp_path)
