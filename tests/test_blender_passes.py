"""What Blender renders: ordinary passes and AOVs, normals in the world's axes, held against the same told in Python.

`blender/*.exr` were rendered by Blender 3.4.1 with `blender/scene.py`, a floor, a metal ball and a red one under the
light `courtyard`; the slow test renders them again, where Blender is installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch

from unrender.cli import main
from unrender.files.cameras import read_cameras
from unrender.files.environments import builtin_environment, write_environment
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.files.renderer_passes import metals
from unrender.forward import ForwardRenderer
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

KEPT = Path(__file__).parent / "blender"


def channels(path: Path) -> dict[str, torch.Tensor]:
    file = OpenEXR.File(str(path), separate_channels=True)
    return {
        name.removeprefix("ViewLayer."): torch.from_numpy(channel.pixels.astype(np.float32))
        for name, channel in file.channels().items()
    }


def light_for_blender(path: Path) -> EnvironmentMap:
    """The light that the scene was rendered under, as Blender wants it; and as it is here."""
    light = builtin_environment("courtyard")
    write_environment(path, light.rotated(-90))
    return light


def told(folder: Path) -> tuple[GBuffer, torch.Tensor]:
    """The G-buffer with everything told, material by object, and the picture that Cycles rendered."""
    camera = read_cameras(folder / "transforms.json").camera
    stored = channels(folder / "aovs.exr")
    objects = stored["IndexOB.X"].round().long()
    things = json.loads((folder / "things.json").read_text())

    def material(name: str) -> torch.Tensor:
        values = [torch.as_tensor(things[str(index)][name]).float().reshape(-1) for index in sorted(map(int, things))]
        table = torch.stack([torch.zeros_like(values[0]), *values])
        return table[objects].permute(2, 0, 1)[None]

    world = torch.stack((stored["Normal.X"], stored["Normal.Z"], -stored["Normal.Y"]))[None]
    normal = torch.einsum("ji,tjhw->tihw", camera.pose[0, :3, :3], world)
    depth, there = stored["Depth.Z"][None, None], (objects > 0)[None, None]
    maps = {name: material(name) for name in ("base_color", "roughness", "metallic")}
    gbuffer = GBuffer(
        normal=normal * there, depth=torch.where(there, depth, torch.inf), mask=there.float(), camera=camera, **maps
    )
    return gbuffer, torch.stack([stored[f"Combined.{c}"] for c in "RGB"])[None]


def psnr(one: torch.Tensor, other: torch.Tensor, inside: torch.Tensor) -> float:
    """Of what a display shows, where there is a surface."""
    shown = [(value.clamp(min=0) / (1 + value.clamp(min=0))) ** (1 / 2.2) for value in (one, other)]
    return float(-10 * torch.log10(((shown[0] - shown[1]).square() * inside).sum() / (3 * inside.sum())))


def forward(folder: Path, name: str, out: Path, *options: str | Path) -> torch.Tensor:
    arguments = ["forward", folder / f"{name}.exr", "-o", out, "--light", "courtyard", *options]
    assert main([str(argument) for argument in arguments]) == 0
    return read_image(out).rgb


@pytest.mark.parametrize("name", ["ordinary", "aovs"])
def test_passes_render_as_well_as_what_is_told(name: str, tmp_path: Path):
    truth, beauty = told(KEPT)
    assert truth.mask is not None
    best = ForwardRenderer.from_pretrained("deferred")(truth, builtin_environment("courtyard")).beauty
    found = forward(KEPT, name, tmp_path / "a.exr", "--camera", KEPT / "transforms.json")
    limit = psnr(best, beauty, truth.mask)
    assert limit > 26  # what screen space makes of it
    assert psnr(found, beauty, truth.mask) > limit - 1
    if name == "aovs":
        assert psnr(found, best, truth.mask) > 35


@pytest.mark.parametrize("known", [True, False])
def test_normals_come_into_camera_axes_though_a_floor_fills_the_picture(known: bool):
    truth, _ = told(KEPT)
    gbuffer = read_gbuffer(KEPT / "aovs.exr", camera=truth.camera if known else None)
    assert gbuffer.normal is not None
    assert truth.normal is not None
    cosine = torch.cosine_similarity(gbuffer.normal, truth.normal)[truth.normal.norm(dim=1) > 0.9]
    assert float(cosine.clamp(-1, 1).acos().rad2deg().quantile(0.9)) < (0.2 if known else 1.5)


def test_metals_have_the_colour_of_their_gloss():
    truth, _ = told(KEPT)
    gbuffer = read_gbuffer(KEPT / "ordinary.exr")
    assert gbuffer.base_color is not None
    assert gbuffer.metallic is not None
    assert truth.base_color is not None
    inside = channels(KEPT / "ordinary.exr")["DiffCol.G"][None, None]
    metal = (truth.metallic == 1) & (inside == 0)
    assert metal.sum() > 100
    assert (gbuffer.metallic[metal] == 1).all()
    error = (gbuffer.base_color - truth.base_color).abs().amax(1, keepdim=True)[metal]
    assert error.quantile(0.9) < 0.002  # but for pixels at its edges
    plastic = (truth.metallic == 0) & (truth.base_color.sum(1, keepdim=True) > 0)
    assert (gbuffer.metallic[plastic] == 0).float().mean() > 0.95  # but for the pixels at the edges of the metal


@pytest.mark.parametrize("metallic", [0.0, 0.3, 0.7, 1.0])
def test_shares_of_metal_are_found_again(metallic: float):
    base = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    grey = base.mean(1, keepdim=True).expand(1, 3, 6, 7)
    diffuse, gloss = grey * (1 - metallic), 0.04 * (1 - metallic) + grey * metallic
    found, share = metals(diffuse, gloss)
    torch.testing.assert_close(share, torch.full_like(share, metallic), atol=0.02, rtol=0)
    torch.testing.assert_close(found, grey, atol=0.02, rtol=0)


def test_a_gloss_that_is_the_weight_of_a_lobe_makes_no_metal():
    diffuse, gloss = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 3, 4, 4)
    found, share = metals(diffuse, gloss)
    assert torch.equal(found, diffuse)
    assert not share.any()


@pytest.mark.slow
def test_blender_renders_what_is_kept_here(tmp_path: Path):
    program = shutil.which("blender")
    if program is None:
        pytest.skip("Blender is not installed (Debian: apt-get install blender)")
    light_for_blender(tmp_path / "light.exr")
    script = ["--background", "--factory-startup", "--python-exit-code", "1", "--python", str(KEPT / "scene.py")]
    subprocess.run([program, *script, "--", str(tmp_path / "light.exr"), str(tmp_path)], check=True, timeout=250)
    truth, beauty = told(tmp_path)
    kept, _ = told(KEPT)
    assert isinstance(truth.camera, Camera)
    torch.testing.assert_close(truth.camera.pose, kept.camera.pose)  # ty: ignore[unresolved-attribute]
    torch.testing.assert_close(truth.depth, kept.depth, rtol=0.01, atol=0.01)
    best = ForwardRenderer.from_pretrained("deferred")(truth, builtin_environment("courtyard")).beauty
    for name in ("ordinary", "aovs"):
        found = forward(tmp_path, name, tmp_path / f"{name}.made.exr", "--camera", tmp_path / "transforms.json")
        assert psnr(found, beauty, truth.mask) > psnr(best, beauty, truth.mask) - 1
