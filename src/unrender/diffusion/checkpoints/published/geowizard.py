"""GeoWizard: depth and normals together, attending to one another (Fu et al., ECCV 2024), and its E2E-FT.

Both pictures of a frame start from the same noise and pass as one batch, whose self-attention sees both. The task is
told by numbers, the kind of scene by numbers and an embedding of the photo (v1) or by words (v2). Decoded normals are
those of X left, Y up, Z to the viewer, times -1.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    MapCodec,
    ModelCard,
    Quirks,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
)

DEPTH = TargetPicture("depth", (MapCodec("depth"),), task=(0.0, 1.0))
NORMALS = TargetPicture("normals", (MapCodec("normal", signs=(1, -1, -1)),), task=(1.0, 0.0))
STRETCHED_DEPTH = replace(DEPTH, maps=(MapCodec("depth", stretched=True),))
NEAREST_NORMALS = replace(NORMALS, maps=(replace(NORMALS.maps[0], back="nearest_double"),))

SIZE = SizeRule(long_side=768, rounding="down")
OFFICIAL_SIZE = replace(SIZE, fit="cut", rounding="down_by_scale", space="bytes", inward="bicubic", back="bicubic")

V1 = ModelCard(
    id="lemonaddie/geowizard",
    system="GeoWizard",
    licence="CC-BY-4.0",
    commercial=True,
    pictures=(DEPTH, NORMALS),
    passes="one_each",
    schedule=ScheduleCard(spacing="leading", steps=10),
    noise="gaussian",
    shared_noise=True,
    size=SIZE,
    domains=("indoor", "outdoor", "object"),
    domain_task=True,
    joint_attention=True,
    image_tokens=True,
    quirks=Quirks(pictures=(STRETCHED_DEPTH, NEAREST_NORMALS), size=OFFICIAL_SIZE, final_step="previous"),
    source=Source("lemonaddie/geowizard"),
    description="depth and normals together, ten steps",
)

V2 = replace(
    V1,
    id="lemonaddie/geowizard-v2",
    pictures=tuple(replace(picture, prompt="{domain} geometry") for picture in (DEPTH, NORMALS)),
    domain_task=False,
    image_tokens=False,
    quirks=replace(
        V1.quirks,
        pictures=tuple(replace(picture, prompt="{domain} geometry") for picture in (STRETCHED_DEPTH, NEAREST_NORMALS)),
    ),
    # In the repository of v1, as a second UNet; the text encoder is Stable Diffusion 2's.
    source=Source("lemonaddie/geowizard", unet="unet_v2"),
    description="depth and normals together, told the scene in words",
)

E2E = replace(
    V1,
    id="GonzaloMG/geowizard-e2e-ft",
    system="E2E-FT",
    # The fine-tuned weights say Apache-2.0; the weights they start from are CC-BY-4.0.
    licence="Apache-2.0",
    schedule=ScheduleCard(steps=1),
    noise="zeros",
    quirks=replace(V1.quirks, final_step=None),
    source=Source("GonzaloMG/geowizard-e2e-ft"),
    description="depth and normals together in one step, from GeoWizard",
)

GEOWIZARD = (V1, V2, E2E)
