"""Pictures with and without an object that is truly there: what an insertion is measured against.

A pair is a folder: background.exr (without the object), truth.exr (with it: bare R, G, B, and mask.A, the object's
coverage), object.glb, light.exr, transforms.json (the camera, and the object's pose), and class.txt (what the object
is). All are in one set of units, and the ground is y = 0. Worlds, textures and lights are those that training never
sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.cameras import NamedCameras, write_transforms
from unrender.files.environments import write_environment
from unrender.files.gbuffers import write_gbuffer
from unrender.files.gltf_writing import write_glb
from unrender.files.leftovers import clean_leftovers
from unrender.files.lock import LOCK_FILE, locked
from unrender.files.materials import GltfMaterial, MeshPrimitive
from unrender.raytrace.atlas import PlacedMesh, pack_atlas
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import transformed, vertex_normals
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import PathTracerScene, build_path_tracer_scene
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import percentile_gain
from unrender.scene.trajectory import look_at
from unrender.synth.lights import random_light
from unrender.synth.materials import SMALL, WIDE, random_material
from unrender.synth.objects import FURNITURE, random_object
from unrender.synth.placement import Extent, about_y, free_spot, posed
from unrender.synth.shapes import plane
from unrender.synth.wear import random_finish

Random = np.random.Generator

_STREAM = 11  # of random numbers, apart from those of clips
_DEPTH = 5  # path vertices: the truth has light between ground and object, which an insertion has not
_SOFT = 0.3  # least roughness of what is seen indirectly
_ROUGH = 0.7  # least roughness of the ground
_APART = 1.6  # times as far off as they need be
_WHITE = 0.8  # the 95th percentile of a picture's luminance


@dataclass(frozen=True)
class InsertionPair:
    """A picture with and without an object.

    Attributes:
        background: (1, 3, H, W) linear, without it.
        truth: (1, 3, H, W) linear, with it.
        mask: (1, 1, H, W), the object's coverage.
        thing: the object.
        light: 128 x 256, in the units of the pictures.
        camera: one frame.
        class_name: what the object is, in a word.
    """

    background: Tensor
    truth: Tensor
    mask: Tensor
    thing: PlacedMesh
    light: EnvironmentMap
    camera: Camera
    class_name: str = ""


def random_pair(index: int, *, seed: int = 0, resolution: int = 128, samples: int = 256) -> InsertionPair:
    """Samples and renders pair `index` of a seed: an object in the middle of a ground, one to three others behind it,
    under a light of the worlds held out of training."""
    rng = np.random.default_rng([seed, _STREAM, index])
    class_name, thing, others = _things(rng)
    ground = PlacedMesh(plane(12.0, 12.0), _matte(_flat(random_material(rng, WIDE, test=True, metal_share=0.0))))
    light = random_light(rng, test=True, world_share=1.0)
    camera = _camera(rng, thing.placed, resolution)
    scenes = [
        build_path_tracer_scene(pack_atlas(parts)[0], camera, max_depth=_DEPTH)
        for parts in ([ground, *others], [ground, *others, thing], [thing])
    ]
    background, truth = (
        render_lights(scene, [light], samples=samples, seed=index, indirect_roughness=_SOFT).rgb for scene in scenes[:2]
    )
    mask = _visible(scenes)
    gain = float(percentile_gain(truth, 95.0, _WHITE))
    return InsertionPair(
        background * gain,
        truth * gain,
        mask,
        thing,
        replace(light, radiance=light.radiance * gain),
        camera,
        class_name,
    )


def generate_pairs(
    out: Path | str,
    count: int,
    *,
    seed: int = 0,
    resolution: int = 128,
    samples: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes pairs 0 to `count` into folders of `out`, named by their numbers; those that are there stay, so that a
    stopped run goes on. Each folder appears whole.

    Raises:
        UserError: `out` cannot be written to, or has other files in it.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        clean_leftovers(folder)
        mark, said = folder / "pairs.txt", f"insertion pairs, seed {seed}, {resolution} pixels, {samples} samples\n"
        if mark.exists():
            if mark.read_text() != said:
                raise UserError(f"{folder} holds {mark.read_text().strip()}, not {said.strip()}; give another folder")
        elif any(path.name != LOCK_FILE for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no insertion pairs; give a new folder")
        else:
            with atomic_write(mark) as partial:
                partial.write_text(said)
        for index in range(count):
            place = folder / f"{index:04d}"
            if not place.exists():
                pair = random_pair(index, seed=seed, resolution=resolution, samples=samples)
                with atomic_write(place) as partial:
                    partial.mkdir()
                    write_pair(partial, pair)
            if progress is not None:
                progress(index + 1, count)


def write_pair(folder: Path, pair: InsertionPair) -> None:
    """Writes a pair into a folder that exists."""
    write_gbuffer(folder / "background.exr", GBuffer(rgb=pair.background, camera=pair.camera))
    write_gbuffer(folder / "truth.exr", GBuffer(rgb=pair.truth, mask=pair.mask, camera=pair.camera))
    write_glb(folder / "object.glb", [_primitive(pair.thing)])
    write_environment(folder / "light.exr", pair.light)
    cameras = NamedCameras(("background.exr",), pair.camera)
    write_transforms(folder / "transforms.json", cameras, objects=[("object.glb", pair.thing.pose)])
    (folder / "class.txt").write_text(f"{pair.class_name}\n", encoding="utf-8")


def _things(rng: Random) -> tuple[str, PlacedMesh, list[PlacedMesh]]:
    """What is inserted, in a word, and its mesh; and those behind it that are not."""
    extents: list[Extent] = []
    placed, kinds = [], []
    for number in range(2 + int(rng.integers(3))):
        kind, mesh = random_object(rng)
        small, large = (0.8, 1.2) if kind in FURNITURE else (0.5, 0.9)
        pose = posed(about_y(rng.uniform(0, 2 * np.pi)), rng.uniform(small, large))
        extent = Extent.of(transformed(mesh, pose).vertices)
        up = np.array([0.0, -extent.low[8], 0.0])
        pose[:3, 3] += up + free_spot(rng, extent.moved(up), extents)
        if number:  # behind the first, which they must not hide, and well apart: what they reflect is not in the pair
            pose[0, 3], pose[2, 3] = _APART * pose[0, 3], -_APART * abs(pose[2, 3])
            extent = Extent.of(transformed(mesh, pose).vertices)
            if not all(extent.apart(other) for other in extents):
                continue
        placed.append(PlacedMesh(mesh, _flat(random_finish(rng, SMALL, test=True)), pose))
        kinds.append(kind)
        extents.append(Extent.of(transformed(mesh, pose).vertices))
    return kinds[0], placed[0], placed[1:]


def _flat(material: Material) -> Material:
    """The material without its bumps, which a GLB of ours has no room for."""
    return replace(material, bump=np.zeros_like(material.bump))


def _matte(material: Material) -> Material:
    """The material as that of a ground: rough, for shadows are taken to fall on what is Lambertian, and no metal."""
    rough = np.maximum(material.roughness, np.float32(_ROUGH))
    return replace(material, roughness=rough, metallic=np.zeros_like(material.metallic))


def _camera(rng: Random, points: np.ndarray, resolution: int) -> Camera:
    """A camera on the +Z side that has the object in the middle, and its shadow in view."""
    low, high = points.min(0), points.max(0)
    centre = torch.from_numpy((low + high) / 2).float()
    radius = float(np.linalg.norm(points - (low + high) / 2, axis=1).max())
    fov = rng.uniform(30, 55)
    distance = radius / np.tan(np.radians(fov / 2)) * rng.uniform(1.8, 2.6)
    azimuth, elevation = np.radians(rng.uniform(-40, 40)), np.radians(rng.uniform(12, 40))
    away = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], np.float32
    )
    pose = look_at(centre + torch.from_numpy(away) * float(distance), centre)
    return Camera.perspective((resolution, resolution), float(fov), pose)


def _visible(scenes: Sequence[PathTracerScene]) -> Tensor:
    """The object's coverage where nothing stands before it."""
    alone = trace_gbuffer(scenes[2], grid=5)
    without, with_it = (trace_gbuffer(scene, grid=1).depth for scene in scenes[:2])
    assert alone.mask is not None
    assert without is not None
    assert with_it is not None
    # Nearer than what was there before: the object is seen. Where it is hidden, both depths are the same.
    seen = functional.max_pool2d((with_it < without - 1e-4).float(), 3, stride=1, padding=1)
    return alone.mask * seen


def _primitive(thing: PlacedMesh) -> MeshPrimitive:
    """The object in its own coordinates."""
    mesh, material = thing.mesh, thing.material
    return MeshPrimitive(
        vertices=torch.from_numpy(mesh.vertices).float(),
        faces=torch.from_numpy(mesh.faces.astype(np.int64)),
        normals=torch.from_numpy(vertex_normals(mesh.vertices, mesh.faces)).float(),
        uv=torch.from_numpy(mesh.uv * [1, -1] + [0, 1]).float(),
        color=None,
        material=GltfMaterial(
            (1.0, 1.0, 1.0),
            1.0,
            1.0,
            base_color_texture=_texture(material.base_color),
            roughness_texture=_texture(material.roughness),
            metallic_texture=_texture(material.metallic),
        ),
    )


def _texture(values: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C) to (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(values).transpose(2, 0, 1)))
