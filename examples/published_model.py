"""A published model, or several, on one photo: the default reading, and that of the official code.

python examples/published_model.py photo.jpg out MODEL [MODEL ...]

MODEL is an id that `unrender models pull` has fetched (`unrender models list`), or a folder of weights.
"""

import sys
from functools import partial
from pathlib import Path

import unrender as ur


def main(photo_path: Path, out: Path, models: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    photo = ur.read_image(photo_path)
    for reading, inference in (("default", ur.InferenceOptions()), ("official", ur.InferenceOptions(faithful=True))):
        # Each model is loaded in its turn; a photo is encoded once for all that share an autoencoder.
        load = partial(ur.InverseRenderer.from_pretrained, inference=inference)
        inverse = ur.MultiModelRenderer(tuple(partial(load, model) for model in models))
        ur.write(out / f"{reading}.exr", inverse(photo))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
