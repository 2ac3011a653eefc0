"""The photo as a token: what GeoWizard is conditioned on in place of a prompt (Fu et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from unrender.device import Compute
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.errors import UserError
from unrender.files.tables import read_table

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

_SETTINGS = "preprocessor_config.json"


@dataclass(frozen=True)
class ImageEncoder:
    """CLIP's image encoder with its preprocessing.

    Attributes:
        model: the network.
        mean, std: (3,) (mean and deviation) by which pictures are normalised, float32, on its device.
        size: height and width of its input.
    """

    model: CLIPVisionModelWithProjection
    mean: Tensor
    std: Tensor
    size: tuple[int, int]


def load_image_encoder(location: ModelLocation, compute: Compute) -> ImageEncoder:
    """Reads `image_encoder/` and `feature_extractor/`, the network in the precision and to the device of `compute`.

    Raises:
        UserError: a file is missing or damaged, a tensor is missing, extra or mis-shaped, or the two do not fit.
    """
    from transformers import CLIPVisionModelWithProjection

    from unrender.diffusion.checkpoints.clip.network import load_clip

    path = location.component("feature_extractor") / _SETTINGS
    said = _read_settings(path)
    model = load_clip(CLIPVisionModelWithProjection, location.component("image_encoder"), compute)
    height, width, side = *_size(said, path), model.config.image_size
    if (height, width) != (side, side):
        raise UserError(
            f"{path}: the picture is resized to {height} x {width}; the image encoder takes {side} x {side}"
        )
    mean, std = (_colour(said, name, path).to(compute.device) for name in ("image_mean", "image_std"))
    return ImageEncoder(model, mean, std, (height, width))


@torch.no_grad()
def image_tokens(encoder: ImageEncoder, rgb_unit: Tensor) -> Tensor:
    """The token (B, 1, D) of each picture, in the network's precision.

    Args:
        rgb_unit: (B, 3, H, W) sRGB code values in [0, 1], the picture as the diffusion network sees it. It is
            stretched to the encoder's size, not cropped.
    """
    picture = functional.interpolate(rgb_unit.to(encoder.mean), size=encoder.size, mode="bicubic", antialias=True)
    # float32 up to here: the mean and the standard deviation have more digits than half precision.
    normal = (picture - encoder.mean[:, None, None]) / encoder.std[:, None, None]
    return encoder.model(normal.to(encoder.model.dtype)).image_embeds[:, None]


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.parent} has no {_SETTINGS}; expected a feature extractor in transformers' layout")
    return read_table(path)


def _size(said: dict[str, Any], path: Path) -> tuple[int, int]:
    size = said.get("crop_size")
    height, width = (size.get("height"), size.get("width")) if isinstance(size, dict) else (size, size)
    if not (isinstance(height, int) and isinstance(width, int)):
        raise UserError(f"{path}: crop_size is {size}; expected a number of pixels, or a height and a width")
    return height, width


def _colour(said: dict[str, Any], name: str, path: Path) -> Tensor:
    values = said.get(name)
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise UserError(f"{path}: {name} is {values}; expected three numbers")
    return torch.tensor(values, dtype=torch.float32)
