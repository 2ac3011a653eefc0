"""The Nuke gizmos without Nuke: their text is whole, their layers are those that we write, and their formulas, worked
out here pixel by pixel, are the light that our own renderer gives."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch

import unrender as ur

FOLDER = Path(__file__).parent.parent / "hosts" / "nuke"
GIZMOS = sorted(FOLDER.glob("*.gizmo"))
LONG = {"R": "red", "G": "green", "B": "blue", "A": "alpha", "X": "red", "Y": "green", "Z": "blue"}


@dataclass(frozen=True)
class Gizmo:
    """Its layers, its knobs with what they are at first, and the formulas of its Expression node, in their order."""

    layers: dict[str, list[str]]
    knobs: dict[str, tuple[float, ...]]
    formulas: dict[str, str]


def read(path: Path) -> Gizmo:
    text = path.read_text()
    layers = {name: channels.split() for name, channels in re.findall(r"add_layer \{(\w+) ([^}]*)\}", text)}
    names = re.findall(r"addUserKnob \{(?:7|18) (\w+) ", text)
    knobs = {}
    for name in names:
        (value,) = re.findall(rf"^ {name} (.+)$", text, re.M)
        knobs[name] = tuple(float(number) for number in value.strip("{}").split())
    temporary = dict(re.findall(r"temp_name(\d) (\w+)", text))
    formulas = {temporary[place]: said for place, said in re.findall(r'temp_expr(\d) "([^"]+)"', text)}
    return Gizmo(layers, knobs, formulas | dict(re.findall(r' (expr\d) "([^"]+)"', text)))


def work_out(gizmo: Gizmo, channels: dict[str, np.ndarray], **knobs: float) -> np.ndarray:
    """What Nuke makes of the formulas, (H, W, 3): a channel that is not there is 0."""
    values = {name: (value,) if isinstance(value, float) else value for name, value in (gizmo.knobs | knobs).items()}
    known = {"pi": math.pi, "max": np.maximum, "pow": np.power, "sqrt": np.sqrt, "sin": math.sin, "cos": math.cos}

    def value(match: re.Match[str]) -> str:
        name = match.group(0)
        if name.startswith("parent."):
            _, knob, *part = name.split(".")
            return repr(values[knob]["rgb".index(part[0]) if part else 0])
        return f"channel({name!r})"

    def channel(name: str) -> np.ndarray | float:
        layer, _, component = name.partition(".")
        assert name in gizmo.layers.get(layer, ()), f"{name} is no channel of {component}"
        return channels.get(name, 0.0)

    for name, formula in gizmo.formulas.items():
        text = re.sub(r"parent\.\w+(?:\.[rgb])?|\b[a-z_]+\.(?:red|green|blue)\b", value, formula)
        known |= {letter: channels.get(f"rgba.{long}", 0.0) for letter, long in zip("rgb", LONG.values(), strict=False)}
        known[name] = eval(text, {"__builtins__": {}, "channel": channel}, dict(known))  # our own text
    return np.stack([known[f"expr{place}"] for place in range(3)], axis=-1)


def as_nuke_reads(path: Path) -> dict[str, np.ndarray]:
    """The channels of an EXR by the names that Nuke's Read node gives them."""
    found = {}
    for name, held in OpenEXR.File(str(path), separate_channels=True).parts[0].channels.items():
        layer, _, component = name.rpartition(".")
        found[f"{layer or 'rgba'}.{LONG.get(component, component)}"] = held.pixels.astype(np.float64)
    return found


def ball(size: int = 40) -> ur.GBuffer:
    y, x = torch.meshgrid(torch.linspace(1, -1, size), torch.linspace(-1, 1, size), indexing="ij")
    inside = (x * x + y * y < 0.95)[None, None]
    normal = torch.stack((x, y, (1 - x * x - y * y).clamp(min=0).sqrt()))[None] * inside
    colour = torch.tensor([0.7, 0.4, 0.2])[None, :, None, None].expand(-1, -1, size, size)
    return ur.GBuffer(
        base_color=colour,
        normal=normal,
        roughness=torch.full((1, 1, size, size), 0.5),
        metallic=torch.zeros(1, 1, size, size),
        mask=inside.float(),
        rgb=torch.zeros(1, 3, size, size),
    )


@pytest.mark.parametrize("path", GIZMOS, ids=lambda path: path.stem)
def test_the_text_is_whole(path: Path) -> None:
    text, gizmo = path.read_text(), read(path)
    assert text.count("{") == text.count("}")
    assert text.count('"') % 2 == 0
    assert text.startswith("version")
    assert text.rstrip().endswith("end_group")
    assert {f"expr{place}" for place in range(3)} <= set(gizmo.formulas)
    assert set(re.findall(r"parent\.(\w+)", text)) == set(gizmo.knobs), "a knob that is not used, or not there"
    assert path.stem in (FOLDER / "menu.py").read_text()
    for formula in gizmo.formulas.values():
        assert formula.count("(") == formula.count(")")


def test_the_lamp_lights_what_we_write_as_our_renderer_does(tmp_path: Path) -> None:
    gbuffer = ball()
    ur.files.write_gbuffer(tmp_path / "ball.exr", gbuffer, profile="nuke")
    channels = as_nuke_reads(tmp_path / "ball.exr")
    lamp = read(FOLDER / "unrender_lamp.gizmo")
    assert all(name in channels for names in lamp.layers.values() for name in names)
    azimuth, elevation, strength = 70.0, 25.0, 4.0
    made = work_out(lamp, channels, azimuth=azimuth, elevation=elevation, irradiance=strength)
    a, e = math.radians(azimuth), math.radians(elevation)
    towards = (math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e))
    light = ur.lamps_to_environment([ur.DistantLamp(towards, (strength,) * 3, 3.0)])
    render = ur.DeferredRenderer("monte_carlo", samples=256, background=False)
    ours = render(gbuffer, light).beauty[0].movedim(0, -1).numpy()
    seen = gbuffer.normal[0, 2].numpy() > 0.5  # towards the rim Disney's diffuse lobe is another than Lambert's
    assert np.abs(made - ours)[seen].mean() < 0.1 * ours[seen].mean()
    assert np.corrcoef(made[seen].ravel(), ours[seen].ravel())[0, 1] > 0.98
    assert made[15:25, 2:6].max() < 0.02, "the other side stays dark"


def test_a_lamp_that_is_out_leaves_the_picture() -> None:
    picture = {f"rgba.{name}": np.full((3, 3), value) for name, value in (("red", 2.0), ("green", 0.5), ("blue", 9.0))}
    made = work_out(read(FOLDER / "unrender_lamp.gizmo"), picture, irradiance=0.0)
    assert np.array_equal(made, np.stack(list(picture.values()), axis=-1))


def test_the_passes_add_up_to_the_beauty(tmp_path: Path) -> None:
    rendered = ur.DeferredRenderer("split_sum")(ball(), ur.EnvironmentMap.read("studio"))
    ur.write(tmp_path / "relit.exr", rendered)
    gizmo = read(FOLDER / "unrender_passes.gizmo")
    made = work_out(gizmo, as_nuke_reads(tmp_path / "relit.exr"))
    assert np.allclose(made, rendered.beauty[0].movedim(0, -1).numpy(), atol=1e-5)
    brighter = work_out(gizmo, as_nuke_reads(tmp_path / "relit.exr"), stops=1.0)
    assert np.allclose(brighter, 2 * made, atol=1e-5)
