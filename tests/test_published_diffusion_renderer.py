"""DiffusionRenderer gives the numbers of its official scripts in a faithful reading, both ways."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from diffusion_renderer_folders import BUFFERS, write_forward, write_inverse
from diffusion_renderer_reference import FORWARD_BUFFERS, Official, covered, environment_pictures
from unrender.diffusion.card import ModelCard
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.published.diffusion_renderer import FORWARD, INVERSE
from unrender.diffusion.engine import load_engine, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.forward import neural_environment
from unrender.forward.neural import NeuralRenderer
from unrender.forward.neural_environment import raised_camera
from unrender.forward.options import ForwardOptions
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

SIDE = 64
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # diffusers' own
FAITHFUL = InferenceOptions("cpu", "float32", faithful=True)
MAPS = dict(zip(BUFFERS, ("base_color", "metallic", "roughness", "normal", "depth", "diffuse_albedo"), strict=True))


def small(card: ModelCard) -> ModelCard:
    """The card for pictures and lights of 64 pixels: all else is as published."""
    quirks = card.quirks
    light = None if card.light is None else replace(card.light, size=(SIDE, SIDE))
    official = None if quirks.light is None else replace(quirks.light, size=(SIDE, SIDE))
    return replace(
        card.with_maps(size=replace(card.maps.size, short_side=SIDE)),
        conditioning=tuple(light if one is card.light else one for one in card.conditioning),
        quirks=replace(quirks, size=replace(quirks.size, short_side=SIDE), light=official),
    )


@pytest.fixture(scope="module")
def inverse(tmp_path_factory) -> Path:
    return small_inverse(tmp_path_factory.mktemp("dr") / "inverse")


def small_inverse(folder: Path, context: str = "clip") -> Path:
    write_inverse(folder, context)
    write_card(small(INVERSE), folder)
    return folder


def test_a_row_that_goes_to_the_time_embedding(tmp_path):
    folder = small_inverse(tmp_path / "inverse", "time")
    pictures = codes(2, (64, 64), 6)
    expected = Official(folder).inverse(shown(pictures), "normal", noise_of(2, pictures, 2), 2)
    renderer = InverseRenderer.from_pretrained(folder, FAITHFUL)
    found = renderer.latents(Frames(srgb_to_linear(pictures / 255)), ["normal"], steps=2, seed=2)
    assert (found - expected).abs().max() < 1e-3


@pytest.fixture(scope="module")
def forward(tmp_path_factory) -> Path:
    folder = write_forward(tmp_path_factory.mktemp("dr") / "forward")
    write_card(small(FORWARD), folder)
    return folder


def codes(frames: int, size: tuple[int, int], seed: int) -> Tensor:
    """(F, 3, H, W) uint8, smooth with some grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(frames, 3, 5, 5, generator=generator)
    fine = torch.rand(frames, 3, *size, generator=generator)
    smooth = functional.interpolate(coarse, size=size, mode="bicubic")
    return ((0.8 * smooth + 0.2 * fine).clamp(0, 1) * 255).round().to(torch.uint8)


def shown(pictures: Tensor) -> Tensor:
    """8-bit pictures as the scripts hand them to the network, in [0, 1]."""
    resized = [covered(one.permute(1, 2, 0).numpy(), SIDE) for one in pictures]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255


def noise_of(frames: int, pictures: Tensor, seed: int) -> Tensor:
    height, width = (side // 8 for side in pictures.shape[2:])
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(seed))


def read(picture: Tensor, buffer: str) -> Tensor:
    """An 8-bit picture in [0, 1] as the map that it is."""
    if buffer in ("basecolor", "diffuse_albedo"):
        return srgb_to_linear(picture)
    if buffer == "normal":
        return functional.normalize(picture * 2 - 1, dim=1)
    grey = picture.mean(1, keepdim=True)
    return grey + 1 if buffer == "depth" else grey


def as_maps(buffers: dict[str, Tensor]) -> GBuffer:
    """8-bit buffers as a G-buffer, normals as they are read."""
    maps = {name: buffers[name] / 255 for name in FORWARD_BUFFERS}
    return GBuffer(
        base_color=srgb_to_linear(maps["basecolor"]),
        normal=maps["normal"] * 2 - 1,
        depth=1 + maps["depth"][:, :1],
        roughness=maps["roughness"][:, :1],
        metallic=maps["metallic"][:, :1],
        depth_kind="relative",
    )


def buffers_of(frames: int, size: tuple[int, int]) -> dict[str, Tensor]:
    found = {name: codes(frames, size, seed) for seed, name in enumerate(FORWARD_BUFFERS)}
    return {
        n: v[:, :1].expand(-1, 3, -1, -1) if n in ("depth", "roughness", "metallic") else v for n, v in found.items()
    }


def smooth_light() -> EnvironmentMap:
    """Bright spots, and the same grey at both poles, between which official code looks up."""
    light = EnvironmentMap(torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(11)) ** 4 * 40)
    polar = (torch.arange(64)[:, None] + 0.5) / 64 * torch.pi
    return EnvironmentMap(0.5 + light.resized((64, 128)).radiance * polar.sin() ** 2)


def test_all_six_buffers_in_three_steps(inverse):
    pictures = codes(3, (64, 64), 1)
    official, seen = Official(inverse), shown(pictures)
    engine = load_engine(inverse, "inverse", FAITHFUL)
    prediction = run(engine, Inputs.of_photo(Frames(srgb_to_linear(pictures / 255))), steps=3, seed=5)
    maps, raw = prediction.gbuffer().maps, prediction.pictures()
    for index, buffer in enumerate(BUFFERS):
        expected = official.inverse(seen, buffer, noise_of(3, seen, 5), 3)
        assert (prediction.latents[:, 4 * index : 4 * index + 4] - expected).abs().max() < 1e-3
        with torch.no_grad():
            rounded, whole = official.decode(expected), official.decode(expected, rounded=False)
        assert ((raw[buffer] / 2 + 0.5).clamp(0, 1) - whole).abs().max() < 1e-3
        # A value half-way between two of 8 bits may go either way.
        off = (maps[MAPS[buffer]] - read(rounded, buffer)).abs()
        assert (off > 1e-3).float().mean() < 5e-3, buffer


@pytest.mark.parametrize("size", [(50, 78), *(pytest.param(s, marks=pytest.mark.slow) for s in ((90, 66), (64, 200)))])
def test_pictures_cover_the_square_and_go_on_to_multiples_of_64(inverse, size):
    pictures = codes(1, size, 4)
    official, seen = Official(inverse), shown(pictures)
    renderer = InverseRenderer.from_pretrained(inverse, FAITHFUL)
    photo = Frames(srgb_to_linear(pictures / 255))
    assert renderer.noise_shape(photo) == (1, 4, seen.shape[2] // 8, seen.shape[3] // 8)
    expected = official.inverse(seen, "normal", noise_of(1, seen, 2), 1)
    assert (renderer.latents(photo, ["normal"], steps=1, seed=2) - expected).abs().max() < 1e-3
    assert renderer(photo, ["normal"], steps=1).size == size


def test_a_photo_with_alpha_is_put_on_black(inverse):
    pictures = codes(1, (64, 64), 8)
    alpha = torch.zeros(1, 1, 64, 64)
    alpha[..., 8:56, 8:40] = 1
    seen = pictures / 255 * alpha
    expected = Official(inverse).inverse(seen, "normal", noise_of(1, pictures, 2), 1)
    renderer = InverseRenderer.from_pretrained(inverse, FAITHFUL)
    photo = Frames(srgb_to_linear(pictures / 255), alpha)
    assert (renderer.latents(photo, ["normal"], steps=1, seed=2) - expected).abs().max() < 1e-3


def test_the_faithful_maps_are_those_of_pngs_and_the_default_ones_are_not(inverse):
    photo = Frames(srgb_to_linear(codes(2, (64, 64), 1) / 255))
    for options, whole in ((FAITHFUL, True), (replace(FAITHFUL, faithful=False), False)):
        maps = InverseRenderer.from_pretrained(inverse, options)(photo, ["base_color", "depth"], steps=2).maps
        for values in (linear_to_srgb(maps["base_color"]) * 255, (maps["depth"] - 1) * 255 * 3):
            assert bool((values - values.round()).abs().max() < 1e-2) == whole


@pytest.mark.slow
def test_long_clips_are_decoded_eight_frames_at_a_time(inverse):
    pictures = codes(10, (64, 64), 2)
    renderer = InverseRenderer.from_pretrained(inverse, FAITHFUL)
    found = renderer.pictures(Frames(srgb_to_linear(pictures / 255)), ["depth"], steps=1, seed=3)["depth"]
    official = Official(inverse)
    with torch.no_grad():
        latents = official.inverse(shown(pictures), "depth", noise_of(10, pictures, 3), 1)
        expected = official.decode(latents, rounded=False)
    assert ((found / 2 + 0.5).clamp(0, 1) - expected).abs().max() < 1e-3


CASES = {
    "static": {"angles": [0.0, 0.0, 0.0], "guidance": 1.2, "lora": 0.0, "elevation": 0.0},
    "turning": {"angles": list(np.linspace(0, 2 * np.pi, 3)), "guidance": 1.2, "lora": 0.25, "elevation": 0.0},
    "raised": {"angles": [0.0, 0.0, 0.0], "guidance": 1.0, "lora": 0.0, "elevation": 30.0},
}


@pytest.mark.parametrize("case", [*(pytest.param(c, marks=pytest.mark.slow) for c in ("static", "raised")), "turning"])
def test_a_clip_under_a_light_in_three_steps(forward, case):
    given = CASES[case]
    buffers, light = buffers_of(3, (64, 64)), smooth_light()
    official = Official(forward)
    official.adapt(given["lora"])
    pictures = environment_pictures(light.radiance[0].permute(1, 2, 0), SIDE, given["angles"], given["elevation"])
    seen = {name: shown(values) for name, values in buffers.items()}
    noise = noise_of(3, buffers["normal"], 9)
    expected = official.forward(seen, pictures, noise, 3, given["guidance"])
    options = ForwardOptions(
        steps=3, seed=9, guidance=given["guidance"], lora=given["lora"], elevation=given["elevation"]
    )
    renderer = NeuralRenderer.from_pretrained(forward, FAITHFUL, options)
    # The official angle turns what is looked up, ours the light itself.
    yaw = -torch.tensor(given["angles"]).rad2deg().float()
    gbuffer = as_maps(buffers)
    prediction = neural_environment.environment_prediction(renderer.engine, options, gbuffer, light, yaw)
    assert (prediction.latents - expected).abs().max() < 1e-3
    raw = prediction.pictures()["rgb"]
    with torch.no_grad():
        rounded, unrounded = official.decode(expected), official.decode(expected, rounded=False)
    assert ((raw / 2 + 0.5).clamp(0, 1) - unrounded).abs().max() < 1e-3
    picture = renderer(gbuffer, light, yaw)
    off = (picture.beauty - srgb_to_linear(rounded)).abs()
    assert (off > 1e-3).float().mean() < 2e-3
    assert not picture.background.any()


def test_a_raised_camera_looks_down_and_the_official_one_hands_over_its_inverse():
    ahead = torch.tensor([0.0, 0.0, -1.0])
    right, official = (raised_camera(30.0, light) for light in (FORWARD.light, FORWARD.quirks.light))
    torch.testing.assert_close(right @ ahead, torch.tensor([0.0, -0.5, -(0.75**0.5)]))
    torch.testing.assert_close(official, right.T)


def test_one_evaluation_of_the_network(forward):
    """The UNet's answer itself, level by level."""
    from unrender.diffusion.checkpoints.hub.registry import find
    from unrender.diffusion.checkpoints.loader import load_checkpoint
    from unrender.train.base import FULL

    ours, official = load_checkpoint(find(forward, "forward"), FULL, lora=0.0).unet, Official(forward)
    generator = torch.Generator().manual_seed(2)
    levels = [torch.randn(3, n, d, generator=generator) for n, d in zip((64, 16, 4, 1), (32, 32, 64, 64), strict=True)]
    sample = torch.randn(1, 3, 24, 16, 8, generator=generator)
    with torch.no_grad():
        expected = official.lit(sample, torch.tensor(0.7), levels)
        found = ours(sample, torch.tensor(0.7), tuple(levels), torch.tensor([[6, 127, 0.0]]), return_dict=False)[0]
    assert (found - expected).abs().max() < 1e-3


def test_the_adapter_is_added_by_its_share(forward):
    from unrender.diffusion.checkpoints.hub.registry import find
    from unrender.diffusion.checkpoints.loader import load_checkpoint
    from unrender.train.base import FULL

    none, own, whole = (load_checkpoint(find(forward), FULL, lora=s).unet.state_dict() for s in (0.0, None, 1.0))
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert (whole[name] - none[name]).abs().max() > 0.01
    torch.testing.assert_close(own[name] - none[name], 0.25 * (whole[name] - none[name]))


def test_what_only_the_checkpoint_knows_is_said_to_be_missing(tmp_path):
    folder = write_inverse(tmp_path / "inverse", None)
    with pytest.raises(UserError, match="no context_embedding_type; expected clip or time"):
        InverseRenderer.from_pretrained(folder, FAITHFUL)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_karras_sigmas": False}, "use_karras_sigmas is False; expected True"),
        ({"prediction_type": "epsilon"}, "prediction_type is 'epsilon'"),
        ({"sigma_max": None}, "sigma_max is None; expected a number"),
    ],
)
def test_a_scheduler_that_cannot_be_followed(tmp_path, changes, said):
    folder = write_inverse(tmp_path / "inverse")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=said):
        InverseRenderer.from_pretrained(folder, FAITHFUL)


def test_a_missing_scheduler_is_said(tmp_path, capsys):
    folder = write_inverse(tmp_path / "inverse")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    InverseRenderer.from_pretrained(folder, FAITHFUL)
    assert "has no scheduler_config.json: sigmas from 0.002 to 700.0" in capsys.readouterr().err
