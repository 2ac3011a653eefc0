"""Draws docs/images/relit-sheet.jpg: photos, and frames of clips, beside themselves under three lights each, all of it
with the settings that `unrender relight` has by itself.

    python docs/make_contact_sheet.py [--out FILE.jpg] [PICTURE_OR_CLIP ...]

Without pictures, scikit-image's (CC0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from skimage import data

import unrender as ur
from unrender.relight import decompose, relight_decomposition
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.resize import resize_picture

OUT = Path(__file__).parent / "images" / "relit-sheet.jpg"
LIGHTS = ("sunset", "studio", "city")
WIDTH = 300  # of a picture on the sheet
WORKED_ON = 400  # pixels of the longer side that is relit


def shipped() -> dict[str, ur.Frames]:
    """scikit-image's photos of real scenes, all CC0."""
    photos = (data.astronaut, data.coffee, data.chelsea, data.rocket)
    pixels = {photo.__name__: torch.from_numpy(photo()[..., :3].copy()).permute(2, 0, 1)[None] for photo in photos}
    return {name: ur.Frames(srgb_to_linear(each.float() / 255), name=name) for name, each in pixels.items()}


def first_frame(path: Path) -> ur.Frames:
    return next(iter(ur.open_frames(path)))


def smaller(frames: ur.Frames) -> ur.Frames:
    """At `WORKED_ON`; what has an alpha is shown whole."""
    height, width = frames.rgb.shape[2:]
    factor = min(1.0, WORKED_ON / max(height, width))
    size = (round(height * factor), round(width * factor))
    return ur.Frames(resize_picture(frames.rgb, size), name=frames.name, hdr=frames.hdr)


def row(frames: ur.Frames, inverse: ur.InverseRenderer, forward: ur.ForwardRenderer) -> list[torch.Tensor]:
    """The photo and its relit pictures, display values (3, H, W)."""
    frames = smaller(frames)
    decomposition = decompose(frames, inverse, forward)
    lights = [ur.builtin_environment(name) for name in LIGHTS]
    shown = [frames.rgb, *(relight_decomposition(decomposition, light, forward).display for light in lights)]
    height, width = frames.rgb.shape[2:]
    size = (round(WIDTH * height / width), WIDTH)
    return [linear_to_srgb(resize_picture(picture, size)[0].clamp(0, 1)) for picture in shown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    photos = {path.stem: first_frame(path) for path in given.pictures} or shipped()
    inverse, forward = ur.InverseRenderer.from_pretrained("mini"), ur.ForwardRenderer.from_pretrained("deferred")
    rows = [torch.cat(row(frames, inverse, forward), dim=2) for frames in photos.values()]
    sheet = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(sheet).save(given.out, quality=88)
    print(given.out)


if __name__ == "__main__":
    main()
