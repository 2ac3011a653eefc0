"""GeoWizard: depth and normals together, attending to one another (Fu et al., ECCV 2024), and its E2E-FT.

Both pictures of a frame start from the same noise and pass as one batch, whose self-attention sees both. The task is
told by numbers, the kind of scene by numbers and an embedding of the photo (v1) or by words (v2). Decoded normals are
those of X left, Y up, Z to the viewer, times -1.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    Grouping,
    Identity,
    ImageTokens,
    MapCodec,
    MapsCard,
    ModelCard,
    Quirks,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
    TaskNumbers,
    TextPrompt,
)

DEPTH = TargetPicture("depth", (MapCodec("depth"),), task=(0.0, 1.0))
NORMALS = TargetPicture("normals", (MapCodec("normal", signs=(1, -1, -1)),), task=(1.0, 0.0))
STRETCHED_DEPTH = replace(DEPTH, maps=(MapCodec("depth", stretched=True),))
NEAREST_NORMALS = replace(NORMALS, maps=(replace(NORMALS.maps[0], back="nearest_double"),))

SIZE = SizeRule(long_side=768, rounding="down")
OFFICIAL_SIZE = replace(SIZE, fit="cut", rounding="down_by_scale", space="bytes", inward="bicubic", back="bicubic")

DOMAINS = ("indoor", "outdoor", "object")
CROSS_TASK = Grouping("target", joint="targets", shared_noise="frames_and_targets")

V1 = ModelCard(
    Identity(
        "lemonaddie/geowizard",
        "GeoWizard",
        "CC-BY-4.0",
        True,
        Source("lemonaddie/geowizard"),
        "depth and normals together, ten steps",
    ),
    task="inverse",
    maps=MapsCard((DEPTH, NORMALS), size=SIZE),
    conditioning=(TaskNumbers(DOMAINS), ImageTokens()),
    sampling=SamplingCard(ScheduleCard(spacing="leading", steps=10), "gaussian", grouping=CROSS_TASK),
    quirks=Quirks(targets=(STRETCHED_DEPTH, NEAREST_NORMALS), size=OFFICIAL_SIZE, final_step="previous"),
)


def _prompted(*targets: TargetPicture) -> tuple[TargetPicture, ...]:
    return tuple(replace(target, prompt="{domain} geometry") for target in targets)


V2 = replace(
    V1,
    identity=replace(
        V1.identity,
        id="lemonaddie/geowizard-v2",
        # In the repository of v1, as a second UNet; the text encoder is Stable Diffusion 2's.
        source=Source("lemonaddie/geowizard", unet="unet_v2"),
        description="depth and normals together, the kind of scene in the prompt",
    ),
    maps=replace(V1.maps, targets=_prompted(DEPTH, NORMALS)),
    conditioning=(TaskNumbers(), TextPrompt(domains=DOMAINS)),
    quirks=replace(V1.quirks, targets=_prompted(STRETCHED_DEPTH, NEAREST_NORMALS)),
)

E2E = replace(
    V1,
    identity=Identity(
        "GonzaloMG/geowizard-e2e-ft",
        "E2E-FT",
        # The fine-tuned weights say Apache-2.0; the weights they start from are CC-BY-4.0.
        "Apache-2.0",
        True,
        Source("GonzaloMG/geowizard-e2e-ft"),
        "depth and normals together in one step, from GeoWizard",
    ),
    sampling=SamplingCard(ScheduleCard(steps=1), "zeros", grouping=CROSS_TASK),
    quirks=replace(V1.quirks, final_step=None),
)

GEOWIZARD = (V1, V2, E2E)
