"""DiffusionRenderer: a clip to its G-buffers and back, by Stable Video Diffusion (Liang et al., CVPR 2025).

Inverse: one buffer a pass, asked for by a row of a table; the photo's latents are not scaled. Forward: five buffers
whose latents are, and a light that every level of the UNet attends to; guided by 1.2 away from zeros. Normals: X
right, Y up, Z to the viewer. Depth: 0 near, 1 far, of the whole clip. Backgrounds of objects are black.

The official scripts write and read 8-bit pictures, brought by Pillow to cover 512 x 512, both sides up to the next
multiple of 64; every pass starts from the noise of the same seed.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    PHOTO,
    Adapter,
    DomainEmbedding,
    Grouping,
    Guidance,
    Identity,
    InputMap,
    KarrasCard,
    LatentsCard,
    LightTokens,
    MapCodec,
    MapsCard,
    MicroConditioning,
    ModelCard,
    Quirks,
    SamplingCard,
    SizeRule,
    Source,
    TargetPicture,
)
from unrender.scene.encoding import DIFFUSION_RENDERER_SVD

LICENCE = "NVIDIA Source Code License (non-commercial), Stability Community License"

BUFFERS = (
    TargetPicture("basecolor", (MapCodec("base_color", transfer="srgb"),), domain=0),
    TargetPicture("metallic", (MapCodec("metallic"),), domain=1),
    TargetPicture("roughness", (MapCodec("roughness"),), domain=2),
    TargetPicture("normal", (MapCodec("normal", vectors="clipped_unit"),), domain=3),
    TargetPicture("depth", (MapCodec("depth"),), domain=4),
    TargetPicture("diffuse_albedo", (MapCodec("diffuse_albedo", transfer="srgb"),), domain=5),
)
PICTURE = (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),)


def _as_png(*targets: TargetPicture) -> tuple[TargetPicture, ...]:
    """The same read of PNGs."""
    return tuple(
        replace(one, maps=tuple(replace(codec, rounded=True, clipped="channels") for codec in one.maps))
        for one in targets
    )


SIZE = SizeRule(long_side=0, short_side=512, multiple=64)
# Nothing is brought back to the size of the input; bringing it back is ours, in linear light.
OFFICIAL_SIZE = replace(
    SIZE, fit="stretch", rounding="up_by_scale", space="bytes", back_space="linear", inward="bilinear_bytes"
)

WINDOW = Grouping("target", joint="frames", shared_noise="targets", window=24)
# Eight frames at a time go through the decoder, as in both official configurations.
LATENTS = LatentsCard(order="noise_first", decoded_together=8)

INVERSE = ModelCard(
    Identity(
        "nexuslrf/diffusion_renderer-inverse-svd",
        "DiffusionRenderer",
        LICENCE,
        False,
        Source("nexuslrf/diffusion_renderer-inverse-svd"),
        "a clip's base colour, metallicity, roughness, normals, depth and diffuse albedo, twenty steps each",
    ),
    task="inverse",
    maps=MapsCard(BUFFERS, (replace(PHOTO, scale=1.0, on_black=True),), SIZE),
    latents=LATENTS,
    conditioning=(DomainEmbedding(), MicroConditioning()),
    sampling=SamplingCard(KarrasCard(steps=20, spacing="leading"), "gaussian", grouping=WINDOW),
    quirks=Quirks(targets=_as_png(*BUFFERS), size=OFFICIAL_SIZE, final_step="previous", exploding=True),
)

INPUTS = (
    InputMap(MapCodec("base_color", transfer="srgb")),
    InputMap(MapCodec("normal", none=(-1.0, -1.0, -1.0))),
    InputMap(MapCodec("depth")),
    InputMap(MapCodec("roughness")),
    InputMap(MapCodec("metallic")),
)
LIGHT = LightTokens((512, 512), DIFFUSION_RENDERER_SVD, encoder="env_encoder", by_levels=True, exposed=False)
OFFICIAL_LIGHT = replace(LIGHT, encoding=replace(LIGHT.encoding, filtering="cube"), inverted_elevation=True)


def _forward(name: str, description: str, adapter: Adapter) -> ModelCard:
    source = Source(f"nexuslrf/{name}")
    return ModelCard(
        Identity(f"nexuslrf/{name}", "DiffusionRenderer", LICENCE, False, source, description),
        task="forward",
        maps=MapsCard(PICTURE, INPUTS, SIZE),
        latents=LATENTS,
        conditioning=(LIGHT, MicroConditioning()),
        sampling=SamplingCard(
            KarrasCard(steps=20, spacing="trailing"),
            "gaussian",
            Guidance(text=1.2, image=1.0, leaves_out="all"),
            WINDOW,
        ),
        adapter=adapter,
        quirks=Quirks(
            targets=_as_png(*PICTURE),
            size=OFFICIAL_SIZE,
            light=OFFICIAL_LIGHT,
            final_step="previous",
            exploding=True,
        ),
    )


FORWARD = _forward(
    "diffusion_renderer-forward-svd", "a clip from its buffers under an environment map", Adapter(scale=0.25)
)
OBJAVERSE = _forward(
    # Official advice for synthetic objects: no adapter, which was trained on footage.
    "diffusion_renderer-forward-svd-objaverse",
    "a clip of synthetic objects from its buffers under an environment map",
    Adapter(scale=0.0),
)

DIFFUSION_RENDERER = (INVERSE, FORWARD, OBJAVERSE)
