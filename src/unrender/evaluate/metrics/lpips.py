"""Learned perceptual image patch similarity (Zhang et al. 2018), by weights from files.

The networks are AlexNet and VGG16 without their classifiers. Their widths are those of the file, so that tests can
use small ones.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from unrender.errors import UserError
from unrender.evaluate.metrics.weights import Weights, pick, read_weights

WANTED = (
    "LPIPS needs torchvision's AlexNet (alexnet-owt-7be5be79.pth) or VGG16 (vgg16-397923af.pth) weights, from "
    "download.pytorch.org/models: --lpips FILE"
)
LINEAR_WANTED = (
    "LPIPS needs its linear weights too (v0.1/{name}.pth of the package lpips, or those in torchmetrics: "
    "pip install 'unrender[metrics]'): --lpips-linear FILE"
)

# Normalises [-1, 1] to about the mean and deviation of ImageNet (the paper's code, v0.1).
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Block:
    """Convolutions, each with a ReLU, up to a place where features are taken.

    Attributes:
        convolutions: their numbers in torchvision's `features`.
        padding, stride: of each of them.
        pool: window of the max pooling before them, in steps of 2; 0 for none.
    """

    convolutions: tuple[int, ...]
    padding: int = 1
    stride: int = 1
    pool: int = 0


@dataclass(frozen=True)
class Family:
    """A network: its name among the linear weights, its first kernel, the smallest picture, and its blocks."""

    name: str
    kernel: int
    smallest: int
    blocks: tuple[Block, ...]


FAMILIES = (
    Family(
        "alex",
        11,
        31,
        (
            Block((0,), padding=2, stride=4),
            Block((3,), padding=2, pool=3),
            Block((6,), pool=3),
            Block((8,)),
            Block((10,)),
        ),
    ),
    Family(
        "vgg",
        3,
        16,
        (
            Block((0, 2)),
            Block((5, 7), pool=2),
            Block((10, 12, 14), pool=2),
            Block((17, 19, 21), pool=2),
            Block((24, 26, 28), pool=2),
        ),
    ),
)


@dataclass(frozen=True)
class Lpips:
    """The distance, with its network.

    Attributes:
        family: which network.
        weights: "N.weight" and "N.bias" of convolution N, "linN" of the weights of the features of block N.
    """

    family: Family
    weights: Weights

    @property
    def name(self) -> str:
        """The name in reports: figures of the two networks are not comparable."""
        return f"LPIPS ({self.family.name})"

    @classmethod
    def read(cls, backbone: str | Path | None, linear: str | Path | None = None) -> Lpips:
        """Reads the weights; whether it is AlexNet or VGG16 is told from their shapes.

        Args:
            backbone: a state dict of torchvision's `alexnet` or `vgg16` (its classifier is not used), or of a whole
                `lpips.LPIPS`, which has the linear weights in it.
            linear: a state dict of the linear weights, as in the package lpips. None: those in `backbone`, else those
                that an installed torchmetrics or lpips carries.

        Raises:
            UserError: nothing was given, or a file is missing, damaged, incomplete or of another network.
        """
        if backbone is None:
            raise UserError(WANTED)
        found = _by_number(read_weights(backbone, WANTED))
        first = pick(found, "0.weight", 4, backbone)
        family = next((f for f in FAMILIES if f.kernel == first.shape[-1]), None)
        if family is None:
            raise UserError(f"{backbone} is neither AlexNet nor VGG16; {WANTED}")
        if linear is None and "lin0" not in found:
            linear = _installed(family.name)
        source = backbone if linear is None else linear
        found |= {} if linear is None else _by_number(read_weights(linear, LINEAR_WANTED.format(name=family.name)))
        weights: Weights = {}
        for number, block in enumerate(family.blocks):
            for name in block.convolutions:
                weights[f"{name}.weight"] = pick(found, f"{name}.weight", 4, backbone)
                weights[f"{name}.bias"] = pick(found, f"{name}.bias", 1, backbone)
            width = len(weights[f"{block.convolutions[-1]}.bias"])
            weights[f"lin{number}"] = pick(found, f"lin{number}", 4, source)
            if weights[f"lin{number}"].shape != (1, width, 1, 1):
                raise UserError(f"{source}: lin{number} is not for {width} features; expected that of {family.name}")
        return cls(family, weights)

    def __call__(self, predicted: Tensor, target: Tensor, mask: Tensor) -> float:
        """Distance of two sRGB-encoded pictures (3, H, W) in [0, 1]: 0 for the same, larger for less alike.

        Outside the mask both are black. The mean goes over the whole picture, because features see across the mask's
        border; so figures of masks of other sizes do not compare. NaN where the mask is empty.

        Raises:
            UserError: the picture is too small for the network.
        """
        if min(mask.shape[1:]) < self.family.smallest:
            raise UserError(
                f"{self.name} of a picture of {tuple(mask.shape[1:])}; expected at least {self.family.smallest} pixels"
            )
        if not mask.any():
            return math.nan
        pair = torch.stack([picture.float().where(mask, 0.0) for picture in (predicted, target)])
        with torch.inference_mode():
            return float(self._distance(pair))

    def _distance(self, pair: Tensor) -> Tensor:
        shift, scale = (pair.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        x = (2 * pair - 1 - shift) / scale
        total = x.new_zeros(())
        for number, block in enumerate(self.family.blocks):
            if block.pool:
                x = max_pool2d(x, block.pool, stride=2)
            for name in block.convolutions:
                weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
                x = conv2d(x, weight, bias, stride=block.stride, padding=block.padding).relu()
            # Eq. 1: features of unit length, their squared differences weighed by channel, the mean over the picture.
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            total = total + conv2d((unit[:1] - unit[1:]).square(), self.weights[f"lin{number}"]).mean()
        return total


_NAMES = (
    (re.compile(r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)"), r"\1.\2"),
    (re.compile(r"lin(\d)\.model\.\d\.weight"), r"lin\1"),
)


def _by_number(weights: Weights) -> Weights:
    """The tensors of either layout, torchvision's or lpips', by the names that `Lpips` has for them."""
    return {
        match.expand(short): value
        for name, value in weights.items()
        for pattern, short in _NAMES
        if (match := pattern.fullmatch(name))
    }


def _installed(name: str) -> Path:
    """The linear weights that an installed package carries."""
    for package, folder in (("torchmetrics", "functional/image/lpips_models"), ("lpips", "weights/v0.1")):
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(root, folder, f"{name}.pth")
            if path.is_file():
                return path
    raise UserError(LINEAR_WANTED.format(name=name))
