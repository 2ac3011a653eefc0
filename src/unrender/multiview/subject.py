"""The frame in which a network sees cameras: the subject in the middle, upright, in the cube [-1, 1]^3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import ViewLayers
from unrender.errors import UserError
from unrender.scene.camera import Camera

_PARALLEL = 1e-4  # least eigenvalue of the axes' normal equations: below it they meet nowhere
_Z_UP = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Subject:
    """Where the subject is.

    Attributes:
        pose: (4, 4) from the subject's axes (+Y up) to the world's: a rotation and a place.
        radius: half the side of its cube, in the world's units.
    """

    pose: Tensor
    radius: float = 1.0

    @classmethod
    def at_origin(cls) -> Subject:
        """In the middle of the world, one unit to each side: where the preset paths have it."""
        return cls(torch.eye(4))

    @classmethod
    def of_cameras(cls, camera: Camera, distance: float, radius: float | None = None) -> Subject:
        """Where cameras that look at one thing say that it is: in the middle of where their axes meet, upright as they
        are on average, its front towards the first of them. It moves as they do.

        Args:
            camera: T frames.
            distance: how many radii cameras stand off, by which the radius is found where it is not given.
            radius: in the world's units. Axes that meet nowhere (one camera, or a path straight ahead) do not say how
                far the subject is: it is then `distance` radii ahead, of one unit where none is given.

        Raises:
            UserError: the cameras have no upright in common.
        """
        place, axis = camera.pose[:, :3, 3].double(), -camera.pose[:, :3, 2].double()
        across = torch.eye(3, dtype=torch.float64) - axis[:, :, None] * axis[:, None, :]
        normal, wanted = across.mean(0), (across @ place[:, :, None]).mean(0)[:, 0]
        ahead = (place + axis * distance * (radius or 1.0)).mean(0)
        if torch.linalg.eigvalsh(normal)[0] > _PARALLEL:
            middle = torch.linalg.solve(normal, wanted)
            found = float((place - middle).norm(dim=1).mean()) / distance
        else:
            middle, found = ahead, 1.0
        up = camera.pose[:, :3, 1].double().mean(0)
        if up.norm() < 0.1:
            raise UserError("the cameras have no upright in common: half of them are upside down; expected one way up")
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = _upright(up, place[0] - middle, camera.pose[0, :3, 1].double()), middle
        return cls(pose.float(), radius or found)

    def see(self, camera: Camera, layers: ViewLayers) -> Camera:
        """The cameras in the subject's frame, its half side the unit; the axis that is up is the layers'.

        Raises:
            UserError: a pose that mirrors, or a camera inside the subject's cube.
        """
        for index, turned in enumerate(camera.pose[:, :3, :3]):
            if abs(float(torch.linalg.det(turned)) - 1) > 1e-2:
                raise UserError(
                    f"camera {index}: the rotation of its pose has determinant {float(torch.linalg.det(turned)):.2f}: it "
                    "mirrors or scales; expected 1"
                )
        pose = torch.linalg.inv(self.pose.double()) @ camera.pose.double()
        pose[:, :3, 3] /= self.radius
        inside = (pose[:, :3, 3].abs() < 1).all(1)
        if inside.any():
            which = int(inside.nonzero()[0])
            raise UserError(
                f"camera {which} stands inside the subject, {float(pose[which, :3, 3].norm()):.2f} of its radii from its "
                "middle; expected cameras around it"
            )
        if layers.up == "z":
            pose = _Z_UP.double().T @ pose
        return Camera(camera.intrinsics, pose.float(), camera.size)


def _upright(up: Tensor, front: Tensor, instead: Tensor) -> Tensor:
    """(3, 3) axes with +Y along `up` and +Z towards `front`; towards `instead` where that is along `up`."""
    y = functional.normalize(up, dim=0)
    flat = front - (front @ y) * y
    if flat.norm() < 1e-3 * front.norm():
        flat = instead - (instead @ y) * y
    if flat.norm() < 1e-6:
        flat = torch.eye(3, dtype=y.dtype)[int(y.abs().argmin())]
        flat = flat - (flat @ y) * y
    z = functional.normalize(flat, dim=0)
    return torch.stack((torch.linalg.cross(y, z), y, z), dim=1)
