"""The Inception network of the FID (Szegedy et al. 2016, as TensorFlow published it in 2015), by weights from a file.

Its widths are those of the file, so that tests can use a small one; its tensors have torchvision's names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, interpolate, max_pool2d

from unrender.errors import UserError
from unrender.evaluate.metrics.weights import Weights, pick, read_weights

WANTED = (
    "FID needs the Inception weights pt_inception-2015-12-05-6726825d.pth, from github.com/mseitzer/pytorch-fid "
    "(releases): --fid FILE"
)
SIDE = 299
CLASSES = 1008  # of the 2015 network; torchvision's own has 1000, other weights and other pooling


@dataclass(frozen=True)
class Inception:
    """The network up to its last pooling.

    Attributes:
        weights: the state dict.
        path: where it came from.
    """

    weights: Weights
    path: str

    @classmethod
    def read(cls, path: str | Path | None) -> Inception:
        """Reads `pt_inception-2015-12-05-6726825d.pth`. Raises UserError where it is missing, damaged or another."""
        if path is None:
            raise UserError(WANTED)
        weights = read_weights(path, WANTED)
        if "fc.weight" not in weights or len(weights["fc.weight"]) != CLASSES:
            raise UserError(f"{path} is not that network; {WANTED}")
        network = cls(weights, str(path))
        # A forward pass now names missing tensors before an hour of pictures has been rendered.
        network.features(torch.zeros(1, 3, SIDE, SIDE))
        return network

    def features(self, pictures: Tensor) -> Tensor:
        """(N, 2048) features of sRGB-encoded pictures (N, 3, H, W) in [0, 1], resized to 299 x 299 bilinearly with
        half-pixel centres and without antialiasing, and brought to [-1, 1], as pytorch-fid does."""
        x = interpolate(pictures.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        with torch.inference_mode():
            x = self._stem(2 * x - 1)
            for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
                x = self._block_35(x, name)
            x = self._to_17(x, "Mixed_6a")
            for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
                x = self._block_17(x, name)
            x = self._to_8(x, "Mixed_7a")
            x = self._block_8(x, "Mixed_7b", _average(x))
            # The published network pools by the maximum here, unlike the paper and torchvision.
            x = self._block_8(x, "Mixed_7c", max_pool2d(x, 3, stride=1, padding=1))
            return x.mean((2, 3))

    def _stem(self, x: Tensor) -> Tensor:
        x = self._convolve(x, "Conv2d_1a_3x3", stride=2, padded=False)
        x = self._chain(self._convolve(x, "Conv2d_2a_3x3", padded=False), "Conv2d_2b_3x3")
        x = self._chain(max_pool2d(x, 3, stride=2), "Conv2d_3b_1x1")
        return max_pool2d(self._convolve(x, "Conv2d_4a_3x3", padded=False), 3, stride=2)

    def _block_35(self, x: Tensor, name: str) -> Tensor:
        return torch.cat(
            (
                self._chain(x, f"{name}.branch1x1"),
                self._chain(x, *_numbered(f"{name}.branch5x5", 2)),
                self._chain(x, *_numbered(f"{name}.branch3x3dbl", 3)),
                self._chain(_average(x), f"{name}.branch_pool"),
            ),
            dim=1,
        )

    def _to_17(self, x: Tensor, name: str) -> Tensor:
        *firsts, last = _numbered(f"{name}.branch3x3dbl", 3)
        one = self._convolve(x, f"{name}.branch3x3", stride=2, padded=False)
        two = self._convolve(self._chain(x, *firsts), last, stride=2, padded=False)
        return torch.cat((one, two, max_pool2d(x, 3, stride=2)), dim=1)

    def _block_17(self, x: Tensor, name: str) -> Tensor:
        return torch.cat(
            (
                self._chain(x, f"{name}.branch1x1"),
                self._chain(x, *_numbered(f"{name}.branch7x7", 3)),
                self._chain(x, *_numbered(f"{name}.branch7x7dbl", 5)),
                self._chain(_average(x), f"{name}.branch_pool"),
            ),
            dim=1,
        )

    def _to_8(self, x: Tensor, name: str) -> Tensor:
        first, last = _numbered(f"{name}.branch3x3", 2)
        *firsts, last_of_four = _numbered(f"{name}.branch7x7x3", 4)
        one = self._convolve(self._chain(x, first), last, stride=2, padded=False)
        two = self._convolve(self._chain(x, *firsts), last_of_four, stride=2, padded=False)
        return torch.cat((one, two, max_pool2d(x, 3, stride=2)), dim=1)

    def _block_8(self, x: Tensor, name: str, pooled: Tensor) -> Tensor:
        one = self._chain(x, f"{name}.branch3x3_1")
        two = self._chain(x, *_numbered(f"{name}.branch3x3dbl", 2))
        return torch.cat(
            (
                self._chain(x, f"{name}.branch1x1"),
                self._chain(one, f"{name}.branch3x3_2a"),
                self._chain(one, f"{name}.branch3x3_2b"),
                self._chain(two, f"{name}.branch3x3dbl_3a"),
                self._chain(two, f"{name}.branch3x3dbl_3b"),
                self._chain(pooled, f"{name}.branch_pool"),
            ),
            dim=1,
        )

    def _chain(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self._convolve(x, name)
        return x

    def _convolve(self, x: Tensor, name: str, stride: int = 1, padded: bool = True) -> Tensor:
        """Convolution, batch normalisation by its running statistics, ReLU; padded to the same size, or not at all."""
        kernel = pick(self.weights, f"{name}.conv.weight", 4, self.path)
        if kernel.shape[1] != x.shape[1]:
            raise UserError(f"{self.path}: {name} takes {kernel.shape[1]} channels; expected {x.shape[1]}")
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2) if padded else 0
        mean, variance, weight, bias = (
            pick(self.weights, f"{name}.bn.{part}", 1, self.path)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return batch_norm(
            conv2d(x, kernel, stride=stride, padding=padding), mean, variance, weight, bias, eps=1e-3
        ).relu()


def _average(x: Tensor) -> Tensor:
    """3 x 3 means that count no padding, as TensorFlow's do."""
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{number}" for number in range(1, count + 1)]
