"""The command that trains each model folder of a contest."""

from pathlib import Path

STILL_TRAINING = {
    "inverse-multi": "unrender train pretrain --data TRAIN --autoencoder VAE -o {models}/inverse-multi",
    "forward-multi": "unrender train pretrain --task forward --data TRAIN --autoencoder VAE -o {models}/forward-multi",
    "inverse-e2e": "unrender train e2e --data TRAIN --start {models}/inverse-multi/model -o {models}/inverse-e2e",
    "inverse-e2e-gaussian": "unrender train e2e --noise gaussian --data TRAIN --start {models}/inverse-multi/model "
    "-o {models}/inverse-e2e-gaussian",
    "inverse-e2e-multi": "unrender train e2e --noise multi_resolution --data TRAIN "
    "--start {models}/inverse-multi/model -o {models}/inverse-e2e-multi",
    "forward-e2e": "unrender train e2e --task forward --data TRAIN --start {models}/forward-multi/model "
    "-o {models}/forward-e2e",
    "cycle/inverse": "unrender train ouroboros --data TRAIN --inverse {models}/inverse-e2e/model "
    "--forward {models}/forward-e2e/model -o {models}/cycle",
    "cycle-photos/inverse": "unrender train ouroboros --data TRAIN --photos PHOTOS "
    "--inverse {models}/inverse-e2e/model --forward {models}/forward-e2e/model -o {models}/cycle-photos",
}
STILL_TRAINING["cycle-none/inverse"] = STILL_TRAINING["cycle/inverse"].replace("/cycle", "/cycle-none --no-cycles")
STILL_TRAINING |= {
    f"{run}/forward": STILL_TRAINING[f"{run}/inverse"] for run in ("cycle", "cycle-photos", "cycle-none")
}

VIEW_TRAINING = {
    "views": "unrender train viewdiff --data SETS --base TEXT_TO_IMAGE -o {models}/views",
    "views-no-projection": "unrender train viewdiff --projection none --data SETS --base TEXT_TO_IMAGE "
    "-o {models}/views-no-projection",
    "views-no-cross-frame": "unrender train viewdiff --no-cross-frame --data SETS --base TEXT_TO_IMAGE "
    "-o {models}/views-no-cross-frame",
}

INSERTION_TRAINING = {
    "text-to-image": "unrender train text-to-image --data WORDS --autoencoder VAE_OF_PHOTOS -o {models}/text-to-image",
}

_VIDEO_FORWARD = (
    "unrender train env-encoder --data CLIPS --autoencoder VAE -o {models}/env-encoder && "
    "unrender train video-forward --data CLIPS --real LABELLED --autoencoder VAE "
    "--environment {models}/env-encoder/model -o {models}/video-forward"
)


def _without(what: str, encoder: str = "", renderer: str = "") -> str:
    """The command of `video-forward` whose encoder of lights, or renderer, is trained without something."""
    command = _VIDEO_FORWARD.replace("/video-forward", f"/video-forward-no-{what}{renderer}")
    if not encoder:
        return command
    return command.replace("/env-encoder", f"/env-encoder-no-{what}").replace(" &&", f"{encoder} &&")


CLIP_TRAINING = {
    "video-inverse": "unrender train video-inverse --data CLIPS --autoencoder VAE -o {models}/video-inverse",
    "video-forward": _VIDEO_FORWARD,
    "video-forward-no-log": _without("log", encoder=" --without log"),
    "video-forward-no-direction": _without("direction", encoder=" --without direction"),
    "video-forward-no-levels": _without("levels", renderer=" --no-levels"),
    "video-forward-no-lora": _without("lora", renderer=" --no-adapter"),
}

TRAINING = {**STILL_TRAINING, **INSERTION_TRAINING, **VIEW_TRAINING, **CLIP_TRAINING}


def how_to_train(name: str, folder: Path) -> str:
    """The command that trains a model folder in `folder`."""
    return TRAINING[name].format(models=folder)
