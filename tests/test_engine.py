"""How a checkpoint is run changes its speed and memory, not its answer."""

from pathlib import Path

import pytest
import torch

from official_folders import write_official
from tiny_models import tiny_card, tiny_checkpoint
from unrender.diffusion.checkpoints.published import published
from unrender.diffusion.decoding import BATCH_PIXELS, decode
from unrender.diffusion.running import Running
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames


def photo() -> Frames:
    return Frames(torch.rand(1, 3, 42, 58, generator=torch.Generator().manual_seed(0)))


def renderer(folder: Path, **running) -> InverseRenderer:
    return InverseRenderer.from_pretrained(folder, Running(dtype="float32", **running), long_side=64)


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


def test_a_batch_that_is_decoded_in_parts_is_the_same(monkeypatch):
    autoencoder, latents = tiny_checkpoint(tiny_card()).autoencoder, torch.randn(5, 4, 8, 8)
    with torch.no_grad():
        whole = decode(autoencoder, latents, 0.18215)
        seen = []
        autoencoder.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        monkeypatch.setitem(BATCH_PIXELS, "cpu", 2 * 8 * 8 * 8 * 8)
        parts = decode(autoencoder, latents, 0.18215)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
