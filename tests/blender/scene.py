"""Runs inside Blender: a small scene with ordinary passes, with or without shader AOVs, and its camera as a file.

    blender --background --factory-startup --python-exit-code 1 --python blender_scene.py -- LIGHT.exr FOLDER

Writes ordinary.exr and aovs.exr (multi-layer, normals in the world's axes), transforms.json, and things.json: what the
material of every object index is.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
from mathutils import Euler

WIDTH, HEIGHT, LENS, SENSOR = 64, 48, 35.0, 36.0
THINGS = {
    1: {"base_color": [0.35, 0.42, 0.5], "roughness": 0.6, "metallic": 0.0},
    2: {"base_color": [0.9, 0.62, 0.25], "roughness": 0.3, "metallic": 1.0},
    3: {"base_color": [0.7, 0.12, 0.1], "roughness": 0.45, "metallic": 0.0},
}


def main(light: Path, folder: Path) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    _settings(scene)
    bpy.ops.mesh.primitive_plane_add(size=12)
    _paint(1)
    for index, place in ((2, (-0.9, 0.3, 0.8)), (3, (0.95, -0.3, 0.7))):
        bpy.ops.mesh.primitive_uv_sphere_add(radius=place[2], location=place, segments=96, ring_count=48)
        bpy.ops.object.shade_smooth()
        _paint(index)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.sensor_width, camera.data.lens, camera.data.sensor_fit = SENSOR, LENS, "HORIZONTAL"
    camera.location, camera.rotation_euler = (1.8, -4.6, 2.6), Euler((math.radians(66), 0, math.radians(21)))
    scene.collection.objects.link(camera)
    scene.camera = camera
    _world(scene, light)
    bpy.context.view_layer.update()
    for name in ("ordinary", "aovs"):
        if name == "aovs":
            _aovs(scene.view_layers[0])
        scene.render.filepath = str(folder / f"{name}.exr")
        bpy.ops.render.render(write_still=True)
    focal = WIDTH * LENS / SENSOR
    pose = [list(row) for row in camera.matrix_world]
    frame = {"file_path": "ordinary.exr", "transform_matrix": pose}
    lens = {"camera_model": "PINHOLE", "fl_x": focal, "fl_y": focal, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "transforms.json").write_text(json.dumps({**lens, "w": WIDTH, "h": HEIGHT, "frames": [frame]}, indent=1))
    (folder / "things.json").write_text(json.dumps(THINGS, indent=1))


def _settings(scene: Any) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", 256, False
    scene.cycles.use_adaptive_sampling, scene.cycles.seed = False, 1
    scene.cycles.max_bounces, scene.cycles.pixel_filter_type = 1, "BOX"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = WIDTH, HEIGHT, 100
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.use_compositing = False
    picture = scene.render.image_settings
    picture.file_format, picture.color_depth, picture.exr_codec = "OPEN_EXR_MULTILAYER", "16", "ZIP"
    layer = scene.view_layers[0]
    for name in ("z", "normal", "diffuse_color", "glossy_color", "object_index"):
        setattr(layer, f"use_pass_{name}", True)


def _paint(index: int) -> None:
    thing, said = bpy.context.object, THINGS[index]
    thing.pass_index = index
    material = bpy.data.materials.new(f"material{index}")
    material.use_nodes = True
    tree = material.node_tree
    if said["metallic"]:  # of the Principled BSDF's metals, Cycles of Blender 3 has a glossy colour of 1
        shader, color = tree.nodes.new("ShaderNodeBsdfGlossy"), "Color"
        tree.links.new(shader.outputs["BSDF"], tree.nodes["Material Output"].inputs["Surface"])
    else:
        shader, color = tree.nodes["Principled BSDF"], "Base Color"
    shader.inputs[color].default_value = (*said["base_color"], 1)
    shader.inputs["Roughness"].default_value = said["roughness"]
    thing.data.materials.append(material)
    for name, socket in (("base_color", "Color"), ("roughness", "Value"), ("metallic", "Value")):
        output = tree.nodes.new("ShaderNodeOutputAOV")
        output.name = name
        value = said[name]
        output.inputs[socket].default_value = (*value, 1) if socket == "Color" else value


def _aovs(layer: Any) -> None:
    for name, kind in (("base_color", "COLOR"), ("roughness", "VALUE"), ("metallic", "VALUE")):
        aov = layer.aovs.add()
        aov.name, aov.type = name, kind


def _world(scene: Any, light: Path) -> None:
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    tree = scene.world.node_tree
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    texture.image = bpy.data.images.load(str(light))
    texture.image.colorspace_settings.name = "Linear"
    tree.links.new(texture.outputs["Color"], tree.nodes["Background"].inputs["Color"])


if __name__ == "__main__":
    main(*map(Path, sys.argv[sys.argv.index("--") + 1 :]))
