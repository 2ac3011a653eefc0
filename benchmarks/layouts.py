"""Layouts of networks on a CPU: milliseconds, and errors against float64, of torch's usual order and channels last.

python benchmarks/layouts.py [--threads 1] [--side 256] [--large]
"""

import argparse
import copy
import platform
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.checkpoints.architecture import build_vae
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.networks.layout import lay_out

CPU = torch.device("cpu")


def shifted(network: nn.Module) -> nn.Module:
    """Channels last, and every normalisation given what its groups' means were taken off of: the difference of sums is
    then exact, up to the rounding of what is left."""

    def about_zero(norm: nn.Module, values: tuple[Tensor]) -> Tensor | None:
        (one,) = values
        if one.ndim != 4 or not isinstance(norm, nn.GroupNorm):
            return None
        means = one.float().mean((2, 3), keepdim=True).unflatten(1, (norm.num_groups, -1))
        return one - means.mean(2, keepdim=True).expand_as(means).flatten(1, 2).to(one.dtype)

    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(about_zero)
    return network.to(memory_format=torch.channels_last)


LAYOUTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "usual": lambda network: lay_out(network, CPU),
    "channels last": lambda network: network.to(memory_format=torch.channels_last),
    "shifted": shifted,
}


def cases(side: int, large: bool) -> Iterator[tuple[str, nn.Module, Callable[[nn.Module, torch.dtype], Tensor]]]:
    """Networks by name, as they were made, and what is asked of them: about a cut-out on white."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.ones(1, 3, side, side)
    picture[..., side // 3 : side // 2, side // 3 : side // 2] = 0.3
    for direction in ("inverse", "forward"):
        checkpoint = load_checkpoint(find("mini", direction), Compute(CPU, torch.float32), inference_only=True)
        config = checkpoint.unet.config
        latent = torch.randn(1, config["in_channels"], side // 4, side // 4, generator=generator)
        tokens = torch.randn(1, 4, config["cross_attention_dim"], generator=generator)
        yield f"mini {direction} UNet", bare(checkpoint.unet), unet_of(latent, tokens)
        channels = checkpoint.autoencoder.config["latent_channels"]
        yield f"mini {direction} autoencoder", bare(checkpoint.autoencoder), autoencoder_of(picture, channels, 4)
    if large:
        torch.manual_seed(0)
        yield "full-size autoencoder", build_vae().eval(), autoencoder_of(picture, 4, 8)


def bare(network: nn.Module) -> nn.Module:
    """The network without the hooks that put values in order."""
    for module in network.modules():
        module._forward_pre_hooks.clear()
    return network


def unet_of(latent: Tensor, tokens: Tensor) -> Callable[[nn.Module, torch.dtype], Tensor]:
    return lambda unet, precision: unet(latent.to(precision), 999, tokens.to(precision), return_dict=False)[0]


def autoencoder_of(picture: Tensor, channels: int, factor: int) -> Callable[[nn.Module, torch.dtype], Tensor]:
    height, width = picture.shape[2] // factor, picture.shape[3] // factor
    latent = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(1))

    def there_and_back(network: nn.Module, precision: torch.dtype) -> Tensor:
        encoded = network.encode(picture.to(precision)).latent_dist.mode()
        return torch.cat((encoded.flatten(), network.decode(latent.to(precision)).sample.flatten()))

    return there_and_back


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=128, help="pixels of the picture's sides")
    parser.add_argument("--large", action="store_true", help="a full-size autoencoder too")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} threads, torch {torch.__version__}")
    for name, network, ask in cases(arguments.side, arguments.large):
        exact = ask(copy.deepcopy(network).double(), torch.float64)
        for precision in (torch.float32, torch.bfloat16):
            laid = {key: lay(copy.deepcopy(network).to(precision)) for key, lay in LAYOUTS.items()}
            fastest = dict.fromkeys(laid, float("inf"))
            for _ in range(1 + arguments.runs):
                for key, one in laid.items():
                    start = time.process_time()
                    ask(one, precision)
                    fastest[key] = min(fastest[key], (time.process_time() - start) * 1e3)
            for key, one in laid.items():
                off = (ask(one, precision).double() - exact).abs()
                error = f"off by {off.max():.1e} at most, {off.mean():.1e} on average"
                print(
                    f"{name:<25} {str(precision)[6:]:<8} {key:<13} {fastest[key]:7.1f} ms of CPU, {error}", flush=True
                )


if __name__ == "__main__":
    main()
