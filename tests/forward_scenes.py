"""What the forward tests render: spheres and planes with G-buffers in closed form, and Mitsuba beside them."""

import math
from importlib.resources import as_file
from importlib.resources import files as resources

import torch
from torch import Tensor

from unrender import files
from unrender.raytrace.mitsuba_scene import emitter, render, sensor
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.color import linear_to_srgb, luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

SPHERE_CENTER, SPHERE_RADIUS, SPHERE_FOV = (0.0, 0.0, -4.0), 1.0, 32.0


def world(name: str, height: int = 128) -> EnvironmentMap:
    """A shipped HDRI as its file has it, resampled to `height` rows."""
    with as_file(resources("unrender.files").joinpath("worlds", f"{name}.exr")) as path:
        return files.read_environment(path).resized((height, 2 * height))


def constant_light(value: float = 1.0, height: int = 16) -> EnvironmentMap:
    return EnvironmentMap(torch.full((1, 3, height, 2 * height), value))


def sphere(size: int, base: tuple[float, float, float], roughness: float, metallic: float) -> GBuffer:
    """A sphere before a level camera; where rays miss, normal 0 and depth inf."""
    camera = Camera.perspective((size, size), SPHERE_FOV)
    rays = pixel_rays(camera)
    center = torch.tensor(SPHERE_CENTER)[:, None, None]
    along = (rays * center).sum(1, keepdim=True)
    length2 = (rays * rays).sum(1, keepdim=True)
    discriminant = along**2 - length2 * (torch.tensor(SPHERE_CENTER).square().sum() - SPHERE_RADIUS**2)
    hit = discriminant > 0
    depth = torch.where(hit, (along - discriminant.clamp(min=0).sqrt()) / length2, torch.inf)
    normal = torch.where(hit, (rays * depth.nan_to_num(posinf=0.0) - center) / SPHERE_RADIUS, 0.0)
    return GBuffer(
        base_color=torch.tensor(base)[None, :, None, None].expand(1, 3, size, size).clone(),
        normal=normal,
        depth=depth,
        depth_kind="metric",
        roughness=torch.full((1, 1, size, size), roughness),
        metallic=torch.full((1, 1, size, size), metallic),
        mask=hit.float(),
        camera=camera,
    )


def mitsuba_material(base: tuple[float, float, float], roughness: float, metallic: float) -> dict:
    return {
        "type": "principled",
        "base_color": {"type": "rgb", "value": list(base)},
        "roughness": roughness,
        "metallic": metallic,
        "specular": 0.5,
    }


def mitsuba_picture(mi, shapes: dict, light: EnvironmentMap, camera: Camera, *, samples: int, depth: int) -> Tensor:
    """Path traced radiance (3, H, W) on black, box filtered; `depth` 2 is direct light only."""
    integrator = {"type": "path", "max_depth": depth, "rr_depth": 1000, "hide_emitters": True}
    parts = {"integrator": integrator, "sensor": sensor(camera), "light": emitter(light)}
    return render(mi.load_dict({"type": "scene", **parts, **shapes}), samples=samples, seed=1)[0]


def mitsuba_sphere(mi, light: EnvironmentMap, size: int, samples: int, material: dict) -> Tensor:
    shape = {"type": "sphere", "center": list(SPHERE_CENTER), "radius": SPHERE_RADIUS, "bsdf": material}
    camera = Camera.perspective((size, size), SPHERE_FOV)
    return mitsuba_picture(mi, {"ball": shape}, light, camera, samples=samples, depth=2)


def psnr(picture: Tensor, reference: Tensor, inside: Tensor) -> tuple[float, float]:
    """PSNR in dB over the pixels `inside` (1, H, W): (display, linear), of (3, H, W) pictures.

    Both are exposed so that the 95th percentile of the reference's luminance is 1, then clipped to [0, 1]; the display
    figure is taken after the sRGB curve. Pixels outside, black in both, would flatter the figure and are left out.
    """
    keep = inside[0] > 0.5
    white = torch.quantile(luminance(reference, dim=0)[0][keep], 0.95)
    a, b = ((x[:, keep] / white).clamp(0, 1) for x in (picture, reference))
    errors = ((linear_to_srgb(a) - linear_to_srgb(b)).square().mean(), (a - b).square().mean())
    display, linear = (float(-10 * torch.log10(e)) for e in errors)
    return display, linear


TABLE_BALLS = (
    ((-1.05, 0.5, -4.3), 0.5, (0.8, 0.3, 0.2), 0.5, 0.0),
    ((0.0, 0.6, -4.9), 0.6, (0.95, 0.8, 0.5), 0.15, 1.0),
    ((0.95, 0.4, -3.9), 0.4, (0.2, 0.4, 0.8), 0.3, 0.0),
)
"""Centre, radius, base colour, roughness, metallic of three balls on the floor y = 0."""
TABLE_FLOOR = ((0.55, 0.55, 0.5), 0.4, 0.0)
TABLE_FOV = 40.0


def table_camera(size: int) -> Camera:
    """Looks down a little at the balls."""
    angle = math.radians(-17)
    pose = torch.eye(4)
    pose[1:3, 1:3] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    pose[:3, 3] = torch.tensor([0.0, 1.7, 0.0])
    return Camera.perspective((size, size), TABLE_FOV, pose[None])


def table(size: int) -> GBuffer:
    """Three balls on a floor, by casting a ray through every pixel centre."""
    camera = table_camera(size)
    rays = pixel_rays(camera)[0]
    rotation, eye = camera.pose[0, :3, :3], camera.pose[0, :3, 3]
    world_rays = torch.einsum("ij,jhw->ihw", rotation, rays)
    down = world_rays[1] < -1e-4
    depth = torch.where(down, -eye[1] / world_rays[1].clamp(max=-1e-4), torch.inf)
    normal = torch.tensor([0.0, 1.0, 0.0])[:, None, None] * down
    material = torch.tensor([*TABLE_FLOOR[0], *TABLE_FLOOR[1:]])[:, None, None].expand(5, size, size).clone()
    for center, radius, *look in TABLE_BALLS:
        offset = (eye - torch.tensor(center))[:, None, None]
        a, b = world_rays.square().sum(0), (world_rays * offset).sum(0)
        root = b * b - a * (offset.square().sum(0) - radius**2)
        t = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
        nearer = t < depth
        depth = torch.where(nearer, t, depth)
        there = (offset + t.nan_to_num(posinf=0.0) * world_rays) / radius
        normal = torch.where(nearer, there, normal)
        material = torch.where(nearer, torch.tensor([*look[0], *look[1:]])[:, None, None], material)
    present = torch.isfinite(depth)
    return GBuffer(
        base_color=material[None, :3],
        normal=torch.einsum("ji,jhw->ihw", rotation, normal * present)[None],
        depth=depth[None, None],
        depth_kind="metric",
        roughness=material[None, 3:4],
        metallic=material[None, 4:5],
        mask=present.float()[None, None],
        camera=camera,
    )


def mitsuba_table(mi, light: EnvironmentMap, size: int, *, samples: int, depth: int) -> Tensor:
    """The same scene path traced, (3, H, W) on black."""
    floor = {
        "type": "disk",
        "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], -90).scale(1000),
        "bsdf": mitsuba_material(*TABLE_FLOOR),
    }
    balls = {
        f"ball{i}": {"type": "sphere", "center": list(c), "radius": r, "bsdf": mitsuba_material(*look)}
        for i, (c, r, *look) in enumerate(TABLE_BALLS)
    }
    return mitsuba_picture(mi, {"floor": floor, **balls}, light, table_camera(size), samples=samples, depth=depth)
