"""Maps to picture by a network that is shown an environment map as it is and answers with a display's picture of the
whole view, background and all: DiffusionRenderer's forward models (Liang et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from unrender.diffusion.card import LightTokens
from unrender.diffusion.codec import RELATIVE_NEAR, relative_depth
from unrender.diffusion.engine import Engine, Prediction, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.latents import encode_pictures
from unrender.errors import UserError
from unrender.forward.options import ForwardOptions
from unrender.forward.surface import DEFAULT_METALLIC, DEFAULT_ROUGHNESS
from unrender.scene.encoding import encode
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

if TYPE_CHECKING:
    from unrender.diffusion.networks.env_encoder import EnvEncoder


def check_environment_options(model: str, options: ForwardOptions) -> None:
    """Raises UserError for what only words or irradiance have."""
    plain = ForwardOptions(
        guidance=options.guidance,
        steps=options.steps,
        seed=options.seed,
        lora=options.lora,
        elevation=options.elevation,
    )
    if options != plain:
        raise UserError(f"{model} is given the light itself and takes no caption, image guidance, rescale or shadows")


def environment_prediction(
    engine: Engine,
    options: ForwardOptions,
    gbuffer: GBuffer,
    light: EnvironmentMap,
    yaw: Tensor,
    noise: Tensor | None = None,
    previous: Sequence[Tensor] = (),
) -> Prediction:
    """What the network makes of the T frames of `gbuffer`, which see one another, under `light`.

    Args:
        gbuffer: needs base_color and normal; roughness and metallic are the deferred renderer's where they are missing,
            depth is then left out.
        light: one frame, or one for every frame.
        yaw: (T,) degrees that it is turned by about +Y.
        noise: (T, C, h, w) to start from instead of the card's.
        previous: the latents of the window before, as far as it had the first frames of this one.

    Raises:
        UserError: a map is missing.
    """
    gbuffer.require("base_color", "normal", by=engine.card.id)
    tokens = environment_tokens(engine, gbuffer, light, yaw, options.elevation)
    inputs = Inputs(gbuffer.size, len(gbuffer), conditioning_maps(gbuffer), tokens=tokens, name="the G-buffer")
    return run(engine, inputs, noise=noise, steps=options.steps, seed=options.seed, previous=previous)


def conditioning_maps(gbuffer: GBuffer) -> dict[str, Tensor]:
    """The maps of a G-buffer as the network knows them, (T, 1 or 3, H, W): on black where its mask says that there is
    no surface, and there as far as can be; depth relative, of the whole clip."""
    there = torch.ones(len(gbuffer), 1, *gbuffer.size) if gbuffer.mask is None else (gbuffer.mask > 0).float()
    maps = {
        "roughness": torch.full_like(there, DEFAULT_ROUGHNESS),
        "metallic": torch.full_like(there, DEFAULT_METALLIC),
    } | gbuffer.maps
    names = ("base_color", "normal", "roughness", "metallic")
    shown = {name: maps[name] * there.to(maps[name]) for name in names}
    if gbuffer.depth is not None:
        shown["depth"] = _clip_depth(torch.where(there > 0, gbuffer.depth, math.inf), gbuffer)
    return shown


@torch.inference_mode()
def environment_tokens(
    engine: Engine, gbuffer: GBuffer, light: EnvironmentMap, yaw: Tensor, elevation: float = 0.0
) -> tuple[Tensor, ...]:
    """(T, N, D) tokens of a light, one tensor a level of the network, finest first.

    Args:
        yaw: (T,) degrees that the light is turned by.
        elevation: degrees that the camera is raised by, around what it looks at; see `ForwardOptions`.
    """
    tokens = engine.card.light
    assert tokens is not None
    poses = gbuffer.camera_or_default().pose[:, :3, :3].cpu()
    if bool((poses == poses[:1]).all()):
        poses = poses[:1]  # one light for all frames, encoded once
    rotations = poses @ raised_camera(elevation, tokens)
    still = len(light) == 1 and len(rotations) == 1 and len(set(yaw.tolist())) == 1
    encoded = encode(light, tokens.encoding, tokens.size, rotations, yaw=yaw[:1] if still else yaw)
    frames = [light_tokens(engine, picture) for picture in encoded.picture.split(1)]
    return tuple(torch.cat(level).expand(len(gbuffer), -1, -1) for level in zip(*frames, strict=True))


def light_tokens(engine: Engine, picture: Tensor) -> tuple[Tensor, ...]:
    """Tokens (B, N, D), one tensor a level, of the pictures of lights (B, 3 x pictures, H, W) in [0, 1]."""
    return tokens_of_latents(engine, light_latents(engine, picture))


def light_latents(engine: Engine, picture: Tensor) -> Tensor:
    """Latents (B, C x pictures, h, w) of the pictures of lights (B, 3 x pictures, H, W) in [0, 1]."""
    return torch.cat([encode_pictures(engine, part * 2 - 1) for part in picture.split(3, dim=1)], dim=1)


def tokens_of_latents(engine: Engine, latents: Tensor) -> tuple[Tensor, ...]:
    """Tokens of what `light_latents` gives."""
    encoder, light = engine.checkpoint.environment, engine.card.light
    assert encoder is not None
    assert light is not None
    tokens = cast("EnvEncoder", encoder).tokens(latents.to(engine.compute.dtype))
    return tokens[-1:] * len(tokens) if light.one_level else tokens


def raised_camera(degrees: float, tokens: LightTokens) -> Tensor:
    """(3, 3) camera-to-world rotation of a camera that was raised by `degrees` on a circle around what it looks at, and
    looks down by as much; inverted where the official code hands over the inverse."""
    angle = math.radians(-degrees if tokens.inverted_elevation else degrees)
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])


def _clip_depth(depth: Tensor, gbuffer: GBuffer) -> Tensor:
    """Depth (T, 1, H, W) brought to `RELATIVE_NEAR` + [0, 1] by one scale and shift for all frames; far where there is
    nothing. What an inverse renderer gave is there already."""
    finite = depth.isfinite()
    known = depth[finite]
    near, far = RELATIVE_NEAR, RELATIVE_NEAR + 1
    if gbuffer.depth_kind == "relative" and len(known) and near <= known.min() and known.max() <= far:
        return torch.where(finite, depth, far)
    as_one_frame = relative_depth(
        depth.reshape(1, 1, -1, depth.shape[3]), finite.to(depth).reshape(1, 1, -1, depth.shape[3])
    )
    return as_one_frame.reshape(depth.shape)
