"""The network that guesses lights: its units and axes, its training, and what it is worth."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forward_scenes import sphere
from unrender.cli import main
from unrender.diffusion.networks.light import LightNetwork, even_directions
from unrender.forward.deferred import DeferredRenderer
from unrender.relight.light_guess import displayed, guess_light
from unrender.scene.environment import EnvironmentMap, mean_direction, texel_directions
from unrender.scene.frames import Frames
from unrender.train.light import light_losses, varied
from unrender.train.light_data import LightExamples


def lit_from(x: float, y: float, z: float) -> EnvironmentMap:
    """An even light with a broad lamp towards (x, y, z)."""
    toward = torch.nn.functional.normalize(torch.tensor([x, y, z]), dim=0)
    lamp = (8 * (texel_directions((32, 64)) @ toward - 1)).exp()
    return EnvironmentMap((0.2 + 6 * lamp).expand(1, 3, 32, 64).clone())


def photographed(light: EnvironmentMap):
    gbuffer = sphere(64, (0.6, 0.5, 0.4), 0.9, 0.0)
    rgb = DeferredRenderer("split_sum")(gbuffer, light).beauty
    return Frames(rgb, hdr=True), gbuffer


def direction(light: torch.Tensor) -> torch.Tensor:
    return mean_direction(EnvironmentMap(light[None]))[0]


@pytest.mark.parametrize(("x", "y", "z"), [(-1.0, 0.3, 0.4), (1.0, 0.3, 0.4), (0.0, 1.0, 0.3)])
def test_a_lamp_beside_a_sphere_is_guessed_there(x: float, y: float, z: float):
    found = direction(guess_light(*photographed(lit_from(x, y, z))))
    wanted = torch.nn.functional.normalize(torch.tensor([x, y, z]), dim=0)
    assert math.degrees(math.acos(float(found @ wanted / found.norm()))) < 60  # from above: 74


def test_a_guess_has_the_units_of_the_picture_and_the_axes_of_its_camera():
    frames, gbuffer = photographed(lit_from(-1.0, 0.3, 0.4))
    guess = guess_light(frames, gbuffer)
    brighter = guess_light(replace(frames, rgb=16 * frames.rgb), gbuffer)
    torch.testing.assert_close(brighter, 16 * guess, rtol=1e-3, atol=1e-5)
    camera = gbuffer.camera_or_default()
    turn = torch.eye(4)
    turn[[0, 0, 2, 2], [0, 2, 0, 2]] = torch.tensor([0.0, 1.0, -1.0, 0.0])  # a quarter turn about +Y
    turned = replace(gbuffer, camera=replace(camera, pose=(turn @ camera.pose[0])[None]))
    torch.testing.assert_close(
        direction(guess_light(frames, turned)), turn[:3, :3] @ direction(guess), rtol=1e-3, atol=1e-3
    )


def test_a_black_picture_has_no_light():
    frames, gbuffer = photographed(lit_from(0.0, 1.0, 0.0))
    assert not guess_light(replace(frames, rgb=0 * frames.rgb), gbuffer).any()


def test_what_alpha_leaves_out_does_not_set_the_exposure():
    rgb = 0.01 + torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alpha = torch.zeros(1, 1, 64, 64)
    alpha[..., :40] = 1
    (_, part), (_, whole) = (displayed(value, hdr=True) for value in (rgb * alpha, rgb[..., :40]))
    assert part == pytest.approx(whole, rel=1e-5)


def test_directions_are_even():
    directions = even_directions(48)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(48))
    nearest = (directions @ directions.T - 2 * torch.eye(48)).amax(1).acos().rad2deg()
    assert directions.mean(0).norm() < 0.02
    assert 15 < float(nearest.min()) <= float(nearest.max()) < 32


def test_losses_are_nothing_at_the_truth_and_grow_from_it():
    truth = lit_from(-1.0, 0.3, 0.4).resized((8, 16)).radiance
    assert all(float(loss) < 1e-6 for loss in light_losses(truth.log(), truth))
    assert all(float(loss) > 0.02 for loss in light_losses(truth.flip(3).log(), truth))


def test_variations_keep_picture_and_light_together():
    """A mirrored, tinted picture of a sphere is that of the sphere under the varied light."""
    light = lit_from(-1.0, 0.3, 0.4)
    frames, gbuffer = photographed(light)
    rgb, small = 0.5 * frames.rgb / frames.rgb.max(), light.resized((8, 16)).radiance
    batch = LightExamples(rgb, gbuffer.maps["base_color"], gbuffer.maps["normal"], torch.ones(1, 1, 64, 64), small)
    many = LightExamples(*(values.expand(16, *values.shape[1:]) for values in vars(batch).values()))
    found = varied(many, torch.Generator().manual_seed(3))
    for one, radiance in zip(found.rgb, found.light, strict=True):
        side = torch.sign(direction(radiance)[0])
        left, right = one[:, :, :32].mean(), one[:, :, 32:].mean()
        assert torch.sign(right - left) == side
        reflected = (one.mean((1, 2)) / radiance.mean((1, 2))).sort().values
        torch.testing.assert_close(
            reflected, (rgb[0].mean((1, 2)) / small[0].mean((1, 2))).sort().values, rtol=0.05, atol=0
        )
    assert len({round(float(direction(light)[0]), 3) for light in found.light}) > 1


def test_training_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shards, run = tmp_path / "shards", tmp_path / "run"
    made = [
        "synth",
        str(shards),
        "--clips",
        "2",
        "--frames",
        "1",
        "--resolution",
        "32",
        "--samples",
        "1",
        "--lights",
        "1",
    ]
    assert main(made) == 0
    train = [
        "train",
        "light",
        "--recipe",
        "smoke",
        "--data",
        str(shards),
        "--cache",
        str(tmp_path / "kept"),
        "-o",
        str(run),
    ]
    assert main([*train, "--steps", "2"]) == 0
    assert {path.name for path in (run / "model").iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert LightNetwork().config["directions"] == 48
    capsys.readouterr()
    assert main(["train", "light", "--data", str(shards), "--dataset", "photos=x", "-o", str(tmp_path / "other")]) == 2
    assert "lights are known" in capsys.readouterr().err
