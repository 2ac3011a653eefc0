"""Multi-layer EXR: G-buffers, renderings and lights to files, and any layer of any file back."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io

import unrender as ur

from .sockets import CATEGORY, GBuffer, Light, Rendering, full_mask, linear_image, mask_of


def file() -> io.String.Input:
    return io.String.Input("file", default="", tooltip="A path, or the name of a file in ComfyUI's input folder.")


def _found(name: str) -> str:
    inside = Path(folder_paths.get_input_directory()) / name
    return str(inside) if name and inside.exists() else name


def colorspace() -> io.String.Input:
    return io.String.Input(
        "colorspace",
        default="",
        optional=True,
        advanced=True,
        tooltip="OpenColorIO's name, as ACEScg; '': the file's own.",
    )


class LoadGBuffer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderLoadGBuffer",
            display_name="Load G-Buffer EXR (unrender)",
            category=CATEGORY,
            description="The maps of an EXR by unrender, Blender, Arnold or Nuke, of name.####.exr, or of a folder of "
            "pictures named by maps.",
            inputs=[file(), colorspace()],
            outputs=[GBuffer.Output(display_name="gbuffer"), io.Image.Output(display_name="linear")],
        )

    @classmethod
    def fingerprint_inputs(cls, file, colorspace="") -> str:
        path = Path(_found(file))
        return f"{path.stat().st_mtime_ns}" if path.exists() else file

    @classmethod
    def execute(cls, file, colorspace="") -> io.NodeOutput:
        read = ur.open_gbuffers(_found(file), colorspace=colorspace.strip() or None)
        gbuffer = ur.GBuffer.concatenate(list(read))
        shown = next((one for one in (gbuffer.rgb, gbuffer.base_color, gbuffer.normal) if one is not None), None)
        if shown is None:
            shown = next(iter(gbuffer.maps.values())).expand(-1, 3, -1, -1)
        return io.NodeOutput(gbuffer, linear_image(shown))


class LoadLayer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderLoadLayer",
            display_name="Load EXR Layer (unrender)",
            category=CATEGORY,
            search_aliases=["multilayer exr", "aov", "load exr"],
            description="One layer of an EXR with its values; '' is the picture that has no layer's name.",
            inputs=[file(), io.String.Input("layer", default="")],
            outputs=[io.Image.Output(display_name="linear"), io.Mask.Output(display_name="mask")],
        )

    @classmethod
    def fingerprint_inputs(cls, file, layer) -> str:
        path = Path(_found(file))
        return f"{path.stat().st_mtime_ns} {layer}" if path.exists() else file

    @classmethod
    def execute(cls, file, layer) -> io.NodeOutput:
        layers = ur.files.read_layers(_found(file))
        if layer not in layers:
            raise ur.UserError(f"{file} has no layer {layer!r}; it has {', '.join(map(repr, layers))}")
        values = layers[layer][None]
        rgb = values[:, :3] if values.shape[1] >= 3 else values[:, :1].expand(-1, 3, -1, -1)
        alone = values.shape[1] in (1, 4)
        return io.NodeOutput(linear_image(rgb), mask_of(values[:, -1:]) if alone else full_mask(values))


class SaveEXR(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnrenderSaveEXR",
            display_name="Save EXR Layers (unrender)",
            category=CATEGORY,
            is_output_node=True,
            search_aliases=["multilayer exr", "save exr", "aov"],
            description="A G-buffer, a rendering with its passes, or a light as float EXR; of a clip a file a frame.",
            inputs=[
                io.MultiType.Input("what", types=[GBuffer, Rendering, Light]),
                io.String.Input("filename_prefix", default="unrender"),
                io.String.Input(
                    "colorspace", default="", tooltip="A linear space of OpenColorIO's, as ACEScg; '': linear Rec.709."
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, what, filename_prefix, colorspace) -> io.NodeOutput:
        folder, name, counter, *_ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        path = Path(folder) / f"{name}_{counter:05}_{'.####' if len(what) > 1 else ''}.exr"
        ur.write(path, what, colorspace.strip() or None)
        return io.NodeOutput(ui={"text": [str(path)]})


NODES = (LoadGBuffer, LoadLayer, SaveEXR)
