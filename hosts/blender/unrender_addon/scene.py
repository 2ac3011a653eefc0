# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's pictures, cameras and worlds to files, and files to them.

Blender's world is +Z up and unrender's +Y up: (x, y, z) here is (x, z, -y) there. Cameras have the same axes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from . import exr

TO_Y_UP = Matrix(((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1)))
COLOURS = ("base_color", "diffuse_albedo", "irradiance", "shading", "residual", "", "diffuse", "specular", "background")
LINEAR_NAMES = ("Linear Rec.709", "Linear")  # of 4.0 and later, of earlier ones
LIGHT_NODES_NAME = "unrender light"


class NothingRendered(Exception):
    """There is no render: one line."""


def linear_name(image: bpy.types.Image) -> str:
    known = image.colorspace_settings.bl_rna.properties["name"].enum_items.keys()
    return next(name for name in LINEAR_NAMES if name in known)


def save_image(image: bpy.types.Image, folder: Path) -> Path:
    """A picture as a file: its own, where that is what is shown; a render as EXR, which no view has touched."""
    if image.type == "RENDER_RESULT":
        return save_render(folder)
    own = Path(bpy.path.abspath(image.filepath, library=image.library)) if image.filepath else None
    if image.source == "FILE" and own and own.is_file() and not image.is_dirty and not image.packed_file:
        return own
    ending, kind = (".exr", "OPEN_EXR") if image.is_float else (".png", "PNG")
    copy = image.copy()
    try:
        copy.file_format = kind
        copy.filepath_raw = str(folder / f"{bpy.path.clean_name(image.name) or 'picture'}{ending}")
        copy.save()
        return Path(copy.filepath_raw)
    finally:
        bpy.data.images.remove(copy)


def save_render(folder: Path) -> Path:
    """The last render with all of its passes, as one EXR. Raises `NothingRendered`."""
    scene, path = bpy.context.scene, folder / "render.exr"
    settings = scene.render.image_settings
    names = ("media_type", "file_format", "color_mode", "color_depth", "exr_codec")
    kept = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
    try:
        if hasattr(settings, "media_type"):  # Blender 5
            settings.media_type = "MULTI_LAYER_IMAGE"
        settings.file_format = "OPEN_EXR_MULTILAYER"
        settings.color_depth, settings.exr_codec = "32", "ZIP"
        bpy.data.images["Render Result"].save_render(str(path), scene=scene)
    except (KeyError, RuntimeError) as error:  # there is a render result before anything was rendered
        raise NothingRendered("nothing was rendered yet; expected a render, with Set Up Passes before it") from error
    finally:
        for name, value in kept.items():
            setattr(settings, name, value)
    return path


def add_maps(path: Path, name: str) -> list[bpy.types.Image]:
    """Every layer of an EXR as a float image: colours linear, data as they are."""
    stored, layers = exr.read(path), {}
    for full in stored.channels:
        layer, _, component = full.rpartition(".")
        layers.setdefault(layer, {})[component] = stored.channels[full]
    return [_add_image(f"{name} {layer}".strip(), layer, held) for layer, held in sorted(layers.items())]


def _add_image(name: str, layer: str, held: dict[str, np.ndarray]) -> bpy.types.Image:
    order = [letter for letter in "RGBXYZ" if letter in held] or sorted(held)
    planes = [held[letter] for letter in order][:3]
    planes = planes if len(planes) == 3 else [planes[0]] * 3
    alpha = held.get("A", np.ones_like(planes[0])) if len(held) > 1 else np.ones_like(planes[0])
    height, width = planes[0].shape
    colour = layer in COLOURS and "R" in held
    image = bpy.data.images.get(name)
    if image is not None and tuple(image.size) != (width, height):
        bpy.data.images.remove(image)
        image = None
    if image is None:
        image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=True, is_data=not colour)
    image.colorspace_settings.name = linear_name(image) if colour else "Non-Color"
    pixels = np.stack((*planes, alpha), axis=-1)[::-1].astype(np.float32)  # Blender's first row is the lowest
    image.pixels.foreach_set(np.ascontiguousarray(pixels).ravel())
    image.update()
    image.pack()
    return image


def set_world(path: Path, heading: float) -> bpy.types.World:
    """A light as the world, where the camera looks `heading` radians counter-clockwise from +Y."""
    world = bpy.data.worlds.get(LIGHT_NODES_NAME) or bpy.data.worlds.new(LIGHT_NODES_NAME)
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    image = bpy.data.images.load(str(path))
    image.name, image.colorspace_settings.name = LIGHT_NODES_NAME, linear_name(image)
    image.pack()
    place, turn = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    texture, light = nodes.new("ShaderNodeTexEnvironment"), nodes.new("ShaderNodeBackground")
    out = nodes.new("ShaderNodeOutputWorld")
    texture.image = image
    # Our maps have what is ahead at their edge, Blender's what is at +Y a quarter to the right.
    turn.inputs["Rotation"].default_value = (0, 0, math.pi / 2 - heading)
    links.new(place.outputs["Generated"], turn.inputs["Vector"])
    links.new(turn.outputs["Vector"], texture.inputs["Vector"])
    links.new(texture.outputs["Color"], light.inputs["Color"])
    links.new(light.outputs["Background"], out.inputs["Surface"])
    for index, node in enumerate((place, turn, texture, light, out)):
        node.location = (index * 240 - 480, 0)
    bpy.context.scene.world = world
    return world


def heading_of(camera: bpy.types.Object | None) -> float:
    """Radians about +Z, counter-clockwise from +Y, at which a camera looks; 0 without one."""
    if camera is None:
        return 0.0
    ahead = camera.matrix_world.to_quaternion() @ Matrix.Identity(3).col[2] * -1
    return math.atan2(-ahead.x, ahead.y) if math.hypot(ahead.x, ahead.y) > 1e-6 else 0.0


def set_camera(transforms: Path) -> list[Matrix]:
    """The camera of a transforms.json as the scene's; the poses of inserted objects, in Blender's world."""
    said = json.loads(transforms.read_text())
    first, scene = said["frames"][0], bpy.context.scene
    camera = scene.camera
    if camera is None:
        camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
        scene.collection.objects.link(camera)
        scene.camera = camera
    width, height = first["w"], first["h"]
    longest = max(width, height)
    camera.matrix_world = Matrix(first["transform_matrix"])
    camera.data.type, camera.data.sensor_fit = "PERSP", "AUTO"
    camera.data.angle = 2 * math.atan(longest / 2 / first["fl_x"])
    camera.data.shift_x = (width / 2 - first["cx"]) / longest
    camera.data.shift_y = (first["cy"] - height / 2) / longest
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    return [Matrix(thing["transform_matrix"]) for thing in said.get("unrender_objects", ())]


def camera_json(size: tuple[int, int]) -> str:
    """The scene's camera as unrender's EXR carry it, for a picture of (height, width)."""
    camera, (height, width) = bpy.context.scene.camera, size
    lens = camera.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=width, y=height)
    fx, fy = lens[0][0] * width / 2, lens[1][1] * height / 2
    cx, cy = width / 2 * (1 - lens[0][2]), height / 2 * (1 + lens[1][2])
    pose = TO_Y_UP @ _rigid(camera.matrix_world)
    intrinsics = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    return json.dumps({"size": [height, width], "intrinsics": intrinsics, "pose": [list(row) for row in pose]})


def _rigid(matrix: Matrix) -> Matrix:
    place, turn, _ = matrix.decompose()
    return Matrix.LocRotScale(place, turn, None)


def world_light(scene: bpy.types.Scene) -> tuple[bpy.types.Image, float] | None:
    """The picture of the world's environment texture and the degrees that unrender turns it by; None without one."""
    tree = scene.world.node_tree if scene.world and scene.world.use_nodes else None
    for node in tree.nodes if tree else ():
        if node.type == "TEX_ENVIRONMENT" and node.image is not None:
            socket = node.inputs["Vector"]
            mapping = socket.links[0].from_node if socket.links else None
            turned = mapping.inputs["Rotation"].default_value[2] if mapping and mapping.type == "MAPPING" else 0.0
            return node.image, 90 - math.degrees(turned)
    return None
