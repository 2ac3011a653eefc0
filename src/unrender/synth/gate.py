"""The quality gate: the conditions on every frame; a clip that fails is sampled again."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.camera import pixel_rays
from unrender.scene.color import luminance
from unrender.scene.gbuffer import GBuffer

COVERED = 0.05  # least share of the picture that is surface
IN_VIEW = (0.01, 0.003)  # least share of the picture that is a thing rather than scenery: first frame, later ones
CLIPPED = 0.4  # largest share of the surface that a display would clip
BLACK, DARK = 0.6, 0.004  # largest share of the surface below this luminance: 13 of 255 on a display
BEHIND = 0.1  # largest share of the surface seen from behind: the camera is inside something
NEAR = 0.02  # scene units: the least distance of the median surface


def seen(gbuffer: GBuffer, things: tuple[bool, ...], *, first: bool) -> str:
    """The reason to reject the geometry of one frame; "" where nothing is.

    Args:
        gbuffer: T = 1, with normal, depth, mask, instance and camera.
        things: of each instance from 1 on, whether it is a thing rather than scenery.
        first: whether it is the first frame, with stricter limits.
    """
    maps, camera = gbuffer.maps, gbuffer.camera
    there = maps["mask"] > 0.5
    if (share := float(there.float().mean())) < COVERED:
        return f"surfaces fill {share:.1%} of the picture, less than {COVERED:.0%}"
    depth = maps["depth"][there & maps["depth"].isfinite()]
    if not all(maps[name].isfinite().all() for name in maps if name != "depth") or len(depth) == 0:
        return "a map is not finite"
    ids, least = torch.tensor([False, *things]), IN_VIEW[0] if first else IN_VIEW[1]
    if (share := float(ids[maps["instance"].long()].float().mean())) < least:
        return f"things fill {share:.1%} of the picture, less than {least:.1%}"
    if (near := float(depth.median())) < NEAR:
        return f"the median surface is {near:.3f} from the camera, nearer than {NEAR}"
    if camera is not None:
        away = (maps["normal"] * pixel_rays(camera)).sum(1, keepdim=True) > 0
        if (share := float(away[there].float().mean())) > BEHIND:
            return f"{share:.0%} of the surface is seen from behind, more than {BEHIND:.0%}"
    return ""


def exposed(rgb: Tensor, mask: Tensor) -> str:
    """The reason to reject an exposed picture (1, 3, H, W) with its `mask` (1, 1, H, W); "" where nothing
    is."""
    if not finite(rgb):
        return "a pixel is not finite or below zero"
    surface = luminance(rgb)[mask > 0.5]
    if (share := float((surface > 1).float().mean())) > CLIPPED:
        return f"{share:.0%} of the surface is clipped, more than {CLIPPED:.0%}"
    if (share := float((surface < DARK).float().mean())) > BLACK:
        return f"{share:.0%} of the surface is black, more than {BLACK:.0%}"
    return ""


def finite(*pictures: Tensor) -> bool:
    """Whether every pixel of every picture is finite and not below zero."""
    return all(bool(picture.isfinite().all()) and float(picture.min()) >= 0 for picture in pictures)
