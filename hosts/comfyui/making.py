"""What is made anew: objects put into pictures, and views round a thing."""

from __future__ import annotations

from functools import lru_cache

import torch
from comfy_api.latest import io

import unrender as ur

from .maps import inverse_renderer
from .sockets import CATEGORY, Light, display_image, encoding, linear_image, mask_of, model, seed, to_frames


class Insert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderInsert",
            display_name="Insert Object (unrender)",
            category=CATEGORY,
            search_aliases=["object insertion", "compositing", "shadow catcher"],
            description="A 3D object in a picture, lit by the picture's own light, with its shadow.",
            inputs=[
                io.Image.Input("image"),
                encoding(),
                io.String.Input("asset", default="teapot", tooltip="A .glb, .gltf, .obj or .ply, or a shipped object."),
                io.Float.Input("x", default=50.0, min=-1, max=100, tooltip="Of its foot, % of the width; -1: found."),
                io.Float.Input("y", default=75.0, min=-1, max=100, tooltip="Of its foot, % of the height; -1: found."),
                io.String.Input("height", default="25%", tooltip="Metres (0.9), or of the picture's height (25%)."),
                io.Float.Input("turn", default=0.0, min=-360, max=360, tooltip="Degrees; 0 faces the camera."),
                io.Int.Input("samples", default=128, min=1, max=65536),
                model(),
                seed(),
                Light.Input("light", optional=True, tooltip="The picture's light, where it is known."),
            ],
            outputs=[
                io.Image.Output(display_name="display"),
                io.Image.Output(display_name="linear"),
                io.Mask.Output(display_name="object"),
                Light.Output(display_name="light"),
            ],
        )

    @classmethod
    def execute(cls, image, encoding, asset, x, y, height, turn, samples, model, seed, light=None) -> io.NodeOutput:
        frames = to_frames(image[..., :3], encoding)
        rows, columns = frames.size
        at = None if min(x, y) < 0 else (min(x / 100 * columns, columns - 0.5), min(y / 100 * rows, rows - 0.5))
        made = ur.insert(
            frames,
            asset,
            light,
            placement=ur.insert.Placement((ur.insert.Standing(at, height, turn),)),
            options=ur.insert.InsertOptions(samples=samples, seed=seed),
            inverse=inverse_renderer(model),
        )
        shown = ur.tone_map(made.composite) if frames.hdr else made.composite
        coverage = torch.cat([frame.rendered.layers.alpha for frame in made.frames])
        return io.NodeOutput(display_image(shown), linear_image(made.composite), mask_of(coverage), made.plan.fit.light)


class Orbit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderOrbit",
            display_name="Orbit (unrender)",
            category=CATEGORY,
            is_experimental=True,
            search_aliases=["multi-view", "viewdiff", "turntable"],
            description="Views of one thing that agree in space, from words or from a picture of it.",
            inputs=[
                io.String.Input("prompt", multiline=True, default=""),
                io.String.Input("model", default="mini-mv", tooltip="A model's id, or a folder of views' weights."),
                io.String.Input(
                    "cameras", default="orbit:24", tooltip="orbit:N, spiral:N, ellipse:N, dolly:N, or a file."
                ),
                io.Int.Input("size", default=256, min=16, max=2048, step=8),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip="Denoising steps; 0: the model's own."),
                seed(),
                io.Image.Input("image", optional=True, tooltip="The first view, a display picture."),
            ],
            outputs=[io.Image.Output(display_name="views")],
        )

    @classmethod
    def execute(cls, prompt, model, cameras, size, steps, seed, image=None) -> io.NodeOutput:
        generator = _generator(model)
        options = ur.multiview.PathOptions(size=(size, size))
        path = ur.multiview.camera_path(cameras, options, generator.layers.distance)
        given = {} if image is None else {0: to_frames(image[:1, ..., :3], "sRGB")}
        views = generator(prompt, path, given, ur.multiview.ViewOptions(steps=steps or None, seed=seed))
        return io.NodeOutput(display_image(views.frames.rgb))


@lru_cache(maxsize=1)
def _generator(name: str) -> ur.MultiViewGenerator:
    return ur.MultiViewGenerator.from_pretrained(name)


NODES = (Insert, Orbit)
