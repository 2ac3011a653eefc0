"""Large stills, relit row by row: the same picture, in far less memory."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.nn import functional

import unrender as ur
from unrender.cli import main
from unrender.files.exr import read_channels
from unrender.forward import DeferredRenderer
from unrender.forward.deferred import Quality
from unrender.relight import RelightOptions, large, relight
from unrender.relight.decomposition import window_inverse
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

SIZE = (720, 900)  # of two strips


def photo(alpha: bool = False) -> Frames:
    pixels = np.array(Image.fromarray(data.astronaut()).resize(SIZE[::-1]))
    frames = ur.files.as_frames(pixels)
    mask = torch.ones(1, 1, *SIZE)
    mask[..., :300, :300] = 0.5
    return dataclasses.replace(frames, mask=mask) if alpha else frames


def guess(frames: Frames, maps: Sequence[str] | None = None) -> GBuffer:
    """A G-buffer of waves, with a hole in its normals, that no network has to find."""
    y, x = torch.meshgrid(torch.linspace(0, 6, SIZE[0]), torch.linspace(0, 6, SIZE[1]), indexing="ij")
    normal = functional.normalize(torch.stack((x.sin(), y.cos(), torch.full_like(x, 1.5)))[None], dim=1)
    normal[..., 400:500, 200:300] = 0
    one = torch.ones(1, 1, *SIZE)
    return GBuffer(
        base_color=frames.rgb.clamp(0.05, 0.8), normal=normal, depth=one + y.sin() * 0.2, roughness=0.4 * one
    )


@pytest.mark.parametrize(
    ("quality", "options", "alpha"),
    [
        pytest.param("screen_space", RelightOptions(yaw=40), False, marks=pytest.mark.slow),
        ("split_sum", RelightOptions(detail=False, background="light", exposure=-1.0), False),
        ("split_sum", RelightOptions(background="none"), True),
    ],
)
def test_row_by_row_it_is_the_same_picture(quality: Quality, options: RelightOptions, alpha: bool):
    frames, light, forward = photo(alpha), ur.EnvironmentMap.read("sunset"), DeferredRenderer(quality, samples=4)
    whole = relight(frames, light, guess, forward, options)
    relit = large.relight_large(frames, light, window_inverse(guess, options), forward, options)
    strips = list(relit.strips())
    assert len(strips) > 1
    assert relit.gain == pytest.approx(whole.gain, rel=0.02)
    for name, expected in whole.passes.passes.items():
        found = torch.cat([strip.passes.passes[name] for strip in strips], dim=2)
        torch.testing.assert_close(found * relit.gain, expected * whole.gain, rtol=0.03, atol=0.01)
    shown = torch.cat([strip.display for strip in strips], dim=2)
    assert float((shown - whole.display).abs().max()) < 0.02
    if whole.passes.alpha is not None:
        alphas = [strip.passes.alpha for strip in strips if strip.passes.alpha is not None]
        torch.testing.assert_close(torch.cat(alphas, dim=2), whole.passes.alpha)


def test_the_command_writes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(data.astronaut()).resize((96, 80)).save(tmp_path / "p.png")
    command = ["relight", str(tmp_path / "p.png"), "--light", "sunset", "-o"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(large, "PIXELS", 1000)
    assert main([*command, str(tmp_path / "rows")]) == 0
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("whole", "rows")]
    assert names[0] == names[1]
    one, other = (np.asarray(Image.open(tmp_path / f / "p.relit.png")).astype(float) for f in ("whole", "rows"))
    assert np.abs(one - other).mean() < 1
    one, other = (read_channels(tmp_path / f / "p.relit.exr") for f in ("whole", "rows"))
    assert list(one.channels) == list(other.channels)
    assert one.header.keys() == other.header.keys()
    passes = [other.channels[f"{name}.R"] for name in ("diffuse", "specular", "background")]
    assert np.array_equal(passes[0] + passes[1] + passes[2], other.channels["R"])
    one, other = (read_channels(tmp_path / f / "p.gbuffer.exr") for f in ("whole", "rows"))
    left_out = {name for name in one.channels if name.startswith(("irradiance.", "sky"))}
    assert set(one.channels) - set(other.channels) == left_out
    assert all(np.allclose(one.channels[name], other.channels[name], atol=1e-3) for name in other.channels)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["inverse", "relight"])
def test_a_picture_of_48_megapixels_takes_less_than_4_gb(tmp_path: Path, verb: str):
    Image.fromarray(data.astronaut()).resize((8000, 6000)).save(tmp_path / "p.jpg")
    program = (
        "import resource, sys; from unrender.cli import main; status = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024); sys.exit(status)"
    )
    command = [verb, str(tmp_path / "p.jpg"), "-o", str(tmp_path / "out")]
    command += ["--light", "sunset"] if verb == "relight" else []
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 4e9
