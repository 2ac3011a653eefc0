"""Clips that hold still: optical flow, maps averaged along it, inverse streams."""

from collections.abc import Iterator

import pytest
import torch
from skimage import data
from torch import Tensor

from forward_scenes import sphere
from unrender.diffusion.windows import ClipOptions
from unrender.evaluate.borders import border_pairs, middle_pairs
from unrender.evaluate.clips import evaluate_clips, score
from unrender.evaluate.motion import known_motion
from unrender.evaluate.rendered_clips import evaluate_rendered_clips
from unrender.evaluate.report import table
from unrender.files.shards import Clip
from unrender.inverse.clips import ClipInverse, InverseState, inverse_steps
from unrender.inverse.renderer import InverseRenderer
from unrender.inverse.steady import MEMORY, steady
from unrender.scene.camera import Camera
from unrender.scene.color import srgb_to_linear
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.motion import optical_flow, visibility, warp


def photo() -> Tensor:
    codes = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.interpolate(codes, size=(160, 160), mode="bilinear", antialias=True)


def pan(frames: int, step: tuple[float, float] = (1.5, -1.0)) -> tuple[Tensor, Tensor]:
    """A picture that moves by `step` pixels a frame, (T, 3, 96, 96) encoded, and its flow to the next frame."""
    flow = torch.tensor(step)[None, :, None, None].expand(1, 2, 160, 160)
    moved = torch.cat([warp(photo(), -t * flow) for t in range(frames)])
    return moved[..., 32:128, 32:128], flow[..., 32:128, 32:128]


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_flow_finds_a_known_motion(noise: float):
    frames, right = pan(2, (2.6, -1.7))
    frames = frames + noise * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    found = optical_flow(frames[:1], frames[1:])
    missed = (found - right).norm(dim=1)[:, 12:-12, 12:-12]
    assert missed.median() < 0.25
    assert missed.mean() < 0.4


def test_what_is_covered_or_looks_different_is_not_visible():
    frames, _ = pan(2)
    hidden = frames[1:].clone()
    hidden[..., 40:60, 40:60] = 1 - hidden[..., 40:60, 40:60]
    flow, back = optical_flow(frames[:1], hidden), optical_flow(hidden, frames[:1])
    sure = visibility(frames[:1], hidden, flow, back)
    assert sure[..., 44:54, 44:54].mean() < 0.2
    assert sure[..., 5:30, 5:80].mean() > 0.8


def test_maps_are_steadier_and_no_worse():
    frames, flow = pan(8)
    truth = srgb_to_linear(frames)
    generator = torch.Generator().manual_seed(1)
    noisy = (frames + 0.1 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)
    depth = 1 + frames.mean(1, keepdim=True)
    jitter = 1 + 0.2 * torch.rand(8, 1, 1, 1, generator=generator)
    maps = GBuffer(base_color=srgb_to_linear(noisy), depth=depth * jitter + 0.1)
    found, held = steady(maps, truth, None)

    def flicker(values: Tensor) -> float:
        return float((warp(values[1:], flow.expand(7, -1, -1, -1)) - values[:-1])[2:, :, 8:-8, 8:-8].square().mean())

    assert flicker(found.base_color) < 0.3 * flicker(maps.base_color)
    assert flicker(found.depth) < 0.1 * flicker(maps.depth)
    assert (found.base_color - truth)[2:].square().mean() < 0.7 * (maps.base_color - truth)[2:].square().mean()
    assert held.seen.max() <= MEMORY
    # In two calls as in one.
    first, between = steady(maps.part(0, 3), truth[:3], None)
    second, _ = steady(maps.part(3, 8), truth[3:], between)
    assert torch.equal(GBuffer.concatenate([first, second]).base_color, found.base_color)


def test_a_cut_starts_anew():
    frames, _ = pan(3)
    other = 1 - frames.flip(3)
    clip = torch.cat((frames, other))
    maps = GBuffer(roughness=torch.cat((torch.zeros(3, 1, 96, 96), torch.ones(3, 1, 96, 96))))
    found, _ = steady(maps, srgb_to_linear(clip), None)
    assert found.roughness[2].max() == 0
    assert found.roughness[3].mean() > 0.9


def test_normals_turn_with_the_camera():
    ball = sphere(48, (0.5, 0.5, 0.5), 0.5, 0.0)
    angle = torch.tensor(0.05)
    turn = torch.eye(3)
    turn[0, 0] = turn[2, 2] = angle.cos()
    turn[0, 2], turn[2, 0] = angle.sin(), -angle.sin()
    normals = [ball.normal]
    for _ in range(5):
        normals.append(torch.einsum("ij,tjhw->tihw", turn, normals[-1]))
    maps, picture = GBuffer(normal=torch.cat(normals)), photo()[..., 40:88, 40:88].expand(6, -1, -1, -1)
    found, _ = steady(maps, srgb_to_linear(picture), None)
    inside = ball.mask[0, 0] > 0.99
    cosine = (found.normal * maps.normal).sum(1)[:, inside]
    assert cosine.min() > 0.999


# `mini` on clips.


def clip_of(frames: int) -> Frames:
    return Frames(srgb_to_linear(pan(frames)[0][..., ::2, ::2]), fps=12.0)


@pytest.fixture(scope="module")
def mini() -> InverseRenderer:
    return InverseRenderer.from_pretrained("mini")


def test_a_stream_is_a_clip_as_it_is_read(mini: InverseRenderer):
    read = []

    def frames() -> Iterator[Frames]:
        for index, one in enumerate(clip_of(11)):
            read.append(index)
            yield one

    inverse = ClipInverse(mini, ClipOptions(window=4, overlap=2))
    stream = inverse.stream(frames())
    first = next(stream)
    assert len(read) < 11
    whole = GBuffer.concatenate([first, *stream])
    assert len(whole) == len(read) == 11
    assert torch.equal(whole.rgb, clip_of(11).rgb)


def test_a_stream_goes_on_from_any_state(mini: InverseRenderer):
    inverse = ClipInverse(mini, ClipOptions(window=4, overlap=1))
    steps = list(inverse_steps(clip_of(9), inverse))
    for index, (_, state) in enumerate(steps[:-1]):
        rest = list(inverse_steps(clip_of(9), inverse, None, state))
        assert len(rest) == len(steps) - index - 1
        assert torch.equal(rest[-1][0].base_color, steps[-1][0].base_color)
        assert isinstance(state, InverseState)


def test_a_still_and_frames_by_themselves_are_what_the_picture_model_says(mini: InverseRenderer):
    clip = clip_of(3)
    (still,) = ClipInverse(mini).stream(clip.frame(0))
    assert torch.equal(still.base_color, mini(clip.frame(0)).base_color)
    alone = GBuffer.concatenate(list(ClipInverse(mini, ClipOptions("none")).stream(clip)))
    assert torch.equal(alone.normal, mini(clip).normal)


# The protocol.


def moving_truth(frames: int = 5) -> GBuffer:
    """A textured wall before a camera that slides along it."""
    size = (48, 48)
    pose = torch.eye(4).repeat(frames, 1, 1)
    pose[:, 0, 3] = torch.arange(frames) * 0.04
    camera = Camera(Camera.perspective(size).intrinsics.expand(frames, 3, 3), pose, size)
    step = 0.04 * float(camera.intrinsics[0, 0, 0]) / 2
    picture = photo()[..., 20:140, 20:140]
    flow = torch.tensor([step, 0.0])[None, :, None, None].expand(1, 2, 120, 120)
    rgb = srgb_to_linear(torch.cat([warp(picture, t * flow) for t in range(frames)])[..., 36:84, 36:84])
    ones = torch.ones(frames, 1, *size)
    normal = torch.cat((torch.zeros(frames, 2, *size), ones), dim=1)
    return GBuffer(
        rgb=rgb,
        base_color=rgb,
        normal=normal,
        depth=2 * ones,
        roughness=ones / 2,
        metallic=0 * ones,
        mask=ones,
        depth_kind="metric",
        camera=camera,
    )


def test_known_motion_leaves_out_what_moves_by_itself():
    truth = moving_truth()
    motion = known_motion(truth)
    assert motion.visible.float().mean() > 0.8
    base = truth.base_color.clone()
    base[2:, :, 10:20, 10:20] = 1 - base[2:, :, 10:20, 10:20]
    moved = known_motion(truth.with_maps(base_color=base))
    assert not moved.visible[1, 0, 12:18, 12:18].any()


def test_the_truth_is_steady_and_right_and_jitter_is_neither():
    truth = moving_truth()
    noise = 0.1 * torch.randn(truth.base_color.shape, generator=torch.Generator().manual_seed(0))
    jittery = truth.with_maps(base_color=(truth.base_color + noise).clamp(0, 1))
    motion = known_motion(truth)
    right, wrong = (score(one, truth, motion) for one in (truth, jittery))
    by_name = {(figure.map, figure.name): figure for figure in right}
    colour = by_name["base_color", "warp error x 1000"]
    assert right[colour] < 0.05 * wrong[colour]
    assert right[by_name["depth", "warp error x 1000"]] == pytest.approx(0, abs=1e-6)
    assert right[by_name["base_color", "RMSE"]] == 0


def test_pictures_that_flicker_are_told_from_steady_ones():
    truth = moving_truth()
    clip = Clip(truth, EnvironmentMap(torch.ones(1, 3, 8, 16)), "a wall", 0)

    def flickering(one: Clip) -> torch.Tensor:
        gain = torch.tensor([0.9, 0.7]).repeat(3)[: len(one.gbuffer), None, None, None]
        return one.gbuffer.maps["rgb"] * gain

    report = evaluate_rendered_clips({"steady": lambda one: one.gbuffer.maps["rgb"], "flickering": flickering}, [clip])
    warp = next(figure for figure in report.answers["steady"] if figure.name.startswith("warp"))
    psnr = next(figure for figure in report.answers["steady"] if figure.name == "PSNR")
    assert report.pictures == 5
    assert report.answers["steady"][warp] == report.answers["truth"][warp] < 0.05 * report.answers["flickering"][warp]
    assert report.answers["flickering"][psnr] < 30 < report.answers["steady"][psnr]


def test_the_pairs_at_the_borders_of_windows():
    assert border_pairs(10, ClipOptions(window=4, overlap=2)) == (1, 2, 3, 4, 5, 6, 7)
    assert border_pairs(10, ClipOptions(window=4, overlap=0)) == (3, 7)
    assert border_pairs(4, ClipOptions(window=4, overlap=0)) == ()


@pytest.mark.parametrize("window", range(2, 9))
@pytest.mark.parametrize("frames", [8, 9, 13, 20])
def test_every_pair_but_the_first_few_is_in_the_middle_of_one_window(frames: int, window: int):
    parts = middle_pairs(frames, window)
    pairs = [t for _, inside in parts for t in inside]
    assert pairs == list(range((window - 1) // 2, frames - 1))
    for start, inside in parts:
        assert 0 <= start <= frames - window
        assert all(start + (window - 1) // 2 <= t < start + window - 1 for t in inside)


def test_a_clip_shorter_than_a_window_has_no_middle():
    assert middle_pairs(5, 6) == []
    assert middle_pairs(5, 1) == []


@pytest.mark.parametrize("jump", [0.0, 0.1])
def test_jumps_at_borders_are_told_from_noise_and_from_motion(jump: float):
    """Over the same pairs, whatever moves there: a scale of depth that windows choose anew is no jump where it is
    aligned, base colours that windows make brighter are one."""
    truth, options = moving_truth(9), ClipOptions(window=4, overlap=0)
    truth = truth.with_maps(depth=truth.maps["depth"] + 0.002 * torch.arange(48.0))
    noise = 0.02 * torch.randn(truth.base_color.shape, generator=torch.Generator().manual_seed(0))

    def answer(photo: Frames) -> GBuffer:
        start = next(t for t in range(9) if torch.equal(photo.rgb[0], truth.maps["rgb"][t].clamp(0, 1)))
        part, brighter = truth.part(start, start + len(photo)), torch.zeros(len(photo), 1, 1, 1)
        for index, (first, stop) in enumerate(options.parts(len(photo))):
            brighter[first:stop] = jump * (index % 2)
        base = (part.base_color + noise[start : start + len(photo)] + brighter).clamp(0, 1)
        depth = (part.maps["depth"] + noise[start : start + len(photo), :1]) * (1 + start)
        return GBuffer(base_color=base, depth=depth, mask=part.mask, camera=part.camera)

    scores = evaluate_clips({"clip": answer}, [truth], options).answers["clip"]
    ratios = {figure.map: value for figure, value in scores.items() if figure.name == "across / inside windows"}
    assert ratios["base_color"] == pytest.approx(1, abs=1e-6) if not jump else ratios["base_color"] > 2
    assert ratios["depth"] == pytest.approx(1, abs=1e-2)


@pytest.mark.slow
def test_a_report_of_clips(mini: InverseRenderer):
    truth = moving_truth(4)
    whole, alone = ClipInverse(mini, ClipOptions(window=3, overlap=1)), ClipInverse(mini, ClipOptions("none"))
    answers = {
        "clip": lambda one: GBuffer.concatenate(list(whole.stream(one))),
        "frame by frame": lambda one: GBuffer.concatenate(list(alone.stream(one))),
    }
    report = evaluate_clips(answers, [truth], whole.clip)
    assert report.pictures == 4
    assert list(report.answers) == ["clip", "frame by frame", "truth"]
    assert report.answers["frame by frame"].keys() < report.answers["clip"].keys() == set(report.figures)
    assert "across / inside windows" in table(report)
