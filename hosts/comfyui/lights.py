"""Lights: shipped ones, files, pictures, ComfyUI's 3D lights, and the light that a picture was taken in.

ComfyUI's 3D world and ours have the same axes (right-handed, +Y up, cameras look along -Z). Its lights are as strong on
a surface that faces them as colour times intensity, divided by the distance squared for points and spots; that is the
irradiance of our lamps. Distances are to what the camera looks at.
"""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io

import unrender as ur

from .maps import inverse_renderer
from .sockets import CATEGORY, GBuffer, Light, Lights3D, encoding, linear_image, model, to_frames, yaw

Vector = tuple[float, float, float]


def stops() -> io.Float.Input:
    return io.Float.Input("stops", default=0.0, min=-20.0, max=20.0, step=0.25, tooltip="Brighter by so many stops.")


class LoadLight(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderLoadLight",
            display_name="Load Light (unrender)",
            category=CATEGORY,
            search_aliases=["hdri", "environment map"],
            description="A light that ships, or an equirectangular .exr or .hdr.",
            inputs=[
                io.Combo.Input("light", options=[*ur.builtin_environment_names(), "even"], default="sunset"),
                yaw(),
                stops(),
                io.String.Input("file", default="", optional=True, tooltip="A file, in place of a shipped light."),
            ],
            outputs=[Light.Output(display_name="light")],
        )

    @classmethod
    def execute(cls, light, yaw, stops, file="") -> io.NodeOutput:
        return io.NodeOutput(ur.EnvironmentMap.read(file.strip() or light).rotated(yaw).exposed(stops))


class LightOfImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderLightOfImage",
            display_name="Image to Light (unrender)",
            category=CATEGORY,
            description="An equirectangular image, twice as wide as high, as a light; its middle is what comes from "
            "behind the camera.",
            inputs=[io.Image.Input("image"), encoding(), yaw(), stops()],
            outputs=[Light.Output(display_name="light")],
        )

    @classmethod
    def execute(cls, image, encoding, yaw, stops) -> io.NodeOutput:
        frames = to_frames(image[..., :3], encoding)
        light = ur.EnvironmentMap(frames.rgb, "image", hdr=frames.hdr)
        return io.NodeOutput(light.rotated(yaw).exposed(stops))


class EstimateLight(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderEstimateLight",
            display_name="Estimate Light (unrender)",
            category=CATEGORY,
            description="The light that a picture was taken in; coarse, in the picture's units.",
            inputs=[
                io.Image.Input("image"),
                encoding(),
                model(),
                GBuffer.Input("gbuffer", optional=True, tooltip="The picture's, where it was taken apart already."),
            ],
            outputs=[Light.Output(display_name="light")],
        )

    @classmethod
    def execute(cls, image, encoding, model, gbuffer=None) -> io.NodeOutput:
        frames = to_frames(image, encoding)
        return io.NodeOutput(ur.estimate_light(frames, gbuffer, inverse=inverse_renderer(model)))


class LightsOf3D(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderLightsOf3D",
            display_name="3D Lights to Light (unrender)",
            category=CATEGORY,
            is_experimental=True,
            search_aliases=["light info", "directional light", "spot light", "point light"],
            description="ComfyUI's 3D lights as the light of a relight, on top of another light if one is given. With "
            "a camera, they are seen as from it: the picture's own camera looks ahead and is level.",
            inputs=[
                Lights3D.Input("light_info"),
                io.Float.Input("least_width", default=2.0, min=0.1, max=120, tooltip="Degrees; wider is softer."),
                Light.Input("base", optional=True, tooltip="Ambient light, which the lights are added to."),
                io.Load3DCamera.Input("camera_info", optional=True),
            ],
            outputs=[Light.Output(display_name="light")],
        )

    @classmethod
    def execute(cls, light_info, least_width, base=None, camera_info=None) -> io.NodeOutput:
        subject = _vector((camera_info or {}).get("target"))
        lamps = [_lamp(light, subject, least_width) for light in light_info or []]
        if camera_info:
            axes = _camera_axes(_vector(camera_info.get("position"), (0, 0, 1)), subject)
            lamps = [ur.DistantLamp(_seen(lamp.direction, axes), lamp.irradiance, lamp.width) for lamp in lamps]
        return io.NodeOutput(ur.lamps_to_environment(lamps, base))


class LightImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderLightImage",
            display_name="Light to Image (unrender)",
            category=CATEGORY,
            description="A light as an equirectangular image, linear.",
            inputs=[Light.Input("light")],
            outputs=[io.Image.Output(display_name="linear")],
        )

    @classmethod
    def execute(cls, light) -> io.NodeOutput:
        return io.NodeOutput(linear_image(light.radiance))


def _lamp(light: dict, subject: Vector, least_width: float) -> ur.DistantLamp:
    """One 3D light as it reaches the subject."""
    place, kind = _vector(light.get("position"), (0.0, 1.8, 1.8)), light.get("type", "directional")
    color = ur.srgb_to_linear(torch.tensor(_hex(light.get("color") or "#ffffff")))
    strength, radius = max(0.0, float(light.get("intensity", 1.0))), float(light.get("radius") or 0.0)
    if kind == "directional":
        towards, width = _between(_vector(light.get("target")), place), radius
    else:
        towards = _between(subject, place)
        distance = max(math.hypot(*towards), 0.1)
        strength *= _falloff(distance, float(light.get("range") or 0.0))
        width = math.degrees(2 * math.atan(radius / distance))
        if kind == "spot":
            strength *= _cone(light, place, subject)
    red, green, blue = (color * strength).tolist()
    return ur.DistantLamp(towards, (red, green, blue), max(width, least_width))


def _falloff(distance: float, reach: float) -> float:
    """The inverse square, brought to 0 at `reach`, as ComfyUI's own renderer has it."""
    window = max(0.0, 1 - (distance / reach) ** 4) ** 2 if reach > 0 else 1.0
    return window / distance**2


def _cone(light: dict, place: Vector, subject: Vector) -> float:
    """How much of a spot the subject gets: smooth between the inner and the outer cone, half angles in degrees."""
    outer = float(light.get("outerConeAngle", 45.0))
    inner = min(float(light.get("innerConeAngle", 30.0)), outer)
    aim, seen = _between(place, _vector(light.get("target"))), _between(place, subject)
    lengths = max(math.hypot(*aim) * math.hypot(*seen), 1e-9)
    cosine = sum(a * b for a, b in zip(aim, seen, strict=True)) / lengths
    edge, core = math.cos(math.radians(outer)), math.cos(math.radians(inner))
    t = min(1.0, max(0.0, (cosine - edge) / max(core - edge, 1e-6)))
    return t * t * (3 - 2 * t)


def _camera_axes(eye: Vector, target: Vector) -> tuple[Vector, Vector, Vector]:
    """Right, up and back of a camera that looks at something, upright by +Y."""
    back = _unit(_between(target, eye))
    right = _unit((back[2], 0.0, -back[0]) if abs(back[1]) < 0.9999 else (1.0, 0.0, 0.0))
    up = (
        back[1] * right[2] - back[2] * right[1],
        back[2] * right[0] - back[0] * right[2],
        back[0] * right[1] - back[1] * right[0],
    )
    return right, up, back


def _seen(direction: Vector, axes: tuple[Vector, Vector, Vector]) -> Vector:
    x, y, z = (sum(a * d for a, d in zip(axis, direction, strict=True)) for axis in axes)
    return x, y, z


def _between(start: Vector, end: Vector) -> Vector:
    return end[0] - start[0], end[1] - start[1], end[2] - start[2]


def _unit(vector: Vector) -> Vector:
    length = max(math.hypot(*vector), 1e-9)
    return vector[0] / length, vector[1] / length, vector[2] / length


def _vector(value: dict | None, default: Vector = (0.0, 0.0, 0.0)) -> Vector:
    x, y, z = (float((value or {}).get(axis, own)) for axis, own in zip("xyz", default, strict=True))
    return x, y, z


def _hex(color: str) -> list[float]:
    digits = color.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]


NODES = (LoadLight, LightOfImage, EstimateLight, LightsOf3D, LightImage)
