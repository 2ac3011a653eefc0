"""RGB<->X: pictures to intrinsic channels and back (Zeng et al., SIGGRAPH 2024).

Both ways in linear colour: what an EXR says, or the code value of an 8-bit picture to the power 2.2. The noisy target
comes first. Each channel is asked for by a prompt of its own, padded to full length. On the way back every channel's
latent has a scale of its own, and irradiance goes round the autoencoder; a channel that is not given is zero.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    GivenMap,
    Guidance,
    MapCodec,
    ModelCard,
    Quirks,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
)

LICENCE = "Adobe Research License (non-commercial)"
ZERO_SNR = ScheduleCard(zero_terminal_snr=True, steps=50)

PHOTO = GivenMap(MapCodec("rgb", transfer="code22"), exposure="log_average", scene_transfer="linear")
OFFICIAL_PHOTO = replace(PHOTO, exposure="log_average_yxy")

AOVS = (
    TargetPicture("albedo", (MapCodec("base_color", transfer="code22"),), prompt="Albedo (diffuse basecolor)"),
    TargetPicture("normal", (MapCodec("normal", vectors="clipped"),), prompt="Camera-space Normal"),
    TargetPicture("roughness", (MapCodec("roughness", (0,)),), prompt="Roughness"),
    TargetPicture("metallic", (MapCodec("metallic", (0,)),), prompt="Metallicness"),
    TargetPicture("irradiance", (MapCodec("irradiance", transfer="code22"),), prompt="Irradiance (diffuse lighting)"),
)
PICTURE = (TargetPicture("rgb", (MapCodec("rgb", transfer="code22"),)),)

NORMAL = GivenMap(MapCodec("normal"), scale=0.17483895473058078)
IRRADIANCE = GivenMap(
    MapCodec("irradiance", transfer="code22"), encoded=False, exposure="log_average_lit", scene_transfer="linear"
)
GIVEN = (
    GivenMap(MapCodec("base_color", transfer="code22"), scale=0.17301377137652138),
    NORMAL,
    GivenMap(MapCodec("roughness"), scale=0.1680724853626448),
    GivenMap(MapCodec("metallic"), scale=0.13135013390855135),
    IRRADIANCE,
)

# A normal map of 8 bits has 128 where there is no normal: read and made unit, that is (1, 1, 1) / sqrt(3). The
# pipeline shrinks every map but normals to a multiple of 8 by dropping pixels.
GREY = (3**-0.5, 3**-0.5, 3**-0.5)
OFFICIAL_NORMAL = replace(NORMAL, codec=replace(NORMAL.codec, none=GREY), resized=False)
OFFICIAL_IRRADIANCE = replace(IRRADIANCE, exposure="log_average_yxy")
OFFICIAL_GIVEN = (GIVEN[0], OFFICIAL_NORMAL, *GIVEN[2:4], OFFICIAL_IRRADIANCE)
OFFICIAL_FORWARD_SIZE = SizeRule(long_side=0, fit="stretch", rounding="down", space="encoded", inward="nearest")

INVERSE_SIZE = SizeRule(long_side=1000, rounding="down")
OFFICIAL_INVERSE_SIZE = replace(INVERSE_SIZE, fit="stretch", rounding="down_by_ratio", space="encoded")
FORWARD_SIZE = SizeRule(long_side=0)

RGB_TO_X = ModelCard(
    id="zheng95z/rgb-to-x",
    system="RGB<->X",
    licence=LICENCE,
    commercial=False,
    given=(PHOTO,),
    pictures=AOVS,
    passes="one_each",
    concatenation="noise_first",
    schedule=ZERO_SNR,
    noise="gaussian",
    size=INVERSE_SIZE,
    padded_prompts=True,
    quirks=Quirks(given=(OFFICIAL_PHOTO,), size=OFFICIAL_INVERSE_SIZE, final_step="previous"),
    source=Source("zheng95z/rgb-to-x"),
    description="base colour, normals, roughness, metallicity, irradiance, fifty steps each",
)

X_TO_RGB = ModelCard(
    id="zheng95z/x-to-rgb",
    system="RGB<->X",
    licence=LICENCE,
    commercial=False,
    given=GIVEN,
    pictures=PICTURE,
    concatenation="noise_first",
    schedule=ZERO_SNR,
    noise="gaussian",
    guidance=Guidance(text=7.5, image=1.5, rescale=0.7, inclusive=True),
    size=FORWARD_SIZE,
    padded_prompts=True,
    quirks=Quirks(given=OFFICIAL_GIVEN, size=OFFICIAL_FORWARD_SIZE, final_step="previous"),
    source=Source("zheng95z/x-to-rgb"),
    description="a picture from any of the maps, and words",
)


def _edited(given: tuple[GivenMap, ...], photo: GivenMap) -> tuple[GivenMap, ...]:
    """The maps inside the region that is rendered anew, and the photo outside it."""
    return (*(replace(one, region="edit") for one in given), replace(photo, region="keep"))


INPAINTING = replace(
    X_TO_RGB,
    id="zheng95z/x-to-rgb-inpainting",
    given=_edited(GIVEN, PHOTO),
    edits=True,
    quirks=replace(X_TO_RGB.quirks, given=_edited(OFFICIAL_GIVEN, OFFICIAL_PHOTO), composite=False),
    source=Source("zheng95z/x-to-rgb-inpainting"),
    description="a part of a picture from its maps, and words",
)

RGBX = (RGB_TO_X, X_TO_RGB, INPAINTING)
