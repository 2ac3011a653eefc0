"""ViewDiff: a text-to-image model learns to make views that agree (Höllein et al. 2024, section 3.4 and appendix)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.card import (
    Grouping,
    Guidance,
    Identity,
    ModelCard,
    ScheduleCard,
    Source,
    TextPrompt,
    ViewLayers,
)
from unrender.diffusion.card.file import CARD_FILE, read_card
from unrender.diffusion.checkpoints.clip.text_encoder import embed_prompts
from unrender.diffusion.checkpoints.hub.ids import embedded
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint, save_view_layers
from unrender.diffusion.checkpoints.published.viewdiff import VIEWDIFF_CARD
from unrender.diffusion.codec import encode_picture
from unrender.diffusion.conditioning import Conditioning
from unrender.diffusion.engine import Engine
from unrender.diffusion.items import make_network
from unrender.diffusion.latents import decode_latents, encode_pictures
from unrender.diffusion.networks.views.cameras import camera_vectors, told_intensity
from unrender.diffusion.networks.views.install import add_views, is_added, projection_layers
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import CleanItems, sample
from unrender.diffusion.schedule import add_noise, discrete_schedule, make_schedule, training_target
from unrender.errors import UserError
from unrender.scene.camera import Camera
from unrender.scene.color import linear_to_srgb
from unrender.scene.trajectory import look_at
from unrender.train.base import load_base
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet
from unrender.train.view_sets import TrainingViews, ViewBatchData, check_views, draw_views, whole_views

PAPER = TrainConfig(
    steps=60_000,
    stages=(Stage(1.0, 256, 4),),
    accumulate=16,
    lr=5e-5,
    warmup=500,
    final_lr=1.0,
    betas=(0.9, 0.999),
    max_grad_norm=5e-3,
    ema_decay=0.0,
    precision="no",
    save_every=500,
)
"""The paper's: 64 sets of five a step, for a week on two A100. Score here: not measured."""


@dataclass(frozen=True)
class ViewDiffRecipe:
    """Attributes:
    config: how long and how fast; `batch` counts sets.
    base: the folder of a text-to-image model in Stable Diffusion's layout, or an embedded one's id.
    layers: what is added to it.
    views: of a set, in a batch.
    known: probability that each of the first `most_known` views is given clean, and out of the loss.
    left_out: last views of a set, which are rendered from the voxels and not lifted into them.
    dropout: probability that a view's text is dropped.
    prior: weight of the loss on pictures of the base's own, which keeps it from forgetting (DreamBooth, Ruiz et al.
        2023); 0 for none.
    prior_pictures: how many of them, made before training.
    renderer_rate: how many times as fast the volume renderer learns, without weight decay. The released script's; the
        paper's is 100.
    density_noise: deviation of the noise on the density's logits.
    density: bias of a new volume's density; at the paper's -5 it is all but empty, and has little to learn from.
    lateness: timesteps are drawn as u^(1 / lateness) of the last; above 1 the noisiest come more often, where what a
        view shows can only be known from the others.
    frozen: the base stays as it is, and only what was added is trained and written.
    """

    config: TrainConfig = PAPER
    base: str = ""
    layers: ViewLayers = field(default_factory=ViewLayers)
    views: int = 5
    known: float = 0.25
    most_known: int = 2
    left_out: int = 1
    dropout: float = 0.2
    prior: float = 0.1
    prior_pictures: int = 64
    renderer_rate: float = 20.0
    density_noise: float = 1.0
    density: float = -5.0
    lateness: float = 1.0
    frozen: bool = False


MINI = ViewDiffRecipe(
    TrainConfig(steps=6000, stages=(Stage(0.8, 64, 4), Stage(0.2, 128, 2)), lr=1.5e-3, final_lr=0.1, ema_decay=0.998),
    layers=ViewLayers(
        others=None,
        rank=32,
        projection="paper",
        grid=8,
        levels=1,
        samples=8,
        joining="zero",
        distance=3.5,
        background=0.4,
        intensity="given",
    ),
    known=0.5,
    prior=0.0,
    renderer_rate=2.0,
    density=-1.0,
    lateness=1.5,
)
"""Over a small text-to-image model, which learns as well: that of `mini-mv`, docs/multiview.md."""
SMOKE = ViewDiffRecipe(
    TrainConfig(steps=20, stages=(Stage(1.0, 32, 1),), lr=1e-3, warmup=5, ema_decay=0.5, save_every=10, precision="no"),
    layers=ViewLayers(others=None, rank=4, grid=16, inner=4, samples=8, joining="zero", distance=3.5),
    views=3,
    prior_pictures=2,
    frozen=True,
)
"""Checks that the recipe runs; not measured."""
RECIPES = {"paper": ViewDiffRecipe(), "mini": MINI, "smoke": SMOKE}


def train_viewdiff(
    recipe: ViewDiffRecipe, sets: Sequence[TrainingViews], out: Path, report: Report | None = None
) -> Path:
    """Trains the views of a text-to-image model; see `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe, there is no base, or nothing to learn from.
    """
    check_views(sets, recipe.views)
    if recipe.left_out >= recipe.views or recipe.most_known + recipe.left_out > recipe.views:
        raise UserError(
            f"recipe: {recipe.views} views, {recipe.left_out} of them left out and {recipe.most_known} known; expected "
            "one at least that is noisy and lifted"
        )
    checkpoint = starting_views(recipe)
    folder = RunFolder(out)
    folder.claim(recipe)
    held, rest = (sets[:1], sets[1:]) if len(sets) > 2 else (sets, sets)
    return run(ViewDiffTask(checkpoint, recipe, list(rest), list(held)), recipe.config, folder, report)


def starting_views(recipe: ViewDiffRecipe) -> Checkpoint:
    """The base with its new layers, float32, everything but what learns frozen.

    Raises:
        UserError: there is no such base, or it is no text-to-image model.
    """
    if not recipe.base:
        raise UserError("views are learnt by a text-to-image model; expected --base, a folder or an id")
    folder = embedded("text_to_image").get(recipe.base, Path(recipe.base))
    card = views_card(folder, recipe)
    torch.manual_seed(recipe.config.seed)
    checkpoint = load_base(str(folder), replace(card, conditioning=card.conditioning[:1]))
    checkpoint = replace(checkpoint, card=replace(checkpoint.card, conditioning=card.conditioning))
    add_views(checkpoint.unet, recipe.layers)
    checkpoint.autoencoder.requires_grad_(False).eval()
    for layer in projection_layers(checkpoint.unet):
        nn.init.constant_(layer.volume_renderer.bias_opacity, recipe.density)
    for name, parameter in checkpoint.unet.named_parameters():
        parameter.requires_grad_(not recipe.frozen or is_added(name))
    return checkpoint


def views_card(folder: Path, recipe: ViewDiffRecipe) -> ModelCard:
    """The card of what a base becomes: the base's own latents and text, where it has a card; those of Stable Diffusion
    where it has none."""
    own = (folder / CARD_FILE).is_file()
    card = read_card(folder) if own else VIEWDIFF_CARD
    if own and (card.task != "text_to_image" or card.maps.inputs or card.stacked is False):
        raise UserError(f"{folder} is a model for {card.task}; expected one that makes pictures of texts")
    schedule = card.sampling.schedule
    if not isinstance(schedule, ScheduleCard):
        raise UserError(f"{folder} has a {schedule.kind} schedule; expected one of the DDPM family")
    text = card.text or TextPrompt(padded=True)
    side, size = recipe.config.stages[-1].side, card.maps.size
    where = recipe.base if recipe.base in embedded("text_to_image") else str(folder.absolute())
    source = Source(fallback=where if recipe.frozen else "")
    return replace(
        card,
        identity=Identity(
            f"{folder.name}-views",
            "ViewDiff",
            card.identity.licence if own else "",
            card.identity.commercial if own else None,
            source,
            "views of one thing along any camera path",
        ),
        task="multi_view",
        maps=replace(card.maps, size=replace(size, long_side=side, min_side=min(size.min_side, side // 2))),
        conditioning=(text, recipe.layers),
    ).with_sampling(
        schedule=replace(schedule, steps=10, solver="unipc", spacing="linspace", final_step="clean"),
        noise="gaussian",
        guidance=Guidance(text=7.5, image=1.0),
        grouping=Grouping("frame", joint="frames", shared_noise="none"),
    )


@dataclass(frozen=True)
class ViewDiffTask:
    """A network of views in training.

    Attributes:
        checkpoint: what learns.
        recipe: how.
        sets, held_out: what it learns from, and what validation looks at.
    """

    checkpoint: Checkpoint
    recipe: ViewDiffRecipe
    sets: list[TrainingViews]
    held_out: list[TrainingViews]

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The UNet."""
        for layer in projection_layers(self.checkpoint.unet):
            layer.noise = self.recipe.density_noise
        return {"unet": self.checkpoint.unet.train()}

    @cached_property
    def rates(self) -> Mapping[str, float]:
        """Parts of names of parameters that learn at another rate, and how many times as fast."""
        return {".volume_renderer.": self.recipe.renderer_rate}

    @cached_property
    def tokens(self) -> dict[str, Tensor]:
        """(N, D) of every caption, padded alike, and of the empty one."""
        texts = sorted({"", *(one.caption for one in (*self.sets, *self.held_out))})
        home = self.checkpoint.home
        if home is None:
            raise UserError("a base without a folder has no text encoder; expected one")
        return dict(zip(texts, embed_prompts(home, texts, padded=True), strict=True))

    @cached_property
    def prior(self) -> tuple[Tensor, tuple[str, ...]]:
        """Latents (P, C, h, w) of pictures that the base itself makes of the captions, at the first stage's size."""
        stage, count = self.recipe.config.stages[0], self.recipe.prior_pictures
        captions = sorted({one.caption for one in self.sets})
        chosen = tuple(captions[i % len(captions)] for i in range(count))
        base = load_base(
            str(self._base), replace(self.checkpoint.card, conditioning=self.checkpoint.card.conditioning[:1])
        )
        engine = Engine(replace(base, card=replace(base.card, sampling=self.checkpoint.card.sampling)), self._compute)
        shape = (1, engine.card.latents.channels, *engine.latent_size((stage.side, stage.side)))
        base.unet.to(self._device)
        made = []
        with torch.no_grad():
            for number, caption in enumerate(chosen):
                conditioning = Conditioning(tokens=(self.tokens[caption][None].to(self._device),))
                network = make_network(engine, conditioning, guided=False)
                noise = draw_noise("gaussian", shape, self.recipe.config.seed * 7919 + number)
                schedule = make_schedule(engine.card.sampling.schedule)
                made.append(sample(network, schedule, noise.to(self._device), 10).cpu())
        return torch.cat(made), chosen

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The error on the views that are noisy, and on pictures of the base's own."""
        self.checkpoint.autoencoder.to(self._device)
        engine = self._engine(networks["unet"])
        for number, layer in enumerate(projection_layers(self.checkpoint.unet)):
            layer.noise_source = spec.generator(8 + number)
        losses = {"views": self._view_loss(engine, draw_views(self.sets, spec, self.recipe.views), spec)}
        if self.recipe.prior:
            losses["prior"] = self.recipe.prior * self._prior_loss(engine, spec)
        return losses

    def _view_loss(self, engine: Engine, batch: ViewBatchData, spec: BatchSpec) -> Tensor:
        """Squared error on noised views, one timestep a set; known views are at 0 and out of it."""
        recipe, views = self.recipe, self.recipe.views
        clean = self._encode(engine, batch.rgb)
        generator = spec.generator(1)
        known = torch.rand(spec.count, views, generator=generator) < recipe.known
        known[:, recipe.most_known :] = False
        known = known.flatten().to(clean.device)
        lifted = torch.ones(spec.count, views)
        lifted[:, views - recipe.left_out :] = 0 if recipe.left_out else 1
        vectors = camera_vectors(batch.camera, batch.intensity, lifted.flatten())
        dropped = torch.rand(len(clean), generator=generator) < recipe.dropout
        tokens = self._tokens([caption for caption in batch.captions for _ in range(views)], dropped)
        timestep = self._timesteps(spec.count, generator).repeat_interleave(views).to(clean.device)
        error = self._error(
            engine,
            clean,
            timestep.masked_fill(known, 0),
            known,
            Conditioning(tokens=(tokens,), cameras=vectors.to(clean.device), group_size=views),
            spec.seed,
        )
        return error[~known].mean() if bool((~known).any()) else error.sum() * 0

    def _prior_loss(self, engine: Engine, spec: BatchSpec) -> Tensor:
        """The same on pictures of the base's own, each a set of one, seen from anywhere (r in [2, 4] and 0 to 60
        degrees above the horizon, as the released code draws them)."""
        latents, captions = self.prior
        generator = spec.generator(2)
        index = torch.randint(len(latents), (spec.count,), generator=generator)
        azimuth, elevation = (
            torch.rand(2, spec.count, generator=generator) * torch.tensor([[360.0], [60.0]])
        ).deg2rad()
        away = 2 + 2 * torch.rand(spec.count, generator=generator)
        flat = away * elevation.cos()
        eye = torch.stack((flat * azimuth.sin(), away * elevation.sin(), flat * azimuth.cos()), 1)
        camera = Camera.perspective((spec.side, spec.side), 50.0, look_at(eye, torch.zeros(3)))
        clean = latents[index].to(self._device)
        dropped = torch.rand(spec.count, generator=generator) < self.recipe.dropout
        tokens = self._tokens([captions[int(i)] for i in index], dropped)
        timestep = self._timesteps(spec.count, generator).to(clean.device)
        conditioning = Conditioning(tokens=(tokens,), cameras=camera_vectors(camera).to(clean.device), group_size=1)
        known = torch.zeros(spec.count, dtype=torch.bool, device=clean.device)
        return self._error(engine, clean, timestep, known, conditioning, spec.seed + 1).mean()

    def _error(
        self, engine: Engine, clean: Tensor, timestep: Tensor, known: Tensor, conditioning: Conditioning, seed: int
    ) -> Tensor:
        """(B,) squared errors (Ho et al. 2020, eq. 14)."""
        schedule = discrete_schedule(self._schedule)
        alpha = schedule.alphas_cumprod.to(clean.device)[timestep][:, None, None, None].to(clean)
        noise = draw_noise("gaussian", tuple(clean.shape), seed).to(clean)
        noisy = torch.where(known[:, None, None, None], clean, add_noise(clean, noise, alpha))
        output = make_network(engine, conditioning, guided=False)(noisy, timestep)
        return (output - training_target(clean, noise, alpha, self._schedule.prediction)).square().mean((1, 2, 3))

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """Held-out views above what the network makes of the first of them."""
        self.networks["unet"].eval()
        engine = self._engine(self.networks["unet"])
        shown = whole_views(self.held_out[0], self.recipe.config.stages[-1].side, self.recipe.views)
        clean = self._encode(engine, shown.rgb)
        known = torch.arange(len(clean), device=clean.device) == 0
        intensity = told_intensity(self.recipe.layers.intensity, shown.rgb[:1]).expand(len(clean), 2)
        conditioning = Conditioning(
            tokens=(self._tokens([shown.caption] * len(clean), torch.zeros(len(clean), dtype=torch.bool)),),
            cameras=camera_vectors(shown.camera, intensity).to(clean.device),
            group_size=len(clean),
        )
        noise = draw_noise("gaussian", tuple(clean.shape), 0).to(clean)
        network = make_network(engine, conditioning, guided=False)
        made = sample(network, make_schedule(self._schedule), noise, 10, CleanItems(known, clean))
        pictures = decode_latents(engine, made)[:, 0].cpu() * 0.5 + 0.5
        self.networks["unet"].train()
        return {"views": sheet([linear_to_srgb(shown.rgb.clamp(0, 1)), pictures])}

    def export(self, folder: Path) -> None:
        """Writes the model in half precision: the added layers alone where the base was frozen."""
        checkpoint = replace(self.checkpoint, tokens={"": self.tokens[""]})
        if self.recipe.frozen:
            save_view_layers(checkpoint, folder, torch.float16)
        else:
            save_checkpoint(checkpoint, folder, torch.float16)

    def _encode(self, engine: Engine, rgb: Tensor) -> Tensor:
        with torch.no_grad():
            pictures = encode_picture({"rgb": rgb.to(self._device)}, engine.card.maps.targets[0])
            return encode_pictures(engine, pictures)

    def _tokens(self, captions: Sequence[str], dropped: Tensor) -> Tensor:
        chosen = ["" if drop else caption for caption, drop in zip(captions, dropped.tolist(), strict=True)]
        return torch.stack([self.tokens[caption] for caption in chosen]).to(self._device)

    def _timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(count, generator=generator) ** (1 / self.recipe.lateness)
        return (drawn * self._levels).long().clamp(max=self._levels - 1)

    def _engine(self, unet: nn.Module) -> Engine:
        return Engine(replace(self.checkpoint, unet=unet), self._compute)

    @property
    def _schedule(self) -> ScheduleCard:
        schedule = self.checkpoint.card.sampling.schedule
        assert isinstance(schedule, ScheduleCard)
        return schedule

    @property
    def _levels(self) -> int:
        return self._schedule.train_steps

    @property
    def _base(self) -> Path:
        return embedded("text_to_image").get(self.recipe.base, Path(self.recipe.base))

    @property
    def _device(self) -> torch.device:
        return next(self.checkpoint.unet.parameters()).device

    @property
    def _compute(self) -> Compute:
        return Compute(self._device, torch.float32)
