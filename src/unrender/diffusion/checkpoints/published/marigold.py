"""Marigold: depth, normals and intrinsic images by diffusion (Ke et al., CVPR 2024; PAMI 2025). Reference: diffusers.

Normals: X right, Y up, Z to the viewer, clipped before they are made unit. Depth: 0 near, 1 far, affine-invariant.
The lighting model's shading and residual share one unknown scale: I = A S + R.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    Identity,
    MapCodec,
    MapsCard,
    ModelCard,
    Quirks,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
)

V1_0 = ScheduleCard(spacing="leading", steps=50)
V1_1 = ScheduleCard(zero_terminal_snr=True, steps=4)

DEPTH = (TargetPicture("depth", (MapCodec("depth"),)),)
NORMALS = (TargetPicture("normals", (MapCodec("normal", vectors="clipped_unit"),)),)

ALBEDO = TargetPicture("albedo", (MapCodec("base_color", transfer="srgb"),))
MATERIAL_AS_GIVEN = TargetPicture("material", (MapCodec("roughness", (0,)), MapCodec("metallic", (1,))))
# The training loader put its whole targets to the power 1/2.2, roughness and metallicity too; the pipeline's metadata
# calls them linear.
MATERIAL = TargetPicture(
    "material", (MapCodec("roughness", (0,), transfer="gamma22"), MapCodec("metallic", (1,), transfer="gamma22"))
)
LIGHTING = (
    TargetPicture("albedo", (MapCodec("diffuse_albedo"),)),
    TargetPicture("shading", (MapCodec("shading"),)),
    TargetPicture("residual", (MapCodec("residual"),)),
)

SIZE = SizeRule(long_side=768, rounding="down")
OFFICIAL_SIZE = replace(SIZE, space="encoded", back="bilinear_sharp")


# The code is Apache-2.0; the weights carry the licence of Stable Diffusion 2 that they were tuned from.
LICENCE = "OpenRAIL++-M"


def _card(
    name: str,
    targets: tuple[TargetPicture, ...],
    schedule: ScheduleCard,
    description: str,
    official_targets: tuple[TargetPicture, ...] | None = None,
) -> ModelCard:
    source = Source(f"prs-eth/{name}", tells_defaults=True)
    return ModelCard(
        Identity(f"prs-eth/{name}", "Marigold", LICENCE, True, source, description),
        task="inverse",
        maps=MapsCard(targets, size=SIZE),
        sampling=SamplingCard(schedule, "gaussian"),
        quirks=Quirks(targets=official_targets, size=OFFICIAL_SIZE, final_step="previous"),
    )


MARIGOLD = (
    _card("marigold-depth-v1-1", DEPTH, V1_1, "affine-invariant depth, few steps"),
    _card("marigold-depth-v1-0", DEPTH, V1_0, "affine-invariant depth, many steps"),
    _card("marigold-normals-v1-1", NORMALS, V1_1, "normals, few steps"),
    _card("marigold-normals-v0-1", NORMALS, V1_0, "normals, many steps"),
    _card(
        "marigold-iid-appearance-v1-1",
        (ALBEDO, MATERIAL),
        V1_1,
        "base colour, roughness, metallicity, few steps",
        official_targets=(ALBEDO, MATERIAL_AS_GIVEN),
    ),
    _card("marigold-iid-lighting-v1-1", LIGHTING, V1_1, "diffuse albedo, shading and residual, few steps"),
)
