"""Draws the pictures of README.md, docs/mini.md and docs/insert.md with the software itself, from scikit-image's
photos (CC0), and every shipped light on a ball.

python docs/make_pictures.py
"""

from pathlib import Path

import torch
from PIL import Image
from skimage import data
from torch import Tensor

import unrender as ur
from unrender.files import contact_sheet, tiles
from unrender.insert import Placement, Standing
from unrender.insert.preview import draw_placement
from unrender.relight import RelightOptions, Relit, decompose, display_gain, relight_decomposition
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.tone import tone_map

OUT = Path(__file__).parent / "images"
PHOTOS = {"coffee": data.coffee, "astronaut": data.astronaut}
LIGHTS = ("sunset", "studio", "forest", "interior")
TURNS = (0, 90, 180, 270)
WORDS = (
    "a red chair",
    "a blue vase",
    "a green plant",
    "a yellow sofa in a room",
    "a brown table on a grey ground",
    "a white house, under a clear sky",
)
TEAPOT = ((520.0, 300.0), "18%", -120.0)


def frames_of(pixels) -> ur.Frames:
    """8-bit sRGB pixels (H, W, 3) as linear frames."""
    encoded = torch.from_numpy(pixels[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    return ur.Frames(srgb_to_linear(encoded))


def shown(rgb: Tensor) -> Tensor:
    """Linear (1, 3, H, W) as a display picture (3, H, W)."""
    return linear_to_srgb(rgb[0].clamp(0, 1))


def relit_picture(relit: Relit) -> Tensor:
    """What was relit as a display picture (3, H, W)."""
    return shown(relit.display)


def save(pixels, name: str) -> None:
    Image.fromarray(pixels).save(OUT / f"{name}.jpg", quality=88)
    print(OUT / f"{name}.jpg")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    save_balls()
    save_insertion()
    save_words()
    inverse = ur.InverseRenderer.from_pretrained("mini")
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    for name, photo in PHOTOS.items():
        frames = frames_of(photo())
        save(contact_sheet(inverse(frames), tile=300), f"{name}-maps")
        decomposition = decompose(frames, inverse, forward)
        relit = {
            light: relit_picture(relight_decomposition(decomposition, ur.builtin_environment(light), forward))
            for light in LIGHTS
        }
        save(tiles({"photo": shown(frames.rgb), **relit, **turning(decomposition, forward)}, tile=300), f"{name}-relit")


def ball(size: int = 200) -> ur.GBuffer:
    """A grey ball with some gloss, before a level camera."""
    camera = Camera.perspective((size, size), 30.0)
    rays = pixel_rays(camera)
    centre = torch.tensor([0.0, 0.0, -4.2])[:, None, None]
    along, length2 = (rays * centre).sum(1, keepdim=True), (rays * rays).sum(1, keepdim=True)
    inside = along**2 - length2 * (float(centre.square().sum()) - 1)
    distance = (along - inside.clamp(min=0).sqrt()) / length2
    normal = torch.where(inside > 0, rays * distance - centre, torch.zeros(()))
    grey = torch.full((1, 3, size, size), 0.5)
    rough = torch.full((1, 1, size, size), 0.35)
    mask = (inside / inside.abs().amax() * size).clamp(0, 1)
    return ur.GBuffer(base_color=grey, normal=normal, roughness=rough, mask=mask, camera=camera)


def save_insertion() -> None:
    """A teapot that is not there, in the photo's own light, and where it would stand."""
    frames = frames_of(data.coffee())
    placement = Placement((Standing(*TEAPOT),))
    made = ur.insert(frames, "teapot", placement=placement)
    preview = draw_placement(made.plan.scene, frames.rgb, ur.builtin_environment("studio"))
    pair = torch.cat((shown(preview), shown(made.composite)), 2)
    save((pair.permute(1, 2, 0).numpy() * 255 + 0.5).astype("uint8"), "coffee-insert")


def save_words() -> None:
    """What `mini-t2i` makes of words."""
    model = ur.TextToImage.from_pretrained("mini-t2i")
    pictures = {words: shown(model(f"a photo of {words}", seed=3).rgb) for words in WORDS}
    save(tiles(pictures, tile=200), "words")


def save_balls() -> None:
    """Every shipped light on a ball, exposed alike, before the light itself."""
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    pictures = {}
    for name in ur.builtin_environment_names():
        passes = forward(ball(), ur.builtin_environment(name))
        gain = display_gain(torch.full_like(passes.beauty, 0.18), passes.surface, ball().mask)
        pictures[name] = shown(tone_map(passes.beauty * gain))
    Image.fromarray(tiles(pictures, tile=150)).save(OUT / "lights.png", optimize=True)
    print(OUT / "lights.png")


def turning(decomposition, forward) -> dict[str, Tensor]:
    """The studio light, turned."""
    light = ur.builtin_environment("studio")
    return {
        f"studio, {yaw} degrees": relit_picture(
            relight_decomposition(decomposition, light, forward, RelightOptions(yaw=yaw))
        )
        for yaw in TURNS
    }


if __name__ == "__main__":
    main()
