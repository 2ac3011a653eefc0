"""The Python API: from a photo to its G-buffer to a picture under another light.

python examples/python_api.py photo.jpg out
"""

import sys
from pathlib import Path

import unrender as ur


def main(photo_path: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    photo = ur.read_image(photo_path)
    inverse = ur.InverseRenderer.from_pretrained("mini")
    gbuffer = inverse(photo)
    ur.write(out / "gbuffer.exr", gbuffer)

    # The G-buffer is plain tensors: make everything smoother, then light it from the left.
    assert gbuffer.roughness is not None
    polished = gbuffer.with_maps(roughness=gbuffer.roughness * 0.5)
    light = ur.builtin_environment("studio").rotated(90)
    forward = ur.ForwardRenderer.from_pretrained("deferred")
    ur.write(out / "polished.png", forward(polished, light))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
