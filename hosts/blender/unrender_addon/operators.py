# SPDX-License-Identifier: GPL-3.0-or-later
"""What the buttons do. Files are saved and results shown in Blender's own thread; the service is waited for in another,
so that Blender can be used meanwhile (in the background it is waited for)."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import bpy

from . import passes, scene
from .client import Job, Refused, Server
from .exr import Unreadable

Settings = bpy.types.PropertyGroup
WRONG = (Refused, Unreadable, passes.Missing, scene.NothingRendered, OSError, RuntimeError, StopIteration)


class Waiting:
    """An operator that waits for the service. Those of it say what is sent (`job`) and what is made of the answer
    (`show`, which gives a line for the user)."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  # what Blender asks for

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            self._begin(context)
            self._ask()
        except WRONG as error:
            return self._refuse(error)
        return self._end()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        try:
            self._begin(context)
        except WRONG as error:
            return self._refuse(error)
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        manager = context.window_manager
        self._timer = manager.event_timer_add(0.2, window=context.window)
        manager.modal_handler_add(self)
        manager.progress_begin(0, 100)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "ESC":
            self._stop = True
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        context.window_manager.progress_update(round(100 * self._share))
        context.workspace.status_text_set(f"unrender: {self._said} (Esc stops)")
        if self._thread.is_alive():
            return {"RUNNING_MODAL"}
        context.window_manager.event_timer_remove(self._timer)
        context.window_manager.progress_end()
        context.workspace.status_text_set(None)
        return self._end()

    def _begin(self, context: bpy.types.Context) -> None:
        if not getattr(bpy.app, "online_access", True):
            raise Refused("Blender may not use the network; expected Allow Online Access in the preferences")
        self._share, self._said, self._stop, self._failed = 0.0, "waiting", False, None
        self._results: dict[str, Path] = {}
        self._held = tempfile.TemporaryDirectory(prefix="unrender-")
        self._folder, self._settings = Path(self._held.name), context.scene.unrender
        self._server = Server(self._settings.url, self._settings.token)
        self._job = self.job(context)

    def _ask(self) -> None:
        def report(share: float, said: str) -> None:
            self._share, self._said = share, said

        results = self._folder / "results"
        results.mkdir()
        try:
            self._results = self._server.run(self._job, results, report, lambda: self._stop)
        except WRONG as error:
            self._failed = error

    def _end(self) -> set[str]:
        try:
            if self._failed is not None:
                return self._refuse(self._failed)
            said = self.show(self._results)
        except WRONG as error:
            return self._refuse(error)
        finally:
            self._held.cleanup()
        self.report({"INFO"}, f"unrender: {said}")
        return {"FINISHED"}

    def _refuse(self, error: BaseException) -> set[str]:
        self.report({"ERROR"}, " ".join(str(error).split()) or type(error).__name__)
        return {"CANCELLED"}


def _ending(results: dict[str, Path], ending: str) -> Path:
    """The one result whose name ends so."""
    return next(path for name, path in sorted(results.items(), key=lambda item: len(item[0])) if name.endswith(ending))


def _picture(settings: Settings) -> bpy.types.Image:
    if settings.image is not None:
        return settings.image
    rendered = bpy.data.images.get("Render Result")
    if rendered is None:
        raise Refused("no picture was chosen, and nothing was rendered yet; expected one of them")
    return rendered


class UNRENDER_OT_take_apart(Waiting, bpy.types.Operator):
    """Take a picture, or the last render, apart into its maps"""

    bl_idname, bl_label = "unrender.take_apart", "Take Apart"

    def job(self, context: bpy.types.Context) -> Job:
        image = _picture(self._settings)
        self._name = image.name
        return Job("inverse", {"model": self._settings.model}, {"input": scene.save_image(image, self._folder)})

    def show(self, results: dict[str, Path]) -> str:
        made = scene.add_maps(_ending(results, ".exr"), self._name)
        return f"{len(made)} maps of {self._name} are among the images"


class UNRENDER_OT_light(Waiting, bpy.types.Operator):
    """Estimate the light of a picture, and make it the world, as the scene's camera sees it"""

    bl_idname, bl_label = "unrender.light", "Light to World"

    def job(self, context: bpy.types.Context) -> Job:
        picture = scene.save_image(_picture(self._settings), self._folder)
        return Job("light", {"model": self._settings.model}, {"input": picture})

    def show(self, results: dict[str, Path]) -> str:
        scene.set_world(_ending(results, ".light.exr"), scene.heading_of(bpy.context.scene.camera))
        return "the picture's light is the world"


class UNRENDER_OT_set_up_passes(bpy.types.Operator):
    """Let renders have what relighting them needs: depth, normals, base colour, roughness and metalness"""

    bl_idname, bl_label = "unrender.set_up_passes", "Set Up Passes"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> set[str]:
        count = passes.set_up(context.view_layer)
        self.report({"INFO"}, f"unrender: passes of {count} materials; render now")
        return {"FINISHED"}


class UNRENDER_OT_relight_render(Waiting, bpy.types.Operator):
    """Show the last render under another light, by its passes"""

    bl_idname, bl_label = "unrender.relight_render", "Relight Render"

    def job(self, context: bpy.types.Context) -> Job:
        if context.scene.camera is None:
            raise Refused("the scene has no camera; expected the one that it was rendered by")
        path = self._folder / "render.gbuffer.exr"
        passes.gbuffer(scene.save_render(self._folder), path)
        wanted = {"model": self._settings.forward, "yaw": self._settings.yaw, "light": self._settings.light}
        files = {"gbuffer": path}
        if self._settings.light == "world":
            found = scene.world_light(context.scene)
            if found is None:
                raise Refused("the world has no environment texture; expected one, or the name of a shipped light")
            files["light"], wanted["yaw"] = scene.save_image(found[0], self._folder), found[1] + wanted["yaw"]
        return Job("forward", wanted, files)

    def show(self, results: dict[str, Path]) -> str:
        made = scene.add_maps(_ending(results, ".exr"), "Relit")
        return f"{', '.join(image.name for image in made)} are among the images"


class UNRENDER_OT_insert(Waiting, bpy.types.Operator):
    """Put the selected objects into a picture, in its light; camera, light and place come back"""

    bl_idname, bl_label = "unrender.insert", "Insert Selected"

    def job(self, context: bpy.types.Context) -> Job:
        self._objects = [one for one in context.selected_objects if one.type == "MESH"]
        if not self._objects:
            raise Refused("no mesh is selected; expected the object that is to be inserted")
        asset = self._folder / "object.glb"
        self._kept = [one.matrix_world.copy() for one in self._objects]
        bpy.ops.export_scene.gltf(filepath=str(asset), export_format="GLB", use_selection=True)
        picture = scene.save_image(_picture(self._settings), self._folder)
        thing = {"height": self._settings.height}
        if self._settings.placed:
            thing["at"] = [self._settings.at[0] / 100, self._settings.at[1] / 100]
        wanted = {"objects": [thing], "samples": self._settings.samples, "model": self._settings.model}
        return Job("insert", wanted, {"input": picture, "objects.0.asset": asset})

    def show(self, results: dict[str, Path]) -> str:
        (pose,) = scene.set_camera(_ending(results, ".transforms.json"))
        for thing, before in zip(self._objects, self._kept, strict=True):
            thing.matrix_world = pose @ scene.TO_Y_UP @ before
        scene.set_world(_ending(results, ".light.exr"), 0.0)
        scene.add_maps(_ending(results, ".insert.exr"), "Inserted")
        return "the composite is among the images; camera, light and object stand as in it"


OPERATORS = (
    UNRENDER_OT_take_apart,
    UNRENDER_OT_light,
    UNRENDER_OT_set_up_passes,
    UNRENDER_OT_relight_render,
    UNRENDER_OT_insert,
)
