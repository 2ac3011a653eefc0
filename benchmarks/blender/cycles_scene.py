"""Runs inside Blender 3.x: builds what `export.py` wrote and renders what job.json asks for, with Cycles on the CPU.

    blender --background --factory-startup --python-exit-code 1 --python cycles_scene.py -- FOLDER

Writes NAME.exr (multi-layer, float) for each render, and result.json: seconds by the clock and of the processor for
start, load and each render, and the peak of memory in MB.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

SENSOR = 36.0


def build(folder: Path, job: dict[str, Any]) -> Any:
    """The scene, but for its light; returns the node whose image the light is."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    render_settings(scene, job)
    add_passes(scene.view_layers[0])
    _camera(scene, json.loads((folder / "camera.json").read_text()))
    material = _material(folder)
    mesh = np.load(folder / "mesh.npz")
    mesh = {name: mesh[name] for name in mesh.files}
    for owner in range(mesh["owners"].max() + 1):
        thing = bpy.data.objects.new(f"thing{owner}", _mesh(mesh, owner, material))
        thing.pass_index = owner + 1
        scene.collection.objects.link(thing)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    scene.world.cycles.sampling_method = "MANUAL"
    scene.world.cycles.sample_map_resolution = job["importance"]
    tree = scene.world.node_tree
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    tree.links.new(texture.outputs["Color"], tree.nodes["Background"].inputs["Color"])
    return texture


def render_settings(scene: Any, job: dict[str, Any]) -> None:
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.use_adaptive_sampling, cycles.use_denoising = "CPU", False, False
    # Cycles counts bounces after the first surface, path vertices count the camera and the light too.
    bounces = job["max_depth"] - 2
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = bounces
    cycles.sample_clamp_direct = cycles.sample_clamp_indirect = 0
    cycles.blur_glossy, cycles.light_sampling_threshold = 0, 0
    cycles.pixel_filter_type = "BOX"
    scene.render.threads_mode, scene.render.threads = "FIXED", job["threads"]
    scene.render.use_compositing = scene.render.use_sequencer = False
    scene.render.film_transparent = False
    picture = scene.render.image_settings
    picture.file_format, picture.color_depth, picture.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"


def add_passes(layer: Any) -> None:
    for name in ("z", "normal", "diffuse_direct", "diffuse_indirect", "diffuse_color", "glossy_color", "object_index"):
        setattr(layer, f"use_pass_{name}", True)
    for name, kind in (("base_color", "COLOR"), ("roughness", "VALUE"), ("metallic", "VALUE")):
        aov = layer.aovs.add()
        aov.name, aov.type = name, kind


def _camera(scene: Any, seen: dict[str, Any]) -> None:
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", SENSOR
    camera.lens = seen["lens"] * SENSOR
    camera.shift_x, camera.shift_y = seen["shift"]
    camera.clip_start, camera.clip_end = 1e-3, 1e5
    thing = bpy.data.objects.new("camera", camera)
    thing.matrix_world = Matrix(seen["pose"])
    scene.collection.objects.link(thing)
    scene.camera = thing
    scene.render.resolution_y, scene.render.resolution_x = seen["size"]
    scene.render.resolution_percentage = 100


def _material(folder: Path) -> Any:
    """The Principled BSDF over the atlas: base colour, roughness, metallic, and slopes as a normal map."""
    material = bpy.data.materials.new("atlas")
    material.use_nodes = True
    tree = material.node_tree
    principled = tree.nodes["Principled BSDF"]
    principled.distribution = "GGX"  # single scattering, as ours
    principled.inputs["Specular"].default_value = 0.5

    def texture(name: str) -> Any:
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image, node.extension = _image(folder / f"{name}.exr"), "EXTEND"
        return node.outputs["Color"]

    split = tree.nodes.new("ShaderNodeSeparateColor")
    tree.links.new(texture("rough_metal"), split.inputs[0])
    bump = tree.nodes.new("ShaderNodeNormalMap")
    tree.links.new(texture("normal"), bump.inputs["Color"])
    tree.links.new(bump.outputs["Normal"], principled.inputs["Normal"])
    sockets = (
        ("base_color", "Base Color", "Color", texture("base_color")),
        ("roughness", "Roughness", "Value", split.outputs[0]),
        ("metallic", "Metallic", "Value", split.outputs[1]),
    )
    for name, socket, kind, source in sockets:
        tree.links.new(source, principled.inputs[socket])
        aov = tree.nodes.new("ShaderNodeOutputAOV")
        aov.name = name
        tree.links.new(source, aov.inputs[kind])
    return material


def _image(path: Path) -> Any:
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"  # linear as it is
    return image


def _mesh(whole: dict[str, np.ndarray], owner: int, material: Any) -> Any:
    """The part of the mesh that belongs to `owner`, with its normals, smooth."""
    mine = np.flatnonzero(whole["owners"] == owner)
    place = np.full(len(whole["owners"]), -1, np.int32)
    place[mine] = np.arange(len(mine), dtype=np.int32)
    corners = whole["faces"][whole["owners"][whole["faces"][:, 0]] == owner]
    count, corners = len(corners), corners.ravel()
    mesh = bpy.data.meshes.new(f"thing{owner}")
    mesh.vertices.add(len(mine))
    mesh.vertices.foreach_set("co", whole["vertices"][mine].ravel())
    mesh.loops.add(3 * count)
    mesh.loops.foreach_set("vertex_index", place[corners])
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    mesh.polygons.foreach_set("loop_total", np.full(count, 3, np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(count, bool))
    mesh.uv_layers.new().data.foreach_set("uv", whole["uv"][corners].astype(np.float32).ravel())
    mesh.materials.append(material)
    mesh.update(calc_edges=True)
    mesh.use_auto_smooth, mesh.auto_smooth_angle = True, math.pi
    mesh.normals_split_custom_set_from_vertices(whole["normals"][mine].tolist())
    return mesh


def main() -> None:
    start, started = time.time(), time.process_time()
    folder = Path(sys.argv[sys.argv.index("--") + 1])
    job = json.loads((folder / "job.json").read_text())
    texture = build(folder, job)
    lights = [_image(folder / f"light{k}.exr") for k in range(job["lights"])]
    result = {
        "start": [start - job["launched"], started],
        "load": [time.time() - start, time.process_time() - started],
        "renders": {},
        "peaks": {},
        "version": bpy.app.version_string,
        "numpy": np.__version__,
    }
    scene = bpy.context.scene
    for each in job["renders"]:
        clock, processor = time.time(), time.process_time()
        texture.image = lights[each["light"]]
        scene.cycles.samples, scene.cycles.seed = each["samples"], each["seed"]
        scene.render.use_persistent_data = each["persistent"]
        scene.render.filepath = str(folder / f"{each['name']}.exr")
        bpy.ops.render.render(write_still=True)
        result["renders"][each["name"]] = [time.time() - clock, time.process_time() - processor]
        result["peaks"][each["name"]] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
