"""The transport matrix against Monte Carlo."""

import pytest
import torch

from forward_scenes import sphere, world
from unrender.forward import DeferredRenderer
from unrender.forward.transport import transport_matrix
from unrender.scene.environment import EnvironmentMap


@pytest.mark.parametrize(("roughness", "metallic"), [(0.5, 0.0), (0.6, 1.0)])
def test_matrix_is_the_renderer(roughness, metallic):
    gbuffer = sphere(12, (0.8, 0.5, 0.2), roughness, metallic)
    light = world("sunset", 16)
    matrix = transport_matrix(gbuffer, (16, 32))
    assert matrix.shape == (3, 144, 512)
    picture = torch.einsum("cpn,cn->cp", matrix, light.radiance[0].flatten(1)).reshape(3, 12, 12)
    # The renderer joins texels linearly, the matrix takes them as constant: give it texels that are nearly so.
    blocks = EnvironmentMap(light.radiance.repeat_interleave(16, 2).repeat_interleave(16, 3))
    expected = DeferredRenderer("monte_carlo", samples=4096, background=False)(gbuffer, blocks).beauty[0]
    assert float((picture - expected).abs().mean()) < 0.01 * float(expected.mean())


def test_empty_pixels_have_empty_rows():
    gbuffer = sphere(12, (0.8, 0.5, 0.2), 0.5, 0.0)
    matrix = transport_matrix(gbuffer, (4, 8))
    outside = gbuffer.mask.reshape(-1) == 0
    assert float(matrix[:, outside].abs().max()) == 0
    assert float(matrix[:, ~outside].sum(2).min()) > 0.05
    assert float(transport_matrix(gbuffer.with_maps(mask=gbuffer.mask * 0), (4, 8)).abs().max()) == 0
