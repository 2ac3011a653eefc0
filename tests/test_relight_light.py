"""The light of a picture, found again by least squares on light transport."""

import math

import torch
from torch.nn import functional

from unrender.conventions import uv_to_direction
from unrender.relight.light_estimate import LIGHT_SIZE, LightPrior, solve_light
from unrender.scene.environment import texel_directions, texel_solid_angles


def lambert_transport(normals: torch.Tensor) -> torch.Tensor:
    """White diffuse surfaces with unit normals (P, 3) under an unoccluded light: (3, P, N), by hand."""
    cosine = (normals @ texel_directions(LIGHT_SIZE).reshape(-1, 3).T).clamp(min=0)
    angles = texel_solid_angles(LIGHT_SIZE).expand(LIGHT_SIZE).reshape(-1)
    return (cosine * angles / math.pi).expand(3, -1, -1)


def ball_normals(count: int) -> torch.Tensor:
    """Normals that face a camera on +Z, evenly spread."""
    index = torch.arange(count)
    z = 1 - (index + 0.5) / count
    angle = index * math.pi * (3 - math.sqrt(5))
    ring = (1 - z * z).sqrt()
    return torch.stack((ring * angle.cos(), ring * angle.sin(), z), dim=1)


def coloured_light() -> torch.Tensor:
    """A warm key from the left, a cool fill from above; (3, N)."""
    directions = texel_directions(LIGHT_SIZE).reshape(-1, 3)
    key = functional.normalize(torch.tensor([-1.0, 0.4, 0.8]), dim=0)
    warm = torch.tensor([3.0, 2.0, 1.0])[:, None] * (6 * (directions @ key - 1)).exp()
    cool = torch.tensor([0.2, 0.3, 0.5])[:, None] * directions[:, 1].clamp(min=0)
    return warm + cool + 0.05


def test_the_picture_is_explained_and_the_light_is_never_negative():
    transport, light = lambert_transport(ball_normals(600)), coloured_light()
    picture = (transport @ light[..., None])[..., 0]
    found = solve_light(transport, picture, torch.ones(600), LIGHT_SIZE)
    explained = (transport @ found[..., None])[..., 0]
    assert found.min() >= 0
    assert ((explained - picture).abs().mean() / picture.mean()) < 0.01


def test_the_key_light_is_found_where_it_was():
    transport, light = lambert_transport(ball_normals(600)), coloured_light()
    found = solve_light(transport, (transport @ light[..., None])[..., 0], torch.ones(600), LIGHT_SIZE)
    index = int(found[0].argmax())
    v, u = (index // LIGHT_SIZE[1] + 0.5) / LIGHT_SIZE[0], (index % LIGHT_SIZE[1] + 0.5) / LIGHT_SIZE[1]
    towards = uv_to_direction(torch.tensor(u), torch.tensor(v))
    key = functional.normalize(torch.tensor([-1.0, 0.4, 0.8]), dim=0)
    assert math.degrees(math.acos(float(towards @ key))) < 35


def test_pixels_that_the_gbuffer_gets_wrong_weigh_little():
    transport, light = lambert_transport(ball_normals(600)), coloured_light()
    clean = (transport @ light[..., None])[..., 0]
    spoilt = clean.clone()
    spoilt[:, ::6] *= 0.1  # one pixel in six in a cast shadow
    found = solve_light(transport, spoilt, torch.ones(600), LIGHT_SIZE)
    explained = (transport @ found[..., None])[..., 0]
    assert ((explained - clean).abs().mean() / clean.mean()) < 0.05


def test_a_clip_keeps_its_light():
    transport, light = lambert_transport(ball_normals(400)), coloured_light()
    picture = (transport @ light[..., None])[..., 0]
    first = solve_light(transport, picture, torch.ones(400), LIGHT_SIZE)
    flickering = picture * 1.2
    free = solve_light(transport, flickering, torch.ones(400), LIGHT_SIZE)
    held = solve_light(transport, flickering, torch.ones(400), LIGHT_SIZE, LightPrior(first))
    assert (held - first).norm() < (free - first).norm()


def test_no_light_is_found_in_a_black_picture():
    transport = lambert_transport(ball_normals(400))
    assert solve_light(transport, torch.zeros(3, 400), torch.ones(400), LIGHT_SIZE).abs().max() < 1e-6
