"""ViewDiff: the views of an object from a text or from pictures of it (Höllein et al., CVPR 2024).

Its authors published no weights. One folder that their training code exported is public: teddy bears, fine-tuned from
Stable Diffusion 2.1-base. The layers are those of its own `unet/config.json`; here stand those of the training script.
"""

from unrender.diffusion.card import (
    Grouping,
    Guidance,
    Identity,
    MapCodec,
    MapsCard,
    ModelCard,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
    TextPrompt,
    ViewLayers,
)

TEDDYBEAR = "noguchis/viewdiff_train_teddybear"

RELEASED_LAYERS = ViewLayers(compression="multiple", up="z", released_grid=True)
"""As `scripts/train.sh` has them."""

VIEWDIFF_CARD = ModelCard(
    Identity(
        TEDDYBEAR,
        "ViewDiff",
        "CC-BY-NC-SA-4.0",
        False,
        Source(TEDDYBEAR),
        "views of teddy bears along any camera path, from a text or from pictures",
    ),
    task="multi_view",
    maps=MapsCard(
        (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),),
        (),
        SizeRule(long_side=256, multiple=32, min_side=64),
    ),
    conditioning=(TextPrompt(padded=True), RELEASED_LAYERS),
    sampling=SamplingCard(
        # Its training asked DDPM for zero terminal SNR, in words that its diffusers did not know: plain betas.
        ScheduleCard(prediction="epsilon", spacing="linspace", steps=10, solver="unipc"),
        "gaussian",
        Guidance(text=7.5, image=1.0),
        Grouping("frame", joint="frames", shared_noise="none"),
    ),
)

VIEWDIFF = (VIEWDIFF_CARD,)
