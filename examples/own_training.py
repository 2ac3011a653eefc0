"""One's own dataset, model and loss on unrender's training loop, and the model in a relight.

    python examples/own_training.py OUT [STEPS]

The dataset is drawn: matt balls under a lamp, with their true normals and colours. The model is a small convolutional
network that sees a picture and says normals and base colour; the loss is the angle of the one and the error of the
other. Stopped at any moment, the same command goes on, and ends with the same weights.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

import unrender as ur
from unrender.train import BatchSpec, RunFolder, Stage, StillDataset, TrainConfig, load_still_dataset, run_task

SIDE = 32
WEIGHTS = "own.safetensors"


def balls(count: int, seed: int = 0) -> Iterator[ur.GBuffer]:
    """The dataset: G-buffers with the picture `rgb` and its true maps, all (1, C, SIDE, SIDE), linear."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(1, -1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    for _ in range(count):
        px, py, radius = (torch.rand(3, generator=g) - 0.5) * torch.tensor([0.6, 0.6, 0.4]) + torch.tensor([0, 0, 0.6])
        height = (1 - ((x - px) / radius) ** 2 - ((y - py) / radius) ** 2).clamp(min=0).sqrt()
        mask = (height > 0).float()[None, None]
        normal = torch.stack(((x - px) / radius, (y - py) / radius, height))[None] * mask
        color = (0.2 + 0.7 * torch.rand(1, 3, 1, 1, generator=g)) * mask
        lamp = functional.normalize(torch.randn(3, generator=g) + torch.tensor([0.0, 1.0, 2.0]), dim=0)
        shading = (normal * lamp[None, :, None, None]).sum(1, keepdim=True).clamp(min=0) + 0.1
        yield ur.GBuffer(rgb=color * shading, base_color=color, normal=normal, mask=mask)


class OwnNetwork(nn.Module):
    """The model: a picture (N, 3, H, W), sRGB-encoded, to unit normals and base colour in [0, 1], each (N, 3, H, W)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.SiLU()]
        for dilation in (1, 2, 4, 8):
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 6, 1))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        direction, color = self.body(picture).split(3, dim=1)
        toward = torch.cat((direction[:, :2], functional.softplus(direction[:, 2:])), 1)  # to the camera
        return functional.normalize(toward, dim=1), color.sigmoid()


class OwnTask:
    """The loss, and what `unrender.train.Task` asks for besides."""

    def __init__(self, stills: StillDataset) -> None:
        torch.manual_seed(0)
        self.stills, self.network = stills, OwnNetwork()

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"own": self.network}

    def losses(self, networks: Mapping[str, nn.Module], spec: BatchSpec) -> dict[str, Tensor]:
        maps = self.stills.maps
        chosen = torch.randint(len(maps["rgb"]), (spec.count,), generator=spec.generator(0))
        rgb, normal, color, mask = (maps[name][chosen].float() for name in ("rgb", "normal", "base_color", "mask"))
        said, painted = networks["own"](_encoded(rgb))
        pixels = mask.sum().clamp(min=1)
        angle = (1 - (said * normal).sum(1, keepdim=True)) * mask
        error = (painted - color).abs() * mask
        return {"normal": angle.sum() / pixels, "base_color": error.sum() / (3 * pixels)}

    def validate(self) -> dict[str, Tensor]:
        said, painted = self.network(_encoded(self.stills.maps["rgb"][:1].float()))
        return {"normal": said[0] / 2 + 0.5, "base_color": painted[0]}

    def export(self, folder: Path) -> None:
        folder.mkdir()
        weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        safetensors.torch.save_file(weights, folder / WEIGHTS)


def own_inverse(model: Path):
    """The trained model as what `ur.relight` calls: frames, and the maps wanted, to a G-buffer."""
    network = OwnNetwork()
    network.load_state_dict(safetensors.torch.load_file(model / WEIGHTS))

    @torch.no_grad()
    def inverse(frames: ur.Frames, maps: Sequence[str] | None) -> ur.GBuffer:
        normal, color = network(_encoded(frames.rgb))
        return ur.GBuffer(rgb=frames.rgb, base_color=color, normal=normal)

    return inverse


def _encoded(rgb: Tensor) -> Tensor:
    return rgb.clamp(0, 1) ** (1 / 2.2)


def main(out: Path, steps: int = 200) -> None:
    stills = load_still_dataset(balls(64), required=("rgb", "base_color", "normal", "mask"))
    config = TrainConfig(steps=steps, stages=(Stage(1.0, SIDE, 8),), lr=3e-3, warmup=10, precision="no")
    folder = RunFolder(out / "run")
    folder.claim(config)
    model = run_task(OwnTask(stills), config, folder)
    (held_out,) = balls(1, seed=1)
    photo = ur.Frames(held_out.rgb)
    ur.write(out / "photo.png", photo)
    ur.write(out / "relit.png", ur.relight(photo, "sunset", own_inverse(model)))
    normal = own_inverse(model)(photo, None).normal
    cosine = (normal * held_out.normal).sum(1)[held_out.mask[:, 0] > 0]
    print(f"{float(cosine.clamp(-1, 1).acos().rad2deg().mean()):.1f} degrees off the true normals, on average")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
