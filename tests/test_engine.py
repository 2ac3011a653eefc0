"""How a checkpoint is run changes its speed and memory, not its answer."""

from pathlib import Path

import pytest
import torch

from official_folders import write_official
from tiny_models import tiny_card, tiny_checkpoint
from unrender.device import Compute
from unrender.diffusion.checkpoints.published import published
from unrender.diffusion.engine import Engine
from unrender.diffusion.latents import BATCH_PIXELS
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames


def photo() -> Frames:
    return Frames(torch.rand(1, 3, 42, 58, generator=torch.Generator().manual_seed(0)))


def renderer(folder: Path, **inference) -> InverseRenderer:
    return InverseRenderer.from_pretrained(folder, InferenceOptions(dtype="float32", long_side=64, **inference))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own
def test_a_compiled_network_gives_the_same_maps(tmp_path):
    (card,) = published("zheng95z/rgb-to-x")
    folder = write_official(tmp_path, card)
    eager, compiled = (renderer(folder, compile=wanted)(photo(), steps=1) for wanted in (False, True))
    for name, values in eager.maps.items():
        torch.testing.assert_close(compiled.maps[name], values, atol=1e-4, rtol=1e-3, msg=name)


def test_compiling_without_a_compiler_is_one_line(tmp_path, monkeypatch):
    (card,) = published("zheng95z/rgb-to-x")
    folder = write_official(tmp_path, card)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        renderer(folder, compile=True)


def test_a_batch_in_parts_is_the_same(monkeypatch):
    """Three pictures of a frame are decoded, of 32 x 48 pixels each: two at once, and one."""
    engine = Engine(tiny_checkpoint(tiny_card()), Compute(torch.device("cpu"), torch.float32))
    small = Frames(photo().rgb[..., :32, :48])
    whole = InverseRenderer(engine)(small)
    seen = []
    engine.checkpoint.autoencoder.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setitem(BATCH_PIXELS, "cpu", 2 * 32 * 48)
    parts = InverseRenderer(engine)(small)
    assert seen == [2, 1]
    for name, values in whole.maps.items():
        torch.testing.assert_close(parts.maps[name], values, atol=1e-4, rtol=1e-3, msg=name)
