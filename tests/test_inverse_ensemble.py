"""Several answers from different noise, brought together."""

import pytest
import torch

from tiny_models import tiny_card, tiny_checkpoint
from unrender.device import Compute
from unrender.diffusion.engine import Engine
from unrender.errors import UserError
from unrender.inverse.ensemble import aligned_median, closest_to_mean, ensemble
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer


def engine(**changes) -> InverseRenderer:
    return InverseRenderer(Engine(tiny_checkpoint(tiny_card(**changes)), Compute(torch.device("cpu"), torch.float32)))


def photo() -> Frames:
    return Frames(torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(3)))


def test_depths_on_different_scales_agree():
    """One depth map under five scales and shifts, and one answer that is wrong in a corner."""
    depth = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(0)) + 1
    members = torch.stack([s * depth + t for s, t in ((1, 0), (3, -3), (0.3, 1), (2, -1.5), (0.6, 0.6))])
    members[3, :, :, :3, :3] += 2
    found = aligned_median(members)
    correlation = torch.corrcoef(torch.stack((found[0].flatten(), depth[0].flatten())))[0, 1]
    assert float(correlation) > 0.99999
    plain = members.median(dim=0).values
    assert float(torch.corrcoef(torch.stack((plain[0].flatten(), depth[0].flatten())))[0, 1]) < 0.9999


def test_what_is_not_there_stays_so():
    depth = torch.full((3, 1, 1, 2, 2), 2.0)
    depth[:2, ..., 0, 0] = torch.inf
    found = aligned_median(depth)
    assert found[0, 0, 0, 0].isinf()
    assert found[0, 0].flatten()[1:].tolist() == [2.0, 2.0, 2.0]


def test_a_normal_is_one_of_those_that_were_given():
    """Two that nearly agree and one that does not: the mean is none of them."""
    normals = torch.tensor([[0.0, 0.0, 1.0], [0.1, 0.0, 0.995], [1.0, 0.0, 0.0]])[:, None, :, None, None]
    normals = torch.nn.functional.normalize(normals, dim=2)
    assert torch.equal(closest_to_mean(normals), normals[1])


def test_everything_else_is_the_median():
    members = [GBuffer(roughness=torch.full((1, 1, 2, 2), value)) for value in (0.1, 0.9, 0.2)]
    assert torch.equal(ensemble(members).maps["roughness"], members[2].maps["roughness"])


def test_members_start_from_seeds_of_their_own_and_the_photo_is_encoded_once():
    renderer, encoded = engine(noise="gaussian"), []
    renderer.engine.checkpoint.autoencoder.encoder.register_forward_hook(lambda *_: encoded.append(1))
    found = renderer(photo(), seed=4, ensemble_size=3)
    assert len(encoded) == 1
    alone = [renderer(photo(), seed=4 + k) for k in range(3)]
    expected = torch.stack([member.maps["roughness"] for member in alone]).median(dim=0).values
    torch.testing.assert_close(found.maps["roughness"], expected)
    torch.testing.assert_close(found.maps["rgb"], photo().rgb)


def test_where_there_is_no_noise_there_are_no_members():
    with pytest.raises(
        UserError, match="starts from no noise: all its predictions would be alike; expected an ensemble of one"
    ):
        engine(noise="zeros")(photo(), ensemble_size=2)


def test_members_take_noise_of_their_own():
    renderer = engine(noise="gaussian")
    noise = torch.randn(3, *renderer.noise_shape(photo()), generator=torch.Generator().manual_seed(8))
    found = renderer(photo(), ensemble_size=3, noise=noise)
    assert found == ensemble([renderer(photo(), noise=own) for own in noise])
    with pytest.raises(UserError, match=r"expected \(2, T, C, h, w\), one a member"):
        renderer(photo(), ensemble_size=2, noise=noise)
    with pytest.raises(UserError, match=r"expected \(3, T, C, h, w\), one a member"):
        renderer(photo(), ensemble_size=3, noise=noise[0])
