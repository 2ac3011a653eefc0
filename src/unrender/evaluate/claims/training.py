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

_VIDEO = "unrender train video-forward --data CLIPS --autoencoder VAE --environment {models}/env-encoder/model"
CLIP_TRAINING = {
    "video-inverse": "unrender train video-inverse --data CLIPS --autoencoder VAE -o {models}/video-inverse",
    "video-forward": f"{_VIDEO} --real LABELLED -o {{models}}/video-forward",
    "video-forward-no-log": f"{_VIDEO} --real LABELLED -o {{models}}/video-forward-no-log".replace(
        "env-encoder/", "env-encoder-no-log/"
    ),
    "video-forward-no-direction": f"{_VIDEO} --real LABELLED -o {{models}}/video-forward-no-direction".replace(
        "env-encoder/", "env-encoder-no-direction/"
    ),
    "video-forward-no-levels": f"{_VIDEO} --real LABELLED --no-levels -o {{models}}/video-forward-no-levels",
    "video-forward-no-lora": f"{_VIDEO} --real LABELLED --no-adapter -o {{models}}/video-forward-no-lora",
}

TRAINING = {**STILL_TRAINING, **INSERTION_TRAINING, **VIEW_TRAINING, **CLIP_TRAINING}


def how_to_train(name: str, folder: Path) -> str:
    """The command that trains a model folder in `folder`."""
    return TRAINING[name].format(models=folder)
