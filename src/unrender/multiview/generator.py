"""The generator: batches of views through the engine, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.card import Guidance, ModelCard, ViewLayers
from unrender.diffusion.checkpoints.clip.text_encoder import embed_prompts
from unrender.diffusion.engine import Engine, Plan, Prediction, load_engine, run
from unrender.diffusion.framing import Framing, plan_framing, unframe
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.latents import encode_pictures
from unrender.diffusion.networks.views.cameras import camera_vectors, told_intensity
from unrender.diffusion.networks.views.install import views_of
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.preprocessing import preprocess_target
from unrender.errors import UserError
from unrender.multiview.options import ViewOptions
from unrender.multiview.paths import CameraPath
from unrender.multiview.planner import ViewBatch, plan_views, same_views
from unrender.multiview.views import GeneratedView, ViewSet
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames
from unrender.scene.resize import resize_picture

DEFAULT_INFERENCE, DEFAULT_OPTIONS = InferenceOptions(), ViewOptions()

Views = dict[int, GeneratedView]


@dataclass(frozen=True)
class MultiViewGenerator:
    """Makes the views of a set, as the card of its checkpoint says.

    Attributes:
        engine: the checkpoint, and where and how it runs.
    """

    engine: Engine

    @classmethod
    def from_pretrained(cls, model: str | Path, inference: InferenceOptions = DEFAULT_INFERENCE) -> MultiViewGenerator:
        """The generator of a published model, or of a model folder.

        Raises:
            UserError: no such model, one for another task, a broken folder, or a device that is not present.
        """
        engine = load_engine(model, "multi_view", inference)
        if engine.card.views is None:
            raise UserError(f"{engine.card.id} has no view layers in its card; expected a model of views")
        return cls(engine)

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.engine.card

    @property
    def layers(self) -> ViewLayers:
        """The view layers of the card."""
        assert self.card.views is not None
        return self.card.views

    def __call__(
        self,
        prompt: str,
        path: CameraPath,
        given: Mapping[int, Frames] | None = None,
        options: ViewOptions = DEFAULT_OPTIONS,
    ) -> ViewSet:
        """The views along a path.

        Args:
            prompt: what is seen; "" where pictures say it.
            path: the cameras, and what they look at.
            given: pictures by the number of their view on the path, of any size: their middle is cut to the path's
                shape.
            options: see `ViewOptions`.

        Raises:
            UserError: neither a prompt nor a picture, a camera inside the subject or one that mirrors, or a model
                without a text encoder for the prompt.
        """
        done: Views = {}
        for batch in self.stream(prompt, path, given, options):
            done |= batch
        return self.finish(prompt, path, done, given)

    def stream(
        self,
        prompt: str,
        path: CameraPath,
        given: Mapping[int, Frames] | None = None,
        options: ViewOptions = DEFAULT_OPTIONS,
        done: Views | None = None,
    ) -> Iterator[Views]:
        """The views batch by batch, given ones first; views that coincide are one. What is in `done`, of an earlier run
        with the same arguments, is taken as it is: the rest comes out the same to the last bit."""
        if not prompt.strip() and not given:
            raise UserError("neither a prompt nor a picture; expected words, or --image FILE")
        seen = path.subject.see(path.camera, self.layers)
        first = same_views(seen)
        known = {first[index]: picture for index, picture in (given or {}).items()}
        unique = sorted(set(first))
        shown = torch.cat([fit_picture(picture, seen.size).rgb for picture in known.values()]) if known else None
        intensity = told_intensity(self.layers.intensity, shown)
        told = _Told(seen.size, self._vectors(seen, intensity), self._tokens(prompt))
        views = dict(done or {})
        start = {index: self._encode(picture, seen.size) for index, picture in known.items() if index not in views}
        if start:
            yield start
        views |= start
        order = {view: place for place, view in enumerate(unique)}
        camera = Camera(seen.intrinsics[unique], seen.pose[unique], seen.size)
        plan = plan_views(
            camera,
            [order[view] for view in known],
            batch=options.batch,
            together=options.together,
            strategy=options.strategy,
        )
        for number, batch in enumerate(plan):
            named = ViewBatch(tuple(unique[i] for i in batch.new), tuple(unique[i] for i in batch.known))
            if all(view in views for view in named.new):
                continue
            made = self._denoise(named, told, views, options, guided=number == 0, image=bool(known))
            views |= made
            yield made

    def finish(self, prompt: str, path: CameraPath, views: Views, given: Mapping[int, Frames] | None = None) -> ViewSet:
        """The set of all views, decoded one by one; given pictures stay as they were given."""
        size = path.camera.size
        first = same_views(path.subject.see(path.camera, self.layers))
        framing = plan_framing(size, self.card.maps.size, "the view")
        known = {first[index]: picture for index, picture in (given or {}).items()}
        pictures = {
            view: fit_picture(known[view], size).rgb if view in known else self._decode(kept.latent, size)
            for view, kept in views.items()
        }
        surfaces = {view: _surface(kept, framing, size, path.subject.radius) for view, kept in views.items()}
        whole = [surfaces[view] for view in first]
        return ViewSet(
            Frames(torch.cat([pictures[view] for view in first]), name="views"),
            path.camera,
            path.names,
            None if any(each is None for each in whole) else torch.cat([each[0] for each in whole if each]),
            None if any(each is None for each in whole) else torch.cat([each[1] for each in whole if each]),
            torch.tensor([view in known for view in first]),
            prompt,
            self.card.id,
        )

    def _denoise(
        self,
        batch: ViewBatch,
        told: _Told,
        views: Views,
        options: ViewOptions,
        *,
        guided: bool,
        image: bool,
    ) -> Views:
        """The new views of one batch. Known ones go along clean, for the network sees both; all get a surface."""
        engine, order = self._guided(options, guided, image), [*batch.known, *batch.new]
        size, count = told.size, len(order)
        shape = engine.noise_shape(size, 1, "the view")
        noise = torch.cat([draw_noise("gaussian", shape, options.seed * 1_000_003 + view) for view in order])
        latents = torch.stack([views[view].latent if view in views else noise[i] for i, view in enumerate(order)])
        inputs = Inputs(
            size,
            count,
            tokens=told.tokens,
            cameras=told.vectors[order],
            clean=torch.tensor([view in batch.known for view in order]),
            clean_latents=latents,
            name="the view",
        )
        prediction = run(engine, inputs, noise=noise, steps=options.steps, flip_tta=False)
        depth, coverage = self._surfaces(count)
        return {
            view: GeneratedView(
                prediction.latents[i].clone() if view in batch.new else views[view].latent,
                None if depth is None else depth[i, 0].clone(),
                None if coverage is None else coverage[i, 0].clone(),
            )
            for i, view in enumerate(order)
            if view in batch.new or views[view].depth is None
        }

    def _guided(self, options: ViewOptions, first: bool, image: bool) -> Engine:
        own = self.card.sampling.guidance
        text = own.text if options.guidance is None else options.guidance
        off = not first or (image and options.guidance is None)
        guidance = Guidance() if off else replace(own, text=text, image=max(1.0, own.image))
        card = self.card.with_sampling(guidance=guidance)
        return replace(self.engine, checkpoint=replace(self.engine.checkpoint, card=card))

    def _tokens(self, prompt: str) -> Tensor:
        checkpoint = self.engine.checkpoint
        if prompt in checkpoint.tokens:
            return checkpoint.tokens[prompt]
        if checkpoint.home is None:
            raise UserError(f"{self.card.id} was built here and has no text encoder; expected one of its own prompts")
        return embed_prompts(checkpoint.home, [prompt], self.card.padded_prompts)[0]

    def _encode(self, picture: Frames, size: tuple[int, int]) -> GeneratedView:
        """A given picture as a clean latent."""
        shown = fit_picture(picture, size)
        inputs = Inputs(size, 1, {"rgb": shown.rgb}, name=picture.name)
        framing = plan_framing(size, self.card.maps.size, picture.name)
        with torch.inference_mode():
            encoded = encode_pictures(self.engine, preprocess_target(inputs, self.card.maps.targets[0], framing))
        return GeneratedView(encoded[0].cpu().clone())

    def _decode(self, latent: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, 3, H, W) linear."""
        framing = plan_framing(size, self.card.maps.size, "the view")
        plan = Plan(framing, self.engine.latent_size(framing.canvas), self.card.maps.targets)
        rgb = Prediction(self.engine, plan, Inputs(size, 1), latent[None]).gbuffer().rgb
        assert rgb is not None
        return rgb

    def _vectors(self, camera: Camera, intensity: Tensor) -> Tensor:
        """Camera vectors of the canvas that the network sees: the picture resized, and padded to the right and
        below."""
        framing = plan_framing(camera.size, self.card.maps.size, "the view")
        canvas = camera.resized(framing.content).cropped(0, 0, framing.canvas)
        return camera_vectors(canvas, intensity.expand(len(canvas), 2))

    def _surfaces(self, count: int) -> tuple[Tensor | None, Tensor | None]:
        """Depth and coverage of the finest projection layer in the last evaluation; under guidance that with the text
        comes first."""
        views = views_of(self.engine.checkpoint.unet)
        if views is None or not views.context.surfaces:
            return None, None
        depth, coverage = max(views.context.surfaces.values(), key=lambda pair: pair[0].shape[-1])
        return depth[:count].float().cpu(), coverage[:count].float().cpu()


@dataclass(frozen=True)
class _Told:
    """What the network is told of a path: the size of its views, their camera vectors and the prompt's tokens."""

    size: tuple[int, int]
    vectors: Tensor
    tokens: Tensor


def fit_picture(picture: Frames, size: tuple[int, int]) -> Frames:
    """The middle of a picture, cut to the shape of `size` (height, width) and brought to it."""
    height, width = picture.size
    wide = min(width, max(1, round(height * size[1] / size[0])))
    high = min(height, max(1, round(width * size[0] / size[1])))
    top, left = (height - high) // 2, (width - wide) // 2
    rgb = picture.rgb[:1, :, top : top + high, left : left + wide]
    return replace(picture, rgb=resize_picture(rgb.clamp(min=0), size), mask=None)


def _surface(
    view: GeneratedView, framing: Framing, size: tuple[int, int], radius: float
) -> tuple[Tensor, Tensor] | None:
    """Depth in the world's units and coverage, (1, 1, H, W) each."""
    if view.depth is None or view.coverage is None:
        return None
    both = torch.stack((view.depth * radius, view.coverage))[None]
    whole = torch.nn.functional.interpolate(both, size=framing.canvas, mode="bilinear", align_corners=False)
    depth, coverage = resize_picture(unframe(whole, framing), size).split(1, dim=1)
    return depth, coverage
