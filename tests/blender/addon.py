"""Run by Blender in the background: the add-on against a running service. What was made is written into a folder.

blender --background --factory-startup --python addon.py -- FOLDER_OF_THE_ADDON URL PHOTO OUT
"""

import importlib.util
import json
import math
import sys
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view

addon, url, photo, out = sys.argv[sys.argv.index("--") + 1 :]
out = Path(out)
spec = importlib.util.spec_from_file_location(
    "unrender_addon", Path(addon) / "__init__.py", submodule_search_locations=[addon]
)
module = importlib.util.module_from_spec(spec)
sys.modules["unrender_addon"] = module
spec.loader.exec_module(module)
module.register()
from unrender_addon import exr, passes, scene  # noqa: E402

said = {}


def keep(name: str, image: bpy.types.Image) -> None:
    """Pixels as Blender has them, the top row first."""
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    width, height = image.size
    np.save(out / f"{name}.npy", pixels.reshape(height, width, 4)[::-1])
    said[name] = {"space": image.colorspace_settings.name, "float": image.is_float}


def refused(operator) -> str:
    try:
        operator()
    except RuntimeError as error:  # what an operator reports, in scripts
        return str(error)
    return ""


settings = bpy.context.scene.unrender

# Nobody there, nothing chosen.
settings.url = "http://127.0.0.1:9"
settings.image = bpy.data.images.load(photo)
said["no service"] = refused(bpy.ops.unrender.take_apart)
settings.url = url
settings.model = "no-such-model"
said["no model"] = refused(bpy.ops.unrender.take_apart)
settings.model = "mini"

# A photo taken apart, and its light.
bpy.ops.unrender.take_apart()
for image in [image for image in bpy.data.images if image.name.startswith(settings.image.name + " ")]:
    keep(image.name.split()[-1], image)
said["maps"] = sorted(image.name for image in bpy.data.images if image.name.startswith(settings.image.name + " "))
bpy.ops.unrender.light()
said["world"] = bpy.context.scene.world.name

# A scene of our own: a ball and a floor, rendered with its passes.
bpy.ops.object.select_all(action="SELECT")
bpy.ops.object.delete()
bpy.ops.mesh.primitive_uv_sphere_add(segments=32, ring_count=16, location=(0, 0, 1))
ball = bpy.context.object
bpy.ops.object.shade_smooth()
bpy.ops.mesh.primitive_plane_add(size=12)
floor = bpy.context.object
for thing, colour, rough in ((ball, (0.8, 0.2, 0.1, 1), 0.6), (floor, (0.4, 0.4, 0.4, 1), 0.9)):
    material = bpy.data.materials.new(thing.name)
    material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value, shader.inputs["Roughness"].default_value = colour, rough
    thing.data.materials.append(material)
bpy.ops.object.camera_add(location=(5, -5, 3.2), rotation=(math.radians(70), 0, math.radians(45)))
bpy.context.scene.camera = bpy.context.object
bpy.context.scene.camera.data.shift_x = 0.05
render = bpy.context.scene.render
render.engine, render.resolution_x, render.resolution_y, render.resolution_percentage = "CYCLES", 96, 72, 100
bpy.context.scene.cycles.samples, bpy.context.scene.cycles.use_denoising = 32, False
said["heading"] = math.degrees(scene.heading_of(bpy.context.scene.camera))
said["not set up"] = refused(bpy.ops.unrender.relight_render)
bpy.ops.unrender.set_up_passes()

# Under a world of a sun on one side, by Cycles and by the service.
width, height = 64, 32
sun = np.full((height, width, 4), 0.05, np.float32)
sun[..., 3] = 1
sun[8:10, 14:16, :3] = 60
exr.write(out / "sun.exr", exr.Exr({letter: sun[..., place] for place, letter in enumerate("RGB")}))
world = scene.set_world(out / "sun.exr", math.radians(30))
bpy.ops.render.render()
passes.gbuffer(scene.save_render(out), out / "gbuffer.exr")
settings.light = "world"
bpy.ops.unrender.relight_render()
for image in [image for image in bpy.data.images if image.name.startswith("Relit")]:
    keep("relit" + image.name.removeprefix("Relit").replace(" ", "_"), image)
rendered = exr.read(out / "render.exr").channels
said["passes"] = sorted(rendered)

# The ball goes into the photo.
bpy.ops.object.select_all(action="DESELECT")
ball.select_set(True)
settings.samples = 8
bpy.ops.unrender.insert()
keep("inserted", bpy.data.images["Inserted"])
keep("mask", bpy.data.images["Inserted mask"])
corners = [ball.matrix_world @ vertex.co for vertex in ball.data.vertices]
seen = [world_to_camera_view(bpy.context.scene, bpy.context.scene.camera, corner) for corner in corners]
said["ball in the picture"] = [[p.x, 1 - p.y] for p in seen]
said["resolution"] = [render.resolution_y, render.resolution_x]

module.unregister()
(out / "said.json").write_text(json.dumps(said))
