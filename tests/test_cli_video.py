"""DiffusionRenderer from the shell, both ways, with tiny weights in its published layout; and its trainings."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion_renderer_folders import write_forward, write_inverse
from test_train_video import truth
from unrender.cli import main
from unrender.files.gbuffers import read_gbuffer
from unrender.files.shards import write_shard

SMALL = ["--steps", "1", "--long-side", "64", "--device", "cpu"]


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that are named as after a clone."""
    folder = tmp_path_factory.mktemp("models")
    write_inverse(folder / "diffusion_renderer-inverse-svd")
    write_forward(folder / "diffusion_renderer-forward-svd")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two frames."""
    folder = tmp_path_factory.mktemp("clip") / "walk"
    folder.mkdir()
    y, x = np.mgrid[:48, :64]
    for index in range(2):
        picture = np.stack([x * 3 + 9 * index, y * 4, x + y], -1).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"walk.{index:04d}.png")
    return folder


def test_a_clip_to_its_buffers_and_back_under_a_turning_light(models, clip, tmp_path, capsys):
    inverse, forward = (models / f"diffusion_renderer-{way}-svd" for way in ("inverse", "forward"))
    run("inverse", clip, "--model", inverse, "-o", tmp_path / "maps", *SMALL)
    said = json.loads((tmp_path / "maps" / "run.json").read_text())
    assert said["model"]["id"] == "nexuslrf/diffusion_renderer-inverse-svd"
    assert said["model"]["commercial"] is False
    frames = sorted((tmp_path / "maps").glob("*.exr"))
    assert len(frames) == 2
    gbuffer = read_gbuffer(frames[0])
    assert {"base_color", "normal", "depth", "roughness", "metallic", "diffuse_albedo"} <= set(gbuffer.maps)
    assert gbuffer.size == (48, 64)
    sequence = tmp_path / "maps" / frames[0].name.replace("0000", "####").replace("0001", "####")
    options = ("--model", forward, "--light", "sunset", *SMALL)
    run("forward", sequence, "-o", tmp_path / "still", *options)
    run("forward", sequence, "-o", tmp_path / "turn", "--turn", "180", "--lora", "0.25", "--elevation", "10", *options)
    one, two = (sorted((tmp_path / name).glob("*.exr")) for name in ("still", "turn"))
    assert len(one) == len(two) == 2
    assert one[1].read_bytes() != two[1].read_bytes()
    capsys.readouterr()


@pytest.mark.slow
def test_relighting_by_both(models, clip, tmp_path):
    inverse, forward = (models / f"diffusion_renderer-{way}-svd" for way in ("inverse", "forward"))
    options = ["--forward-steps", "1", "--forward-long-side", "64", "--turn", "90", "--no-detail", *SMALL]
    given = ["--model", inverse, "--forward", forward, "--light", "studio"]
    run("relight", clip, *given, "-o", tmp_path / "out", *options)
    assert len(sorted((tmp_path / "out").glob("*.exr"))) == 2
    assert (tmp_path / "out" / "run.json").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--caption", "a ball"], "is given the light itself and takes no caption"),
        (["--shadows"], "is given the light itself and takes no caption"),
        (["--lora", "nan"], "expected numbers"),
    ],
)
def test_what_a_lit_network_does_not_take(models, tmp_path, capsys, options, said):
    maps = tmp_path / "maps.exr"
    from unrender.files.gbuffers import write_gbuffer

    write_gbuffer(maps, truth(1).gbuffer)
    forward = models / "diffusion_renderer-forward-svd"
    given = ("forward", maps, "--model", forward, "--light", "studio", "-o", tmp_path / "out", *SMALL, *options)
    assert said in refused(capsys, *given)
    assert not (tmp_path / "out").exists()


def test_the_published_models_are_listed_shown_and_checked(models, capsys):
    run("models", "list")
    listed = capsys.readouterr().out
    for name in ("inverse-svd", "forward-svd", "forward-svd-objaverse"):
        assert f"nexuslrf/diffusion_renderer-{name} " in listed
        run("models", "show", "--json", f"nexuslrf/diffusion_renderer-{name}")
    assert '"folder": "lora"' in capsys.readouterr().out
    run("models", "check", models / "diffusion_renderer-forward-svd")
    assert "forward, NVIDIA" in capsys.readouterr().out
    (models / "diffusion_renderer-inverse-svd" / "config.json").write_bytes(b"")
    run("models", "check", models / "diffusion_renderer-inverse-svd")


@pytest.mark.slow
def test_trainings_from_the_shell(models, tmp_path, capsys):
    shards = tmp_path / "shards"
    shards.mkdir()
    write_shard(shards / "clips-000000.tar", [("000000", truth(3)), ("000001", truth(3, 1))])
    inverse = models / "diffusion_renderer-inverse-svd"
    options = ["--data", shards, "--recipe", "smoke", "--steps", "1"]
    run("train", "video-inverse", "--start", inverse, "-o", tmp_path / "inverse", *options)
    run("train", "env-encoder", "--start", inverse, "-o", tmp_path / "encoder", *options)
    assert (tmp_path / "encoder" / "model" / "config.json").is_file()
    assert "expected --environment" in refused(
        capsys, "train", "video-forward", "--base", inverse, "-o", tmp_path / "forward", *options
    )
    run("train", "video-forward", "--recipe", "paper", "--dry-run", "-o", tmp_path / "forward")
    assert '"dropout": 0.05' in capsys.readouterr().out
