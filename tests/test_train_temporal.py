"""Temporal layers learn from clips with known motion, and are saved alone."""

from pathlib import Path

import pytest
import torch

from test_clips_steady import moving_truth
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.temporal import fingerprint, load_layers
from unrender.errors import UserError
from unrender.files.shards import Clip
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.motion import warp
from unrender.train.clips import load_training_clips, sample_window
from unrender.train.loop import BatchSpec
from unrender.train.start import Start, starting_checkpoint
from unrender.train.temporal import SMOKE, TemporalTask, _with_layers, train_temporal


def clips(frames: int = 5) -> list[Clip]:
    light = EnvironmentMap(torch.ones(1, 3, 8, 16))
    return [Clip(moving_truth(frames), light, "a wall", seed) for seed in range(2)]


def test_a_window_is_a_piece_of_a_clip_and_its_motion():
    loaded = load_training_clips(clips())
    spec = BatchSpec(24, 1, 3)
    window, again = (sample_window(loaded, 3, spec) for _ in range(2))
    assert torch.equal(window.frames.photo, again.frames.photo)
    maps = window.frames.maps
    assert (len(window.frames), window.flow.shape) == (3, (2, 2, 24, 24))
    moved = (warp(maps["base_color"][1:], window.flow) - maps["base_color"][:-1]).abs()
    inside = window.visible.expand_as(moved)
    assert inside.float().mean() > 0.5
    assert moved[inside].mean() < 0.01
    # Depth is scaled alike in all frames of a clip.
    assert torch.equal(loaded[0].maps["depth"][0], loaded[0].maps["depth"][4])


def test_stills_teach_no_motion():
    truth = moving_truth(2)
    still = GBuffer.concatenate([truth.frame(0)])
    with pytest.raises(UserError, match="several frames"):
        load_training_clips([Clip(still, EnvironmentMap(torch.ones(1, 3, 8, 16)), "", 0)])


def test_only_the_layers_learn_and_they_are_saved_alone(tmp_path: Path):
    checkpoint = starting_checkpoint(Start(model="mini"), 0)
    task = TemporalTask(_with_layers(checkpoint, 0), load_training_clips(clips()), SMOKE)
    learning = [name for name, value in task.networks["unet"].named_parameters() if value.requires_grad]
    assert learning
    assert all(name.startswith("temporal.") for name in learning)
    losses = task.losses(task.networks, BatchSpec(32, 1, 0))
    assert {"normal", "steady normal", "depth", "steady depth"} <= losses.keys()
    sum(losses.values()).backward()
    outs = [value.grad for name, value in task.networks["unet"].named_parameters() if name.endswith("out.weight")]
    moved = [grad is not None and float(grad.abs().sum()) > 0 for grad in outs]
    assert sum(moved) > len(moved) / 2  # those of one pixel, in so small pictures, may have nothing to say
    task.export(tmp_path / "temporal")
    assert sum(path.stat().st_size for path in (tmp_path / "temporal").iterdir()) < 2 * 2**20


def test_the_embedded_layers_are_those_of_the_embedded_weights():
    renderer = InverseRenderer.from_pretrained("mini")
    layers = load_layers(renderer.engine)
    assert layers is not None, "run `unrender train temporal` anew (docs/clips.md): mini has other weights"
    assert len(fingerprint(find("mini", "inverse"))) == 16
    assert sum(value.numel() for value in layers.parameters()) * 2 < 2 * 2**20


@pytest.mark.slow
def test_a_run_ends_with_layers(tmp_path: Path):
    folder = train_temporal(SMOKE, load_training_clips(clips()), tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
