"""Training data: ground truth in memory, and random views of it that depend on nothing but a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from unrender.diffusion.card import LightTokens, ModelCard, RadianceHint
from unrender.diffusion.codec import expose, relative_depth
from unrender.errors import UserError
from unrender.files.shards import Clip
from unrender.forward.lighting import light_conditioning
from unrender.scene.encoding import MINI, EnvironmentEncoding, mirror_encoded
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import CHANNELS, GBuffer
from unrender.train.augmentation import augment, crop, mirror
from unrender.train.loop import BatchSpec

TARGETS = ("base_color", "normal", "depth", "roughness", "metallic", "mask")
EXTRAS = ("irradiance", "sky")
"""Optional maps: trained where they are known, without loss where they are not."""
VALID_COVERAGE = 0.9
"""Pixels with a surface coverage below this are left out of the losses."""


LIT_TENSORS = ("radiance_hint", "rgb", "picture")


@dataclass(frozen=True)
class Lit:
    """The light conditioning of N stills; see `forward.lighting`.

    Attributes:
        radiance_hint: (N, 3, H, W) the surfaces shaded by the split sum, exposed, on black.
        rgb: (N, 3, H, W) the true rgb of the surfaces, with the same exposure, on black.
        picture: (N, 9, h, w) the encoded environment map in the camera's axes, exposed.
        encoding: how it was encoded.
    """

    radiance_hint: Tensor
    rgb: Tensor
    picture: Tensor
    encoding: EnvironmentEncoding = MINI

    def part(self, start: int, end: int | None) -> Lit:
        """The lights of the stills from `start` to `end`."""
        return Lit(self.radiance_hint[start:end], self.rgb[start:end], self.picture[start:end], self.encoding)

    def to(self, device: torch.device) -> Lit:
        """The same on a device."""
        return Lit(self.radiance_hint.to(device), self.rgb.to(device), self.picture.to(device), self.encoding)


@dataclass(frozen=True)
class StillDataset:
    """Ground truth of N stills of one size, float16, in memory.

    Attributes:
        maps: by name, (N, 1 or 3, H, W): `rgb`, linear and exposed for display, and its known maps; depth is relative,
            see `relative_depth`. Maps that are not known of a still are 0.
        known: by name, (N,) which stills have the map.
        lit: the light conditioning; None for training without lights.
    """

    maps: dict[str, Tensor]
    known: dict[str, Tensor]
    lit: Lit | None = None

    def __len__(self) -> int:
        return len(self.maps["rgb"])

    @property
    def encoding(self) -> EnvironmentEncoding | None:
        """How the lights of the light conditioning are encoded; None without lights."""
        return None if self.lit is None else self.lit.encoding

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every still."""
        height, width = self.maps["rgb"].shape[2:]
        return height, width

    def take(self, index: Tensor, generator: torch.Generator | None) -> tuple[dict[str, Tensor], Lit | None]:
        """The maps (B, C, H, W) by name, float32, and the light conditioning of the stills `index` (B,); nothing is
        drawn."""
        maps = {name: values[index].float() for name, values in self.maps.items()}
        if self.lit is None:
            return maps, None
        lit = {name: getattr(self.lit, name)[index].float() for name in LIT_TENSORS}
        return maps, replace(self.lit, **lit)

    def part(self, start: int, end: int | None = None) -> StillDataset:
        """The stills from `start` to `end`."""
        return StillDataset(
            {name: values[start:end] for name, values in self.maps.items()},
            {name: values[start:end] for name, values in self.known.items()},
            self.lit and self.lit.part(start, end),
        )


class Stills(Protocol):
    """What training takes its pictures from: a `StillDataset` in memory, or `packed.PackedStills` on disk."""

    @property
    def known(self) -> dict[str, Tensor]:
        """By name, (N,) which stills have the map."""
        ...

    @property
    def encoding(self) -> Any:
        """How the lights of the light conditioning are encoded; None without lights."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every still."""
        ...

    def __len__(self) -> int: ...

    def take(self, index: Tensor, generator: torch.Generator | None) -> tuple[dict[str, Tensor], Lit | None]:
        """The maps (B, C, H, W) by name, float32, and the light conditioning of the stills `index` (B,)."""
        ...

    def part(self, start: int, end: int | None = None) -> Stills:
        """The stills from `start` to `end`."""
        ...


@dataclass(frozen=True)
class Batch:
    """A batch of views.

    Attributes:
        photo: (B, 3, H, W) linear, augmented by the camera model (`augmentation.augment`).
        maps: (B, 1 or 3, H, W) the ground truth, `rgb` among it.
        known: (B,) which views have each map.
        lit: their light conditioning; None for training without lights.
    """

    photo: Tensor
    maps: dict[str, Tensor]
    known: dict[str, Tensor]
    lit: Lit | None = None

    def __len__(self) -> int:
        return len(self.photo)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(
            self.photo.to(device),
            {name: values.to(device) for name, values in self.maps.items()},
            {name: values.to(device) for name, values in self.known.items()},
            self.lit and self.lit.to(device),
        )

    def seen_forward(self) -> Batch:
        """The same with the `rgb` that a forward network conditioned on a light is to predict."""
        return self if self.lit is None else replace(self, maps=self.maps | {"rgb": self.lit.rgb})

    def surface(self) -> Tensor:
        """(B, 1, H, W) 1 where a surface covers the pixel; 1 everywhere where no mask is known."""
        if "mask" not in self.maps:
            return torch.ones_like(self.photo[:, :1])
        unknown = ~self.known["mask"][:, None, None, None]
        return ((self.maps["mask"] > VALID_COVERAGE) | unknown).float()


def load_still_dataset(gbuffers: Iterable[GBuffer], required: Sequence[str] = TARGETS) -> StillDataset:
    """Gathers G-buffers that carry `rgb` and the maps `required`; every frame is a still.

    Raises:
        UserError: there are none, they are of several sizes, or a map is missing.
    """
    frames: list[dict[str, Tensor]] = []
    for gbuffer in gbuffers:
        gbuffer.require("rgb", *required, by="training")
        maps = {name: values for name, values in gbuffer.maps.items() if name in ("rgb", *TARGETS, *EXTRAS)}
        if "depth" in maps:
            there = maps.get("mask", torch.ones_like(maps["depth"]))
            maps["depth"] = relative_depth(maps["depth"], there)
        if "irradiance" in maps:
            maps["irradiance"] = expose(maps["irradiance"], "percentile")
        frames += [{name: _to_half(values[t]) for name, values in maps.items()} for t in range(len(gbuffer))]
    if not frames:
        raise UserError("no training pictures; give a folder that `unrender synth` has written")
    _check_sizes([frame["rgb"] for frame in frames])
    names = ("rgb", *TARGETS, *EXTRAS)
    known = {name: torch.tensor([name in frame for frame in frames]) for name in names}
    size = tuple(frames[0]["rgb"].shape[1:])
    # Map by map, so that no more than one of them is in memory twice.
    maps = {name: torch.stack([_take_or_zeros(frame, name, size) for frame in frames]) for name in names}
    return StillDataset(maps, known)


def join(parts: Sequence[StillDataset]) -> StillDataset:
    """Several sets as one; maps that a set lacks stay unknown.

    Raises:
        UserError: they are of several sizes, or some have lights and some have none.
    """
    _check_sizes([part.maps["rgb"] for part in parts])
    lights = [part.lit for part in parts if part.lit is not None]
    if lights and len(lights) < len(parts):
        raise UserError("training pictures with lights and without; expected one or the other")
    names = [name for name in CHANNELS if any(name in part.maps for part in parts)]
    return StillDataset(
        {name: torch.cat([_maps_or_zeros(part, name) for part in parts]) for name in names},
        {name: torch.cat([_known_or_not(part, name) for part in parts]) for name in names},
        _joined(lights) if lights else None,
    )


def lit_frames(clip: Clip) -> Iterator[tuple[GBuffer, EnvironmentMap]]:
    """Every frame of a clip with its light, then the same frames under the clip's other lights."""
    for t in range(len(clip.gbuffer)):
        frame = clip.gbuffer.frame(t)
        yield frame, clip.light_of(t)
        for number, other in enumerate(clip.lights, 1):
            again = frame.with_maps(rgb=other.rgb[t : t + 1], irradiance=other.irradiance[t : t + 1])
            yield again, clip.light_of(t, number)


def load_lit_still_dataset(
    lit: Iterable[tuple[GBuffer, EnvironmentMap]], tokens: LightTokens, hint: RadianceHint = "split_sum"
) -> StillDataset:
    """Gathers G-buffers, each with its light and a first render of the quality `hint`
    (`forward.lighting.light_conditioning`).

    Raises:
        UserError: as `load_still_dataset`.
    """
    lights: list[Lit] = []

    def noting_lights() -> Iterator[GBuffer]:
        # One after the other: all G-buffers of a set at once would take several times its memory.
        for gbuffer, light in lit:
            gbuffer.require("rgb", *TARGETS, by="training")
            shown = light_conditioning(gbuffer, light, size=tokens.size, encoding=tokens.encoding, hint=hint)
            rgb = gbuffer.maps["rgb"] * shown.gain * shown.covered
            lights.append(Lit(_to_half(shown.radiance_hint), _to_half(rgb), _to_half(shown.picture), tokens.encoding))
            yield gbuffer

    stills = load_still_dataset(noting_lights())
    return replace(stills, lit=_joined(lights))


def require_known(stills: Stills, card: ModelCard) -> None:
    """Raises UserError where a model has a target map that no still has."""
    # How far off a map is, and what is sky, is learnt where it can be.
    wanted = [name for name in card.usual_maps if name != "sky"]
    missing = [name for name in wanted if name not in stills.known or not bool(stills.known[name].any())]
    if missing:
        raise UserError(f"no training picture has {', '.join(missing)}, a target of {card.id}; expected data with it")
    if card.light is not None and stills.encoding is not None and card.light.encoding != stills.encoding:
        raise UserError(f"the lights of the training pictures are not encoded as {card.id} takes them; load them anew")


def hold_out(stills: Stills, count: int = 8) -> tuple[Stills, Stills]:
    """The last few stills for validation, and the others for training.

    Where there are only a handful, as when a recipe is tried on four pictures, all serve both.
    """
    if len(stills) <= 2 * count:
        return stills, stills
    return stills.part(len(stills) - count), stills.part(0, len(stills) - count)


def sample_batch(stills: Stills, spec: BatchSpec) -> Batch:
    """The random batch of `spec`: stills, mirrored at random, one crop window, augmented by the camera model."""
    generator = spec.generator(0)
    index = torch.randint(len(stills), (spec.count,), generator=generator)
    maps, lit = _chosen(stills, index, spec.generator(5))
    flip = torch.rand(spec.count, generator=generator) < 0.5
    maps = crop(mirror(maps, flip), spec.side, generator)
    if lit is not None:
        mirrored = mirror_encoded(lit.picture, lit.encoding)
        lit = replace(lit, picture=torch.where(flip[:, None, None, None], mirrored, lit.picture))
    known = {name: values[index] for name, values in stills.known.items()}
    return _batch(maps, known, lit, augment(maps["rgb"], generator))


def whole_batch(stills: Stills, side: int) -> Batch:
    """Every still in its centre square, not augmented, `side` pixels a side: for validation."""
    maps, lit = _chosen(stills, torch.arange(len(stills)), None)
    maps = crop(maps, side, None)
    return _batch(maps, stills.known, lit, maps["rgb"].clamp(0, 1))


# The light conditioning is mirrored and cropped as two more maps.
_HINT, _LIT_RGB = "radiance hint", "lit rgb"


def _chosen(stills: Stills, index: Tensor, generator: torch.Generator | None) -> tuple[dict[str, Tensor], Lit | None]:
    maps, lit = stills.take(index, generator)
    return maps if lit is None else maps | {_HINT: lit.radiance_hint, _LIT_RGB: lit.rgb}, lit


def _batch(maps: dict[str, Tensor], known: dict[str, Tensor], lit: Lit | None, photo: Tensor) -> Batch:
    if lit is None:
        return Batch(photo, maps, known)
    return Batch(photo, maps, known, replace(lit, radiance_hint=maps.pop(_HINT), rgb=maps.pop(_LIT_RGB)))


def _joined(lights: Sequence[Lit]) -> Lit:
    return replace(lights[0], **{name: torch.cat([getattr(one, name) for one in lights]) for name in LIT_TENSORS})


def _check_sizes(pictures: Sequence[Tensor]) -> None:
    sizes = {tuple(picture.shape[-2:]) for picture in pictures}
    if len(sizes) > 1:
        raise UserError(f"training pictures of {len(sizes)} sizes; expected one: give folders of the same resolution")


def _take_or_zeros(frame: dict[str, Tensor], name: str, size: tuple[int, ...]) -> Tensor:
    return frame.pop(name, torch.zeros(CHANNELS[name], *size, dtype=torch.half))


def _to_half(values: Tensor) -> Tensor:
    """In half precision, clamped to its largest finite value: an infinite pixel, a sun, would make a loss NaN and end
    the run."""
    return values.clamp(max=torch.finfo(torch.half).max).half()


def _maps_or_zeros(part: StillDataset, name: str) -> Tensor:
    count, _, height, width = part.maps["rgb"].shape
    return part.maps.get(name, torch.zeros(count, CHANNELS[name], height, width, dtype=torch.half))


def _known_or_not(part: StillDataset, name: str) -> Tensor:
    return part.known.get(name, torch.zeros(len(part), dtype=torch.bool))
