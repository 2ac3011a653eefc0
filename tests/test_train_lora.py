"""Training by adapters: they alone move, and are merged in what comes out."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_task import weights
from training import QUICK, folder_of, forward_card, frozen, inverse_card, lit_stills, stills
from unrender.device import Compute
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint, save_checkpoint
from unrender.diffusion.lora import Lora, adapt, merged
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames
from unrender.train.e2e import E2ERecipe, train_e2e
from unrender.train.start import Start

LORA = Lora(rank=2, alpha=4)
TOLD = (torch.ones(1, 24, 8, 8), 5, torch.ones(1, 2, 8))


def adapted(seed: int = 0):
    """A tiny model with adapters that already say something."""
    checkpoint = frozen(inverse_card())
    adapt(checkpoint.unet, LORA)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in checkpoint.unet.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=g) * 0.5)
    return checkpoint


def test_only_adapters_can_learn_and_they_begin_as_nothing():
    checkpoint = frozen(inverse_card())
    with torch.no_grad():
        before = checkpoint.unet(*TOLD).sample
        adapt(checkpoint.unet, LORA)
        torch.testing.assert_close(checkpoint.unet(*TOLD).sample, before)
    learning = {name for name, parameter in checkpoint.unet.named_parameters() if parameter.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    assert {name.split(".lora_")[0].rsplit("attn", 1)[1][2:] for name in learning} == set(LORA.targets)


def test_what_is_merged_answers_as_what_was_adapted():
    checkpoint = adapted()
    plain = merged(checkpoint.unet)
    assert plain is not checkpoint.unet
    assert not any("lora" in name for name in plain.state_dict())
    with torch.no_grad():
        expected = checkpoint.unet(*TOLD).sample
        torch.testing.assert_close(plain(*TOLD).sample, expected, rtol=1e-4, atol=1e-5)
        untouched = frozen(inverse_card()).unet(*TOLD).sample
    assert float((expected - untouched).abs().max()) > 1e-3
    assert any("lora" in name for name in checkpoint.unet.state_dict())


def test_a_model_without_adapters_is_itself():
    unet = frozen(inverse_card()).unet
    assert merged(unet) is unet


def test_what_is_exported_is_read_strictly_and_answers_alike(tmp_path: Path):
    checkpoint = adapted()
    save_checkpoint(replace(checkpoint, unet=merged(checkpoint.unet)), tmp_path / "model")
    loaded = load_checkpoint(find(tmp_path / "model"), Compute(torch.device("cpu"), torch.float32))
    with torch.no_grad():
        torch.testing.assert_close(loaded.unet(*TOLD).sample, checkpoint.unet(*TOLD).sample, rtol=1e-4, atol=1e-5)


def test_a_run_moves_the_adapted_layers_and_no_others(tmp_path: Path):
    start = folder_of(inverse_card(), tmp_path / "start")
    recipe = E2ERecipe(replace(QUICK, lr=1e-2), Start(model=start), memory="whole", lora=LORA)
    model = train_e2e(recipe, stills(), tmp_path / "run")
    before, after = weights(Path(start)), weights(model)
    assert before.keys() == after.keys()
    moved = {name.split(":")[1] for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert moved
    assert all(name.endswith(tuple(f"{target}.weight" for target in LORA.targets)) for name in moved)
    rendered = InverseRenderer.from_pretrained(model, InferenceOptions("cpu", "float32"))(
        Frames(torch.rand(1, 3, 32, 32))
    )
    assert rendered.normal is not None
    saved = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["weights"]
    assert all("lora_" in name for name in saved)


def test_an_environment_encoder_learns_beside_the_adapters(tmp_path: Path):
    start = folder_of(forward_card(), tmp_path / "start")
    recipe = E2ERecipe(QUICK, Start("forward", start), memory="whole", lora=LORA)
    train_e2e(recipe, lit_stills(), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["weights"]
    assert all("lora_" in name or name.startswith("environment.") for name in saved)
    assert any(name.startswith("environment.") for name in saved)


def test_layers_that_are_not_there_cannot_be_adapted():
    with pytest.raises(UserError, match="no layer of the UNet ends in to_nowhere"):
        adapt(frozen(inverse_card()).unet, Lora(2, 2, ("to_nowhere",)))


def test_adapters_without_peft_say_what_brings_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'unrender\[train\]'"):
        adapt(frozen(inverse_card()).unet, LORA)
