"""unrender: take pictures apart into geometry, material and light, change any of them, put them back together.

    import unrender as ur

    photo   = ur.read_image("kitchen.jpg")                  # Frames: (T, 3, H, W), scene-linear
    inverse = ur.InverseRenderer.from_pretrained("mini")
    gbuffer = inverse(photo)                                # GBuffer: base_color, normal, depth, roughness, ...
    light   = ur.EnvironmentMap.read("sunset.exr").rotated(90)
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    relit   = forward(gbuffer, light)                       # RenderPasses: diffuse, specular, background, beauty
    ur.write("kitchen.exr", gbuffer)                        # one multi-layer float EXR
    ur.write("relit.png", relit)

Names load when they are first used (PEP 562), so that importing this page costs nothing. `unrender.relight` is the room
of that name; `from unrender.relight import relight` is its one call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unrender.scene import readers
from unrender.version import VERSION

if TYPE_CHECKING:
    from unrender.diffusion.options import InferenceOptions
    from unrender.errors import UserError
    from unrender.files.environments import builtin_environment
    from unrender.files.gbuffers import read_gbuffer
    from unrender.files.images import read_image
    from unrender.files.sequences import open_frames
    from unrender.forward import DeferredRenderer, ForwardOptions, ForwardRenderer, RenderPasses
    from unrender.inverse.renderer import InverseRenderer
    from unrender.output import write
    from unrender.scene.camera import Camera
    from unrender.scene.environment import EnvironmentMap
    from unrender.scene.frames import Frames
    from unrender.scene.gaussians import SphericalGaussians
    from unrender.scene.gbuffer import GBuffer

__version__ = VERSION

_HOMES = {
    "Camera": "unrender.scene.camera",
    "DeferredRenderer": "unrender.forward",
    "EnvironmentMap": "unrender.scene.environment",
    "ForwardRenderer": "unrender.forward",
    "Frames": "unrender.scene.frames",
    "GBuffer": "unrender.scene.gbuffer",
    "InverseRenderer": "unrender.inverse.renderer",
    "RenderPasses": "unrender.forward",
    "InferenceOptions": "unrender.diffusion.options",
    "SphericalGaussians": "unrender.scene.gaussians",
    "UserError": "unrender.errors",
    "ForwardOptions": "unrender.forward",
    "open_frames": "unrender.files.sequences",
    "read_gbuffer": "unrender.files.gbuffers",
    "read_image": "unrender.files.images",
    "builtin_environment": "unrender.files.environments",
    "write": "unrender.output",
}

__all__ = [
    "Camera",
    "DeferredRenderer",
    "EnvironmentMap",
    "ForwardOptions",
    "ForwardRenderer",
    "Frames",
    "GBuffer",
    "InferenceOptions",
    "InverseRenderer",
    "RenderPasses",
    "SphericalGaussians",
    "UserError",
    "__version__",
    "builtin_environment",
    "open_frames",
    "read_gbuffer",
    "read_image",
    "write",
]


def _read_environment(path: Any) -> Any:
    from unrender.files.environments import resolve_light

    return resolve_light(path)


# Nouns know of no files: what reads them is lent from here, the one place that knows all rooms.
readers.lend("EnvironmentMap", _read_environment)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unrender' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
