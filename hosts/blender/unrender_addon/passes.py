# SPDX-License-Identifier: GPL-3.0-or-later
"""A render's passes to a G-buffer: which ones are needed, and how they are brought into unrender's conventions."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from . import exr, scene

AOVS = {"base_color": ("COLOR", "Base Color"), "roughness": ("VALUE", "Roughness"), "metallic": ("VALUE", "Metallic")}
"""Shader outputs, and the sockets of Principled BSDFs that they show."""

FAR = 1e9
_PICTURES = ("Combined", "Beauty")
_DIFFUSE = ("base_color", "DiffCol", "Diffuse Color")


class Missing(Exception):
    """A pass that is not there: one line."""


def set_up(view_layer: bpy.types.ViewLayer) -> int:
    """Turns on depth, normals and colours, and shows base colour, roughness and metalness of all materials as AOVs; how
    many materials there are."""
    view_layer.use_pass_z = view_layer.use_pass_normal = view_layer.use_pass_diffuse_color = True
    for name, (kind, _) in AOVS.items():
        if name not in view_layer.aovs:
            aov = view_layer.aovs.add()
            aov.name, aov.type = name, kind
    shown = [material for material in bpy.data.materials if material.use_nodes and _show(material.node_tree)]
    return len(shown)


def _show(tree: bpy.types.NodeTree) -> bool:
    principled = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if principled is None:
        return False
    for name, (kind, socket) in AOVS.items():
        label = f"unrender {name}"
        out = tree.nodes.get(label) or tree.nodes.new("ShaderNodeOutputAOV")
        if hasattr(out, "aov_name"):  # Blender 4.1 and later
            out.name, out.aov_name = label, name
        else:
            out.name = name
        source, target = principled.inputs[socket], out.inputs["Color" if kind == "COLOR" else "Value"]
        if source.links:
            tree.links.new(source.links[0].from_socket, target)
        else:
            target.default_value = source.default_value
    return True


def gbuffer(rendered: Path, path: Path) -> None:
    """Writes what a render's EXR has of a G-buffer, with the scene's camera. Raises `Missing`."""
    stored = exr.read(rendered)
    found: dict[str, dict[str, np.ndarray]] = {}
    for full, values in stored.channels.items():
        *_, name, component = ("", *full.rsplit(".", 2))
        found.setdefault(name, {})[component] = values
    depth, normal = _single(found, "Depth", "Z"), found.get("Normal")
    colour = next((found[name] for name in _DIFFUSE if name in found), None)
    if depth is None or normal is None or colour is None:
        raise Missing("the render has no depth, normal or colour pass; expected Set Up Passes, and to render again")
    there = depth < FAR
    channels = {f"normal.{axis}": values * there for axis, values in _in_camera_axes(normal).items()}
    channels["depth.Z"] = np.where(there, depth, np.float32(1e10))
    channels["mask.A"] = there.astype(np.float32)
    channels |= {f"base_color.{letter}": colour[letter].clip(0, 1) for letter in "RGB"}
    for name in ("roughness", "metallic"):
        if (values := _single(found, name)) is not None:
            channels[f"{name}.Y"] = values.clip(0, 1)
    picture = next((found[name] for name in _PICTURES if name in found), None)
    if picture is not None:
        channels |= {letter: picture[letter].clip(0, None) for letter in "RGB"}
    text = {
        "unrender:version": "0.1.0",
        "unrender:axes": "opengl: +X right, +Y up, +Z towards the viewer",
        "unrender:depth_kind": "metric",
        "unrender:camera": scene.camera_json(depth.shape),
    }
    exr.write(path, exr.Exr(channels, text, stored.chromaticities))


def _single(found: dict[str, dict[str, np.ndarray]], *names: str) -> np.ndarray | None:
    held = next((found[name] for name in names if name in found), None)
    return None if held is None else next(iter(held.values()))


def _in_camera_axes(normal: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """World normals as the camera has them: right, up, towards it."""
    world = np.stack([normal[axis] for axis in "XYZ"])
    turn = np.array(bpy.context.scene.camera.matrix_world.to_quaternion().to_matrix(), np.float32)
    seen = np.einsum("ij,ihw->jhw", turn, world)
    length = np.linalg.norm(seen, axis=0)
    seen = np.where(length > 1e-3, seen / np.maximum(length, 1e-6), 0).astype(np.float32)
    return dict(zip("XYZ", seen, strict=True))
