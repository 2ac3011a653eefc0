"""Cameras, a coloured box that is ray-traced by hand, and tiny networks of views, for tests."""

from dataclasses import replace

import torch
from torch import Tensor

from tiny_models import tiny_card, tiny_checkpoint
from unrender.diffusion.card import Grouping, MapCodec, ModelCard, ScheduleCard, TargetPicture, TextPrompt, ViewLayers
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.networks.views.install import add_views
from unrender.scene.camera import Camera, world_rays
from unrender.scene.trajectory import look_at, orbit

TINY_LAYERS = ViewLayers(rank=2, grid=8, inner=4, levels=2, samples=6, projection="released", distance=3.0)
PICTURE = (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),)


def ring(count: int, size: tuple[int, int] = (32, 32), distance: float = 3.0, elevation: float = 25.0) -> Camera:
    return Camera.perspective(size, 45.0, orbit(torch.zeros(3), distance, count, elevation=elevation))


def scattered(count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Camera:
    """Cameras here and there about the subject, none at the same distance from another as a third."""
    g = torch.Generator().manual_seed(seed)
    eye = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1)
    eye = eye * (2.5 + torch.rand(count, 1, generator=g))
    return Camera.perspective(size, 45.0, look_at(eye, 0.2 * torch.rand(count, 3, generator=g)))


def box_picture(camera: Camera, half: tuple[float, float, float] = (0.6, 0.45, 0.5)) -> tuple[Tensor, Tensor]:
    """An axis-aligned box whose six faces have six colours, on black: (T, 3, H, W), and planar depth (T, 1, H, W)."""
    colours = torch.tensor(
        [[0.9, 0.2, 0.1], [0.1, 0.8, 0.9], [0.2, 0.9, 0.2], [0.9, 0.2, 0.9], [0.2, 0.3, 0.9], [0.95, 0.9, 0.2]]
    )
    rays = world_rays(camera).permute(0, 2, 3, 1)
    place = camera.pose[:, None, None, :3, 3].expand_as(rays)
    side = torch.tensor(half)
    rays = torch.where(rays.abs() < 1e-9, 1e-9, rays)
    first, second = (-side - place) / rays, (side - place) / rays
    enter, axis = torch.minimum(first, second).max(-1)
    leave = torch.maximum(first, second).amin(-1)
    hit = (enter < leave) & (enter > 0)
    back = rays.gather(-1, axis[..., None])[..., 0] > 0
    rgb = colours[axis * 2 + back.long()] * hit[..., None]
    forward = -camera.pose[:, None, None, :3, 2]
    depth = torch.where(hit, enter * (rays * forward).sum(-1), torch.inf)
    return rgb.permute(0, 3, 1, 2), depth[:, None]


def view_card(layers: ViewLayers = TINY_LAYERS, **changes) -> ModelCard:
    return tiny_card(
        **{
            "id": "tiny-views",
            "task": "multi_view",
            "inputs": (),
            "targets": PICTURE,
            "grouping": Grouping("frame", joint="frames", shared_noise="none"),
            "noise": "gaussian",
            "schedule": ScheduleCard(prediction="epsilon", steps=3, solver="unipc", spacing="linspace"),
            "conditioning": (TextPrompt(), layers),
        }
        | changes
    )


def view_checkpoint(card: ModelCard, seed: int = 0, shaken: bool = True) -> Checkpoint:
    """A tiny network of views, its added layers not at their silent start where `shaken`."""
    plain = replace(card, conditioning=card.conditioning[:1])
    checkpoint = replace(tiny_checkpoint(plain, seed), card=card)
    add_views(checkpoint.unet, card.views)
    if shaken:
        shake(checkpoint.unet, seed)
    checkpoint.tokens.setdefault("", torch.randn(2, 8))
    checkpoint.unet.eval()
    return checkpoint


def shake(network: torch.nn.Module, seed: int = 0) -> None:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g) * 0.1)


def moved(camera: Camera, rigid: Tensor) -> Camera:
    """The cameras after a rigid motion (4, 4) of the world."""
    return Camera(camera.intrinsics, rigid @ camera.pose, camera.size)


def rigid_motion(seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=g)).Q
    pose = torch.eye(4)
    pose[:3, :3] = rotation * torch.linalg.det(rotation).sign()
    pose[:3, 3] = torch.randn(3, generator=g)
    return pose
