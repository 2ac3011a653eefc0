"""Runs inside Blender 3.x: random shapes and materials made of Blender's own parts, unlike those of `unrender.synth`.

Everything is drawn from one `random.Random`; lengths are metres, +Z is up.
"""

from __future__ import annotations

import colorsys
import math
from random import Random
from typing import Any

import bpy
from mathutils import Vector

PATTERNS = ("plain", "plain", "noise", "checker", "brick", "wave", "voronoi", "magic")


def material(rng: Random, *, metal: float = 0.2, scale: float = 6.0) -> Any:
    """A Principled BSDF whose base colour, roughness and metallic are AOVs of the same names.

    Args:
        rng: draws it.
        metal: chance that it is a metal.
        scale: of its pattern, repeats across the object.
    """
    made = bpy.data.materials.new("drawn")
    made.use_nodes = True
    tree = made.node_tree
    principled = tree.nodes["Principled BSDF"]
    principled.distribution, principled.inputs["Specular"].default_value = "GGX", 0.5
    is_metal = rng.random() < metal
    where = tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]
    colour = _colour(rng, tree, where, scale * rng.uniform(0.5, 2), is_metal)
    low = rng.uniform(0.08, 0.5) if is_metal else rng.uniform(0.15, 0.9)
    roughness = _varied(rng, tree, where, scale, low, min(1.0, low + rng.choice((0, 0, 0.25))))
    metallic = tree.nodes.new("ShaderNodeValue")
    metallic.outputs[0].default_value = float(is_metal)
    sockets = (
        ("base_color", "Base Color", "Color", colour),
        ("roughness", "Roughness", "Value", roughness),
        ("metallic", "Metallic", "Value", metallic.outputs[0]),
    )
    for name, socket, kind, source in sockets:
        tree.links.new(source, principled.inputs[socket])
        out = tree.nodes.new("ShaderNodeOutputAOV")
        out.name = name
        tree.links.new(source, out.inputs[kind])
    if rng.random() < 0.35:
        bump = tree.nodes.new("ShaderNodeBump")
        bump.inputs["Strength"].default_value, bump.inputs["Distance"].default_value = rng.uniform(0.1, 0.5), 0.02
        tree.links.new(_noise(tree, where, scale * rng.uniform(2, 8)), bump.inputs["Height"])
        tree.links.new(bump.outputs["Normal"], principled.inputs["Normal"])
    return made


def _rgb(rng: Random, is_metal: bool) -> tuple[float, float, float, float]:
    if is_metal:
        return (*colorsys.hsv_to_rgb(rng.choice((0.08, 0.12, 0.6)), rng.uniform(0, 0.5), rng.uniform(0.6, 0.95)), 1.0)
    return (*colorsys.hsv_to_rgb(rng.random(), rng.betavariate(1.2, 1.6), rng.uniform(0.08, 0.9) ** 1.3), 1.0)


def _noise(tree: Any, where: Any, scale: float) -> Any:
    node = tree.nodes.new("ShaderNodeTexNoise")
    node.inputs["Scale"].default_value, node.inputs["Detail"].default_value = scale, 6.0
    tree.links.new(where, node.inputs["Vector"])
    return node.outputs["Fac"]


def _varied(rng: Random, tree: Any, where: Any, scale: float, low: float, high: float) -> Any:
    """A value, or noise between two values."""
    node = tree.nodes.new("ShaderNodeMapRange")
    node.inputs["From Min"].default_value, node.inputs["From Max"].default_value = 0.35, 0.65
    node.inputs["To Min"].default_value, node.inputs["To Max"].default_value = low, high
    tree.links.new(_noise(tree, where, scale * rng.uniform(0.5, 2)), node.inputs["Value"])
    return node.outputs["Result"]


def _colour(rng: Random, tree: Any, where: Any, scale: float, is_metal: bool) -> Any:
    pattern = "plain" if is_metal else rng.choice(PATTERNS)
    one, two = _rgb(rng, is_metal), _rgb(rng, is_metal)
    if pattern == "plain":
        node = tree.nodes.new("ShaderNodeRGB")
        node.outputs[0].default_value = one
        return node.outputs[0]
    if pattern in ("checker", "brick"):
        node = tree.nodes.new("ShaderNodeTexChecker" if pattern == "checker" else "ShaderNodeTexBrick")
        node.inputs["Color1"].default_value, node.inputs["Color2"].default_value = one, two
        node.inputs["Scale"].default_value = scale
        tree.links.new(where, node.inputs["Vector"])
        return node.outputs["Color"]
    kinds = {"noise": "Noise", "wave": "Wave", "voronoi": "Voronoi", "magic": "Magic"}
    node = tree.nodes.new(f"ShaderNodeTex{kinds[pattern]}")
    node.inputs["Scale"].default_value = scale
    tree.links.new(where, node.inputs["Vector"])
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = one, two
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = (
        rng.uniform(0, 0.4),
        rng.uniform(0.5, 1),
    )
    tree.links.new(node.outputs["Fac" if "Fac" in node.outputs else "Distance"], ramp.inputs["Fac"])
    return ramp.outputs["Color"]


def _finished(thing: Any, *, smooth: bool = True, bevel: float = 0.0, subdivide: int = 0) -> Any:
    if bevel:
        modifier = thing.modifiers.new("bevel", "BEVEL")
        modifier.width, modifier.segments = bevel, 3
    if subdivide:
        modifier = thing.modifiers.new("subdivide", "SUBSURF")
        modifier.levels = modifier.render_levels = subdivide
    if smooth:
        for polygon in thing.data.polygons:
            polygon.use_smooth = True
        thing.data.use_auto_smooth, thing.data.auto_smooth_angle = True, math.radians(40)
    return thing


def box(size: tuple[float, float, float], at: tuple[float, float, float], look: Any, bevel: float = 0.0) -> Any:
    """A box with its centre `at`."""
    bpy.ops.mesh.primitive_cube_add(size=1)
    thing = bpy.context.object
    thing.location = at
    thing.data.transform(_scaling(size))
    thing.data.materials.append(look)
    return _finished(thing, smooth=bevel > 0, bevel=bevel)


def _scaling(size: tuple[float, float, float]) -> Any:
    from mathutils import Matrix

    return Matrix.Diagonal((*size, 1.0))


def lathed(rng: Random) -> Any:
    """A vase, bowl, bottle or chess piece: a random outline turned about +Z."""
    rows, spokes = 24, 48
    phases = [(rng.uniform(0.04, 0.2) / k, rng.uniform(0, 2 * math.pi), k) for k in (1, 2, 3)]
    radii = []
    for i in range(rows):
        t = i / (rows - 1)
        radii.append(max(0.03, 0.28 + sum(a * math.sin(2 * math.pi * k * t * 0.8 + p) for a, p, k in phases)))
    points = [(0.0, 0.0, 0.0)]
    for i, radius in enumerate(radii):
        for j in range(spokes):
            angle = 2 * math.pi * j / spokes
            points.append((radius * math.cos(angle), radius * math.sin(angle), i / (rows - 1)))
    points.append((0.0, 0.0, 1.0))
    faces = [(0, 1 + (j + 1) % spokes, 1 + j) for j in range(spokes)]
    for i in range(rows - 1):
        for j in range(spokes):
            a, b = 1 + i * spokes + j, 1 + i * spokes + (j + 1) % spokes
            faces.append((a, b, b + spokes, a + spokes))
    last = 1 + (rows - 1) * spokes
    faces += [(last + j, last + (j + 1) % spokes, len(points) - 1) for j in range(spokes)]
    mesh = bpy.data.meshes.new("lathed")
    mesh.from_pydata(points, [], faces)
    thing = bpy.data.objects.new("lathed", mesh)
    bpy.context.scene.collection.objects.link(thing)
    return _finished(thing)


def _rock(rng: Random) -> Any:
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5)
    thing = bpy.context.object
    texture = bpy.data.textures.new("rock", "CLOUDS")
    texture.noise_scale = rng.uniform(0.5, 1.2)
    modifier = thing.modifiers.new("rock", "DISPLACE")
    modifier.texture, modifier.strength = texture, rng.uniform(0.4, 1.0)
    return _finished(thing)


def _word(rng: Random) -> Any:
    bpy.ops.object.text_add()
    thing = bpy.context.object
    thing.data.body = "".join(rng.choice("ABEGHKMRSX2358&?") for _ in range(rng.randint(1, 3)))
    thing.data.extrude, thing.data.bevel_depth = rng.uniform(0.1, 0.25), 0.02
    bpy.ops.object.convert(target="MESH")
    thing.data.transform(_upright())
    return thing


def _upright() -> Any:
    from mathutils import Matrix

    return Matrix.Rotation(math.pi / 2, 4, "X")


def _primitive(rng: Random, name: str) -> Any:
    add = bpy.ops.mesh
    if name == "monkey":
        add.primitive_monkey_add()
        return _finished(bpy.context.object, subdivide=2)
    if name == "ball":
        add.primitive_uv_sphere_add(segments=64, ring_count=32)
    elif name == "cube":
        add.primitive_cube_add()
        return _finished(bpy.context.object, bevel=rng.uniform(0.02, 0.2))
    elif name == "cylinder":
        add.primitive_cylinder_add(vertices=64, depth=rng.uniform(0.5, 3))
        return _finished(bpy.context.object, bevel=0.05)
    elif name == "cone":
        add.primitive_cone_add(vertices=64, radius2=rng.choice((0, 0.4)))
    elif name == "ring":
        add.primitive_torus_add(major_segments=64, minor_segments=32, minor_radius=rng.uniform(0.15, 0.45))
    elif name == "bowl":
        add.primitive_uv_sphere_add(segments=64, ring_count=32)
        thing = bpy.context.object
        import bmesh

        cut = bmesh.new()
        cut.from_mesh(thing.data)
        bmesh.ops.delete(cut, geom=[v for v in cut.verts if v.co.z > 0.15], context="VERTS")
        cut.to_mesh(thing.data)
        thing.modifiers.new("thick", "SOLIDIFY").thickness = 0.08
    return _finished(bpy.context.object)


def thing(rng: Random, size: float, at: tuple[float, float, float]) -> Any:
    """A random object of about `size` that stands on the point `at`."""
    kind = rng.choice(
        ("monkey", "ball", "cube", "cylinder", "cone", "ring", "bowl", "lathed", "lathed", "rock", "word")
    )
    makers = {"lathed": lathed, "rock": _rock, "word": _word}
    made = makers[kind](rng) if kind in makers else _primitive(rng, kind)
    made.data.materials.clear()
    made.data.materials.append(material(rng))
    made.rotation_euler = (rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), rng.uniform(0, 2 * math.pi))
    if kind in ("ball", "rock", "ring", "cube") and rng.random() < 0.5:
        made.rotation_euler = tuple(rng.uniform(0, 2 * math.pi) for _ in range(3))
    bpy.context.view_layer.update()
    corners = _corners(made)
    extent = max(max(c[i] for c in corners) - min(c[i] for c in corners) for i in range(3))
    made.scale = (size / extent,) * 3
    bpy.context.view_layer.update()
    lowest = min(corner[2] for corner in _corners(made))
    made.location = (at[0], at[1], at[2] + made.location[2] - lowest - 0.004)
    return made


def _corners(made: Any) -> list[Any]:
    """World positions of the corners of its box, modifiers and all."""
    whole = made.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = whole.to_mesh()
    points = [whole.matrix_world @ v.co for v in mesh.vertices]
    whole.to_mesh_clear()
    return points


def camera(scene: Any, at: Any, target: Any, fov: float, size: tuple[int, int]) -> None:
    """A level camera at `at` that looks at `target`, with `fov` degrees across."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.angle, data.clip_start, data.clip_end = "HORIZONTAL", math.radians(fov), 1e-3, 1e5
    made = bpy.data.objects.new("camera", data)
    made.location = at
    made.rotation_euler = (Vector(target) - Vector(at)).to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(made)
    scene.camera = made
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
