"""What a renderer's ordinary passes lack of a G-buffer: normals in camera axes, a base colour, a metallicity."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.normal_axes import NormalAxes, find_axes
from unrender.files.notes import note
from unrender.scene.camera import Camera
from unrender.scene.color import luminance

_DIELECTRIC = 0.04  # what a surface that is no metal reflects straight back (an index of refraction of 1.5)
ROUGHNESS = (0.5, 0.3)
"""Of what is no metal, and of metals, where nobody says: what Blender's Principled BSDF begins with, and what keeps the
reflections by which a metal is known. A rougher guess blurs them all away, and costs screen space 1.7 dB."""

_FAINT = 0.1  # a glossy colour of no more is that of a dielectric, with what grazing angles add
_ENERGY = 1.02  # diffuse and glossy colour together, where both are shares of what falls in


def complete(
    path: Path, maps: dict[str, Tensor], gloss: Tensor | None, normals: NormalAxes, camera: Camera | None
) -> None:
    """Makes of a renderer's maps what a G-buffer here has, and says what was guessed.

    Args:
        path: the file, for messages.
        maps: by name; changed in place.
        gloss: (1, 3, H, W), the glossy colour, where the file has one.
        normals: what the caller knows of their axes.
        camera: that of the picture, where the caller knows it.

    Raises:
        UserError: normals in axes that cannot be found out.
    """
    if "normal" in maps:
        _turn_normals(path, maps, normals, camera)
    if "base_color" not in maps and "diffuse_albedo" in maps:
        _add_base_color(path, maps, gloss)


def metals(diffuse: Tensor, gloss: Tensor) -> tuple[Tensor, Tensor]:
    """Base colour and metallicity, (1, 3, H, W) and (1, 1, H, W), of what a renderer calls the diffuse and the glossy
    colour.

    The diffuse colour D is base (1 - m). Where both colours are shares of what falls in, the glossy one G is that of a
    dielectric, 0.04, and of a metal, its base colour, mixed by m: so base^2 - (D + G) base + 0.04 D = 0, which is the
    usual way from specular to metallic workflows (the glTF extension KHR_materials_pbrSpecularGlossiness, appendix B).
    Of a renderer whose glossy colour is the weight of a lobe, 1 for all plastics, only what has no diffuse colour is
    known to be a metal.
    """
    d, g = luminance(diffuse), luminance(gloss)
    bare = (d < 0.004) & (g > _FAINT)
    mixed = (g > _FAINT) & (d + g <= _ENERGY) & ~bare
    total = d + g
    base = (total + (total.square() - 4 * _DIELECTRIC * d).clamp(min=0).sqrt()) / 2
    share = torch.where(mixed, (1 - d / base.clamp(min=1e-6)).clamp(0, 1), bare.to(d))
    both = (diffuse + gloss - _DIELECTRIC * (1 - share)).clamp(0, 1)
    return torch.where(share > 0, both, diffuse), share


def _turn_normals(path: Path, maps: dict[str, Tensor], normals: NormalAxes, camera: Camera | None) -> None:
    finding = find_axes(maps["normal"], maps.get("depth"), normals, camera)
    if finding.axes == "unknown":
        raise UserError(
            f"{path} has normals in other axes than the camera's ({finding.why}); expected camera axes, a depth to "
            "turn them by, or --normals camera to take them as they are"
        )
    if finding.axes == "world":
        turned = torch.einsum("ij,tjhw->tihw", finding.turn, maps["normal"])
        maps["normal"] = torch.where(turned.abs().sum(1, keepdim=True) > 0, turned, torch.zeros_like(turned))
    if finding.axes == "world" or normals == "auto":
        note(path, f"normals are taken to be in {finding.axes} axes ({finding.why}); --normals says otherwise")


def _add_base_color(path: Path, maps: dict[str, Tensor], gloss: Tensor | None) -> None:
    maps["base_color"], said = maps["diffuse_albedo"], "its diffuse colour is taken as one, which metals lack"
    if gloss is not None:
        base, share = metals(maps["diffuse_albedo"], gloss)
        if "metallic" in maps:
            base = torch.where(maps["metallic"] > 0.5, gloss, maps["diffuse_albedo"])
        if (base != maps["diffuse_albedo"]).any():
            maps["base_color"], said = base, "its diffuse and glossy colours are taken for one, metals by their gloss"
            maps.setdefault("metallic", share)
    if "roughness" not in maps and "metallic" in maps:
        maps["roughness"] = torch.lerp(*(torch.full_like(maps["metallic"], of) for of in ROUGHNESS), maps["metallic"])
        said += f"; its roughness is taken as {ROUGHNESS[0]}, that of metals as {ROUGHNESS[1]}"
    note(path, f"has no base colour, and {said}; AOVs base_color, roughness and metallic would be right for all")
