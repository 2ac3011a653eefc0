"""Pictures of a concept as a text-to-image model knows it before it is taught anything: DreamBooth's prior (Ruiz et
al. 2023, section 3.3), with attributes drawn into the prompts as DiPIR does, so that a class is not narrowed to one
look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.codec import expose
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.files.images import read_image, write_image
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames

COLORS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "beige")
MATERIALS = ("wooden", "metal", "marble", "striped", "checked")
FINISHES = ("matte", "glossy", "worn", "polished")


def concept_prompts(class_name: str, count: int, seed: int) -> list[str]:
    """`count` prompts "a photo of a {attributes} {class}", each with one to three attributes drawn by `seed`."""
    generator = torch.Generator().manual_seed(seed)

    def one_of(words: tuple[str, ...], probability: float) -> list[str]:
        drawn = float(torch.rand((), generator=generator)), int(torch.randint(len(words), (), generator=generator))
        return [words[drawn[1]]] if drawn[0] < probability else []

    prompts = []
    for _ in range(count):
        said = [*one_of(FINISHES, 0.4), *one_of(COLORS, 1.0), *one_of(MATERIALS, 0.4)]
        prompts.append(class_prompt(" ".join([*said, class_name])))
    return prompts


def class_prompt(class_name: str) -> str:
    """ "a photo of a {class}", with the article that it needs.

    Raises:
        UserError: the name is empty.
    """
    name = " ".join(class_name.split())
    if not name:
        raise UserError("an empty class name; expected a word or two for the object, such as chair")
    return f"a photo of {'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def concept_pictures(
    model: TextToImage, prompts: list[str], folder: Path, seed: int, report: Callable[[int], None] | None = None
) -> Tensor:
    """What `model` makes of each prompt, (N, 3, S, S) sRGB codes in [0, 1], kept in `folder` one by one: a stopped run
    goes on where it was.

    Args:
        report: called with the number of pictures after each one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    tokens = model.embed(prompts)
    for number in range(len(prompts)):
        path = folder / f"{number:04d}.png"
        if not path.is_file():
            made = model.of_tokens(tokens[number : number + 1], seed=seed * 100_003 + number)
            write_image(path, made.rgb)
        pictures.append(display_codes(read_image(path)))
        if report is not None:
            report(number + 1)
    return torch.cat(pictures)


def display_codes(photo: Frames) -> Tensor:
    """The first frame of a picture, (1, 3, H, W), as sRGB codes in [0, 1]; a scene-referred one is exposed first."""
    linear = expose(photo.rgb[:1], "percentile") if photo.hdr else photo.rgb[:1]
    return linear_to_srgb(linear.clamp(0, 1))
