"""What a network makes of the light of a picture: an answer for directions too that no surface of it shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unrender.device import Compute
from unrender.diffusion.checkpoints import hub
from unrender.diffusion.checkpoints.loader import load_network
from unrender.diffusion.networks.light import LIGHT_SIZE, SIDE, LightNetwork
from unrender.forward.surface import coverage
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FOLDER = Path(hub.__file__).parents[1] / "mini_light"

GREY = 0.18
"""Where the logarithmic mean of a scene-referred picture is brought before the network sees it."""

FRAMES = 4
"""Of a clip, at most so many are looked at."""


def guess_light(frames: Frames, gbuffer: GBuffer, network: LightNetwork | None = None) -> Tensor:
    """The light of a picture as a network sees it.

    Args:
        frames: the picture, (T, 3, H, W) linear; of several frames, which share the light, the logarithmic mean counts.
            What its alpha leaves out does not.
        gbuffer: its G-buffer, at the same size, with base_color and normal.
        network: `mini_light`, where none is given.

    Returns:
        (3, 8, 16) radiance in the units of the picture, in the world of the G-buffer's camera; black where the picture
        is.
    """
    shown = _working(frames.rgb)
    if frames.mask is not None:
        shown = shown * _working(frames.mask)
    if not bool((shown > 0).any()):
        return torch.zeros(3, *LIGHT_SIZE)
    network = network or _embedded()
    chosen = torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().long().tolist()
    camera = gbuffer.camera_or_default()
    found = []
    for index in chosen:
        picture, gain = displayed(shown[index : index + 1], hdr=frames.hdr)
        with torch.no_grad():
            light = network(picture, *surfaces(gbuffer.frame(index))).exp() / gain
        pose = camera.pose[index if len(camera.pose) > 1 else 0]
        found.append(EnvironmentMap(light).transformed(pose[:3, :3]).radiance)
    return torch.cat(found).clamp(min=1e-6).log().mean(0).exp()


def displayed(rgb: Tensor, *, hdr: bool) -> tuple[Tensor, float]:
    """A linear picture (1, 3, H, W) as the network takes it, (1, 3, 64, 64) in [0, 1], and what multiplied it; black
    pixels, as alpha leaves them, say nothing of its exposure."""
    gain = 1.0
    if hdr:
        bright = luminance(rgb)
        gain = GREY / float(bright[bright > 0].clamp(min=1e-4).log().mean().exp())
    return _small((rgb * gain).clamp(0, 1)), gain


def surfaces(gbuffer: GBuffer) -> tuple[Tensor, Tensor, Tensor]:
    """Base colour, normals and mask of one frame, as the network takes them."""
    names = ("base_color", "normal", "mask")
    maps = {name: _working(value) for name, value in gbuffer.maps.items() if name in names}
    mask = coverage(GBuffer(normal=maps["normal"]).with_maps(**maps))
    share = _small(mask).clamp(min=1e-6)
    base, normal = (_small(maps[name] * mask) / share for name in ("base_color", "normal"))
    return base.clamp(0, 1), functional.normalize(normal, dim=1), _small(mask)


def _working(values: Tensor) -> Tensor:
    """A map at 256 pixels a side, where it is larger: of a large picture every product would be another copy."""
    side = 4 * SIDE
    if max(values.shape[-2:]) <= side:
        return values
    return functional.interpolate(values, size=(side, side), mode="area")


def _small(values: Tensor) -> Tensor:
    return functional.interpolate(values.float(), size=(SIDE, SIDE), mode="area")


@cache
def _embedded() -> LightNetwork:
    return load_network(LightNetwork, FOLDER, Compute(torch.device("cpu"), torch.float32))
