# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a scene, and the panels in the sidebars of the image editor and the viewport."""

import bpy
from bpy.props import (
    BoolProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .client import DEFAULT_URL
from .operators import OPERATORS


class UnrenderSettings(bpy.types.PropertyGroup):
    url: StringProperty(name="Service", default=DEFAULT_URL, description="Where `unrender serve` listens")
    token: StringProperty(name="Token", subtype="PASSWORD", options={"SKIP_SAVE"}, description="Of a service elsewhere")
    image: PointerProperty(name="Picture", type=bpy.types.Image, description="None: the last render")
    model: StringProperty(name="Model", default="mini", description="That takes pictures apart")
    forward: StringProperty(name="Renderer", default="deferred", description="deferred, mini, or a model's id")
    light: StringProperty(name="Light", default="sunset", description="A shipped light's name, or `world`")
    yaw: FloatProperty(name="Yaw", default=0.0, description="Degrees that the light is turned by")
    height: StringProperty(name="Height", default="25%", description="Metres (0.9), or of the picture's (25%)")
    placed: BoolProperty(name="Place", default=False, description="Say where the object's foot is")
    at: FloatVectorProperty(name="Foot", size=2, default=(50, 75), min=0, max=100, description="% of the picture")
    samples: IntProperty(name="Samples", default=128, min=1, max=65536)


class Panel:
    bl_label, bl_category, bl_region_type = "unrender", "unrender", "UI"

    def draw(self, context: bpy.types.Context) -> None:
        settings, layout = context.scene.unrender, self.layout
        layout.use_property_split = True
        for name in ("url", "token", "image", "model"):
            layout.prop(settings, name)
        layout.operator("unrender.take_apart")
        layout.operator("unrender.light")
        layout.separator()
        layout.operator("unrender.set_up_passes")
        for name in ("forward", "light", "yaw"):
            layout.prop(settings, name)
        layout.operator("unrender.relight_render")
        layout.separator()
        for name in ("height", "placed", "at", "samples"):
            layout.prop(settings, name)
        layout.operator("unrender.insert")


class UNRENDER_PT_viewport(Panel, bpy.types.Panel):
    bl_idname, bl_space_type = "UNRENDER_PT_viewport", "VIEW_3D"


class UNRENDER_PT_image(Panel, bpy.types.Panel):
    bl_idname, bl_space_type = "UNRENDER_PT_image", "IMAGE_EDITOR"


CLASSES = (UnrenderSettings, *OPERATORS, UNRENDER_PT_viewport, UNRENDER_PT_image)


def register() -> None:
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.Scene.unrender = PointerProperty(type=UnrenderSettings)


def unregister() -> None:
    del bpy.types.Scene.unrender
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
