"""Personalisation (DiPIR, Liang et al. 2024, section 3.3): adapters that teach a text-to-image model one picture as a
style, "sks rendering", while pictures of the class to be inserted keep it from forgetting what that looks like."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.engine import Engine, load_engine
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import make_conditioning, make_network
from unrender.diffusion.latents import encode_pictures
from unrender.diffusion.lora import ADAPTERS_FILE, Lora, adapt, save_adapters
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.schedule import add_noise, discrete_schedule, training_target
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.scene.frames import Frames
from unrender.scene.resize import resize_picture
from unrender.train.augmentation import crop
from unrender.train.concept import class_prompt, concept_pictures, concept_prompts, display_codes
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.recipe import Stage, TrainConfig, resolved
from unrender.train.run_folder import RunFolder

CONCEPT_FOLDER = "concept"
INDOORS, OUTDOORS = 36, 200
"""Concept pictures that DiPIR makes: 30 to 40 for a picture taken indoors, 200 outdoors."""


@dataclass(frozen=True)
class PersonaliseRecipe:
    """What DiPIR states is the default: rank, prompts, numbers of concept pictures. The learning rate is that of
    diffusers' DreamBooth example for adapters; the steps are ours, for DiPIR says only that it takes under a quarter of
    an hour on one GPU, and were not measured at full size.

    Attributes:
        config: how long and how fast; a batch has so many windows of the target and as many concept pictures.
        base: id or folder of the text-to-image model.
        class_name: of the object that is to be inserted ("chair").
        style_prompt: what the target is called.
        concepts: concept pictures.
        preservation: weight of their loss; 0 leaves them out (and unmade).
        lora: the adapters.
    """

    config: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=500, stages=(Stage(1.0, 0, 1),), lr=1e-4, final_lr=1.0, ema_decay=0.0, validate_every=0
        )
    )
    base: str = "mini-t2i"
    class_name: str = ""
    style_prompt: str = "a scene in the style of sks rendering"
    concepts: int = INDOORS
    preservation: float = 1.0
    lora: Lora = field(default_factory=lambda: Lora(4, 4))

    @property
    def class_prompt(self) -> str:
        """What a concept picture is called."""
        return class_prompt(self.class_name)

    @property
    def guidance_prompt(self) -> str:
        """What the composite is to be: the class in a scene of that style."""
        return f"{self.class_prompt} in {self.style_prompt}"


SMALL = PersonaliseRecipe(
    TrainConfig(
        steps=150, stages=(Stage(1.0, 0, 4),), lr=2e-3, warmup=10, final_lr=0.1, ema_decay=0.0, validate_every=0
    )
)
"""For `mini-t2i`, whose few weights need larger changes."""
RECIPES = {"paper": PersonaliseRecipe(), "mini": SMALL}
SMALL_SIDE = 256
"""A model that makes pictures smaller than this is as small as `mini-t2i`."""


@dataclass(frozen=True)
class Run:
    """What a folder is claimed for: a recipe, and the picture that it teaches (its digest)."""

    recipe: PersonaliseRecipe
    target: str


def recipe_for(base: str) -> PersonaliseRecipe:
    """The recipe of DiPIR, or that of small models, for the text-to-image model `base`.

    Raises:
        UserError: no such model.
    """
    side = find(base, "text_to_image").card.maps.size.long_side
    return replace(RECIPES["mini" if side < SMALL_SIDE else "paper"], base=base)


@dataclass(frozen=True)
class PersonaliseTask:
    """A model that learns a picture.

    Attributes:
        engine: the model, with adapters in its UNet.
        target: (1, 3, H, W) sRGB codes in [0, 1].
        concepts: (N, 3, S, S) sRGB codes in [0, 1]; N = 0 where the concept is not preserved.
        prompts: (2, L, D) tokens of the style's prompt and of the class'.
        preservation: weight of the loss of concept pictures.
    """

    engine: Engine
    target: Tensor
    concepts: Tensor
    prompts: Tensor
    preservation: float

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The UNet, whose adapters alone learn."""
        return {"unet": self.engine.checkpoint.unet.train()}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The diffusion loss of windows of the target under the style's prompt, and that of concept pictures under the
        class' (Ruiz et al. 2023, eq. 2). Nothing is mirrored: where light comes from is part of what is learnt."""
        side = spec.side or self.engine.card.maps.size.long_side
        generator = spec.generator(0)
        drawn = {"target": self._windows(side, spec.count, generator)}
        if len(self.concepts):
            index = torch.randint(len(self.concepts), (spec.count,), generator=generator)
            drawn["concept"] = resize_picture(self.concepts[index], (side, side))
        errors = self._errors(networks["unet"], torch.cat(list(drawn.values())), spec)
        weights = {"target": 1.0, "concept": self.preservation}
        return {name: weights[name] * part.mean() for name, part in zip(drawn, errors.split(spec.count), strict=True)}

    def validate(self) -> dict[str, Tensor]:
        """Nothing: a picture of a large model takes as long as many steps."""
        return {}

    def export(self, folder: Path) -> None:
        """Writes the adapters as diffusers' pipelines read them."""
        save_adapters(self.engine.checkpoint.unet, folder)

    def _windows(self, side: int, count: int, generator: torch.Generator) -> Tensor:
        parts = [crop({"rgb": self.target}, side, generator)["rgb"] for _ in range(count)]
        return torch.cat(parts)

    def _errors(self, unet: nn.Module, pictures: Tensor, spec: BatchSpec) -> Tensor:
        """(B,) the squared error of what the network predicts of each noised picture, the first ones the target's."""
        checkpoint = replace(self.engine.checkpoint, unet=cast(UNet2DConditionModel, unet))
        engine = replace(self.engine, checkpoint=checkpoint)
        with torch.no_grad():
            clean = encode_pictures(engine, pictures * 2 - 1)
        schedule = discrete_schedule(cast(ScheduleCard, engine.card.sampling.schedule))
        timestep = torch.randint(len(schedule.alphas_cumprod), (len(clean),), generator=spec.generator(1))
        alpha = schedule.alphas_cumprod[timestep][:, None, None, None].to(clean)
        noise = draw_noise("gaussian", tuple(clean.shape), spec.seed).to(clean)
        which = (torch.arange(len(clean)) >= spec.count).long()
        inputs = Inputs((0, 0), len(clean), tokens=self.prompts[which])
        conditioning = make_conditioning(engine, engine.card.maps.targets, None, inputs)
        network = make_network(engine, conditioning, guided=False)
        output = network(add_noise(clean, noise, alpha), timestep.to(clean.device)).float()
        return (output - training_target(clean, noise, alpha, schedule.card.prediction)).square().mean((1, 2, 3))


def personalise(
    recipe: PersonaliseRecipe,
    target: Frames,
    out: Path,
    report: Report | None = None,
    *,
    concepts: Path | None = None,
) -> Path:
    """Teaches a model the picture `target`, in the run's folder `out`; see `loop.run`.

    Args:
        concepts: the folder of the concept pictures, where those that are there are not made again; in `out` when None.

    Returns:
        The folder with the adapters, `ADAPTERS_FILE`, for `ScoreDistillation` and for diffusers' pipelines.

    Raises:
        UserError: no such model, no class name, peft is not installed, or `out` holds a run of another recipe.
    """
    prompts = [recipe.style_prompt, recipe.class_prompt]
    engine = load_engine(recipe.base, "text_to_image", InferenceOptions(dtype="float32"), adaptable=True)
    if not isinstance(engine.card.sampling.schedule, ScheduleCard):
        raise UserError(f"{engine.card.id} has no schedule of the DDPM family; expected one in personalisation")
    model = TextToImage(engine)
    folder = RunFolder(out)
    folder.claim(Run(recipe, _digest(target)))
    engine.checkpoint.autoencoder.requires_grad_(False)
    tokens = model.embed(prompts)
    pictures = torch.empty(0)
    if recipe.preservation > 0 and recipe.concepts > 0:
        texts = concept_prompts(recipe.class_name, recipe.concepts, recipe.config.seed)
        pictures = concept_pictures(model, texts, concepts or out / CONCEPT_FOLDER, recipe.config.seed)
    torch.manual_seed(recipe.config.seed)
    adapt(engine.checkpoint.unet, recipe.lora)
    task = PersonaliseTask(engine, display_codes(target), pictures, tokens, recipe.preservation)
    return run(task, recipe.config, folder, report)


def personalised(
    recipe: PersonaliseRecipe, target: Frames, report: Report | None = None, cache: Path | None = None
) -> Path:
    """The same, in the user's cache: a picture that a model was taught once, by the same recipe, is not taught again,
    and concept pictures of a class serve every target.

    Args:
        cache: the folder of all such runs; None for the user's own.
    """
    root = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unrender" / "personalised"
    base = _identity_of(find(recipe.base, "text_to_image"))
    out = root / _key(resolved(Run(recipe, _digest(target))), base)
    concepts = root / f"{CONCEPT_FOLDER}-{_key(recipe.class_prompt, str(recipe.config.seed), base)}"
    done = RunFolder(out).model
    if (done / ADAPTERS_FILE).is_file():
        return done
    return personalise(recipe, target, out, report, concepts=concepts)


def _key(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:20]


def _digest(target: Frames) -> str:
    return hashlib.sha256(display_codes(target).contiguous().numpy().data).hexdigest()[:16]


def _identity_of(home: ModelLocation) -> str:
    """What stands for a model: the commit that it was pulled at, else the bytes of its components."""
    if home.revision:
        return home.revision
    key = hashlib.sha256()
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        for path in sorted(home.component(part).rglob("*")):
            if path.is_file():
                key.update(f"{part}/{path.name}".encode())
                with path.open("rb") as file:
                    key.update(hashlib.file_digest(file, "sha256").digest())
    return key.hexdigest()
