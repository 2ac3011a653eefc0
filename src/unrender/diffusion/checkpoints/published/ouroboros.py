"""Ouroboros: RGB<->X fine-tuned to one step both ways, consistent in a cycle (Sun et al., ICCV 2025).

One repository with two UNets; the autoencoder and the text encoder are those of RGB->X.
"""

from dataclasses import replace

from unrender.diffusion.card import Guidance, Identity, MapCodec, Quirks, ScheduleCard, SizeRule, Source
from unrender.diffusion.checkpoints.published.rgbx import (
    AOVS,
    LICENCE,
    OFFICIAL_FORWARD_SIZE,
    OFFICIAL_INPUTS,
    OFFICIAL_PHOTO,
    RGB_TO_X,
    X_TO_RGB,
)

REPOSITORY = "Y-Research-Group/Ouroboros"
# The repository says MIT; the weights were tuned from RGB<->X, whose licence follows its derivatives.
DERIVED = f"MIT as stated; derived from RGB<->X: {LICENCE}"
ONE_STEP = ScheduleCard(zero_terminal_snr=True, steps=1)
SIZE = SizeRule(long_side=0)

# The pipeline takes one channel of `metallic`, but is called for `metallicity`: all three come out, and are averaged
# here, where a map has one value.
OFFICIAL_AOVS = tuple(
    replace(target, maps=(MapCodec("metallic", clipped="channels"),)) if target.name == "metallic" else target
    for target in AOVS
)


def _identity(unet: str, description: str) -> Identity:
    source = Source(REPOSITORY, unet=unet, fallback="zheng95z/rgb-to-x")
    return Identity(REPOSITORY, "Ouroboros", DERIVED, False, source, description)


INVERSE = replace(
    RGB_TO_X,
    identity=_identity("unet_1", "base colour, normals, roughness, metallicity, irradiance in one step"),
    maps=replace(RGB_TO_X.maps, size=SIZE),
    sampling=replace(RGB_TO_X.sampling, schedule=ONE_STEP),
    quirks=Quirks(
        inputs=(OFFICIAL_PHOTO,),
        targets=OFFICIAL_AOVS,
        size=replace(SIZE, fit="stretch", rounding="down", space="encoded"),
        final_step="previous",
    ),
)

FORWARD = replace(
    X_TO_RGB,
    identity=_identity("unet_0", "a picture from its maps in one step"),
    sampling=replace(X_TO_RGB.sampling, schedule=ONE_STEP, guidance=Guidance(inclusive=True)),
    quirks=Quirks(inputs=OFFICIAL_INPUTS, size=OFFICIAL_FORWARD_SIZE, final_step="previous"),
)

OUROBOROS = (INVERSE, FORWARD)
