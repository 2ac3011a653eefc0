"""Decomposes the photo that ships with scikit-image (CC0), relights it under built-in lights, and lists the outputs.

python examples/demo.py demo
"""

import sys
from pathlib import Path

from PIL import Image
from skimage import data

from unrender.cli import main as unrender


def main(folder: Path) -> int:
    photo = folder / "coffee.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.coffee()).save(photo)
    print(f"A photo of a cup of coffee: {photo}. Decomposing and relighting it; half a minute or so.")
    for light, options in {"sunset": ["--turn", "360"], "studio": []}.items():
        status = unrender(["relight", str(photo), "-o", str(folder / light), "--light", light, *options])
        if status != 0:
            return status
    print(
        f"""
What the photo is made of    {folder}/sunset/coffee.maps.png
  the same as float layers   {folder}/sunset/coffee.gbuffer.exr   (Blender, Nuke and others open it)
The photo at sunset          {folder}/sunset/coffee.relit.png     (with render passes: coffee.relit.exr)
  while the sun goes round   {folder}/sunset/coffee.turn.mp4
The photo in a studio        {folder}/studio/coffee.relit.png
"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
