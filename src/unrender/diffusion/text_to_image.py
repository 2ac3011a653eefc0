"""Pictures from words: `mini-t2i`, Stable Diffusion 2.1, or any text-to-image folder in its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.clip.text_encoder import embed_prompts
from unrender.diffusion.engine import Engine, load_engine, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.scene.frames import Frames

DEFAULT_INFERENCE = InferenceOptions()


@dataclass(frozen=True)
class TextToImage:
    """Makes pictures of words, as the card of its checkpoint says.

    Attributes:
        engine: the checkpoint, and where and how it runs.
    """

    engine: Engine

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "mini-t2i",
        inference: InferenceOptions = DEFAULT_INFERENCE,
        *,
        lora: Path | None = None,
    ) -> TextToImage:
        """The model of an id or of a folder in Stable Diffusion's layout.

        Args:
            lora: a folder with adapters (`pytorch_lora_weights.safetensors`), as `unrender train personalise` writes
                them; None for the model as it is.

        Raises:
            UserError: no such model, one that was not pulled, a broken folder, adapters of another network, or a device
                that is not present.
        """
        engine = load_engine(model, "text_to_image", inference, adaptable=lora is not None)
        if lora is not None:
            from unrender.diffusion.lora import load_adapters

            load_adapters(engine.checkpoint.unet, lora)
        return cls(engine)

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.engine.card

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """The cross-attention tokens (B, N, D) of prompts, float32 on the CPU.

        Raises:
            UserError: the model has no text encoder, or it is damaged.
        """
        home = self.engine.checkpoint.home
        if home is None:
            raise UserError(f"{self.card.id} was built in memory and has no text encoder; expected a model folder")
        return torch.stack(embed_prompts(home, prompts, self.card.padded_prompts))

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        noise: Tensor | None = None,
    ) -> Frames:
        """Pictures (T, 3, H, W), scene-linear in [0, 1], one for each prompt.

        Args:
            prompt: one text, or several.
            size: (height, width) in pixels; the square that the model was trained on when None. The network works at
                the size of its card, and the picture is resized from there.
            steps: denoising steps; the card's own number when None.
            guidance: how much the words count (Ho & Salimans 2022), 1 for no guidance, 0 for none of them; the card's
                own when None.
            seed: of the noise.
            noise: (T, C, h, w) to start from instead.

        Raises:
            UserError: a size that the network cannot take, noise of another shape, or no text encoder.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        return self.of_tokens(self.embed(prompts), size=size, steps=steps, guidance=guidance, seed=seed, noise=noise)

    def of_tokens(
        self,
        tokens: Tensor,
        *,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        noise: Tensor | None = None,
    ) -> Frames:
        """The same of tokens (T, N, D) from `embed`, so that a text encoder is loaded once for many pictures."""
        engine = self.engine if guidance is None else _guided(self.engine, guidance)
        side = self.card.maps.size.long_side
        inputs = Inputs(size or (side, side), len(tokens), tokens=tokens)
        found = run(engine, inputs, noise=noise, steps=steps, seed=seed)
        return Frames(found.gbuffer().maps["rgb"])


def _guided(engine: Engine, guidance: float) -> Engine:
    if not guidance >= 0:
        raise UserError(f"a guidance of {guidance}; expected 0 (no words), 1 (no guidance) or more")
    card = engine.card
    card = card.with_sampling(guidance=replace(card.sampling.guidance, text=guidance, image=1.0))
    return replace(engine, checkpoint=replace(engine.checkpoint, card=card))
