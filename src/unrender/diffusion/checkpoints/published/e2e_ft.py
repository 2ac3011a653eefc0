"""E2E-FT: image-conditional diffusion models fine-tuned end to end to one step (Martin Garcia et al., WACV 2025).

One evaluation at t = 999 from zeros, with the plain schedule: z0 = -0.99767 v. Normals: X left, Y up, Z to the viewer.
The GeoWizard start is in `geowizard.py`.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    Identity,
    MapCodec,
    MapsCard,
    ModelCard,
    NoiseKind,
    Quirks,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
)

DEPTH = (TargetPicture("depth", (MapCodec("depth"),)),)
STRETCHED_DEPTH = (TargetPicture("depth", (MapCodec("depth", stretched=True),)),)
NORMALS = (TargetPicture("normals", (MapCodec("normal", signs=(-1, 1, 1)),)),)

SIZE = SizeRule(long_side=768, rounding="down")
OFFICIAL_SIZE = replace(SIZE, fit="cut", rounding="down_by_scale", space="bytes")
ONE_STEP = ScheduleCard(steps=1)


def _card(
    name: str,
    targets: tuple[TargetPicture, ...],
    description: str,
    schedule: ScheduleCard = ONE_STEP,
    noise: NoiseKind = "zeros",
) -> ModelCard:
    source = Source(f"GonzaloMG/{name}")
    return ModelCard(
        Identity(f"GonzaloMG/{name}", "E2E-FT", "Apache-2.0", True, source, description),
        task="inverse",
        maps=MapsCard(targets, size=SIZE),
        sampling=SamplingCard(schedule, noise),
        quirks=Quirks(targets=STRETCHED_DEPTH if targets is DEPTH else None, size=OFFICIAL_SIZE),
    )


E2E_FT = (
    _card("marigold-e2e-ft-depth", DEPTH, "affine-invariant depth in one step, from Marigold"),
    _card("marigold-e2e-ft-normals", NORMALS, "normals in one step, from Marigold"),
    _card("stable-diffusion-e2e-ft-depth", DEPTH, "affine-invariant depth in one step, from Stable Diffusion"),
    _card("stable-diffusion-e2e-ft-normals", NORMALS, "normals in one step, from Stable Diffusion"),
    _card(
        "marigold-normals",
        NORMALS,
        "the many-step normals that E2E-FT starts from",
        schedule=ScheduleCard(steps=50),
        noise="gaussian",
    ),
)
