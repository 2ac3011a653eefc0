"""The layers that a set of views adds to a picture's UNet: numbers, twins, symmetries."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from unrender.diffusion.card import ViewLayers
from unrender.diffusion.networks.joint_attention import join_items, set_group_size
from unrender.diffusion.networks.views import contraction
from unrender.diffusion.networks.views.cameras import (
    USUAL_INTENSITY,
    camera_code,
    camera_vectors,
    feature_rays,
    project_to_views,
    told_intensity,
)
from unrender.diffusion.networks.views.context import seen_views
from unrender.diffusion.networks.views.install import add_views, projected_blocks, projection_size, set_views, views_of
from unrender.diffusion.networks.views.lifting import look_up, look_up_naive
from unrender.diffusion.networks.views.projection import ProjectedBlock, ProjectionLayer, ProjectionSize
from unrender.diffusion.networks.views.volume_rendering import Marching
from unrender.errors import UserError
from unrender.scene.camera import pixel_rays, project
from view_scenes import TINY_LAYERS, box_picture, ring, scattered, shake, view_card, view_checkpoint

SMALL = ProjectionSize(6, inner=4, side=8, levels=2, times=12, marching=Marching(6, 6, 3.0))


def layer(size: ProjectionSize = SMALL, seed: int = 0) -> ProjectionLayer:
    torch.manual_seed(seed)
    made = ProjectionLayer(size).eval()
    shake(made, seed)
    with torch.no_grad():
        made.volume_renderer.bias_opacity.fill_(0.5)
    return made


def features(views: int, channels: int = 6, size: tuple[int, int] = (5, 7), seed: int = 1) -> torch.Tensor:
    return torch.randn(views, channels, *size, generator=torch.Generator().manual_seed(seed))


# Cameras.


def test_vectors_project_as_cameras_do():
    camera = scattered(3, size=(24, 40))
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    pixels, depth = project(points, camera)
    at, found = project_to_views(points, camera_vectors(camera))
    torch.testing.assert_close(at * torch.tensor([40.0, 24.0]), pixels, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(found, depth)


def test_rays_of_a_feature_map_are_those_of_the_picture_at_that_size():
    camera = scattered(2, size=(24, 40))
    small = camera.resized((6, 10))
    expected = torch.einsum("tij,tjhw->thwi", small.pose[:, :3, :3], pixel_rays(small)).flatten(1, 2)
    torch.testing.assert_close(feature_rays(camera_vectors(camera), (6, 10)), expected)


@pytest.mark.parametrize("up", ["y", "z"])
def test_the_code_says_elevation_azimuth_and_distance(up):
    vectors = torch.zeros(1, 19)
    # 30 degrees above the horizon, at azimuth 90 degrees from +X about the axis that is up, at distance 2.
    height, flat = 2 * math.sin(math.radians(30)), 2 * math.cos(math.radians(30))
    place = [0.0, height, -flat] if up == "y" else [0.0, flat, height]
    vectors[0, [3, 7, 11]] = torch.tensor(place)
    code = camera_code(vectors, up)[0, :4]
    torch.testing.assert_close(code, torch.tensor([math.radians(60), 1.0, 0.0, 2.0]), atol=1e-6, rtol=1e-6)


# The space of the voxels.


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_contraction_is_undone(share):
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 3
    if share == 1:
        points = points.clamp(-1, 1)
    inside = contraction.contract(points, share)
    assert (inside.abs() <= 1).all()
    back = contraction.expand(inside, share)
    torch.testing.assert_close(contraction.contract(back, share), inside, atol=1e-5, rtol=1e-5)
    near = points.abs().amax(-1) <= 1
    torch.testing.assert_close(back[near], points[near])
    torch.testing.assert_close(inside[near], points[near] * share)


def test_cells_that_no_point_has_are_the_corners():
    """With half of the side for the background: outside the cube along two axes or three."""
    _, kept = contraction.grid_points(8, 0.5, torch.zeros(1))
    cells = contraction.cell_centres(8, torch.zeros(1))
    assert ((cells.abs() > 0.5).sum(1) <= 1).equal(kept)
    far = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * 50
    nearest = ((contraction.contract(far, 0.5)[:, None] - cells).square().sum(-1)).argmin(1)
    assert kept[nearest].float().mean() > 0.97


def test_the_released_grid_is_ours_turned_on_the_sides_that_it_expands_rightly():
    ours, _ = contraction.grid_points(8, 0.5, torch.zeros(1))
    theirs, _ = contraction.released_grid_points(8, 0.5, torch.zeros(1))
    cells = contraction.cell_centres(8, torch.zeros(1))
    well = (cells > -0.5).all(1) & ((cells.abs() > 0.5).sum(1) <= 1)
    torch.testing.assert_close(theirs[well], ours[well].roll(-1, 1))


# Twins.


def test_looking_up_equals_its_plain_twin():
    vectors = camera_vectors(scattered(3))
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 2
    for fast, plain in zip(
        look_up(features(3), points, vectors), look_up_naive(features(3), points, vectors), strict=True
    ):
        torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("background", [True, False])
def test_the_layer_equals_its_plain_twin_in_values_and_gradients(background):
    size = ProjectionSize(
        6,
        4,
        8,
        2,
        12,
        background=background,
        marching=Marching(6, 6 if background else 0, 3.0, share=0.5 if background else 1.0),
    )
    made, vectors, times = layer(size), camera_vectors(scattered(3)), torch.tensor([0, 500, 500])
    given, embedding = features(3).requires_grad_(), features(3, 12, (1, 1))[:, :, 0, 0]
    found = []
    for naive in (False, True):
        made.naive = naive
        outputs = made(given, vectors, times, embedding)
        gradients = torch.autograd.grad(sum(each.square().sum() for each in outputs), [given, *made.parameters()])
        found.append((*outputs, *gradients))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, atol=2e-4, rtol=2e-3)


def test_chunks_change_nothing(monkeypatch):
    from unrender.diffusion.networks.views import projection, volume_rendering

    made, vectors = layer(), camera_vectors(scattered(3))
    times, embedding, given = torch.tensor([500] * 3), features(3, 12, (1, 1))[:, :, 0, 0], features(3).requires_grad_()
    whole = made(given, vectors, times, embedding)[0]
    slope = torch.autograd.grad(whole.sum(), given)[0]
    monkeypatch.setattr(projection, "CELLS", 100)
    monkeypatch.setattr(volume_rendering, "CHUNK", 100)
    parts = made(given, vectors, times, embedding)[0]
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.sum(), given)[0], slope)


# What the layer is for.


def surface_finder(side: int) -> ProjectionLayer:
    """A layer set by hand, for features (logits of red, green, blue; true depth): a view counts in a cell where its
    depth is the cell's, and where any does, there is matter of the mean colour of those that do."""
    made = ProjectionLayer(
        ProjectionSize(16, 16, side, 0, 0, background=False, marching=Marching(200, 0, 1.3, share=1))
    )
    made.compress = torch.nn.Identity()
    for parameter in made.parameters():
        torch.nn.init.zeros_(parameter)
    aggregator, renderer = made.aggregator, made.volume_renderer
    # ELU is the identity above 0: offsets keep what is to pass there. Feature 3 becomes true less cell's depth, plus
    # 20.
    set_rows(aggregator.ray_depth[0], {0: ({3: -1.0}, 20.0)})
    set_rows(aggregator.ray_depth[2], {3: ({0: 1.0}, 0.0)})
    sharp = 1.0 * side  # so that a cell's side is two
    passed = {2 + c: ({32 + c: 1.0}, 10.0) for c in range(3)}
    set_rows(aggregator.base[0], {0: ({35: sharp}, -20 * sharp), 1: ({35: -sharp}, 20 * sharp), **passed})
    set_rows(
        aggregator.base[2],
        {**{c: ({2 + c: 1.0}, 0.0) for c in range(3)}, 3: ({0: -1.0, 1: -1.0}, 2.0), 4: ({}, 1.0)},
    )
    set_rows(aggregator.visibility[2], {16: ({}, 20.0)})
    set_rows(aggregator.weight[0], {0: ({3: 1.0}, 1.0)})
    set_rows(aggregator.weight[2], {0: ({0: 20.0}, -40.0)})
    set_rows(aggregator.statistics[0], {**{c: ({c: 1.0}, 0.0) for c in range(3)}, 4: ({4: 1.0}, 0.0)})
    with torch.no_grad():
        for index in range(3):
            first = index == 0
            renderer.mlp_weights[index, 4, 4] = 1
            for c in range(3):
                renderer.mlp_weights[index, c, c] = 1
                renderer.mlp_weights[0, 4, c] = -10
                renderer.mlp_biases[index, c] = 10 if first else 0
        renderer.weight_opacity[4], renderer.bias_opacity[0] = 2000, -1700
        for c in range(3):
            renderer.weight_color[c, c], renderer.bias_color[c] = 1, -10
    return made


def set_rows(linear: torch.nn.Linear, rows: dict[int, tuple[dict[int, float], float]]) -> None:
    with torch.no_grad():
        for row, (weights, bias) in rows.items():
            linear.bias[row] = bias
            for column, weight in weights.items():
                linear.weight[row, column] = weight


@torch.no_grad()
def test_a_coloured_box_is_rendered_into_a_view_that_was_not_given():
    """Nothing is learnt here: what is measured is where features land, and from where they are rendered."""
    size, side = (64, 64), 64
    known, unknown = ring(3, (256, 256), elevation=35.0), ring(12, size, elevation=25.0).frame(1)
    pictures, depth = box_picture(known)
    truth, true_depth = box_picture(unknown)
    given = torch.zeros(3, 16, 256, 256)
    given[:, :3], given[:, 3:4] = pictures.clamp(0.01, 0.99).logit(), depth.clamp(max=10)
    made = surface_finder(side)
    grid = made.grid(given, camera_vectors(known), None, None)
    rendered = made.render(grid, camera_vectors(unknown), truth)
    coverage = rendered.coverage.view(1, 1, *size)
    shown = rendered.features.view(1, *size, 16).permute(0, 3, 1, 2)[:, :3] - (1 - coverage)
    assert -10 * torch.log10((shown - truth).square().mean()) >= 25
    there = true_depth.isfinite() & (coverage > 0.99)
    assert (rendered.depth.view(1, 1, *size) - true_depth)[there].abs().median() < 0.03
    # Half a pixel off is told apart from right.
    shifted = -10 * torch.log10((shown - truth.roll(1, -1)).square().mean())
    assert shifted < 25


# The network around it.


def unet(layers: ViewLayers, shaken: bool = True) -> UNet2DConditionModel:
    return view_checkpoint(view_card(layers), shaken=shaken).unet


def call(network: UNet2DConditionModel, latents, vectors, sets: int = 1, times=None) -> torch.Tensor:
    set_views(network, vectors, len(latents) // sets)
    times = torch.tensor([600.0] * len(latents)) if times is None else times
    tokens = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(5)).expand(len(latents), -1, -1)
    with torch.no_grad():
        return network(latents, times, tokens).sample


def latents(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_attention_between_views_is_joint_attention_on_their_tokens_together():
    """Without camera codes; to all others, or to as many as there are."""
    plain = view_checkpoint(view_card(ViewLayers(rank=0, projection="none")), shaken=False)
    joint = UNet2DConditionModel.from_config(plain.unet.config)
    joint.load_state_dict(plain.unet.state_dict())
    join_items(joint)
    set_group_size(joint, 3)
    tokens = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(5)).expand(6, -1, -1)
    with torch.no_grad():
        expected = joint(latents(6), torch.tensor([600.0] * 6), tokens).sample
    vectors = camera_vectors(scattered(6))
    for others in (None, 2, 7):
        network = unet(ViewLayers(rank=0, projection="none", others=others), shaken=False)
        torch.testing.assert_close(call(network, latents(6), vectors, sets=2), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("others", "own", "seen"), [(2, True, 3), (2, False, 2), (None, False, 4), (1, True, 2)])
def test_a_view_sees_itself_or_not_and_its_nearest_others(others, own, seen):
    vectors = camera_vectors(ring(5))[None]
    table = seen_views(vectors, others, own)
    assert table.shape == (1, 5, seen)
    assert ((table == torch.arange(5)[None, :, None]).any(-1)).all() == own
    if others == 2:  # on a ring the two neighbours
        for view in range(5):
            assert {(view + 1) % 5, (view - 1) % 5} <= set(table[0, view].tolist())


def test_leaving_itself_out_changes_what_a_view_sees_and_a_view_alone_sees_itself():
    paper, released = (unet(ViewLayers(rank=2, projection="none", own=own)) for own in (False, True))
    vectors = camera_vectors(scattered(3))
    assert (call(paper, latents(3), vectors) - call(released, latents(3), vectors)).abs().max() > 1e-4
    torch.testing.assert_close(call(paper, latents(1), vectors[:1]), call(released, latents(1), vectors[:1]))


@pytest.mark.parametrize("others", [None, 2])
@pytest.mark.parametrize("joining", ["replace", "zero"])
def test_another_order_of_the_views_is_the_same_views_in_that_order(others, joining):
    network = unet(ViewLayers(others, rank=2, grid=8, inner=4, samples=6, joining=joining, distance=3.0))
    vectors, times, order = camera_vectors(scattered(4)), torch.tensor([0.0, 600, 600, 600]), [2, 0, 3, 1]
    found = call(network, latents(4), vectors, times=times)
    turned = call(network, latents(4)[order], vectors[order], times=times[order])
    torch.testing.assert_close(turned, found[order], atol=1e-4, rtol=1e-3)


def test_sets_of_a_batch_do_not_see_one_another():
    network, vectors = unet(TINY_LAYERS), camera_vectors(scattered(6))
    both = call(network, latents(6), vectors, sets=2)
    apart = [call(network, latents(6)[part], vectors[part]) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(both, torch.cat(apart), atol=1e-5, rtol=1e-4)


def test_a_view_that_is_not_lifted_is_rendered_from_the_others():
    network, camera = unet(TINY_LAYERS), scattered(3)
    lifted = torch.tensor([1.0, 1.0, 0.0])
    vectors = camera_vectors(camera, lifted=lifted)
    call(network, latents(3), vectors)
    depth, _ = views_of(network).context.surfaces[0]
    layer = next(module for module in network.modules() if isinstance(module, ProjectionLayer))
    given = features(3, layer.size.channels, (4, 4))
    other = torch.cat((given[:2], features(1, layer.size.channels, (4, 4), seed=9)))
    embedding = torch.zeros(3, layer.size.times)
    a, b = (layer(each, vectors, torch.ones(3), embedding)[0] for each in (given, other))
    torch.testing.assert_close(a, b)
    assert depth.shape[0] == 3


def test_mixed_precision_leaves_space_alone():
    """Half a pixel would be lost in eight bits of a coordinate: depth comes out as in single precision."""
    network, vectors = unet(TINY_LAYERS), camera_vectors(scattered(3))
    block = next(module for module in network.modules() if isinstance(module, ProjectedBlock))
    context, found = views_of(network).context, []
    call(network, latents(3), vectors)
    hidden = torch.randn(3, 16, block.projection.size.channels, generator=torch.Generator().manual_seed(2))
    context.time_embedding = torch.zeros(3, block.projection.size.times)
    for enabled in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            block._project(hidden)
        found.append(context.surfaces[block.number][0])
    torch.testing.assert_close(*found)


def test_new_layers_that_join_through_zeros_leave_the_network_as_it_was():
    layers = ViewLayers(others=0, rank=2, grid=8, inner=4, samples=6, joining="zero")
    fresh = unet(layers, shaken=False)
    plain = view_checkpoint(view_card(ViewLayers(rank=0, projection="none")), shaken=False).unet
    stock = UNet2DConditionModel.from_config(plain.config)
    stock.load_state_dict(plain.state_dict())
    tokens = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(5)).expand(3, -1, -1)
    with torch.no_grad():
        expected = stock(latents(3), torch.tensor([600.0] * 3), tokens).sample
    torch.testing.assert_close(call(fresh, latents(3), camera_vectors(scattered(3))), expected, atol=1e-5, rtol=1e-4)


def test_a_network_of_views_without_cameras_is_one_line():
    network = unet(TINY_LAYERS)
    with pytest.raises(UserError, match="without cameras"):
        network(latents(2), 600, torch.zeros(2, 2, 8))


@pytest.mark.parametrize(("channels", "side"), [(48, 32), (72, 20), (96, 16)])
def test_grids_of_any_widths_can_be_halved(channels: int, side: int):
    network = SimpleNamespace(config={"block_out_channels": (48, 72, 96)})
    assert projection_size(network, channels, ViewLayers(grid=32, levels=2), 0).side == side


def test_a_grid_that_cannot_be_halved_is_one_line():
    with pytest.raises(UserError, match="a grid of 9 cells"):
        unet(ViewLayers(grid=9, levels=2, inner=4))


# Full size, without memory: Stable Diffusion 2.1-base.


@pytest.mark.parametrize(
    ("projection", "places", "sides"),
    [
        ("released", {"down_blocks.2": 2, "mid_block": 1, "up_blocks.1": 3}, {32}),
        (
            "paper",
            {"down_blocks.1": 2, "down_blocks.2": 2, "mid_block": 1, "up_blocks.1": 3, "up_blocks.2": 3},
            {32, 64},
        ),
        ("none", {}, set()),
    ],
)
def test_where_the_layers_of_the_full_size_are(projection, places, sides):
    from unrender.diffusion.checkpoints.architecture import build_unet, view_parameters

    card = view_card(ViewLayers(projection=projection))
    with torch.device("meta"):
        network = build_unet(card)
        before = sum(p.numel() for p in network.parameters())
        names = projected_blocks(network, card.views)
        add_views(network, card.views)
    found: dict[str, int] = {}
    for name in names:
        found.setdefault(name.split(".attentions")[0], 0)
        found[name.split(".attentions")[0]] += 1
    assert found == places
    assert {m.size.side for m in network.modules() if isinstance(m, ProjectionLayer)} == sides
    assert sum(p.numel() for p in network.parameters()) - before == view_parameters(card)


def test_what_views_are_told_of_their_intensity():
    dark, bright = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    halves = torch.cat((dark, bright), dim=3)
    for how, given, told in (
        ("zero", bright, (0, 0)),
        ("given", dark, (-1, 0)),
        ("given", torch.cat((dark, bright)), (0, 0)),
        ("given", halves, (0, 1)),
        ("given", None, USUAL_INTENSITY),
    ):
        assert told_intensity(how, given).tolist() == pytest.approx(told, abs=0.01)
