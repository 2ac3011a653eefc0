"""The page in the browser (`unrender studio`): a photo, its light, and what it is made of, at once.

It is the service of `serve` with a page on it, and a few routes of its own for pictures that are shown while a hand
moves a light. `create_studio` makes the application.
"""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.studio.app import create_studio as create_studio
    from unrender.studio.look import Lamp as Lamp
    from unrender.studio.look import Look as Look
    from unrender.studio.look import Rig as Rig
    from unrender.studio.stage import OpenPhoto as OpenPhoto

_HOMES = {"app": ("create_studio",), "look": ("Lamp", "Look", "Rig"), "stage": ("OpenPhoto",)}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
