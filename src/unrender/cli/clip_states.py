"""The classes that the state of a run over a clip may hold; see `clip_run`."""

from unrender.forward.clips import RenderRun, RenderState
from unrender.forward.surface import RenderPasses
from unrender.inverse.clips import ClipState, InverseState
from unrender.inverse.steady import Held
from unrender.relight.decomposition import DecomposeState, Decomposition
from unrender.relight.relit import RelightState
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.plate import Plate

KINDS = (
    Camera,
    ClipState,
    DecomposeState,
    Decomposition,
    EnvironmentMap,
    Frames,
    GBuffer,
    Held,
    InverseState,
    Plate,
    RelightState,
    RenderPasses,
    RenderRun,
    RenderState,
)
