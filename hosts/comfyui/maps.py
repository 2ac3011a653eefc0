"""Pictures to G-buffers and back: take apart, render, relight, and what maps look like."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from comfy_api.latest import io

import unrender as ur

from .sockets import (
    CATEGORY,
    GBuffer,
    Light,
    Rendering,
    display_image,
    encoding,
    full_mask,
    linear_image,
    mask_of,
    model,
    seed,
    to_frames,
    yaw,
)

MAPS = (
    *("base_color", "normal", "depth", "roughness", "metallic", "mask", "rgb", "diffuse_albedo", "irradiance"),
    *("shading", "residual", "disparity", "sky", "instance"),
)
RENDERERS = "deferred, deferred:split_sum, deferred:screen_space, deferred:monte_carlo, mini, an id, or a folder."


@lru_cache(maxsize=2)
def inverse_renderer(name: str) -> ur.InverseRenderer:
    return ur.InverseRenderer.from_pretrained(name)


@lru_cache(maxsize=2)
def forward_renderer(name: str, samples: int, seed: int) -> ur.ForwardRenderer:
    options = ur.ForwardOptions(seed=seed)
    return ur.ForwardRenderer.from_pretrained(name, options=options, samples=samples or None)


def renderer() -> io.String.Input:
    return io.String.Input("renderer", default="deferred", tooltip=RENDERERS)


def samples() -> io.Int.Input:
    return io.Int.Input(
        "samples",
        default=0,
        min=0,
        max=4096,
        advanced=True,
        tooltip="Directions a pixel of deferred renderers; 0: own.",
    )


class TakeApart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderTakeApart",
            display_name="Take Apart (unrender)",
            category=CATEGORY,
            search_aliases=["inverse rendering", "g-buffer", "albedo", "normals", "depth", "roughness", "metallic"],
            description="Base colour, normals, depth, roughness, metallic of a picture; of a batch, of each by itself.",
            inputs=[
                io.Image.Input("image"),
                encoding(),
                model(),
                seed(),
                io.Mask.Input("mask", optional=True, tooltip="The subject; the rest has no surface."),
            ],
            outputs=[GBuffer.Output(display_name="gbuffer")],
        )

    @classmethod
    def execute(cls, image, encoding, model, seed, mask=None) -> io.NodeOutput:
        frames = to_frames(image, encoding, mask)
        found = [inverse_renderer(model)(frame, seed=seed) for frame in frames]
        return io.NodeOutput(ur.GBuffer.concatenate(found))


class MapImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderMap",
            display_name="G-Buffer Map (unrender)",
            category=CATEGORY,
            description="One map as an image: for looking, or its values (normals -1 to 1, depth in its units, linear "
            "colours). Single values are the mask, too.",
            inputs=[
                GBuffer.Input("gbuffer"),
                io.Combo.Input("map", options=list(MAPS)),
                io.Combo.Input("show", options=["for looking", "values"]),
            ],
            outputs=[io.Image.Output(display_name="image"), io.Mask.Output(display_name="mask")],
        )

    @classmethod
    def execute(cls, gbuffer, map, show) -> io.NodeOutput:
        gbuffer.require(map, by="this node")
        values = getattr(gbuffer, map).cpu()
        shown = values.expand(-1, 3, -1, -1)
        if show == "for looking":
            shown = torch.stack([ur.files.map_to_rgb(map, frame) for frame in values])
        single = mask_of(values) if values.shape[1] == 1 else full_mask(values)
        return io.NodeOutput(linear_image(shown), single)


class Render(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderRender",
            display_name="Render G-Buffer (unrender)",
            category=CATEGORY,
            search_aliases=["forward rendering", "deferred"],
            description="A G-buffer under a light, by the deferred renderer or a network. Linear, in its units.",
            inputs=[
                GBuffer.Input("gbuffer"),
                renderer(),
                yaw(),
                samples(),
                seed(),
                Light.Input("light", optional=True, tooltip="Some networks do without, by the G-buffer's irradiance."),
            ],
            outputs=[io.Image.Output(display_name="linear"), Rendering.Output(display_name="rendering")],
        )

    @classmethod
    def execute(cls, gbuffer, renderer, yaw, samples, seed, light=None) -> io.NodeOutput:
        rendered = forward_renderer(renderer, samples, seed)(gbuffer, light, yaw)
        return io.NodeOutput(linear_image(rendered.beauty), rendered)


class Relight(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderRelight",
            display_name="Relight (unrender)",
            category=CATEGORY,
            search_aliases=["relighting", "ic-light", "hdri"],
            description="A picture under another light, with its own detail kept; a batch is a clip. `display` is for "
            "looking, `linear` is light, in the light's units.",
            inputs=[
                io.Image.Input("image"),
                encoding(),
                Light.Input("light"),
                model(),
                renderer(),
                yaw(),
                io.Float.Input(
                    "turn", default=0.0, min=-3600, max=3600, step=1, tooltip="Degrees in all, over a batch."
                ),
                io.Combo.Input("exposure", options=["as the photo", "the light's own"]),
                io.Float.Input(
                    "stops", default=0.0, min=-16, max=16, step=0.25, tooltip="Of the light's own exposure."
                ),
                io.Combo.Input("background", options=["photo", "light", "none"]),
                io.Boolean.Input("detail", default=True, tooltip="Keep the photo's own detail by ratio transfer."),
                seed(),
                io.Mask.Input("mask", optional=True, tooltip="The subject, where the rest is not to be relit."),
            ],
            outputs=[
                io.Image.Output(display_name="display"),
                io.Image.Output(display_name="linear"),
                GBuffer.Output(display_name="gbuffer"),
                Rendering.Output(display_name="rendering"),
            ],
        )

    @classmethod
    def execute(
        cls, image, encoding, light, model, renderer, yaw, turn, exposure, stops, background, detail, seed, mask=None
    ) -> io.NodeOutput:
        frames = to_frames(image, encoding, mask)
        options = ur.RelightOptions(
            yaw=yaw,
            turn=turn if len(frames) > 1 else 0.0,
            detail=detail,
            background=background,
            exposure="auto" if exposure == "as the photo" else stops,
        )
        relit = ur.relight(frames, light, inverse_renderer(model), forward_renderer(renderer, 0, seed), options)
        gbuffer = relit.decomposition.gbuffer
        return io.NodeOutput(display_image(relit.display), linear_image(relit.beauty), gbuffer, relit)


class Develop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderDevelop",
            display_name="Linear to Display (unrender)",
            category=CATEGORY,
            description="Linear light for looking at: exposed, highlights rolled off, sRGB.",
            inputs=[io.Image.Input("image"), io.Float.Input("stops", default=0.0, min=-20, max=20, step=0.25)],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image, stops) -> io.NodeOutput:
        frames = to_frames(image, "linear")
        return io.NodeOutput(display_image(ur.tone_map(replace(frames, rgb=frames.rgb * 2.0**stops).rgb)))


NODES = (TakeApart, MapImage, Render, Relight, Develop)
