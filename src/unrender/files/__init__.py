"""File formats: pictures, EXR, HDR, video, cameras, meshes, shards, datasets. Once read, everything is linear.

The names below are imported when first used, so that nobody waits for a video library to read a picture.
"""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.files.atomic import atomic_write as atomic_write
    from unrender.files.cameras import NamedCameras as NamedCameras
    from unrender.files.cameras import read_co3d as read_co3d
    from unrender.files.cameras import read_colmap as read_colmap
    from unrender.files.cameras import read_transforms as read_transforms
    from unrender.files.cameras import write_transforms as write_transforms
    from unrender.files.datasets.hypersim import open_hypersim as open_hypersim
    from unrender.files.datasets.pictures import Pictures as Pictures
    from unrender.files.datasets.registry import open_dataset as open_dataset
    from unrender.files.environments import builtin_environment as builtin_environment
    from unrender.files.environments import builtin_environment_names as builtin_environment_names
    from unrender.files.environments import read_environment as read_environment
    from unrender.files.environments import resolve_light as resolve_light
    from unrender.files.environments import write_environment as write_environment
    from unrender.files.exr_layers import read_layers as read_layers
    from unrender.files.gbuffers import read_gbuffer as read_gbuffer
    from unrender.files.gbuffers import read_metadata as read_metadata
    from unrender.files.gbuffers import write_gbuffer as write_gbuffer
    from unrender.files.gbuffers import write_layers as write_layers
    from unrender.files.images import read_image as read_image
    from unrender.files.images import read_mask as read_mask
    from unrender.files.images import write_image as write_image
    from unrender.files.meshes import GltfMaterial as GltfMaterial
    from unrender.files.meshes import MeshPrimitive as MeshPrimitive
    from unrender.files.meshes import read_meshes as read_meshes
    from unrender.files.natural import as_clip as as_clip
    from unrender.files.natural import as_frames as as_frames
    from unrender.files.natural import as_gbuffer as as_gbuffer
    from unrender.files.natural import as_light as as_light
    from unrender.files.preview import contact_sheet as contact_sheet
    from unrender.files.preview import map_to_rgb as map_to_rgb
    from unrender.files.preview import tiles as tiles
    from unrender.files.readers import FrameReader as FrameReader
    from unrender.files.readers import GBufferReader as GBufferReader
    from unrender.files.sequences import GBufferWriter as GBufferWriter
    from unrender.files.sequences import ImageWriter as ImageWriter
    from unrender.files.sequences import open_frames as open_frames
    from unrender.files.sequences import open_gbuffers as open_gbuffers
    from unrender.files.shards import Clip as Clip
    from unrender.files.shards import LitClip as LitClip
    from unrender.files.shards import read_clips as read_clips
    from unrender.files.video import VideoWriter as VideoWriter
    from unrender.files.video import open_video as open_video
    from unrender.files.writing import write as write

_MODULES = {
    "atomic": ("atomic_write",),
    "cameras": ("NamedCameras", "read_co3d", "read_colmap", "read_transforms", "write_transforms"),
    "datasets.hypersim": ("open_hypersim",),
    "datasets.pictures": ("Pictures",),
    "datasets.registry": ("open_dataset",),
    "environments": (
        "builtin_environment",
        "builtin_environment_names",
        "read_environment",
        "resolve_light",
        "write_environment",
    ),
    "exr_layers": ("read_layers",),
    "gbuffers": ("read_gbuffer", "read_metadata", "write_gbuffer", "write_layers"),
    "images": ("read_image", "read_mask", "write_image"),
    "meshes": ("GltfMaterial", "MeshPrimitive", "read_meshes"),
    "natural": ("as_clip", "as_frames", "as_gbuffer", "as_light"),
    "preview": ("contact_sheet", "map_to_rgb", "tiles"),
    "readers": ("FrameReader", "GBufferReader"),
    "sequences": ("GBufferWriter", "ImageWriter", "open_frames", "open_gbuffers"),
    "shards": ("Clip", "LitClip", "read_clips"),
    "video": ("VideoWriter", "open_video"),
    "writing": ("write",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _MODULES)
