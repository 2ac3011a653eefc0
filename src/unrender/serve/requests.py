"""What each verb takes over HTTP: the public functions' arguments, with files by their ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from unrender.serve.store import ID_PATTERN

FileId = Annotated[str, Field(pattern=ID_PATTERN, description="The id of an uploaded file, or of a result.")]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[\w .:/,+-]+$")]
Model = Annotated[Name, Field(description="An id of GET /v1/models.")]
Light = Annotated[Name, Field(description="The name of a shipped light (GET /v1/lights), or the id of a file.")]
Forward = Annotated[Name, Field(description="deferred, deferred:QUALITY, or a forward model of GET /v1/models.")]
Degrees = Annotated[float, Field(ge=-36000, le=36000)]
Stops = Annotated[float, Field(ge=-100, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Profile = Literal["unrender", "blender", "arnold", "nuke"]
Background = Literal["light", "photo", "none"]


class Request(BaseModel):
    """Unknown fields are refused, and so are numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=())

    def named(self) -> Iterator[tuple[str, bool]]:
        """What may be ids of files in it, and of each whether it has to be one: a light may be a shipped one."""
        for field, value in self:
            if isinstance(value, str) and field in (*_FILES, *_FILES_OR_NAMES):
                yield value, field in _FILES
            for part in value if isinstance(value, list) else ():
                if isinstance(part, Request):
                    yield from part.named()


_FILES = ("input", "gbuffer", "mask", "inserted", "image")
_FILES_OR_NAMES = ("light", "asset")


class InverseRequest(Request):
    """`ur.InverseRenderer`: NAME.exr with the maps as layers, and a contact sheet NAME.maps.png."""

    input: FileId
    model: Model = "mini"
    maps: list[Name] | None = Field(None, max_length=24, description="Those wanted; all that the model gives.")
    profile: Profile = "unrender"
    seed: Seed = 0


class ForwardRequest(Request):
    """`ur.ForwardRenderer`: NAME.forward.png, and NAME.forward.exr with the render passes as layers."""

    gbuffer: FileId = Field(description="A G-buffer EXR.")
    light: Light | None = None
    yaw: Degrees = 0.0
    exposure: Stops = 0.0
    model: Forward = "deferred"
    samples: int | None = Field(None, ge=2, le=4096)
    seed: Seed = 0


class RelightRequest(Request):
    """`ur.relight`: NAME.relit.png (of a clip .mp4), NAME.relit.exr, NAME.gbuffer.exr, NAME.maps.png, and with `turn`
    of a still NAME.turn.mp4."""

    input: FileId
    light: Light
    model: Model = "mini"
    forward: Forward = "deferred"
    yaw: Degrees = 0.0
    turn: Degrees = 0.0
    frames: int | None = Field(None, ge=1, le=100_000)
    exposure: Literal["auto"] | Stops = "auto"
    detail: bool = True
    refine: bool = True
    walls: bool = True
    background: Background = "photo"
    samples: int | None = Field(None, ge=2, le=4096)
    seed: Seed = 0


class LightRequest(Request):
    """`ur.estimate_light`: NAME.light.exr, which `light` of other verbs takes."""

    input: FileId
    model: Model = "mini"
    frames: int = Field(1, ge=1, le=1000)
    seed: Seed = 0


class EditRequest(Request):
    """`ur.edit`: NAME.edited.png (of a clip .mp4), NAME.edited.exr, NAME.edited.gbuffer.exr, NAME.edited.maps.png."""

    input: FileId = Field(description="A picture, a clip, or a G-buffer EXR.")
    changes: list[Annotated[str, Field(max_length=120)]] = Field(
        default_factory=list, max_length=16, description="roughness=0.1, base_color=#c04020, metallic+=0.2, ..."
    )
    mask: FileId | None = Field(None, description="A picture, white where it is changed.")
    where: Annotated[str, Field(max_length=400)] | None = Field(None, description="Or a condition: metallic>0.5.")
    inserted: FileId | None = Field(None, description="A G-buffer EXR of an object with a mask.")
    light: Light | None = Field(None, description="Another light; the picture's own without.")
    yaw: Degrees = 0.0
    background: Background = "photo"
    model: Model = "mini"
    forward: Forward = "deferred"
    seed: Seed = 0


class InsertedObject(Request):
    """One object, and where it stands."""

    asset: Name = Field(description="A shipped object (teapot, chair, ...), or the id of a .glb, .obj or .ply.")
    at: tuple[float, float] | None = Field(
        None, description="Its foot, as shares (x, y) of the picture; found without."
    )
    height: Annotated[str, Field(max_length=20, pattern=r"^[\d.]+%?$")] = Field(
        "25%", description="Metres, or percent of the picture's."
    )
    turn: Degrees = 0.0
    up: Literal["y", "-y", "z", "-z", "x", "-x"] = "y"


class InsertRequest(Request):
    """`ur.insert`: NAME.insert.png (of a clip .mp4), NAME.insert.exr with every layer, the light, and
    NAME.transforms.json; with `preview` only NAME.preview.png. Needs Mitsuba (`unrender[raytrace]`)."""

    input: FileId
    objects: list[InsertedObject] = Field(min_length=1, max_length=8)
    light: Light | None = Field(None, description="The picture's light where it is known; fitted without.")
    exposure: Literal["auto"] | Stops = "auto"
    fit_steps: int | None = Field(None, ge=1, le=10_000)
    samples: int = Field(128, ge=1, le=65_536)
    fov: Annotated[float, Field(gt=1, lt=170)] | None = None
    model: Model = "mini"
    preview: bool = False
    seed: Seed = 0


class MultiviewRequest(Request):
    """`ur.MultiViewGenerator`: view.NNNN.png, views.mp4, views.png, transforms.json and a COLMAP model."""

    prompt: Annotated[str, Field(max_length=400)] = ""
    image: FileId | None = Field(None, description="A picture of it, which is the first view.")
    cameras: Annotated[str, Field(pattern=r"^(orbit|spiral|ellipse|dolly):\d{1,3}$")] = "orbit:24"
    model: Model = Field("mini-mv", description="A folder that the service was started with, by its name, or an id.")
    size: int = Field(256, ge=16, le=1024)
    elevation: Annotated[float, Field(ge=-85, le=85)] = 20.0
    steps: int | None = Field(None, ge=1, le=1000)
    fps: Annotated[float, Field(ge=1, le=240)] = 12.0
    seed: Seed = 0


class StageRequest(Request):
    """A photo to be shown under one light after the other; for the page of `unrender studio` alone."""

    input: FileId
    model: Model = "mini"
    side: int = Field(640, ge=64, le=1024, description="Of the longer side.")


class DomeRequest(Request):
    """A light to be shown; likewise."""

    input: FileId


VERBS: dict[str, type[Request]] = {
    "inverse": InverseRequest,
    "forward": ForwardRequest,
    "relight": RelightRequest,
    "light": LightRequest,
    "edit": EditRequest,
    "insert": InsertRequest,
    "multiview": MultiviewRequest,
}
