"""All five maps of one picture at one step, against the published RGB->X procedure: five passes of fifty steps.

    python benchmarks/rgb_to_x.py [--size 256] [--steps 50]

Both with the same full-size networks and random weights, in one process, from the photo's tensor to the maps' tensors,
after loading. The published procedure is written out here as its repository runs it: the photo encoded for every map,
one evaluation after another with diffusers' DDIM scheduler, one decode for every map; in float32, torch's default on a
CPU, as float16 does not run there (on a GPU in float16, as published), and in the precision that unrender chooses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from full_size import full_size, machine, scheduler

from unrender.device import Compute, choose_compute
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.checkpoints.published.rgbx import RGB_TO_X
from unrender.diffusion.engine import Engine
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames


@torch.inference_mode()
def published(checkpoint: Checkpoint, compute: Compute, photo: torch.Tensor, steps: int) -> list[torch.Tensor]:
    """RGB->X as it was published: (1, 3, H, W) in [-1, 1] to five pictures."""
    ddim = scheduler()
    photo, maps = photo.to(compute.device, compute.dtype), []
    for prompt in checkpoint.card.prompts:
        tokens = checkpoint.tokens[prompt][None].to(photo)
        given = checkpoint.autoencoder.encode(photo).latent_dist.mode() * 0.18215
        latent = torch.randn(given.shape).to(given)
        ddim.set_timesteps(steps, device=compute.device)
        for timestep in ddim.timesteps:
            output = checkpoint.unet(torch.cat((latent, given), 1), timestep, tokens).sample
            latent = ddim.step(output, timestep, latent).prev_sample
        maps.append(checkpoint.autoencoder.decode(latent / 0.18215).sample.float().cpu())
    return maps


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ours(checkpoint: Checkpoint, compute: Compute, photo: Frames, rounds: int = 5) -> float:
    """The median of several runs, after one that does not count."""
    renderer = InverseRenderer(Engine(checkpoint, compute))
    times = sorted(seconds(lambda: renderer(photo)) for _ in range(rounds + 1))
    return times[len(times) // 2]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--size", type=int, default=256)
    arguments.add_argument("--steps", type=int, default=50)
    chosen = arguments.parse_args()
    size, steps = chosen.size, chosen.steps
    card = RGB_TO_X.with_maps(size=replace(RGB_TO_X.maps.size, long_side=size)).with_schedule(steps=1)
    compute = choose_compute()
    default = Compute(compute.device, torch.float16 if compute.device.type == "cuda" else torch.float32)
    photo = Frames(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))
    print(f"python benchmarks/rgb_to_x.py --size {size} --steps {steps}\n{machine()}", flush=True)

    checkpoint = full_size(card, compute)
    baseline = seconds(partial(published, full_size(card, default), default, photo.rgb * 2 - 1, steps))
    rows = {f"published, 5 x {steps} steps, {name(default)}": baseline}
    print(f"{next(iter(rows)):<48} {baseline:8.2f} s", flush=True)
    tiny = AutoencoderTiny(latent_channels=4).to(compute.device, compute.dtype).eval()
    for label, run in (
        (f"unrender, 5 maps at 1 step, {name(compute)}", lambda: ours(checkpoint, compute, photo)),
        ("  the same with a tiny decoder", lambda: ours(replace(checkpoint, decoder=tiny), compute, photo)),
        (
            f"published, 5 x {steps} steps, {name(compute)}",
            lambda: seconds(lambda: published(checkpoint, compute, photo.rgb * 2 - 1, steps)),
        ),
    ):
        taken = run()
        print(f"{label:<48} {taken:8.2f} s   {baseline / taken:6.1f} x faster than the first", flush=True)


def name(compute: Compute) -> str:
    return str(compute.dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
