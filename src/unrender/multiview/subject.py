"""The frame in which a network sees cameras: the subject in the middle, upright, in the cube [-1, 1]^3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import ViewLayers
from unrender.errors import UserError
from unrender.scene.camera import Camera
from unrender.scene.meeting import meeting_point

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
        middle, found = meeting_point(camera), 1.0
        if middle is None:
            middle = (place + axis * distance * (radius or 1.0)).mean(0)
        else:
            found = float((place - middle).norm(dim=1).mean()) / distance
        up = camera.pose[:, :3, 1].double().mean(0)
        if up.norm() < 0.1:
            raise UserError("the cameras have no upright in common: half of them are upside down; expected one way up")
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = _upright(up, place[0] - middle, camera.pose[0, :3, 1].double()), middle
        return cls(pose.float(), radius or found)

    @classmethod
    def of_plane(cls, camera: Camera, points: Tensor | None = None) -> Subject:
        """The frame of a capture that walks round its subject, as ViewDiff normalises CO3D: the plane of the cameras is
        level, on the side that they say is up; the middle and the longest side are those of the box about `points`
        (P, 3), else where the cameras' axes meet, at a quarter of their distance. A rotation in any case: the axes of a
        singular value decomposition have no sign, and taken as they come would mirror half of all captures.

        Raises:
            UserError: fewer than three cameras, cameras on one line, or none that meet and no points.
        """
        place = camera.pose[:, :3, 3].double()
        _, sizes, axes = torch.linalg.svd(place - place.mean(0), full_matrices=False)
        if len(place) < 3 or sizes[1] < 1e-6 * max(float(sizes[0]), 1e-12):
            raise UserError(f"{len(place)} cameras that lie in no plane; expected three at least, not on one line")
        up = axes[2] * torch.sign((axes[2] * camera.pose[:, :3, 1].double().mean(0)).sum()).clamp(min=-1)
        up = up if up.norm() > 0.5 else axes[2]
        middle = meeting_point(camera)
        if points is None and middle is None:
            raise UserError("the cameras' axes meet nowhere, and there are no points; expected one or the other")
        turn = _upright(up, place[0] - (place.mean(0) if middle is None else middle), camera.pose[0, :3, 1].double())
        if points is None:
            assert middle is not None
            radius = float((place - middle).norm(dim=1).mean()) / 4
        else:
            seen = points.double() @ turn
            low, high = seen.amin(0), seen.amax(0)
            middle, radius = turn @ ((low + high) / 2), float((high - low).max()) / 2
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = turn, middle
        return cls(pose.float(), max(radius, 1e-9))

    def see(self, camera: Camera, layers: ViewLayers) -> Camera:
        """The cameras in the subject's frame, its half side the unit; the axis that is up is the layers'.

        Raises:
            UserError: a pose that mirrors, or a camera inside the subject's cube.
        """
        for index, turned in enumerate(camera.pose[:, :3, :3]):
            if abs(float(torch.linalg.det(turned)) - 1) > 1e-2:
                raise UserError(
                    f"camera {index}: the rotation of its pose has determinant "
                    f"{float(torch.linalg.det(turned)):.2f}: it "
                    "mirrors or scales; expected 1"
                )
        pose = torch.linalg.inv(self.pose.double()) @ camera.pose.double()
        pose[:, :3, 3] /= self.radius
        inside = (pose[:, :3, 3].abs() < 1).all(1)
        if inside.any():
            which = int(inside.nonzero()[0])
            raise UserError(
                f"camera {which} stands inside the subject, {float(pose[which, :3, 3].norm()):.2f} of its radii from "
                "its middle; expected cameras around it"
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
