"""The two sides of the comparison: the same world rendered by unrender and by Blender, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from blender.export import export_world
from blender.figures import Array, Seconds

from unrender.errors import UserError
from unrender.files.cameras import Z_UP_TO_Y_UP
from unrender.files.exr import Channels, read_channels
from unrender.files.gbuffers import write_gbuffer
from unrender.raytrace.atlas import pack_atlas
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.synth.clip import MAX_DEPTH
from unrender.synth.compose import another_light, random_world
from unrender.synth.sources import Sources
from unrender.synth.world import World

# Columns of Cycles' importance map of a light of 256: a map of 256 has twice the noise under a sun, and the one of 4096
# that Cycles takes by itself no less noise for another second of processor time and 320 MB.
IMPORTANCE = 1024
SCRIPT = Path(__file__).with_name("cycles_scene.py")


@dataclass(frozen=True)
class Wanted:
    """What both sides render.

    Attributes:
        seed: of the worlds.
        size: of the square picture, in pixels.
        samples: paths a pixel; noise is measured at these and at four times as many.
        lights: K, the world's own among them.
        threads: of each renderer.
        flat: without bumps, which Cycles shades darker.
    """

    seed: int
    size: int
    samples: int
    lights: int
    threads: int
    flat: bool = False

    @property
    def counts(self) -> tuple[int, int]:
        """Paths a pixel of the renders under one light."""
        return self.samples, 4 * self.samples


@dataclass(frozen=True)
class Side:
    """What one renderer made of a world, and what it took.

    Attributes:
        start: from the command to a process that has everything imported (and kernels loaded).
        load: from a mesh and textures in memory, or their files, to a scene that can be rendered.
        truth: what the maps take where they are not passes of the picture.
        took: of each render by (lights, samples), its first seed's; in Blender K lights are K renders.
        rgb: pictures (K, 3, H, W) by (lights, samples, seed); seeds are 1 and 2.
        irradiance: likewise.
        maps: base_color (3, H, W), normal (3, H, W) in the camera's axes, depth and instance (H, W), of one render.
        memory: peak of the process in MB, after stills and after K lights.
        version: of the renderer.
    """

    start: Seconds
    load: Seconds
    truth: Seconds
    took: dict[tuple[int, int], Seconds]
    rgb: dict[tuple[int, int, int], Array]
    irradiance: dict[tuple[int, int, int], Array]
    maps: dict[str, Array]
    memory: tuple[float, float]
    version: str


def drawn(wanted: Wanted, index: int) -> World:
    """World `index`, a room or not, with its own light."""
    rng = np.random.default_rng([wanted.seed, index])
    return random_world(rng, (wanted.size, wanted.size), Sources(), test=False)


def surface_of(wanted: Wanted, world: World) -> tuple[TexturedMesh, Array]:
    """`world` as one surface, and the thing that each vertex belongs to."""
    surface, owners = pack_atlas(world.things)
    return replace(surface, slope=None) if wanted.flat else surface, owners


def lights_of(wanted: Wanted, index: int, world: World) -> list[EnvironmentMap]:
    """The K lights of `world`, its own first."""
    rng = np.random.default_rng([wanted.seed, index, 1])
    others = (another_light(rng, world, Sources(), test=False) for _ in range(wanted.lights - 1))
    return [world.light, *others]


def renders(wanted: Wanted) -> list[tuple[int, int, int]]:
    """(lights, samples, seed) of every render, those under one light first."""
    one = [(1, samples, seed) for samples in wanted.counts for seed in (1, 2)]
    return one + ([(wanted.lights, wanted.samples, seed) for seed in (1, 2)] if wanted.lights > 1 else [])


def ours(wanted: Wanted, index: int, folder: Path) -> Side:
    """unrender's side, in a process that is begun for it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_ours, wanted, index, folder, time.time()).result()


def _ours(wanted: Wanted, index: int, folder: Path, launched: float) -> Side:
    import drjit
    import mitsuba

    from unrender.raytrace import backend
    from unrender.raytrace.gbuffer import trace_gbuffer
    from unrender.raytrace.path_tracer import render_lights
    from unrender.raytrace.path_tracer_scene import build_path_tracer_scene

    version = f"unrender with Mitsuba {mitsuba.__version__}, {backend.use()}"
    drjit.set_thread_count(wanted.threads)
    torch.set_num_threads(wanted.threads)
    begun = Seconds.now()
    world = drawn(wanted, index)
    surface, owners = surface_of(wanted, world)
    lights = lights_of(wanted, index, world)
    faces = owners[surface.faces[:, 0]] + 1
    before = Seconds.now()
    scene = build_path_tracer_scene(surface, world.camera, max_depth=MAX_DEPTH)
    load = Seconds.now().since(before)
    before = Seconds.now()
    trace_gbuffer(scene, owners=faces)
    for count in {1, len(lights)}:
        render_lights(scene, lights[:count], samples=1, seed=0)
    kernels = Seconds.now().since(before)
    start = Seconds(begun.clock - launched, begun.processor).plus(kernels)

    before = Seconds.now()
    gbuffer = trace_gbuffer(scene, owners=faces)
    truth = Seconds.now().since(before)
    took, rgb, irradiance, memory = {}, {}, {}, []
    for count, samples, seed in renders(wanted):
        before = Seconds.now()
        frame = render_lights(scene, lights[:count], samples=samples, seed=seed)
        for k in range(count):
            whole = gbuffer.with_maps(rgb=frame.rgb[k : k + 1], irradiance=frame.irradiance[k : k + 1])
            write_gbuffer(folder / "ours.exr", whole)
        took.setdefault((count, samples), Seconds.now().since(before))
        rgb[count, samples, seed] = frame.rgb.numpy()
        irradiance[count, samples, seed] = frame.irradiance.numpy()
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    maps = {name: gbuffer.maps[name][0].numpy() for name in ("base_color", "normal", "depth", "instance", "mask")}
    maps |= {name: maps[name][0] for name in ("depth", "instance", "mask")}
    return Side(start, load, truth, took, rgb, irradiance, maps, (memory[3], memory[-1]), version)


def find_blender() -> str:
    """The command.

    Raises:
        UserError: there is none, or it is not 3.x.
    """
    command = shutil.which("blender")
    if command is None:
        raise UserError("there is no command blender; install Blender 3.x (apt-get install blender) and put it on PATH")
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout.split()
    if said[:1] != ["Blender"] or not said[1].startswith("3."):
        raise UserError(f"{command} is {' '.join(said[:2]) or 'silent about its version'}; Blender 3.x is right")
    return command


def blenders(command: str, wanted: Wanted, index: int, folder: Path) -> Side:
    """Blender's side of the same world; files go through `folder`.

    Raises:
        UserError: Blender ends with an error; its last line is in it.
    """
    world = drawn(wanted, index)
    export_world(folder, *surface_of(wanted, world), world.camera, lights_of(wanted, index, world))
    job = {
        "launched": time.time(),
        "threads": wanted.threads,
        "max_depth": MAX_DEPTH,
        "importance": IMPORTANCE,
        "lights": wanted.lights,
        "renders": [
            {
                "name": _name(count, samples, seed, k),
                "samples": samples,
                "seed": seed,
                "light": k,
                "persistent": count > 1,
            }
            for count, samples, seed in renders(wanted)
            for k in range(count)
        ],
    }
    (folder / "job.json").write_text(json.dumps(job))
    options = ["--background", "--factory-startup", "--python-exit-code", "1", "--python", str(SCRIPT), "--"]
    done = subprocess.run([command, *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode or not (folder / "result.json").exists():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(f"blender ended with {done.returncode}: {' '.join(last)}")
    return _read(wanted, folder, json.loads((folder / "result.json").read_text()), world.camera)


def _name(count: int, samples: int, seed: int, light: int) -> str:
    return f"{count}-{samples}-{seed}-{light}"


def _read(wanted: Wanted, folder: Path, result: dict, camera: Camera) -> Side:
    took, rgb, irradiance = {}, {}, {}
    for key in renders(wanted):
        names = [_name(*key, k) for k in range(key[0])]
        parts = [Seconds(*result["renders"][name]) for name in names]
        took.setdefault(key[:2], Seconds(*(sum(each) for each in zip(*parts, strict=True))))
        channels = [read_channels(folder / f"{name}.exr").channels for name in names]
        rgb[key] = np.stack([layer(each, "Combined", "RGB") for each in channels])
        irradiance[key] = np.stack(
            [np.pi * (layer(each, "DiffDir", "RGB") + layer(each, "DiffInd", "RGB")) for each in channels]
        )
    last = read_channels(folder / f"{_name(1, wanted.counts[1], 1, 0)}.exr").channels
    turn = camera.pose[0, :3, :3].double().numpy().T @ Z_UP_TO_Y_UP[:3, :3]
    maps = {
        "base_color": layer(last, "base_color", "RGB"),
        "normal": np.einsum("ij,jhw->ihw", turn, layer(last, "Normal", "XYZ")),
        "depth": layer(last, "Depth", "Z")[0],
        "instance": layer(last, "IndexOB", "X")[0],
        "metallic": layer(last, "metallic", "X")[0],
    }
    peaks = list(result["peaks"].values())
    return Side(
        start=Seconds(*result["start"]),
        load=Seconds(*result["load"]),
        truth=Seconds(0.0, 0.0),
        took=took,
        rgb=rgb,
        irradiance=irradiance,
        maps=maps,
        memory=(peaks[3], peaks[-1]),
        version=f"Blender {result['version']}",
    )


def layer(channels: Channels, name: str, components: str) -> Array:
    """A pass (C, H, W) float32."""
    return np.stack([channels[f"ViewLayer.{name}.{component}"] for component in components]).astype(np.float32)
