"""RGB<->X: pictures to intrinsic channels and back (Zeng et al., SIGGRAPH 2024).

Both ways in linear colour: what an EXR says, or the code value of an 8-bit picture to the power 2.2. The noisy target
comes first. Each channel has a prompt of its own, padded to full length. On the way back every channel's
latent has a scale of its own, and irradiance bypasses the VAE; a channel that is missing is zero.
"""

from dataclasses import replace

from unrender.diffusion.card import (
    Grouping,
    Guidance,
    Identity,
    InputMap,
    LatentsCard,
    MapCodec,
    MapsCard,
    ModelCard,
    Quirks,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
    TextPrompt,
)

LICENCE = "Adobe Research License (non-commercial)"
ZERO_SNR = ScheduleCard(zero_terminal_snr=True, steps=50)

PHOTO = InputMap(MapCodec("rgb", transfer="code22"), exposure="log_average", scene_transfer="linear")
OFFICIAL_PHOTO = replace(PHOTO, exposure="log_average_yxy")

AOVS = (
    TargetPicture("albedo", (MapCodec("base_color", transfer="code22"),), prompt="Albedo (diffuse basecolor)"),
    TargetPicture("normal", (MapCodec("normal", vectors="clipped"),), prompt="Camera-space Normal"),
    TargetPicture("roughness", (MapCodec("roughness", (0,)),), prompt="Roughness"),
    TargetPicture("metallic", (MapCodec("metallic", (0,)),), prompt="Metallicness"),
    TargetPicture("irradiance", (MapCodec("irradiance", transfer="code22"),), prompt="Irradiance (diffuse lighting)"),
)
PICTURE = (TargetPicture("rgb", (MapCodec("rgb", transfer="code22"),)),)

NORMAL = InputMap(MapCodec("normal"), scale=0.17483895473058078)
IRRADIANCE = InputMap(
    MapCodec("irradiance", transfer="code22"), encoded=False, exposure="log_average_lit", scene_transfer="linear"
)
INPUTS = (
    InputMap(MapCodec("base_color", transfer="code22"), scale=0.17301377137652138),
    NORMAL,
    InputMap(MapCodec("roughness"), scale=0.1680724853626448),
    InputMap(MapCodec("metallic"), scale=0.13135013390855135),
    IRRADIANCE,
)

# A normal map of 8 bits has 128 where there is no normal: read and made unit, that is (1, 1, 1) / sqrt(3). The
# pipeline shrinks every map but normals to a multiple of 8 by dropping pixels.
GREY = (3**-0.5, 3**-0.5, 3**-0.5)
OFFICIAL_NORMAL = replace(NORMAL, codec=replace(NORMAL.codec, none=GREY), resized=False)
OFFICIAL_IRRADIANCE = replace(IRRADIANCE, exposure="log_average_yxy")
OFFICIAL_INPUTS = (INPUTS[0], OFFICIAL_NORMAL, *INPUTS[2:4], OFFICIAL_IRRADIANCE)
# The pipeline leaves its picture at the smaller size; bringing it back is ours, in linear light.
OFFICIAL_FORWARD_SIZE = SizeRule(
    long_side=0, fit="stretch", rounding="down", space="encoded", back_space="linear", inward="nearest"
)

INVERSE_SIZE = SizeRule(long_side=1000, rounding="down")
OFFICIAL_INVERSE_SIZE = replace(INVERSE_SIZE, fit="stretch", rounding="down_by_ratio", space="encoded")
FORWARD_SIZE = SizeRule(long_side=0)

NOISE_FIRST = LatentsCard(order="noise_first")
PROMPTS = (TextPrompt(padded=True),)


def _identity(name: str, description: str) -> Identity:
    return Identity(f"zheng95z/{name}", "RGB<->X", LICENCE, False, Source(f"zheng95z/{name}"), description)


RGB_TO_X = ModelCard(
    _identity("rgb-to-x", "base colour, normals, roughness, metallicity, irradiance, fifty steps each"),
    task="inverse",
    maps=MapsCard(AOVS, (PHOTO,), INVERSE_SIZE),
    latents=NOISE_FIRST,
    conditioning=PROMPTS,
    sampling=SamplingCard(ZERO_SNR, "gaussian", grouping=Grouping("target")),
    quirks=Quirks(inputs=(OFFICIAL_PHOTO,), size=OFFICIAL_INVERSE_SIZE, final_step="previous"),
)

X_TO_RGB = ModelCard(
    _identity("x-to-rgb", "a picture from any of the maps, and words"),
    task="forward",
    maps=MapsCard(PICTURE, INPUTS, FORWARD_SIZE),
    latents=NOISE_FIRST,
    conditioning=PROMPTS,
    sampling=SamplingCard(ZERO_SNR, "gaussian", Guidance(text=7.5, image=1.5, rescale=0.7, inclusive=True)),
    quirks=Quirks(inputs=OFFICIAL_INPUTS, size=OFFICIAL_FORWARD_SIZE, final_step="previous"),
)


def _edited(inputs: tuple[InputMap, ...], photo: InputMap) -> tuple[InputMap, ...]:
    """The maps inside the region that is rendered anew, and the photo outside it."""
    return (*(replace(one, region="edit") for one in inputs), replace(photo, region="keep"))


INPAINTING = replace(
    X_TO_RGB,
    identity=_identity("x-to-rgb-inpainting", "a part of a picture from its maps, and words"),
    maps=replace(X_TO_RGB.maps, inputs=_edited(INPUTS, PHOTO), edits=True),
    quirks=replace(X_TO_RGB.quirks, inputs=_edited(OFFICIAL_INPUTS, OFFICIAL_PHOTO), composite=False),
)

RGBX = (RGB_TO_X, X_TO_RGB, INPAINTING)
