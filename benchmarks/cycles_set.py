"""An evaluation set by another renderer: scenes of Blender's own shapes and materials under Blender's own skies and
lamps, rendered by Cycles, each under several lights, with the whole truth. Nothing in it is of `unrender.synth`.

    python benchmarks/cycles_set.py OUT [--objects 24] [--rooms 8] [--lights 2] [--size 256] [--samples 48] [--seed 0]
        [--oidn PATH/oidnDenoise]

OUT/NAME/ of every scene holds `gbuffer.exr` (base_color, normal, depth, roughness, metallic, mask and the camera),
`photo-K.exr` (linear) and `light-K.exr` (in unrender's layout, 256 x 512) for every light. A rerun goes on where it
stopped. Scenes of even numbers are for choosing, odd ones for reporting (`relight_cycles.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from blender.export import LAYOUT_YAW
from blender.sides import find_blender, layer

from unrender.errors import UserError
from unrender.files.cameras import Z_UP_TO_Y_UP
from unrender.files.environments import read_environment, write_environment
from unrender.files.exr import read_channels, write_channels
from unrender.files.gbuffers import write_gbuffer
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer

SCRIPT = Path(__file__).parent / "blender" / "evaluation.py"
FAR = 1e9  # metres; Cycles writes 1e10 where there is nothing
SKIES, LAMPS = 10, 5
BRIGHTEST = 2000.0  # radiance; what a half float holds with room to spare


@dataclass(frozen=True)
class Wanted:
    """How to render: `size` of the square pictures, paths a pixel, a denoiser's command or none."""

    size: int
    samples: int
    oidn: Path | None


def blender(job: dict, folder: Path) -> None:
    """Runs `evaluation.py` on a job.

    Raises:
        UserError: Blender ends with an error; its last line is in it.
    """
    (folder / "job.json").write_text(json.dumps({"threads": 1} | job))
    options = ["--background", "--factory-startup", "--python-exit-code", "1", "--python", str(SCRIPT), "--"]
    done = subprocess.run([find_blender(), *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(f"blender ended with {done.returncode}: {' '.join(last)}")


def make_lights(out: Path, seed: int, wanted: Wanted) -> list[Path]:
    """Lights of OUT/lights in Blender's layout; those that are there already stay."""
    folder = out / "lights"
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [("sky", n) for n in range(SKIES)] + [("lamps", n) for n in range(LAMPS)]
    names = [f"{kind}-{n}" for kind, n in kinds]
    for (kind, n), name in zip(kinds, names, strict=True):
        if (folder / f"{name}.exr").exists():
            continue
        with tempfile.TemporaryDirectory() as work:
            job = {
                "lights": [{"name": name, "kind": kind, "seed": 1000 * seed + n}],
                "samples": 2 * wanted.samples // 3,
            }
            blender(job, Path(work))
            channels = read_channels(Path(work) / f"{name}.exr").channels
            rgb = np.clip(np.stack([channels[f"ViewLayer.Combined.{c}"] for c in "RGB"]), 0, BRIGHTEST)
            rgb = denoised(rgb.astype(np.float32), {}, wanted, Path(work)) if kind == "lamps" else rgb
            write_rgb(folder / f"{name}.exr", rgb)
    return [folder / f"{name}.exr" for name in names]


def write_rgb(path: Path, rgb: np.ndarray) -> None:
    write_channels(path, {c: plane.astype(np.float32) for c, plane in zip("RGB", rgb, strict=True)}, {})


def denoised(rgb: np.ndarray, guides: dict[str, np.ndarray], wanted: Wanted, folder: Path) -> np.ndarray:
    """(3, H, W) by Open Image Denoise, guided by `alb` and `nrm`, where its command was given."""
    if wanted.oidn is None:
        return rgb
    for name, picture in ({"hdr": rgb} | guides).items():
        write_pfm(folder / f"{name}.pfm", picture)
    given = [word for name in guides for word in (f"--{name}", str(folder / f"{name}.pfm"))]
    command = [wanted.oidn, "-d", "cpu", "--threads", "1", "--hdr", folder / "hdr.pfm", *given, "-o", folder / "o.pfm"]
    environment = os.environ | {"LD_LIBRARY_PATH": str(wanted.oidn.resolve().parent.parent / "lib")}
    subprocess.run([str(word) for word in command], check=True, capture_output=True, env=environment)
    return read_pfm(folder / "o.pfm")


def write_pfm(path: Path, picture: np.ndarray) -> None:
    rows = picture.transpose(1, 2, 0)[::-1].astype("<f4")
    path.write_bytes(f"PF\n{rows.shape[1]} {rows.shape[0]}\n-1.0\n".encode() + rows.tobytes())


def read_pfm(path: Path) -> np.ndarray:
    _, size, _, values = path.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(values, "<f4").reshape(height, width, 3)[::-1].transpose(2, 0, 1).copy()


def make_scene(folder: Path, kind: str, seed: int, lights: list[Path], wanted: Wanted) -> None:
    """One scene under `lights`."""
    paths = wanted.samples * (2 if kind == "rooms" else 1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        job = {"scene": kind, "seed": seed, "size": wanted.size, "samples": paths, "under": [str(p) for p in lights]}
        blender(job, work)
        made = folder.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        gbuffer = read_maps(work, len(lights), wanted.size)
        write_gbuffer(made / "gbuffer.exr", gbuffer)
        for k, light in enumerate(lights):
            channels = read_channels(work / f"{k}.exr").channels
            guides = {"alb": layer(channels, "base_color", "RGB"), "nrm": layer(channels, "Normal", "XYZ")}
            rgb = np.maximum(denoised(layer(channels, "Combined", "RGB"), guides, wanted, work), 0)
            write_rgb(made / f"photo-{k}.exr", rgb)
            write_environment(made / f"light-{k}.exr", read_environment(light).rotated(-LAYOUT_YAW))
        made.rename(folder)


def read_maps(work: Path, lights: int, size: int) -> GBuffer:
    """The G-buffer of a scene, in the camera's axes; passes are means over the renders, that is over more paths."""
    seen = json.loads((work / "camera.json").read_text())
    pose = torch.tensor(Z_UP_TO_Y_UP @ np.array(seen["pose"]), dtype=torch.float32)
    camera = Camera.perspective((size, size), seen["fov"], pose[None])
    renders = [read_channels(work / f"{k}.exr").channels for k in range(lights)]

    def mean(name: str, components: str) -> torch.Tensor:
        return torch.from_numpy(np.mean([layer(each, name, components) for each in renders], axis=0))[None]

    depth, normal = mean("Depth", "Z"), mean("Normal", "XYZ")
    there = ((depth < FAR) & (normal.square().sum(1, keepdim=True) > 0.1)).float()
    turn = (pose[:3, :3].double().T @ torch.tensor(Z_UP_TO_Y_UP[:3, :3])).float()
    normal = torch.nn.functional.normalize(torch.einsum("ij,tjhw->tihw", turn, normal), dim=1)
    return GBuffer(
        base_color=mean("base_color", "RGB").clamp(0, 1) * there,
        normal=normal * there,
        depth=torch.where(there > 0, depth, torch.inf),
        depth_kind="metric",
        roughness=mean("roughness", "X").clamp(0, 1) * there,
        metallic=mean("metallic", "X").clamp(0, 1) * there,
        mask=there,
        camera=camera,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    defaults = (("objects", 24), ("rooms", 8), ("lights", 2), ("size", 256), ("samples", 48), ("seed", 0))
    for name, default in defaults:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--oidn", type=Path, help="the command of Open Image Denoise")
    given = parser.parse_args()
    wanted = Wanted(given.size, given.samples, given.oidn)
    lights = make_lights(given.out, given.seed, wanted)
    scenes = [("objects", n) for n in range(given.objects)] + [("rooms", n) for n in range(given.rooms)]
    # One room after every three objects: a part of the set is a set, too.
    scenes.sort(key=lambda scene: scene[1] * (given.objects / max(given.rooms, 1) if scene[0] == "rooms" else 1))
    for kind, n in scenes:
        folder = given.out / f"{kind}-{n:03d}"
        if folder.exists():
            continue
        seed = 10_000 * given.seed + n + (5000 if kind == "rooms" else 0)
        make_scene(folder, kind, seed, random.Random(seed).sample(lights, given.lights), wanted)
        print(folder, flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
