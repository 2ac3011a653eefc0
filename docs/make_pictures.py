"""Draws the pictures of README.md and docs/mini.md with the software itself, from scikit-image's photos (CC0).

python docs/make_pictures.py
"""

from pathlib import Path

import torch
from PIL import Image
from skimage import data
from torch import Tensor

import unrender as ur
from unrender.files import contact_sheet, tiles
from unrender.relight import RelightOptions, decompose, recompose
from unrender.scene.color import linear_to_srgb, srgb_to_linear

OUT = Path(__file__).parent / "images"
PHOTOS = {"coffee": data.coffee, "astronaut": data.astronaut}
LIGHTS = ("sunset", "studio", "forest", "interior")
TURNS = (0, 90, 180, 270)


def frames_of(pixels) -> ur.Frames:
    """8-bit sRGB pixels (H, W, 3) as linear frames."""
    encoded = torch.from_numpy(pixels[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    return ur.Frames(srgb_to_linear(encoded))


def shown(rgb: Tensor) -> Tensor:
    """Linear (1, 3, H, W) as a display picture (3, H, W)."""
    return linear_to_srgb(rgb[0].clamp(0, 1))


def save(pixels, name: str) -> None:
    Image.fromarray(pixels).save(OUT / f"{name}.jpg", quality=88)
    print(OUT / f"{name}.jpg")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    inverse = ur.InverseRenderer.from_pretrained("mini")
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    for name, photo in PHOTOS.items():
        frames = frames_of(photo())
        save(contact_sheet(inverse(frames), tile=300), f"{name}-maps")
        decomposition = decompose(frames, inverse, forward)
        relit = {
            light: shown(recompose(decomposition, ur.builtin_environment(light), forward).beauty) for light in LIGHTS
        }
        save(tiles({"photo": shown(frames.rgb), **relit, **turning(decomposition, forward)}, tile=300), f"{name}-relit")


def turning(decomposition, forward) -> dict[str, Tensor]:
    """The studio light, turned."""
    light = ur.builtin_environment("studio")
    return {
        f"studio, {yaw} degrees": shown(recompose(decomposition, light, forward, RelightOptions(yaw=yaw)).beauty)
        for yaw in TURNS
    }


if __name__ == "__main__":
    main()
