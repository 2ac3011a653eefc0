# SPDX-License-Identifier: GPL-3.0-or-later
"""unrender in Blender: pictures and renders to a running `unrender serve`, and maps, light and camera back.

Blender 4.2 and later install this folder as an extension (blender_manifest.toml), earlier ones as an add-on (bl_info).
"""

bl_info = {
    "name": "unrender",
    "author": "The unrender authors",
    "version": (0, 1, 0),
    "blender": (3, 4, 0),
    "location": "Image Editor and 3D Viewport > Sidebar > unrender",
    "description": "Take pictures and renders apart, relight them, insert objects",
    "category": "Render",
}


def register() -> None:
    from . import interface

    interface.register()


def unregister() -> None:
    from . import interface

    interface.unregister()
