"""Depth, normals and appearance of one picture, against diffusers' three Marigold pipelines one after another.

    python benchmarks/marigold.py [--size 512] [--steps 4] [--rounds 2]

Both from the same three full-size model folders with random weights (written once into a temporary folder), at the same
steps and processing size, each run in a process of its own, in turn, from loading to tensors: seconds, and the largest
memory of the process. diffusers is run as its documentation does it, in its default precision (float32) and in the one
that unrender chooses; each pipeline is let go before the next is loaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

MODELS = ("marigold-depth-v1-1", "marigold-normals-v1-1", "marigold-iid-appearance-v1-1")


def write_models(folder: Path) -> None:
    """The three models in the published layout, in half precision."""
    from full_size import scheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    from unrender.diffusion.checkpoints.architecture import build_unet, build_vae
    from unrender.diffusion.checkpoints.published import published

    torch.manual_seed(0)
    vae = build_vae().half()
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu"
        )
    ).half()
    for name in MODELS:
        (card,) = published(f"prs-eth/{name}")
        build_unet(card).half().save_pretrained(folder / name / "unet")
        vae.save_pretrained(folder / name / "vae")
        text.save_pretrained(folder / name / "text_encoder")
        write_tokenizer(folder / name / "tokenizer")
        scheduler().save_pretrained(folder / name / "scheduler")


def write_tokenizer(folder: Path) -> None:
    """A tokenizer that knows no words: the prompt is empty."""
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}))


def photo(size: int) -> torch.Tensor:
    return torch.rand(1, 3, size * 3 // 4, size, generator=torch.Generator().manual_seed(0))


def theirs(folder: Path, size: int, steps: int, dtype: torch.dtype) -> None:
    """diffusers' three pipelines, one after the other."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        MarigoldDepthPipeline,
        MarigoldIntrinsicsPipeline,
        MarigoldNormalsPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTokenizer

    kinds = (MarigoldDepthPipeline, MarigoldNormalsPipeline, MarigoldIntrinsicsPipeline)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, kind in zip(MODELS, kinds, strict=True):
        model = folder / name
        targets = {"target_properties": {"target_names": ["albedo", "material"]}} if "iid" in name else {}
        pipeline = kind(
            unet=UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=dtype),
            vae=AutoencoderKL.from_pretrained(model / "vae", torch_dtype=dtype),
            scheduler=DDIMScheduler.from_pretrained(model / "scheduler"),
            text_encoder=CLIPTextModel.from_pretrained(model / "text_encoder", dtype=dtype),
            tokenizer=CLIPTokenizer.from_pretrained(model / "tokenizer"),
            **targets,
        ).to(device)
        pipeline.set_progress_bar_config(disable=True)
        pipeline(photo(size), num_inference_steps=steps, processing_resolution=size, output_type="pt")
        del pipeline
        gc.collect()


def ours(folder: Path, size: int, steps: int, memory: str) -> None:
    """unrender, all three in one call, each model loaded in its turn."""
    from functools import partial

    from unrender.diffusion.options import InferenceOptions
    from unrender.inverse.multi_model import MultiModelRenderer
    from unrender.inverse.renderer import InverseRenderer
    from unrender.scene.color import srgb_to_linear
    from unrender.scene.frames import Frames

    load = partial(InverseRenderer.from_pretrained, inference=InferenceOptions(memory=memory, long_side=size))
    renderer = MultiModelRenderer(tuple(partial(load, folder / name) for name in MODELS))
    renderer(Frames(srgb_to_linear(photo(size))), steps=steps)


RUNS = {
    "diffusers, float32": lambda *a: theirs(*a, torch.float32),
    "diffusers, bfloat16": lambda *a: theirs(*a, torch.bfloat16),
    "unrender": lambda *a: ours(*a, "normal"),
    "unrender, memory low": lambda *a: ours(*a, "low"),
}


def measured(label: str, folder: Path, size: int, steps: int) -> tuple[float, float]:
    """Seconds and GiB at most, of one run in a process of its own."""
    arguments = [sys.executable, __file__, "--run", label, "--folder", folder, "--size", size, "--steps", steps]
    done = subprocess.run([str(a) for a in arguments], check=True, capture_output=True, text=True)
    taken, memory = json.loads(done.stdout.splitlines()[-1])
    return taken, memory


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--size", type=int, default=512)
    arguments.add_argument("--steps", type=int, default=4)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--run", choices=RUNS)
    arguments.add_argument("--folder", type=Path, help="models that are there already")
    chosen = arguments.parse_args()
    if chosen.run:
        start = time.perf_counter()
        RUNS[chosen.run](chosen.folder, chosen.size, chosen.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps([time.perf_counter() - start, peak]))
        return
    from full_size import machine

    print(f"python benchmarks/marigold.py --size {chosen.size} --steps {chosen.steps}\n{machine()}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        if not chosen.folder:
            write_models(folder)
        rounds = [{run: measured(run, folder, chosen.size, chosen.steps) for run in RUNS} for _ in range(chosen.rounds)]
    first = next(iter(RUNS))
    for run in RUNS:
        taken, memory = (statistics.median(done[run][i] for done in rounds) for i in (0, 1))
        speed = statistics.median(done[first][0] / done[run][0] for done in rounds)
        share = statistics.median(done[run][1] / done[first][1] for done in rounds)
        print(f"{run:<22} {taken:7.1f} s {memory:6.2f} GiB   {speed:5.2f} x as fast, {share:4.0%} of the memory")


if __name__ == "__main__":
    main()
