"""Lotus: diffusion as one-step dense prediction (He et al., ICLR 2025). G starts from noise, D from the photo alone.

The network's output at t = 999 is the clean latent itself. It is conditioned on its task as numbers: (1, 0) predicts,
(0, 1) gives the photo back. Normals: X left, Y up, Z to the viewer. Disparity stays disparity: larger is nearer.
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
    TaskNumbers,
    TextPrompt,
)

PREDICT = (1.0, 0.0)

DEPTH = TargetPicture("depth", (MapCodec("depth", clipped="channels"),), task=PREDICT)
DISPARITY = TargetPicture("disparity", (MapCodec("disparity", clipped="channels"),), task=PREDICT)
NORMALS = TargetPicture("normals", (MapCodec("normal", signs=(-1, 1, 1), vectors="clipped"),), task=PREDICT)

SIZE = SizeRule(long_side=768, rounding="down")
OFFICIAL_SIZE = replace(SIZE, fit="cut", rounding="down_by_scale", space="encoded", back="nearest_exact")
ONE_STEP = ScheduleCard(prediction="sample", steps=1)


def _card(name: str, target: TargetPicture, description: str) -> ModelCard:
    generative = "-g-" in name
    system, source = "Lotus-G" if generative else "Lotus-D", Source(f"jingheya/{name}")
    return ModelCard(
        Identity(f"jingheya/{name}", system, "Apache-2.0", True, source, description),
        task="inverse",
        maps=MapsCard((target,), size=SIZE),
        conditioning=(TaskNumbers(), TextPrompt()),
        sampling=SamplingCard(ONE_STEP, "gaussian" if generative else "none"),
        quirks=Quirks(size=OFFICIAL_SIZE, posterior="sample"),
    )


LOTUS = (
    _card("lotus-depth-g-v2-1-disparity", DISPARITY, "disparity in one step, from noise"),
    _card("lotus-depth-d-v2-0-disparity", DISPARITY, "disparity in one step, without noise"),
    _card("lotus-depth-g-v2-0-disparity", DISPARITY, "disparity in one step, from noise (older)"),
    _card("lotus-depth-g-v1-0", DEPTH, "affine-invariant depth in one step, from noise"),
    _card("lotus-depth-d-v1-0", DEPTH, "affine-invariant depth in one step, without noise"),
    _card("lotus-normal-g-v1-1", NORMALS, "normals in one step, from noise"),
    _card("lotus-normal-d-v1-1", NORMALS, "normals in one step, without noise"),
)
