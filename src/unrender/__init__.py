"""unrender: take pictures apart into geometry, material and light, change any of them, put them back together.

    import unrender as ur

    photo   = ur.read_image("kitchen.jpg")                  # Frames: (T, 3, H, W), scene-linear
    inverse = ur.InverseRenderer.from_pretrained("mini")
    gbuffer = inverse(photo)                                # GBuffer: base_color, normal, depth, roughness, ...
    light   = ur.EnvironmentMap.read("sunset.exr").rotated(90)
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    relit   = forward(gbuffer, light)                       # LightGroups: diffuse, specular, background, beauty
    ur.write("kitchen.exr", gbuffer)                        # one multi-layer float EXR
    ur.write("relit.png", relit)

Names load when they are first used (PEP 562), so that importing this page costs nothing. `unrender.relight` is the room
of that name; `from unrender.relight import relight` is its one call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrender.diffusion.running import Running
    from unrender.errors import UserError
    from unrender.files.environments import world
    from unrender.files.gbuffers import read_gbuffer
    from unrender.files.images import read_image
    from unrender.files.sequences import open_frames
    from unrender.forward import DeferredRenderer, ForwardRenderer, LightGroups, Wish
    from unrender.inverse.renderer import InverseRenderer
    from unrender.output import write
    from unrender.scene.camera import Camera
    from unrender.scene.environment import EnvironmentMap
    from unrender.scene.frames import Frames
    from unrender.scene.gaussians import SphericalGaussians
    from unrender.scene.gbuffer import GBuffer

__version__ = "0.1.0"

_HOMES = {
    "Camera": "unrender.scene.camera",
    "DeferredRenderer": "unrender.forward",
    "EnvironmentMap": "unrender.scene.environment",
    "ForwardRenderer": "unrender.forward",
    "Frames": "unrender.scene.frames",
    "GBuffer": "unrender.scene.gbuffer",
    "InverseRenderer": "unrender.inverse.renderer",
    "LightGroups": "unrender.forward",
    "Running": "unrender.diffusion.running",
    "SphericalGaussians": "unrender.scene.gaussians",
    "UserError": "unrender.errors",
    "Wish": "unrender.forward",
    "open_frames": "unrender.files.sequences",
    "read_gbuffer": "unrender.files.gbuffers",
    "read_image": "unrender.files.images",
    "world": "unrender.files.environments",
    "write": "unrender.output",
}

__all__ = [
    "Camera",
    "DeferredRenderer",
    "EnvironmentMap",
    "ForwardRenderer",
    "Frames",
    "GBuffer",
    "InverseRenderer",
    "LightGroups",
    "Running",
    "SphericalGaussians",
    "UserError",
    "Wish",
    "__version__",
    "open_frames",
    "read_gbuffer",
    "read_image",
    "world",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unrender' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
