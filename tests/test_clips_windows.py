"""Clips by windows: how they are cut, started, aligned and faded; picture networks that see a window of frames."""

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from test_networks_small import UNET, said, shaken
from tiny_models import THREE_PICTURES, tiny_card, tiny_checkpoint
from unrender.device import Compute
from unrender.diffusion.card import Grouping, SamplingCard
from unrender.diffusion.checkpoints.loader import save_checkpoint
from unrender.diffusion.engine import Engine, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.networks.inflation import inflate
from unrender.diffusion.networks.joint_attention import set_group_size
from unrender.diffusion.networks.small import SmallUNet
from unrender.diffusion.networks.temporal import TemporalLayers, detach
from unrender.diffusion.temporal import TEMPORAL, load_layers, save_layers, seeing_time
from unrender.diffusion.windows import GAMMA, ClipOptions, align_depth, cross_fade, join_windows, overlap_start
from unrender.errors import UserError
from unrender.inverse.clips import ClipInverse
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames, windows
from unrender.scene.gbuffer import GBuffer

CPU = Compute(torch.device("cpu"), torch.float32)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def small_unet() -> tuple[UNet2DConditionModel, SmallUNet]:
    torch.manual_seed(0)
    theirs = shaken(UNet2DConditionModel(**UNET)).requires_grad_(False)
    ours = SmallUNet(said(theirs)).eval().requires_grad_(False)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize(("size", "overlap"), [(8, 2), (5, 0), (4, 3), (1, 0), (6, 4)])
def test_what_is_finished_with_each_window_is_the_clip(size: int, overlap: int):
    options = ClipOptions(window=size, overlap=overlap)
    for length in range(1, 30):
        parts = options.parts(length)
        assert [i for a, b in parts for i in range(a, b)] == list(range(length))
        clip = Frames(torch.zeros(length, 3, 1, 1))
        assert len(list(windows(clip, size, overlap))) == len(parts)


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (2, 2), (2, -1)])
def test_windows_that_cannot_be(window: int, overlap: int):
    with pytest.raises(UserError, match="windows of"):
        ClipOptions(window=window, overlap=overlap)


def test_an_overlap_starts_from_what_was_found_and_noise():
    card = tiny_card(sampling=SamplingCard(noise="gaussian", grouping=Grouping("target")))
    noise, found = drawn(5, 12, 2, 3), drawn(2, 12, 2, 3, seed=1)
    start = overlap_start(noise, found, card, THREE_PICTURES)
    assert torch.allclose(start[:2], GAMMA * found + (1 - GAMMA) * noise[:2])
    assert torch.equal(start[2:], noise[2:])
    # Of one target alone, its channels; of noise that all targets share, each target's own.
    one = overlap_start(noise, found[:, :4], card, THREE_PICTURES[1:2])
    assert torch.equal(one[:, :4], noise[:, :4])
    assert torch.allclose(one[:2, 4:8], GAMMA * found[:, :4] + (1 - GAMMA) * noise[:2, 4:8])
    shared = overlap_start(noise[:, :4], found, card, THREE_PICTURES)
    assert torch.allclose(shared[:2, 8:], GAMMA * found[:, 8:] + (1 - GAMMA) * noise[:2, :4])
    blind = tiny_card(sampling=SamplingCard(noise="none"))
    assert overlap_start(noise, found, blind, THREE_PICTURES) is noise


def test_the_engine_takes_the_start():
    card = tiny_card(noise="gaussian")
    engine, photo = Engine(tiny_checkpoint(card), CPU), Frames(drawn(3, 3, 32, 32))
    first = run(engine, Inputs.of_photo(photo.part(0, 2)))
    noise = torch.randn(engine.noise_shape((32, 32), 2), generator=torch.Generator().manual_seed(3))
    begun = overlap_start(noise, first.latents[1:], card, card.maps.targets)
    found = run(engine, Inputs.of_photo(photo.part(1, 3)), noise=noise, previous=[one[1:] for one in first.found])
    assert torch.equal(found.latents, run(engine, Inputs.of_photo(photo.part(1, 3)), noise=begun).latents)
    assert not torch.equal(found.latents, run(engine, Inputs.of_photo(photo.part(1, 3)), noise=noise).latents)


def test_windows_fade_into_one_another():
    before, after = torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)
    assert cross_fade(before, after).flatten().tolist() == pytest.approx([0.25, 0.5, 0.75])


def test_the_depth_of_a_clip_has_one_scale_and_shift():
    truth = 1 + drawn(8, 1, 6, 6)
    whole = None
    for start, scale, shift in ((0, 1.0, 0.0), (3, 0.5, 0.7), (3, 2.0, -0.3)):
        window = GBuffer(depth=scale * truth[start : start + 5] + shift)
        whole = join_windows(None if whole is None else whole.part(3, 5), window)
        if start == 0:
            assert torch.equal(whole.depth, truth[:5])
            continue
        assert torch.allclose(whole.depth, truth[3:8], atol=1e-4)
        whole = GBuffer(depth=truth[:5])
    # Nothing is turned round, holes stay holes.
    flipped = 3 - truth[:5]
    assert torch.equal(align_depth(flipped, truth[:2]), flipped)
    holes = truth.clone()
    holes[:, :, 0] = torch.inf
    aligned = align_depth(2 * holes + 1, holes[:2])
    assert aligned[:, :, 0].isinf().all()
    assert torch.allclose(aligned[:, :, 1:], holes[:, :, 1:], atol=1e-4)


def test_joined_normals_are_unit():
    one, two = (torch.nn.functional.normalize(drawn(4, 3, 2, 2, seed=seed) - 0.5, dim=1) for seed in (1, 2))
    joined = join_windows(GBuffer(normal=one[:2]), GBuffer(normal=two))
    assert torch.allclose(joined.normal.norm(dim=1), torch.ones(4, 2, 2))
    assert torch.equal(joined.normal[2:], two[2:])


# Inflation.


@pytest.mark.parametrize("group_norm", [False, True])
@pytest.mark.parametrize("which", [0, 1], ids=["diffusers", "small"])
def test_an_inflated_network_with_one_frame_is_what_it_was(which: int, group_norm: bool):
    network = small_unet()[which]
    sample, tokens = drawn(4, 6, 8, 8), drawn(4, 3, 12)
    right = network(sample, 7, tokens, return_dict=False)[0]
    inflate(network, group_norm=group_norm)
    inflate(network, group_norm=group_norm)
    assert torch.allclose(network(sample, 7, tokens, return_dict=False)[0], right, atol=1e-5)


@pytest.mark.parametrize("which", [0, 1], ids=["diffusers", "small"])
def test_frames_of_a_window_see_one_another_and_no_others(which: int):
    network = small_unet()[which]
    inflate(network)
    set_group_size(network, 3)
    sample, tokens = drawn(6, 6, 8, 8), drawn(1, 3, 12).expand(6, -1, -1)

    def answer(x: Tensor) -> Tensor:
        return network(x, 7, tokens[: len(x)], return_dict=False)[0]

    first, changed = answer(sample), sample.clone()
    changed[5] += 1
    second = answer(changed)
    assert torch.equal(first[:3], second[:3])
    assert all(float((first[i] - second[i]).abs().max()) > 1e-6 for i in (3, 4))
    # Attention knows no order: frames in another one give the same answers in that one.
    order = [2, 0, 1]
    assert torch.allclose(answer(sample[:3])[order], answer(sample[:3][order]), atol=1e-5)
    # Equal frames see what each would see alone.
    still = sample[:1].expand(3, -1, -1, -1)
    set_group_size(network, 1)
    alone = answer(sample[:1])
    set_group_size(network, 3)
    assert torch.allclose(network(still, 7, tokens[:3], return_dict=False)[0][1:2], alone, atol=1e-4)


def test_group_norm_over_a_window_is_that_of_five_dimensions():
    network = small_unet()[1]
    inflate(network, group_norm=True)
    norm = network.get_submodule("down_blocks.0.resnets.0.norm1")
    set_group_size(network, 2)
    features = drawn(4, 8, 3, 5)
    window = features.unflatten(0, (2, 2)).transpose(1, 2)
    right = torch.nn.functional.group_norm(window, 4, norm.norm.weight, norm.norm.bias, norm.norm.eps)
    assert torch.allclose(norm(features), right.transpose(1, 2).flatten(0, 1), atol=1e-6)


def test_targets_that_see_one_another_see_all_frames_too():
    grouping = Grouping("target", "targets")
    assert (grouping.over_frames().joint, grouping.joins_frames) == ("frames_and_targets", False)
    card = tiny_card(noise="gaussian", grouping=grouping)
    engine = seeing_time(Engine(tiny_checkpoint(card), CPU))
    photo = Frames(drawn(2, 3, 32, 32))
    other = Frames(torch.cat((photo.rgb[:1], 1 - photo.rgb[1:])))
    found, changed = (run(engine, Inputs.of_photo(one)).latents for one in (photo, other))
    assert found.shape == (2, 12, 16, 16)
    assert not torch.allclose(found[0], changed[0], atol=1e-6)


# Temporal layers.


@pytest.mark.parametrize("which", [0, 1], ids=["diffusers", "small"])
def test_temporal_layers_begin_as_nothing_and_read_changes_only(which: int):
    network = small_unet()[which]
    sample, tokens = drawn(4, 6, 8, 8), drawn(4, 3, 12)
    right = network(sample, 7, tokens, return_dict=False)[0]
    layers = TemporalLayers.of(network).requires_grad_(False)
    layers.attach(network)
    set_group_size(network, 4)
    assert torch.equal(network(sample, 7, tokens, return_dict=False)[0], right)
    for parameter in layers.parameters():
        parameter.data.add_(torch.randn(parameter.shape) * 0.2)
    assert not torch.allclose(network(sample, 7, tokens, return_dict=False)[0], right, atol=1e-4)
    still, told = sample[:1].expand(4, -1, -1, -1), tokens[:1].expand(4, -1, -1)
    set_group_size(network, 1)
    alone = network(still, 7, told, return_dict=False)[0]
    set_group_size(network, 4)
    assert torch.allclose(network(still, 7, told, return_dict=False)[0], alone, atol=1e-5)
    detach(network)
    assert torch.equal(network(sample, 7, tokens, return_dict=False)[0], right)


def test_temporal_layers_are_part_of_the_model_that_they_were_trained_over(tmp_path, caplog):
    # SmallUNet fits only networks with attention in the middle; the tiny ones are diffusers' own.
    save_checkpoint(tiny_checkpoint(tiny_card()), tmp_path)
    renderer = InverseRenderer.from_pretrained(tmp_path)
    home, unet = renderer.engine.checkpoint.home, renderer.engine.checkpoint.unet
    layers = TemporalLayers.of(unet)
    for parameter in layers.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    clip = Frames(drawn(5, 3, 32, 32))

    def maps() -> GBuffer:
        options = ClipOptions(window=5, overlap=0, steady=False)
        return GBuffer.concatenate(list(ClipInverse(InverseRenderer.from_pretrained(tmp_path), options).stream(clip)))

    inflated = maps()
    save_layers(layers, home, tmp_path / TEMPORAL)
    assert (tmp_path / TEMPORAL / "diffusion_pytorch_model.safetensors").stat().st_size < 60_000
    assert not torch.equal(maps().base_color, inflated.base_color)
    save_checkpoint(tiny_checkpoint(tiny_card(), seed=1), tmp_path)
    maps()
    assert "left out" in caplog.text


def test_the_layers_that_ship_are_those_of_the_weights_that_ship(caplog):
    renderer = InverseRenderer.from_pretrained("mini")
    assert load_layers(renderer.engine) is not None
    assert "left out" not in caplog.text
