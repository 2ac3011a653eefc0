"""One photo under every built-in light: decomposed once, put together eight times.

python examples/relight_photo.py photo.jpg out
"""

import sys
from pathlib import Path

import unrender as ur
from unrender.relight import decompose, relight_decomposition


def main(photo_path: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    inverse = ur.InverseRenderer.from_pretrained("mini")
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    decomposition = decompose(ur.read_image(photo_path), inverse, forward)
    for name in ur.builtin_environment_names():
        ur.write(out / f"{name}.png", relight_decomposition(decomposition, ur.builtin_environment(name), forward))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
