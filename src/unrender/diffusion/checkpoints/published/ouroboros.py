"""Ouroboros: RGB<->X fine-tuned to one step both ways, consistent in a cycle (Sun et al., ICCV 2025).

One repository with two UNets; the autoencoder and the text encoder are those of RGB->X.
"""

from dataclasses import replace

from unrender.diffusion.card import Guidance, MapCodec, Quirks, ScheduleCard, SizeRule, Source
from unrender.diffusion.checkpoints.published.rgbx import (
    AOVS,
    LICENCE,
    OFFICIAL_FORWARD_SIZE,
    OFFICIAL_GIVEN,
    OFFICIAL_PHOTO,
    RGB_TO_X,
    X_TO_RGB,
)

REPOSITORY = "Y-Research-Group/Ouroboros"
# The repository says MIT; the weights were tuned from RGB<->X, whose licence follows its derivatives.
DERIVED = f"MIT as stated; derived from RGB<->X: {LICENCE}"
ONE_STEP = ScheduleCard(zero_terminal_snr=True, steps=1)
SIZE = SizeRule(long_side=0)

# The pipeline takes one channel of `metallic`, but is asked for `metallicity`: all three come out, and are averaged
# here, where a map has one value.
OFFICIAL_AOVS = tuple(
    replace(picture, maps=(MapCodec("metallic", clipped="channels"),)) if picture.name == "metallic" else picture
    for picture in AOVS
)

INVERSE = replace(
    RGB_TO_X,
    id=REPOSITORY,
    system="Ouroboros",
    licence=DERIVED,
    commercial=False,
    schedule=ONE_STEP,
    size=SIZE,
    quirks=Quirks(
        given=(OFFICIAL_PHOTO,),
        pictures=OFFICIAL_AOVS,
        size=replace(SIZE, fit="stretch", rounding="down", space="encoded"),
        final_step="previous",
    ),
    source=Source(REPOSITORY, unet="unet_1", rest="zheng95z/rgb-to-x"),
    description="base colour, normals, roughness, metallicity, irradiance in one step",
)

FORWARD = replace(
    X_TO_RGB,
    id=REPOSITORY,
    system="Ouroboros",
    licence=DERIVED,
    commercial=False,
    schedule=ONE_STEP,
    guidance=Guidance(inclusive=True),
    quirks=Quirks(given=OFFICIAL_GIVEN, size=OFFICIAL_FORWARD_SIZE, final_step="previous"),
    source=Source(REPOSITORY, unet="unet_0", rest="zheng95z/rgb-to-x"),
    description="a picture from its maps in one step",
)

OUROBOROS = (INVERSE, FORWARD)
