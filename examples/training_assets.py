"""Unpacks what `mini` is trained on, beside unrender's own worlds: furniture, skies and normal maps.

    apt-get install sweethome3d-furniture      # models: CC0 and CC-BY 3.0, see NOTICE
    npm pack @pmndrs/assets                    # skies and normal maps: CC0
    python examples/training_assets.py ASSETS --furniture /usr/share/sweethome3d/furniture --pmndrs pmndrs-assets-*.tgz
    unrender synth OUT --assets ASSETS/furniture --hdris ASSETS/hdris --normals ASSETS/normals

Nothing of this is needed to run unrender, and nothing of it is in the package.
"""

from __future__ import annotations

import argparse
import base64
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch

from unrender.files.environments import write_environment
from unrender.files.exr import read_channels
from unrender.scene.environment import EnvironmentMap

SHIPPED = ("sunrise",)
"""Skies that unrender ships, too; without them the rest can be told apart from what tests use."""


def unpack_furniture(archives: Path, out: Path) -> None:
    """Every .sh3f, a zip file of OBJ models and their catalogue, into a folder of its name."""
    for archive in sorted(archives.glob("*.sh3f")):
        with zipfile.ZipFile(archive) as file:
            file.extractall(out / archive.stem)


def unpack_pmndrs(package: Path, out: Path) -> None:
    """Skies and normal maps, which the package holds as base64 in JavaScript. Its lossy compression rings below zero
    round bright texels: those are clamped."""
    for name in ("hdris", "normals"):
        (out / name).mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as tar:
        for member in tar:
            found = re.fullmatch(r"package/(hdri|normals)/(.+)\.js", member.name)
            stored = tar.extractfile(member) if found else None
            if found is None or stored is None:
                continue
            coded = re.search(rb"base64,([A-Za-z0-9+/=]+)", stored.read())
            if coded is None or Path(found[2]).stem in SHIPPED:
                continue
            if found[1] == "normals":
                (out / "normals" / found[2]).write_bytes(base64.b64decode(coded[1]))
            else:
                _write_sky(base64.b64decode(coded[1]), out / "hdris" / found[2])


def _write_sky(stored: bytes, path: Path) -> None:
    raw = path.with_suffix(".raw.exr")
    raw.write_bytes(stored)
    channels = read_channels(raw).channels
    raw.unlink()
    pixels = np.maximum(np.stack([channels[letter] for letter in "RGB"]).astype(np.float32), 0)
    write_environment(path, EnvironmentMap(torch.from_numpy(pixels)[None], name=path.stem))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--furniture", type=Path, help="the folder of .sh3f files")
    parser.add_argument("--pmndrs", type=Path, help="the npm package @pmndrs/assets, as a .tgz")
    given = parser.parse_args()
    if given.furniture:
        unpack_furniture(given.furniture, given.assets / "furniture")
    if given.pmndrs:
        unpack_pmndrs(given.pmndrs, given.assets)


if __name__ == "__main__":
    main()
