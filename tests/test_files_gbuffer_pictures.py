"""Folders with a picture for each map, named as official codes name them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import unrender as ur
from unrender.cli import main
from unrender.errors import UserError
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image, write_image
from unrender.files.sequences import open_gbuffers
from unrender.scene.gbuffer import GBuffer

SIZE = (12, 16)
NORMAL = torch.nn.functional.normalize(torch.tensor([0.3, -0.4, 0.8]), dim=0)


def plane(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None, None].expand(len(values), *SIZE)


def write_maps(folder: Path, names: dict[str, str], bits: int = 8, shift: float = 0.0) -> None:
    """The maps of one frame under the names given: {"base_color": "albedo.png", ...}."""
    values = {
        "base_color": plane(0.6 - shift, 0.3, 0.1),
        "normal": NORMAL[:, None, None].expand(3, *SIZE) / 2 + 0.5,
        "depth": torch.linspace(0, 1, 16).expand(3, *SIZE),
        "roughness": plane(0.4, 0.4, 0.4),
        "metallic": plane(0.8, 0.8, 0.8),
        "irradiance": plane(0.5, 0.4, 0.3),
        "material": plane(0.4, 0.8, 0.0),
    }
    for name, file in names.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = name in ("base_color", "irradiance")
        write_image(
            path, values[name], transfer="srgb" if colour else "linear", bits=bits if path.suffix == ".png" else 8
        )


LAYOUTS = {
    "diffusion renderer": {
        name: f"0000.0000.{buffer}.png"
        for name, buffer in (
            ("base_color", "basecolor"),
            *((same, same) for same in ("normal", "depth", "roughness", "metallic")),
        )
    },
    "cosmos": {
        name: f"0000.0000.{buffer}.jpg"
        for name, buffer in (
            ("base_color", "basecolor"),
            *((same, same) for same in ("normal", "depth", "roughness", "metallic")),
        )
    },
    "rgbx": {
        name: f"kitchen-{buffer}.png"
        for name, buffer in (
            ("base_color", "albedo"),
            *((same, same) for same in ("normal", "roughness", "metallic", "irradiance")),
        )
    },
    "ouroboros": {
        "base_color": "albedo.png",
        "normal": "normals.png",
        "roughness": "roughness.png",
        "metallic": "metallicity.png",
        "irradiance": "irradiance.png",
    },
    "marigold": {"base_color": "room_albedo.png", "material": "room_material.png", "normal": "room_normal_pred.png"},
    "folders": {
        "base_color": "Albedo/0001.png",
        "normal": "normal/0001.png",
        "roughness": "roughness/0001.png",
        "metallic": "metallic/0001.png",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [8, 16])
def test_official_names(tmp_path: Path, layout: str, bits: int):
    write_maps(tmp_path, LAYOUTS[layout], bits)
    gbuffer = read_gbuffer(tmp_path)
    loose = 0.03 if layout == "cosmos" else 0.006
    torch.testing.assert_close(gbuffer.base_color[0], plane(0.6, 0.3, 0.1), atol=loose, rtol=0)
    torch.testing.assert_close(gbuffer.normal[0], NORMAL[:, None, None].expand(3, *SIZE), atol=loose, rtol=0)
    torch.testing.assert_close(gbuffer.normal.norm(dim=1), torch.ones(1, *SIZE))
    assert gbuffer.roughness.mean().item() == pytest.approx(0.4, abs=0.003)
    assert gbuffer.metallic.mean().item() == pytest.approx(0.8, abs=0.003)
    if "irradiance" in LAYOUTS[layout]:
        torch.testing.assert_close(gbuffer.irradiance[0], plane(0.5, 0.4, 0.3), atol=0.006, rtol=0)
    if "depth" in LAYOUTS[layout]:
        assert gbuffer.depth_kind == "relative"
        assert gbuffer.depth.min() > 0
        assert (gbuffer.depth[0, 0, 0].diff() > 0).all()


def test_frames_are_a_clip_in_order(tmp_path: Path):
    for number in (9, 10, 11):
        names = {name: f"0000.{number}.{name}.png" for name in ("normal", "roughness")}
        write_maps(tmp_path, {"base_color": f"0000.{number}.basecolor.png", **names}, shift=number / 100)
    clip = open_gbuffers(tmp_path)
    assert (len(clip), clip.size) == (3, SIZE)
    reds = [frame.base_color[0, 0].mean().item() for frame in clip]
    assert reds == pytest.approx([0.51, 0.5, 0.49], abs=0.005)
    with pytest.raises(UserError, match="3 frames of maps"):
        read_gbuffer(tmp_path)
    assert len(ur.files.as_gbuffer(tmp_path)) == 3


def test_where_there_is_no_normal(tmp_path: Path):
    codes = torch.stack([plane(0.5, 0.5, 0.5), plane(0.0, 0.0, 0.0), plane(1.0, 1.0, 1.0), plane(0.5, 0.5, 1.0)])
    write_image(tmp_path / "normal.png", torch.cat(tuple(codes), dim=2), transfer="linear")
    there = read_gbuffer(tmp_path).normal.norm(dim=1)[0, 0].reshape(4, 16).mean(1)
    torch.testing.assert_close(there, torch.tensor([0.0, 0.0, 0.0, 1.0]))


def test_the_command_line_renders_them(tmp_path: Path):
    write_maps(tmp_path / "maps", LAYOUTS["ouroboros"])
    assert main(["forward", str(tmp_path / "maps"), "-o", str(tmp_path / "a.exr"), "--light", "city"]) == 0
    shown = read_image(tmp_path / "a.exr").rgb
    assert shown.shape[2:] == SIZE
    right = ur.ForwardRenderer.from_pretrained("deferred")(read_gbuffer(tmp_path / "maps"), "city")
    torch.testing.assert_close(shown, right.beauty, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("albedo.png", "a_albedo.png"), "frames of maps"),
        (("albedo.png", "basecolor.png"), "two pictures for base_color"),
        (("a.0.albedo.png", "a.0.normal.png", "a.1.albedo.png"), "normal of some frames and not of others"),
        (("picture.png",), "no pictures named by maps"),
        (("depth_colored.png",), "no pictures named by maps"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path: Path, names: tuple[str, ...], said: str):
    for name in names:
        write_image(tmp_path / name, torch.rand(3, *SIZE))
    with pytest.raises(UserError, match=said) as caught:
        read_gbuffer(tmp_path)
    assert "\n" not in str(caught.value)


def test_maps_of_two_sizes_are_refused(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "albedo.png")
    Image.new("RGB", (8, 9)).save(tmp_path / "normal.png")
    with pytest.raises(UserError, match="different sizes"):
        read_gbuffer(tmp_path)


def test_a_folder_of_exr_files_stays_what_it_was(tmp_path: Path):
    ur.write(tmp_path / "g.0001.exr", GBuffer(depth=torch.ones(1, 1, *SIZE)))
    write_image(tmp_path / "albedo.png", torch.rand(3, *SIZE))
    assert open_gbuffers(tmp_path).name == tmp_path.name
    assert next(iter(open_gbuffers(tmp_path))).base_color is None
