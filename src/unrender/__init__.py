"""unrender: take pictures apart into geometry, material and light, change any of them, put them back together.


    photo   = ur.read_image("kitchen.jpg")                  # Frames: (T, 3, H, W), scene-linear
    inverse = ur.InverseRenderer.from_pretrained("mini")
    gbuffer = inverse(photo)                                # GBuffer: base_color, normal, depth, roughness, ...
    light   = ur.EnvironmentMap.read("sunset.exr").rotated(90)
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    relit   = forward(gbuffer, light)                       # RenderPasses: diffuse, specular, background, beauty
    ur.write("kitchen.exr", gbuffer)                        # one multi-layer float EXR
    ur.write("relit.png", relit)

    ur.write("relit.png", ur.relight("kitchen.jpg", "sunset"))   # all of it in one call
    ur.insert("kitchen.jpg", "teapot").composite                 # (1, 3, H, W): an object in it, in the photo's light

Names load when they are first used (PEP 562), so that importing this page costs nothing. So do the rooms `ur.relight`,
`ur.insert`, `ur.multiview`, `ur.output`, `ur.files`, `ur.forward`, `ur.evaluate`, `ur.train`, `ur.synth` and
`ur.scale`, which have what this page has not: `ur.relight.relight_stream` relights clips of any length, for example.
"""

from unrender import interrupt  # noqa: F401  # before all else

# isort: split
from typing import TYPE_CHECKING, Any

from unrender.lazy import lazy_names
from unrender.scene import readers
from unrender.version import VERSION

if TYPE_CHECKING:
    from unrender import evaluate as evaluate
    from unrender import files as files
    from unrender import forward as forward
    from unrender import insert as insert
    from unrender import multiview as multiview
    from unrender import output as output
    from unrender import relight as relight
    from unrender import scale as scale
    from unrender import synth as synth
    from unrender import train as train
    from unrender.diffusion.options import InferenceOptions as InferenceOptions
    from unrender.diffusion.text_to_image import TextToImage as TextToImage
    from unrender.diffusion.windows import ClipOptions as ClipOptions
    from unrender.errors import UserError as UserError
    from unrender.files.environments import builtin_environment as builtin_environment
    from unrender.files.environments import builtin_environment_names as builtin_environment_names
    from unrender.files.gbuffers import read_gbuffer as read_gbuffer
    from unrender.files.images import read_image as read_image
    from unrender.files.sequences import open_frames as open_frames
    from unrender.files.sequences import open_gbuffers as open_gbuffers
    from unrender.forward import DeferredRenderer as DeferredRenderer
    from unrender.forward import ForwardOptions as ForwardOptions
    from unrender.forward import ForwardRenderer as ForwardRenderer
    from unrender.forward import RenderPasses as RenderPasses
    from unrender.inverse.clips import ClipInverse as ClipInverse
    from unrender.inverse.multi_model import MultiModelRenderer as MultiModelRenderer
    from unrender.inverse.renderer import InverseRenderer as InverseRenderer
    from unrender.multiview.generator import MultiViewGenerator as MultiViewGenerator
    from unrender.output import write as write
    from unrender.relight.editing import edit as edit
    from unrender.relight.light_estimate import estimate_light as estimate_light
    from unrender.relight.options import RelightOptions as RelightOptions
    from unrender.scene.camera import Camera as Camera
    from unrender.scene.color import linear_to_srgb as linear_to_srgb
    from unrender.scene.color import srgb_to_linear as srgb_to_linear
    from unrender.scene.environment import EnvironmentMap as EnvironmentMap
    from unrender.scene.frames import Frames as Frames
    from unrender.scene.gaussians import SphericalGaussians as SphericalGaussians
    from unrender.scene.gbuffer import GBuffer as GBuffer
    from unrender.scene.lamps import DistantLamp as DistantLamp
    from unrender.scene.lamps import lamps_to_environment as lamps_to_environment
    from unrender.scene.tone import tone_map as tone_map

__version__ = VERSION

_HOMES = {
    "diffusion.options": ("InferenceOptions",),
    "diffusion.text_to_image": ("TextToImage",),
    "diffusion.windows": ("ClipOptions",),
    "errors": ("UserError",),
    "files.environments": ("builtin_environment", "builtin_environment_names"),
    "files.gbuffers": ("read_gbuffer",),
    "files.images": ("read_image",),
    "files.sequences": ("open_frames", "open_gbuffers"),
    "forward": ("DeferredRenderer", "ForwardOptions", "ForwardRenderer", "RenderPasses"),
    "inverse.clips": ("ClipInverse",),
    "inverse.multi_model": ("MultiModelRenderer",),
    "inverse.renderer": ("InverseRenderer",),
    "multiview.generator": ("MultiViewGenerator",),
    "output": ("write",),
    "relight.editing": ("edit",),
    "relight.light_estimate": ("estimate_light",),
    "relight.options": ("RelightOptions",),
    "scene.camera": ("Camera",),
    "scene.color": ("linear_to_srgb", "srgb_to_linear"),
    "scene.environment": ("EnvironmentMap",),
    "scene.frames": ("Frames",),
    "scene.gaussians": ("SphericalGaussians",),
    "scene.gbuffer": ("GBuffer",),
    "scene.lamps": ("DistantLamp", "lamps_to_environment"),
    "scene.tone": ("tone_map",),
}
_ROOMS = ("evaluate", "files", "forward", "insert", "multiview", "output", "relight", "scale", "synth", "train")


def _read_environment(path: Any) -> Any:
    from unrender.files.environments import resolve_light

    return resolve_light(path)


# Nouns know of no files: what reads them is lent from here, the one place that knows all rooms.
readers.lend("EnvironmentMap", _read_environment)

__getattr__, __dir__, _names = lazy_names(__name__, _HOMES, _ROOMS)
__all__ = sorted([*_names, "__version__"])
