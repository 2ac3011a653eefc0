"""Captions of synthetic stills, in words for what the generator put there: things, materials, colours, place and light.

The nouns and materials are those of `Clip.things`, the colours are measured in the base colour that the camera sees,
and what the camera does not see has no word. One scene has many captions: which words are said is drawn at random, so
that a network learns "a chair" as well as "a photo of a matte red wooden chair on a brown ground, at night".
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.files.shards import Clip
from unrender.scene.color import linear_to_srgb
from unrender.synth.objects import FAMILIES
from unrender.synth.patterns import PATTERNS

COLORS = (
    "black",
    "white",
    "grey",
    "red",
    "orange",
    "yellow",
    "green",
    "teal",
    "blue",
    "purple",
    "pink",
    "brown",
    "beige",
)
LEAST_SHARE = 0.008
"""The share of the picture below which a thing is not named."""
MOST_THINGS = 3
"""The largest things are named; a list of ten teaches nothing."""

FINISHES, WEARS = ("matte", "glossy", "brushed", "polished"), ("worn", "scuffed", "labelled")
"""The generator's words for how smooth a material is, and for what was done to it."""

_SCENERY = ("ground", "floor", "wall", "walls")
LIGHTS = {
    "city": "in a city",
    "forest": "in a forest",
    "night": "at night",
    "studio": "in a studio",
    "studio boxes": "in a studio",
    "sunrise": "at sunrise",
    "sunset": "at sunset",
    "courtyard": "in a courtyard",
    "interior": "indoors",
    "sun and sky": "in the sun",
    "clear sky": "under a clear sky",
    "overcast": "under an overcast sky",
    "lamps": "by lamplight",
    "coloured light": "in coloured light",
}
"""How a light is said; a light that the generator does not know, a file of the user's, is said by its name."""


@dataclass(frozen=True)
class ThingWords:
    """The words for one visible thing.

    Attributes:
        noun: what it is ("chair", "cratered stone", "ground").
        color: one of `COLORS`.
        material: adjectives of its material, in order, without "plain" ("matte", "wooden").
        share: of the picture that it covers.
    """

    noun: str
    color: str
    material: tuple[str, ...]
    share: float


@dataclass(frozen=True)
class SceneWords:
    """The words for one still.

    Attributes:
        things: what is visible, largest first; without scenery.
        scenery: ground, floor and walls that are visible.
        light: a phrase for the light ("at night").
    """

    things: tuple[ThingWords, ...]
    scenery: tuple[ThingWords, ...]
    light: str

    @property
    def indoors(self) -> bool:
        """Whether it is a room."""
        return any(one.noun in ("floor", "walls") for one in self.scenery)


def scene_words(clip: Clip, frame: int = 0) -> Iterator[SceneWords]:
    """The words for one frame of a clip under its own light, then under each of its other lights."""
    things, scenery = _visible(clip, frame)
    for light in (clip.light.name, *(other.light.name for other in clip.lights)):
        yield SceneWords(things, scenery, LIGHTS.get(light, f"in the light of {light}"))


def caption(words: SceneWords, generator: torch.Generator | None = None) -> str:
    """A caption; the whole of it where there is no generator, else a random part of what could be said.

    The subject is always among what is said, in words that prompts have: "a photo of a chair".
    """
    say = _Chance(generator)
    named = words.things[: MOST_THINGS if say(0.7) else 1]
    text = _listed([_phrase(one, say) for one in named]) or "an empty scene"
    if scenery := [one for one in words.scenery if say(0.7)]:
        text += _place(scenery, say, indoors=words.indoors)
    if say(0.6):
        text += f", {words.light}"
    if generator is None or say(0.5):
        return f"a photo of {text}"
    return f"a scene with {text}" if say(0.3) else text


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption of the built-in families and lights can have, and those of the prompts by which a
    subject or a style is taught (DreamBooth, DiPIR), sorted."""
    sentences = [
        *FAMILIES, "cube ball cylinder", *PATTERNS, *FINISHES, *WEARS, *COLORS, *_SCENERY, *LIGHTS.values(),
        "a an photo of the scene with on in by and room empty style sks rendering light metal",
    ]  # fmt: skip
    return tuple(sorted({word for sentence in sentences for word in sentence.split()} | {","}))


def color_name(base_color: Tensor) -> str:
    """The name of a linear base colour (3,), by hue, saturation and value of its sRGB code."""
    red, green, blue = linear_to_srgb(base_color.clamp(0, 1)).tolist()
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.2:
        return "black"
    if saturation < 0.13:
        return "white" if value > 0.78 else "grey"
    degrees = hue * 360
    if 10 <= degrees < 50 and value < 0.66:
        return "brown"
    if 15 <= degrees < 65 and saturation < 0.42:
        return "beige"
    if (degrees < 15 or degrees >= 345) and saturation < 0.45 and value > 0.6:
        return "pink"
    bounds = (15, 42, 68, 165, 195, 255, 295, 345)
    names = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "red")
    return names[sum(degrees >= bound for bound in bounds)]


@dataclass(frozen=True)
class _Chance:
    """Says yes with a probability; always, where there is no generator."""

    generator: torch.Generator | None

    def __call__(self, probability: float) -> bool:
        return self.generator is None or float(torch.rand((), generator=self.generator)) < probability


def _visible(clip: Clip, frame: int) -> tuple[tuple[ThingWords, ...], tuple[ThingWords, ...]]:
    gbuffer = clip.gbuffer.frame(frame)
    gbuffer.require("instance", "base_color", by="a caption")
    maps = gbuffer.maps
    instance, color = maps["instance"][0, 0].round().long(), maps["base_color"][0]
    found = []
    for number, name in enumerate(clip.things, 1):
        there = instance == number
        share = float(there.float().mean())
        if name and share >= LEAST_SHARE:
            found.append(_words(name, color_name(color[:, there].mean(1)), share))
    found.sort(key=lambda one: -one.share)
    return (
        tuple(one for one in found if one.noun not in _SCENERY),
        tuple(one for one in found if one.noun in _SCENERY),
    )


def _words(name: str, color: str, share: float) -> ThingWords:
    """A thing's name taken apart: adjectives of the generator's materials, then the noun, of one word or more."""
    adjectives = {*PATTERNS, *FINISHES, *WEARS, "metal"}
    words = name.split()
    count = next((i for i, word in enumerate(words) if word not in adjectives), len(words) - 1)
    return ThingWords(" ".join(words[count:]), color, tuple(w for w in words[:count] if w != "plain"), share)


def _phrase(thing: ThingWords, say: _Chance) -> str:
    """Its article, some adjectives and the noun; the colour most often, for prompts name it most often."""
    color = [thing.color] if say(0.8) else []
    said = [word for word in thing.material if say(0.4)]
    finish = [word for word in said if word in (*WEARS, *FINISHES)]
    words = [*finish, *color, *(word for word in said if word not in finish), thing.noun]
    return " ".join(words if thing.noun == "walls" else [_article(words[0]), *words])


def _place(scenery: Sequence[ThingWords], say: _Chance, *, indoors: bool) -> str:
    ground = [_phrase(one, say) for one in scenery if one.noun in ("ground", "floor")]
    walls = [_phrase(one, say) for one in scenery if one.noun in ("wall", "walls")]
    if indoors:
        return f" in a room with {_listed([*walls[:1], *ground[:1]])}"
    return (f" on {ground[0]}" if ground else "") + (f" by {walls[0]}" if walls else "")


def _listed(phrases: Sequence[str]) -> str:
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
