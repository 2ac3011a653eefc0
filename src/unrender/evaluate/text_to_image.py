"""How well a text-to-image model heeds its words, and how near its pictures are to those that the words were of.

No CLIP is asked. A model of known words is asked itself: a diffusion model that understands a caption errs less on a
noised picture under the right one than under a wrong one (Li et al. 2023, "Your diffusion model is secretly a zero-shot
classifier", eq. 4). What it makes is read by `mini`: its colours as base colour, its look as features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.engine import Engine
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import make_conditioning, make_network
from unrender.diffusion.latents import encode_pictures
from unrender.diffusion.schedule import add_noise, discrete_schedule, training_target
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.evaluate.metrics.frechet import frechet_distance, moments
from unrender.evaluate.report import Figure, Report, Scores
from unrender.files.shards import Clip
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.resize import resize_picture
from unrender.synth.captions import COLORS, LIGHTS, SceneWords, caption, color_name, scene_words

LEVELS = (0.3, 0.5, 0.65, 0.8, 0.9)
"""Shares of the schedule at which a caption is chosen: near clean the picture says all, near noise it says nothing."""
NOUNS = ("ball", "cube", "vase", "cylinder", "mug", "table", "chair", "bust")
"""The things whose colours are asked for, and that a wrong noun is one of."""
ASKED = 3
"""Nouns for each colour of which pictures are made."""

COLOR = Figure("rgb", "caption chosen, colour", "%", "latents", "all", higher_is_better=True)
NOUN = Figure("rgb", "caption chosen, thing", "%", "latents", "all", higher_is_better=True)
LIGHT = Figure("rgb", "caption chosen, light", "%", "latents", "all", higher_is_better=True)
HEARD = Figure("rgb", "colour as asked", "%", "base colour of mini", "middle", higher_is_better=True)
DISTANCE = Figure("rgb", "Fréchet distance", "", "features of mini, 2 x 2 means", "all")


@dataclass(frozen=True)
class Still:
    """A held-out picture, (1, 3, S, S) sRGB codes in [0, 1], and its words."""

    picture: Tensor
    words: SceneWords


def evaluate_text_to_image(
    model: TextToImage, clips: Iterable[Clip], progress: Callable[[int], None] | None = None, *, seed: int = 0
) -> Report:
    """Measures a model on the first frame of every clip that has a thing in it.

    Raises:
        UserError: fewer than two such clips, or a schedule that is none of the DDPM family.
    """
    reader = InverseRenderer.from_pretrained("mini")
    choices: dict[Figure, list[bool]] = {COLOR: [], NOUN: [], LIGHT: []}
    true, made = [], []
    for number, still in enumerate(_stills(clips, model.card.maps.size.long_side)):
        wrong = wrong_words(still.words, seed * 100_003 + number)
        errors = caption_errors(model, still, [still.words, *wrong.values()], seed * 100_003 + number)
        for figure, error in zip(wrong, errors[1:].tolist(), strict=True):
            choices[figure].append(float(errors[0]) < error)
        true.append(still.picture)
        made.append(linear_to_srgb(model(caption(still.words), seed=seed * 100_003 + number).rgb))
        if progress is not None:
            progress(number + 1)
    if len(true) < 2:
        raise UserError(f"evaluate text-to-image: {len(true)} pictures with things in them; expected 2 or more")
    chosen = {figure: 100 * sum(right) / len(right) for figure, right in choices.items()}
    flat = [picture.mean((2, 3), keepdim=True).expand_as(picture) for picture in true]
    found, trivial = (_distance(reader.engine, one, true) for one in (made, flat))
    answers: dict[str, Scores] = {
        "model": chosen | {HEARD: colors_heard(model, reader, seed), DISTANCE: found},
        "trivial": dict.fromkeys(chosen, 50.0) | {HEARD: 100 / len(COLORS), DISTANCE: trivial},
    }
    return Report(
        f"captions chosen: the right one against one with another colour, thing or light, by the error on the picture "
        f"noised to {', '.join(map(str, LEVELS))} of the schedule (trivial: a coin). Colour as asked: the base colour "
        f"that mini finds in the middle of pictures of one thing, {ASKED} for each of {len(COLORS)} colours (trivial: "
        "a guess). Fréchet distance: of pictures made of the captions to the true ones (trivial: the mean colour of "
        "each true picture)",
        len(true),
        answers,
    )


def wrong_words(words: SceneWords, seed: int) -> dict[Figure, SceneWords]:
    """The same words with the subject's colour, the subject's noun, or the light changed."""
    generator = torch.Generator().manual_seed(seed)

    def another(known: Sequence[str], than: str) -> str:
        others = [word for word in known if word != than]
        return others[int(torch.randint(len(others), (), generator=generator))]

    subject, *rest = words.things
    return {
        COLOR: replace(words, things=(replace(subject, color=another(COLORS, subject.color)), *rest)),
        NOUN: replace(words, things=(replace(subject, noun=another(NOUNS, subject.noun)), *rest)),
        LIGHT: replace(words, light=another(sorted(set(LIGHTS.values())), words.light)),
    }


@torch.inference_mode()
def caption_errors(model: TextToImage, still: Still, said: Sequence[SceneWords], seed: int) -> Tensor:
    """(N,) the mean squared error of what the network predicts of the noised picture under each of N captions, the
    noise being the same for all."""
    engine, schedule = model.engine, model.card.sampling.schedule
    if not isinstance(schedule, ScheduleCard):
        raise UserError(f"{model.card.id} has no schedule of the DDPM family; expected one where captions are chosen")
    levels = discrete_schedule(schedule)
    clean = encode_pictures(engine, still.picture * 2 - 1)
    tokens = model.embed([caption(words) for words in said])
    inputs = Inputs((0, 0), len(said), tokens=tokens)
    conditioning = make_conditioning(engine, engine.card.maps.targets, None, inputs)
    network = make_network(engine, conditioning, guided=False)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(said))
    for share in LEVELS:
        time = round(share * (len(levels.alphas_cumprod) - 1))
        alpha = torch.tensor(levels.alpha(time))
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        output = network(add_noise(clean, noise, float(alpha)).expand(len(said), -1, -1, -1), time).float()
        target = training_target(clean, noise, alpha.to(clean), schedule.prediction)
        total += (output - target).square().mean((1, 2, 3)).cpu()
    return total / len(LEVELS)


def colors_heard(model: TextToImage, reader: InverseRenderer, seed: int) -> float:
    """In how many of the pictures made of "a photo of a {color} {thing}" the thing has that colour, in percent."""
    right = []
    for number, color in enumerate(COLORS):
        for turn in range(ASKED):
            noun = NOUNS[(number + turn) % len(NOUNS)]
            article = "an" if color[0] in "aeiou" else "a"
            picture = model(f"a photo of {article} {color} {noun}", seed=seed * 100_003 + number * ASKED + turn)
            right.append(middle_color(reader, picture) == color)
    return 100 * sum(right) / len(right)


def middle_color(reader: InverseRenderer, picture: Frames) -> str:
    """The name of the mean base colour that `reader` finds in the middle ninth of a picture."""
    color = reader(picture, ["base_color"]).maps["base_color"]
    height, width = color.shape[2:]
    rows, columns = slice(height // 3, height - height // 3), slice(width // 3, width - width // 3)
    return color_name(color[0, :, rows, columns].flatten(1).mean(1))


def _stills(clips: Iterable[Clip], side: int) -> Iterator[Still]:
    for clip in clips:
        words = next(scene_words(clip))
        if words.things:
            rgb = clip.gbuffer.frame(0).maps["rgb"].clamp(0, 1)
            yield Still(linear_to_srgb(resize_picture(rgb, (side, side)).clamp(0, 1)), words)


@torch.inference_mode()
def _distance(reader: Engine, pictures: Sequence[Tensor], true: Sequence[Tensor]) -> float:
    def features(one: Tensor) -> Tensor:
        side = reader.card.maps.size.long_side
        latents = encode_pictures(reader, resize_picture(one, (side, side)) * 2 - 1)
        return functional.adaptive_avg_pool2d(latents, 2).flatten(1).cpu()

    ours, theirs = (torch.cat([features(one) for one in each]) for each in (pictures, true))
    return frechet_distance(moments(ours), moments(theirs))
