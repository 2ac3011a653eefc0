"""Runs inside Blender 3.x: renders the lights and scenes of an evaluation set, as `cycles_set.py` asks for.

    blender --background --factory-startup --python-exit-code 1 --python evaluation.py -- FOLDER

FOLDER/job.json says what: {"lights": [...]} renders panoramas (`NAME.exr`, Blender's own layout), {"scene": ...} one
scene under several of them (`K.exr`, multi-layer) and its camera (`camera.json`).
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from random import Random
from typing import Any

sys.path.append(str(Path(__file__).parent))

import bpy
import places
import things
from cycles_scene import add_passes, render_settings

PANORAMA = (512, 256)
SUN = 3.0  # degrees across; the sun's power is kept


def empty(threads: int, bounces: int) -> Any:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    render_settings(scene, {"max_depth": bounces + 2, "threads": threads})
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    return scene


def panorama(scene: Any, path: Path, samples: int, height: float) -> None:
    """All that is seen from (0, 0, height), in the layout of Blender's environment textures."""
    things.camera(scene, (0, 0, height), (1, 0, height), 90, PANORAMA)
    scene.camera.data.type = "PANO"
    scene.camera.data.cycles.panorama_type = "EQUIRECTANGULAR"
    scene.cycles.samples, scene.render.filepath = samples, str(path)
    bpy.ops.render.render(write_still=True)


def sky(rng: Random, scene: Any) -> None:
    """Nishita's sky with a sun, in part under clouds, over ground of one colour."""
    tree = scene.world.node_tree
    node = tree.nodes.new("ShaderNodeTexSky")
    node.sky_type, node.sun_size = "NISHITA", math.radians(SUN)
    node.sun_intensity = (0.545 / SUN) ** 2
    node.sun_elevation, node.sun_rotation = math.radians(rng.uniform(4, 65)), rng.uniform(0, 2 * math.pi)
    node.dust_density, node.ozone_density, node.air_density = rng.uniform(0, 5), rng.uniform(0, 4), rng.uniform(0.6, 2)
    where = tree.nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    clouds = tree.nodes.new("ShaderNodeTexNoise")
    clouds.inputs["Scale"].default_value, clouds.inputs["Detail"].default_value = rng.uniform(2, 5), 8
    tree.links.new(where, clouds.inputs["Vector"])
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    start = rng.uniform(0.3, 0.75)
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = start, start + 0.2
    tree.links.new(clouds.outputs["Fac"], ramp.inputs["Fac"])
    white = rng.uniform(0.5, 1.6)
    covered = _mixed(tree, ramp.outputs["Color"], node.outputs["Color"], (white, white, white * 1.03))
    ground = rng.uniform(0.05, 0.3)
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(where, split.inputs[0])
    below = tree.nodes.new("ShaderNodeMath")
    below.operation, below.inputs[1].default_value = "LESS_THAN", 0.0
    tree.links.new(split.outputs["Z"], below.inputs[0])
    tint = [ground * rng.uniform(0.7, 1.3) for _ in range(3)]
    tree.links.new(_mixed(tree, below.outputs[0], covered, tint), tree.nodes["Background"].inputs["Color"])
    tree.nodes["Background"].inputs["Strength"].default_value = rng.uniform(0.5, 1.5)


def _mixed(tree: Any, factor: Any, one: Any, colour: Any) -> Any:
    mix = tree.nodes.new("ShaderNodeMixRGB")
    mix.inputs[2].default_value = (*colour, 1.0)
    tree.links.new(factor, mix.inputs[0])
    tree.links.new(one, mix.inputs[1])
    return mix.outputs[0]


def lamps(rng: Random, scene: Any) -> None:
    """The inside of a box with two to five shining panels: a studio, or a room at night."""
    scene.world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.0
    half, height = rng.uniform(2, 4), rng.uniform(2.6, 4)
    look = things.material(rng, metal=0.0, scale=1.0)
    for at, size in (
        ((0, 0, -0.05), (2 * half, 2 * half, 0.1)),
        ((0, 0, height), (2 * half, 2 * half, 0.1)),
        ((half, 0, height / 2), (0.1, 2 * half, height)),
        ((-half, 0, height / 2), (0.1, 2 * half, height)),
        ((0, half, height / 2), (2 * half, 0.1, height)),
        ((0, -half, height / 2), (2 * half, 0.1, height)),
    ):
        things.box(size, at, look if rng.random() < 0.5 else things.material(rng, metal=0.0, scale=1.0))
    for _ in range(rng.randint(2, 5)):
        angle, reach, up = rng.uniform(0, 2 * math.pi), rng.uniform(0.9, half - 0.3), rng.uniform(0.8, height - 0.2)
        panel = things.box((0.03, rng.uniform(0.2, 1.2), rng.uniform(0.2, 1.0)), (0, 0, 0), _shining(rng))
        panel.location = (reach * math.cos(angle), reach * math.sin(angle), up)
        panel.rotation_euler = (0, math.atan2(up - 1, reach), angle)
    for _ in range(4):
        angle = rng.uniform(0, 2 * math.pi)
        things.thing(rng, rng.uniform(0.3, 0.9), (1.6 * math.cos(angle), 1.6 * math.sin(angle), 0))


def _shining(rng: Random) -> Any:
    made = bpy.data.materials.new("lamp")
    made.use_nodes = True
    tree = made.node_tree
    glow = tree.nodes.new("ShaderNodeEmission")
    warm = rng.uniform(0, 1)
    glow.inputs["Color"].default_value = (1, 0.75 + 0.25 * warm, 0.45 + 0.6 * warm, 1)
    glow.inputs["Strength"].default_value = rng.uniform(5, 40)
    tree.links.new(glow.outputs[0], tree.nodes["Material Output"].inputs["Surface"])
    return made


def make_lights(folder: Path, job: dict[str, Any]) -> None:
    for each in job["lights"]:
        rng = Random(each["seed"])
        scene = empty(job["threads"], bounces=4)
        if each["kind"] == "sky":
            sky(rng, scene)
            panorama(scene, folder / f"{each['name']}.exr", 16, 0.0)
        else:
            lamps(rng, scene)
            panorama(scene, folder / f"{each['name']}.exr", job["samples"], 1.2)


def make_scene(folder: Path, job: dict[str, Any]) -> None:
    rng = Random(job["seed"])
    scene = empty(job["threads"], bounces=6 if job["scene"] == "rooms" else 4)
    add_passes(scene.view_layers[0])
    scene.view_layers[0].cycles.denoising_store_passes = True
    (places.room if job["scene"] == "rooms" else places.objects)(rng, scene, (job["size"], job["size"]))
    tree = scene.world.node_tree
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    tree.links.new(texture.outputs["Color"], tree.nodes["Background"].inputs["Color"])
    scene.world.cycles.sampling_method, scene.world.cycles.sample_map_resolution = "MANUAL", 1024
    scene.cycles.samples, scene.render.use_persistent_data = job["samples"], True
    for k, light in enumerate(job["under"]):
        texture.image = bpy.data.images.load(light)
        texture.image.colorspace_settings.name = "Non-Color"
        scene.render.filepath = str(folder / f"{k}.exr")
        bpy.ops.render.render(write_still=True)
    camera = scene.camera
    seen = {"pose": [list(row) for row in camera.matrix_world], "fov": math.degrees(camera.data.angle)}
    (folder / "camera.json").write_text(json.dumps(seen))


def main() -> None:
    folder = Path(sys.argv[sys.argv.index("--") + 1])
    job = json.loads((folder / "job.json").read_text())
    (make_scene if "scene" in job else make_lights)(folder, job)


if __name__ == "__main__":
    main()
