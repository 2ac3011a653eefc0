"""Training of video models in small: they learn, a killed run goes on with the same bits, and what is saved is run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion_renderer_folders import write_forward, write_inverse
from tiny_task import Killed, logged, same_weights
from unrender.diffusion.card.file import read_card, write_card
from unrender.diffusion.checkpoints.published.diffusion_renderer import FORWARD, INVERSE
from unrender.diffusion.lora import Lora
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.files.shards import Clip, LitClip
from unrender.forward.neural import NeuralRenderer
from unrender.forward.neural_environment import environment_tokens
from unrender.forward.options import ForwardOptions
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.train.data import load_still_dataset
from unrender.train.env_encoder import SMOKE as ENV_SMOKE
from unrender.train.env_encoder import lights_of, train_env_encoder
from unrender.train.kept_latents import KeptLatents
from unrender.train.loop import BatchSpec
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.vae import SMOKE as VAE_SMOKE
from unrender.train.vae import train_vae
from unrender.train.video import VideoRecipe, train_video_forward, train_video_inverse
from unrender.train.video_data import clips_of_stills, load_video_clips, sample_windows
from unrender.train.video_start import VideoStart, small_card, take_over_base

QUICK = TrainConfig(
    steps=3, stages=(Stage(1.0, 64, 1),), warmup=1, ema_decay=0.5, precision="no", validate_every=0, save_every=1
)
CPU = InferenceOptions("cpu", "float32")


def truth(frames: int, seed: int = 0, size: int = 64) -> Clip:
    """A clip of random ground truth that moves to the right, under a light that turns, and under another."""
    generator = torch.Generator().manual_seed(seed)

    def moving(channels: int) -> torch.Tensor:
        coarse = torch.rand(1, channels, 4, 8, generator=generator)
        wide = functional.interpolate(coarse, size=(size, 2 * size), mode="bicubic").clamp(0, 1)
        return torch.cat([wide[..., 2 * t : 2 * t + size] for t in range(frames)])

    gbuffer = GBuffer(
        rgb=moving(3) * 4,
        base_color=moving(3),
        normal=functional.normalize(moving(3) - 0.5, dim=1),
        depth=2 + moving(1),
        roughness=moving(1),
        metallic=moving(1),
        mask=torch.ones(frames, 1, size, size),
        camera=Camera.perspective((size, size), pose=torch.eye(4).expand(frames, 4, 4)),
    )
    lights = [EnvironmentMap(torch.rand(1, 3, 16, 32, generator=generator) * 3) for _ in range(2)]
    other = LitClip(lights[1], moving(3) * 9, moving(3))
    return Clip(gbuffer, lights[0], "a clip", seed, yaw=tuple(10.0 * t for t in range(frames)), lights=(other,))


def inverse_folder(folder: Path) -> str:
    write_inverse(folder)
    write_card(replace(INVERSE.with_maps(size=replace(INVERSE.maps.size, short_side=64))), folder)
    return str(folder)


def forward_folder(folder: Path) -> str:
    write_forward(folder, lora=False)
    light = replace(FORWARD.light, size=(64, 64))
    conditioning = tuple(light if one is FORWARD.light else one for one in FORWARD.conditioning)
    card = replace(FORWARD.with_maps(size=replace(FORWARD.maps.size, short_side=64)), conditioning=conditioning)
    write_card(replace(card, adapter=None), folder)
    return str(folder)


@pytest.fixture(scope="module")
def inverse_start(tmp_path_factory) -> VideoStart:
    return VideoStart("inverse", inverse_folder(tmp_path_factory.mktemp("video") / "inverse"))


@pytest.fixture(scope="module")
def forward_start(tmp_path_factory) -> VideoStart:
    return VideoStart("forward", forward_folder(tmp_path_factory.mktemp("video") / "forward"))


def recipe(start: VideoStart, **changes) -> VideoRecipe:
    return replace(VideoRecipe(QUICK, start, frames=3, lora=Lora(2, 2), recompute=False), **changes)


# Windows.


def test_a_clip_has_one_exposure_and_one_range_of_depth_and_its_light_is_exposed_as_it_is():
    clip = truth(4)
    one, other = load_video_clips([clip])
    assert len(one) == len(other) == 4
    lit = clip.gbuffer.rgb > 0.1
    gain = one.maps["rgb"].float()[lit] / clip.gbuffer.rgb[lit]
    assert float(gain.std()) < 1e-3 * float(gain.mean())
    torch.testing.assert_close(one.light.radiance.float(), clip.light.radiance * gain.mean(), rtol=2e-3, atol=2e-3)
    depth, metric = one.maps["depth"].float(), clip.gbuffer.depth
    inside = (depth > 1) & (depth < 2)
    together = torch.stack((depth[inside], metric[inside]))
    assert float(together.corrcoef()[0, 1]) > 0.9999
    assert not torch.equal(one.maps["rgb"], other.maps["rgb"])
    assert torch.equal(one.maps["normal"], other.maps["normal"])


def test_windows_are_of_following_frames_and_follow_from_the_seed():
    clips = load_video_clips([truth(5, 1), truth(6, 2)])
    spec = BatchSpec(64, 2, 3)
    batch, again = sample_windows(clips, 3, spec), sample_windows(clips, 3, spec)
    assert batch.frames == 3
    assert len(batch) == 6
    assert all(torch.equal(values, again.maps[name]) for name, values in batch.maps.items())
    assert not torch.equal(batch.maps["rgb"], sample_windows(clips, 3, replace(spec, seed=4)).maps["rgb"])
    shown = [light.yaw for light in batch.lights]
    assert all(torch.equal(yaw.diff(), torch.full((2,), 10.0)) for yaw in shown)


def test_stills_and_clips_are_mixed_batch_by_batch():
    stills = load_still_dataset([GBuffer(rgb=torch.rand(2, 3, 64, 64), normal=torch.rand(2, 3, 64, 64))], ("normal",))
    clips = [*load_video_clips([truth(4)]), *clips_of_stills(stills)]
    lengths = [sample_windows(clips, 3, BatchSpec(64, 2, seed)).frames for seed in range(40)]
    assert 8 < lengths.count(1) < 32
    assert set(lengths) == {1, 3}
    batch = next(b for seed in range(40) if (b := sample_windows(clips, 3, BatchSpec(64, 2, seed))).frames == 1)
    assert set(batch.known) == {"rgb", "normal"}


def test_a_mirrored_window_has_its_light_mirrored():
    clips = load_video_clips([truth(3)])
    specs = [sample_windows(clips[:1], 3, BatchSpec(64, 1, seed)) for seed in range(12)]
    plain, flipped = (next(b for b in specs if bool(b.flipped[0]) == way) for way in (False, True))
    encoding = FORWARD.light.encoding
    one, other = (batch.pictures_of_lights(encoding, (32, 32)) for batch in (plain, flipped))
    torch.testing.assert_close(other[:, :6], one[:, :6].flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(other[:, 6:], one[:, 6:])


def test_whole_frames_have_names_and_random_crops_have_none():
    clips = load_video_clips([truth(5, 1), truth(5, 2)])
    specs = [BatchSpec(64, 2, seed) for seed in range(8)]
    assert all(sample_windows(clips, 3, spec).names == () for spec in specs)
    named: dict[str, torch.Tensor] = {}
    for batch in (sample_windows(clips, 3, spec, whole=True) for spec in specs):
        assert len(batch.names) == len(batch)
        for name, picture in zip(batch.names, batch.maps["rgb"], strict=True):
            assert torch.equal(named.setdefault(name, picture), picture)
    assert len(named) > 20
    assert len({picture.numpy().tobytes() for picture in named.values()}) == len(named)


def test_a_frame_is_encoded_once_and_kept_in_a_file(tmp_path):
    clips, layer = load_video_clips([truth(4)]), nn.Linear(2, 2)
    batch = sample_windows(clips, 3, BatchSpec(64, 1, 0), whole=True)
    made: list[int] = []

    def make(index: torch.Tensor) -> torch.Tensor:
        made.extend(index.tolist())
        return batch.maps["rgb"][index].mean((2, 3))

    kept = KeptLatents.of(tmp_path / "cache", layer)
    first = kept.rows(batch, "mean", make)
    torch.testing.assert_close(first, batch.maps["rgb"].mean((2, 3)), rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kept.rows(batch, "mean", make), first)
    assert made == [0, 1, 2]
    kept.rows(batch, "another", make)
    assert made == [0, 1, 2] * 2
    kept.write()
    assert torch.equal(KeptLatents.of(tmp_path / "cache", layer).rows(batch, "mean", make), first)
    assert made == [0, 1, 2] * 2
    KeptLatents.of(tmp_path / "cache", nn.Linear(2, 2)).rows(batch, "mean", make)
    KeptLatents().rows(replace(batch, names=()), "mean", make)
    assert made == [0, 1, 2] * 4


# Runs.


def test_an_inverse_model_learns_a_clip_by_heart_and_is_run(inverse_start, tmp_path):
    clips = load_video_clips([truth(3)])[:1]
    config = replace(QUICK, steps=16, lr=2e-3, warmup=2, save_every=16)
    model = train_video_inverse(recipe(inverse_start, config=config), clips, tmp_path / "run")
    losses = [line["loss"] for line in logged(tmp_path / "run")]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    gbuffer = InverseRenderer.from_pretrained(model, CPU)(Frames(torch.rand(2, 3, 64, 64)), ["normal"], steps=1)
    assert gbuffer.normal.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("direction", [pytest.param("inverse", marks=pytest.mark.slow), "forward"])
def test_a_killed_run_ends_with_the_same_bits(direction, inverse_start, forward_start, tmp_path):
    clips = load_video_clips([truth(3), truth(3, 1)])
    if direction == "inverse":
        known, train = recipe(inverse_start), train_video_inverse
    else:
        known = recipe(forward_start)

        def train(recipe, clips, out, report=None):
            return train_video_forward(recipe, clips, out, report, real=clips[2:])

    def killing(step: int, loss: float) -> None:
        if step == 2:
            raise Killed

    whole = train(known, clips, tmp_path / "whole")
    with pytest.raises(Killed):
        train(known, clips, tmp_path / "killed", killing)
    assert same_weights(whole, train(known, clips, tmp_path / "killed"))
    assert logged(tmp_path / "whole") == logged(tmp_path / "killed")


@pytest.mark.slow
def test_labelled_footage_goes_to_the_adapter_too_and_both_are_saved(forward_start, tmp_path):
    clips = load_video_clips([truth(3), truth(3, 1)])
    config = replace(QUICK, steps=4, lr=1e-2, save_every=4)
    known = recipe(forward_start, config=config, real=1.0)
    model = train_video_forward(known, clips[:2], tmp_path / "run", real=clips[2:])
    assert {"real"} == {name for line in logged(tmp_path / "run") for name in line} - {"step", "loss", "idle"}
    assert (model / "lora" / "pytorch_lora_weights.safetensors").is_file()
    gbuffer, light = truth(2).gbuffer, truth(2).light
    pictures = [
        NeuralRenderer.from_pretrained(model, CPU, ForwardOptions(steps=1, lora=share))(gbuffer, light).beauty
        for share in (0.0, None, 0.25, 1.0)
    ]
    assert torch.equal(pictures[1], pictures[2])
    assert (pictures[0] - pictures[3]).abs().max() > 1e-4


@pytest.mark.slow
def test_without_footage_there_is_no_adapter(forward_start, tmp_path):
    model = train_video_forward(recipe(forward_start), load_video_clips([truth(3)]), tmp_path / "run")
    assert not (model / "lora").exists()
    assert {name for line in logged(tmp_path / "run") for name in line} == {"step", "loss", "synthetic"}


def test_an_encoder_of_lights_learns_and_is_what_a_forward_model_starts_from(inverse_start, tmp_path):
    lights = lights_of([truth(1), truth(1, 1)])
    assert len(lights) == 4
    config = replace(ENV_SMOKE.config, steps=24, lr=3e-3, warmup=2, save_every=24, precision="no")
    known = replace(ENV_SMOKE, config=config, model=inverse_start.model)
    encoder = train_env_encoder(known, lights[:1], tmp_path / "run")
    losses = [line["loss"] for line in logged(tmp_path / "run")]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])
    base = VideoStart("forward", base=inverse_start.model, environment=str(encoder))
    clips = load_video_clips([truth(2)])
    with pytest.raises(UserError, match="expected --environment"):
        train_video_forward(recipe(replace(base, environment=None)), clips, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_forward_model_from_a_base_and_an_encoder_of_lights(inverse_start, tmp_path):
    """The layout of the base is Stable Video Diffusion's, whatever its UNet was made for."""
    levels = replace(ENV_SMOKE, levels=(32, 32, 64, 64), heads=(2, 2, 4, 4), model=inverse_start.model)
    config = replace(ENV_SMOKE.config, steps=1, precision="no")
    lights = lights_of([truth(1)])
    with pytest.raises(UserError, match="lights of 32 pixels for 4 levels; expected a multiple of 64"):
        train_env_encoder(replace(levels, config=config), lights, tmp_path / "encoder")
    config = replace(config, stages=(Stage(1.0, 64, 1),))
    encoder = train_env_encoder(replace(levels, config=config), lights, tmp_path / "encoder")
    other = train_env_encoder(replace(ENV_SMOKE, model=inverse_start.model, config=config), lights, tmp_path / "other")
    start = VideoStart("forward", base=inverse_start.model, environment=str(encoder))
    once, clips = replace(QUICK, steps=1), load_video_clips([truth(2)])
    with pytest.raises(UserError, match="its encoder has 3 levels; the UNet that attends to it has 4"):
        train_video_forward(recipe(replace(start, environment=str(other))), clips, tmp_path / "none")
    model = train_video_forward(recipe(start, config=once), clips, tmp_path / "run")
    card = read_card(model)
    assert (card.id, card.identity.licence, card.light.by_levels) == ("video-svd", "", True)
    again = VideoStart("forward", model=str(model))
    train_video_forward(recipe(again, config=once), clips, tmp_path / "again")


@pytest.fixture(scope="module")
def small_vae(tmp_path_factory) -> str:
    config = replace(VAE_SMOKE.config, steps=1, precision="no", validate_every=0)
    stills = load_still_dataset([truth(4).gbuffer])
    return str(train_vae(replace(VAE_SMOKE, config=config), stills, tmp_path_factory.mktemp("vae") / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [("ldr", "direction"), ("ldr", "log")])
def test_a_picture_of_the_light_that_is_left_out_is_left_out_of_the_card(pictures, small_vae, tmp_path):
    config = replace(ENV_SMOKE.config, steps=1, precision="no")
    env = replace(ENV_SMOKE, autoencoder=small_vae, config=config, pictures=pictures)
    encoder = train_env_encoder(env, lights_of([truth(1)]), tmp_path / "encoder")
    losses = {name for line in logged(tmp_path / "encoder") for name in line} - {"step", "loss"}
    assert losses == set(pictures) - {"direction"}
    start = VideoStart("forward", autoencoder=small_vae, environment=str(encoder))
    once = recipe(start, config=replace(QUICK, steps=1))
    model = train_video_forward(once, load_video_clips([truth(2)]), tmp_path / "run")
    assert read_card(model).light.encoding.channels == pictures
    scene = truth(2)
    picture = NeuralRenderer.from_pretrained(model, CPU, ForwardOptions(steps=1))(scene.gbuffer, scene.light)
    assert picture.beauty.shape == (2, 3, 64, 64)


@pytest.mark.slow
def test_one_level_of_the_light_is_trained_saved_and_run(small_vae, tmp_path):
    env = replace(ENV_SMOKE, autoencoder=small_vae, config=replace(ENV_SMOKE.config, steps=1, precision="no"))
    encoder = train_env_encoder(env, lights_of([truth(1)]), tmp_path / "encoder")
    start = VideoStart("forward", autoencoder=small_vae, environment=str(encoder), one_level=True)
    once = recipe(start, config=replace(QUICK, steps=1))
    model = train_video_forward(once, load_video_clips([truth(2)]), tmp_path / "run")
    assert read_card(model).light.one_level
    renderer, scene = NeuralRenderer.from_pretrained(model, CPU, ForwardOptions(steps=1)), truth(2)
    tokens = environment_tokens(renderer.engine, scene.gbuffer, scene.light, torch.zeros(2))
    assert len({level.shape for level in tokens}) == 1
    assert renderer(scene.gbuffer, scene.light).beauty.shape == (2, 3, 64, 64)


def test_footage_without_an_adapter_is_learnt_by_the_weights(forward_start, tmp_path):
    clips = load_video_clips([truth(3), truth(3, 1)])
    plain = recipe(forward_start, adapted=False, real=1.0, config=replace(QUICK, steps=1))
    with pytest.raises(UserError, match="expected --real"):
        train_video_forward(plain, clips[:2], tmp_path / "none")
    model = train_video_forward(plain, clips[:2], tmp_path / "run", real=clips[2:])
    assert {name for line in logged(tmp_path / "run") for name in line} == {"step", "loss", "real"}
    assert not (model / "lora").exists()
    assert read_card(model).adapter is None


def test_a_run_on_latents_that_were_kept_is_the_run_that_kept_them(inverse_start, tmp_path):
    clips = load_video_clips([truth(3), truth(3, 1)])
    whole = recipe(inverse_start, whole=True)
    train_video_inverse(whole, clips, tmp_path / "first", cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_mtime_ns
    train_video_inverse(whole, clips, tmp_path / "second", cache=tmp_path / "cache")
    assert file.stat().st_mtime_ns == written
    assert same_weights(tmp_path / "first", tmp_path / "second")


@pytest.mark.slow
def test_small_models_from_an_autoencoder_are_validated_and_run(tmp_path):
    stills = load_still_dataset([truth(4).gbuffer])
    vae_config = replace(VAE_SMOKE.config, steps=1, precision="no", validate_every=0)
    vae = str(train_vae(replace(VAE_SMOKE, config=vae_config), stills, tmp_path / "vae"))
    clips = load_video_clips([truth(2), truth(2, 1)])
    env_config = replace(ENV_SMOKE.config, steps=1, precision="no", validate_every=1)
    env = replace(ENV_SMOKE, autoencoder=vae, config=env_config)
    encoder = train_env_encoder(env, lights_of([truth(1)]), tmp_path / "encoder")
    assert len(list((tmp_path / "encoder" / "validation").glob("lights-*.png"))) == 1
    start = VideoStart("forward", autoencoder=vae, environment=str(encoder))
    config = replace(QUICK, steps=1, validate_every=1)
    model = train_video_forward(recipe(start, config=config), clips, tmp_path / "forward")
    assert len(list((tmp_path / "forward" / "validation").glob("rgb-*.png"))) == 1
    scene = truth(2)
    picture = NeuralRenderer.from_pretrained(model, CPU, ForwardOptions(steps=1))(scene.gbuffer, scene.light)
    assert picture.beauty.shape == (2, 3, 64, 64)
    inverse = VideoStart("inverse", autoencoder=vae)
    model = train_video_inverse(recipe(inverse, config=replace(QUICK, steps=1)), clips, tmp_path / "inverse")
    found = InverseRenderer.from_pretrained(model, CPU)(Frames(torch.rand(2, 3, 40, 56)), ["depth"], steps=1)
    assert found.depth.shape == (2, 1, 40, 56)


def test_small_models_keep_the_means_of_their_channels(small_vae, tmp_path):
    start = VideoStart("inverse", autoencoder=small_vae)
    model = train_video_inverse(recipe(start, config=replace(QUICK, steps=1)), load_video_clips([truth(2)]), tmp_path)
    unet = InverseRenderer.from_pretrained(model, CPU).engine.checkpoint.unet
    norms = [module for module in unet.modules() if isinstance(module, nn.GroupNorm)]
    assert norms
    assert all(norm.num_channels >= 8 * norm.num_groups for norm in norms)


def test_a_renderer_begins_as_its_base():
    from unrender.diffusion.networks.video_unet import VideoRendererUNet

    settings = {
        "block_out_channels": (32, 32),
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        "num_attention_heads": (2, 2),
        "layers_per_block": 1,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24,
        "cross_attention_dim": 16,
    }
    base, wide = VideoRendererUNet(**settings).eval(), VideoRendererUNet(**settings, in_channels=24)
    take_over_base(wide.eval(), base)
    sample, more = torch.rand(1, 2, 8, 8, 8), torch.rand(1, 2, 16, 8, 8)
    told = (0.3, torch.rand(1, 1, 16), torch.tensor([[6.0, 127.0, 0.0]]))
    with torch.no_grad():
        expected = base(sample, *told).sample
        torch.testing.assert_close(wide(torch.cat((sample, more), 2), *told).sample, expected)


@pytest.mark.parametrize("task", ["inverse", "forward"])
def test_a_small_card_has_the_habits_of_the_published_ones(task):
    card = small_card(task, 4, 0.5, 8)
    assert card.input_channels == {"inverse": 16, "forward": 48}[task]
    assert card.maps.size.multiple == 16
    assert (card.adapter, card.quirks.size, card.identity.licence) == (None, None, "")


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (VideoStart(), "three ways to start"),
        (VideoStart(model="mini"), "mini is no video model"),
        (VideoStart("forward", base="nowhere"), "expected --environment"),
        (VideoStart("forward", model="mini", one_level=True), "expected --base or --autoencoder"),
    ],
)
def test_a_start_that_is_none(start, said, tmp_path):
    with pytest.raises(UserError, match=said):
        train_video_inverse(recipe(start), load_video_clips([truth(2)]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
