"""No result takes the name of an input: one line before the work, and the input is as it was."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unrender.cli import main
from unrender.cli.guard import InputFiles
from unrender.diffusion.checkpoints.hub.registry import resolve
from unrender.errors import UserError
from unrender.files.environments import write_environment
from unrender.files.gbuffers import write_gbuffer
from unrender.files.images import write_image
from unrender.files.video import VideoWriter
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

LIGHT = ("--light", "sunset")


def randoms(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one input of every kind, in which commands run."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "photo.exr", randoms(3, 32, 32))
    write_image(tmp_path / "photo.png", randoms(3, 32, 32))
    write_gbuffer(tmp_path / "g.exr", GBuffer(base_color=randoms(1, 3, 16, 16), normal=torch.ones(1, 3, 16, 16)))
    write_environment(tmp_path / "light.exr", EnvironmentMap(randoms(1, 3, 16, 32)))
    write_environment(tmp_path / "photo.relit.exr", EnvironmentMap(randoms(1, 3, 16, 32)))
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "shot").mkdir()
    for number in (1, 2):
        write_image(tmp_path / "shot" / f"shot.{number:04d}.exr", randoms(3, 32, 32))
    with VideoWriter(tmp_path / "clip.mp4", 24) as video:
        video.write(randoms(2, 3, 32, 32))
    (tmp_path / "link.exr").symlink_to("photo.exr")
    os.link(tmp_path / "g.exr", tmp_path / "hard.exr")
    (tmp_path / "there").symlink_to(".")
    shutil.copytree(resolve("mini"), tmp_path / "model")
    write_image(tmp_path / "model" / "photo.exr", randoms(3, 8, 8))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("inverse", "photo.exr", "-o", "."),
        ("inverse", "photo.exr", "-o", "photo.exr"),
        ("inverse", "./photo.exr", "-o", "there"),
        ("inverse", "link.exr", "-o", "photo.exr"),
        ("inverse", "photo.exr", "-o", "link.exr"),
        ("inverse", "there/photo.exr", "-o", "../{name}"),
        ("inverse", "shot/shot.####.exr", "-o", "shot"),
        ("inverse", "shot", "-o", "shot"),
        ("inverse", "shot/shot.%04d.exr", "-o", "there/shot/shot.####.exr"),
        ("inverse", "photo.png", "-o", "model/photo.exr", "--model", "model"),
        ("relight", "clip.mp4", "-o", "clip.mp4", *LIGHT),
        ("relight", "photo.png", "-o", "photo.png", *LIGHT),
        ("relight", "photo.png", "-o", "light.exr", "--light", "light.exr"),
        ("relight", "photo.png", "-o", ".", "--light", "photo.relit.exr"),
        ("forward", "g.exr", "-o", "g.exr", *LIGHT),
        ("forward", "g.exr", "-o", "hard.exr", *LIGHT),
        ("forward", "g.exr", "-o", "mask.png", "--edit-mask", "mask.png", *LIGHT),
        ("evaluate", "pictures", "photo.png", "photo.exr", "--json", "link.exr"),
        ("evaluate", "pictures", "photo.png", "shot", "--markdown", "there/shot/shot.0002.exr"),
        ("evaluate", "maps", "--model", "model", "--data", "shot", "--json", "model/unrender.json"),
        ("evaluate", "forward", "--model", "deferred", "--data", "shot", "--json", "shot/shot.0001.exr"),
        ("evaluate", "claims", "--data", "shot", "--models", "model", "--json", "model/photo.exr"),
        ("train", "vae", "--recipe", "smoke", "--data", "shot", "--out", "shot"),
        ("synth", "shot", "--hdris", "shot", "--clips", "1"),
    ],
    ids=lambda command: " ".join(command),
)
def test_an_input_is_never_overwritten(command: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: (path.lstat().st_ino, path.read_bytes()) for path in here.rglob("*") if path.is_file()}
    assert main([part.format(name=here.name) for part in command]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "overwrite an input" in said.err or "is an input" in said.err
    assert before == {path: (path.lstat().st_ino, path.read_bytes()) for path in here.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["shot#2", "50%d", "a#b_%02d"])
def test_signs_of_patterns_in_names_hide_no_input(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / name
    folder.mkdir()
    for number in (1, 2):
        write_image(folder / f"{name}.{number:04d}.exr", randoms(3, 32, 32))
    write_image(tmp_path / f"{name}.exr", randoms(3, 32, 32))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.exr")}
    commands = [
        ("inverse", folder, "-o", folder),
        ("inverse", folder / f"{name}.####.exr", "-o", folder),
        ("inverse", tmp_path / f"{name}.exr", "-o", tmp_path),
    ]
    for command in commands:
        assert main([str(word) for word in command]) == 2, command
        assert "would overwrite an input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.exr")} == before


def test_a_shipped_light_is_an_input(tmp_path: Path):
    import unrender.files

    shipped = Path(unrender.files.__file__).parent / "worlds" / "sunset.exr"
    with pytest.raises(UserError, match="overwrite an input"):
        InputFiles(light="sunset").refuse(shipped)
    InputFiles(light="city").refuse(shipped)


def test_another_spelling_of_the_case_is_the_same_file_where_the_disk_says_so(here: Path):
    inputs = InputFiles("photo.exr")
    if (here / "PHOTO.EXR").exists():
        with pytest.raises(UserError):
            inputs.refuse(here / "PHOTO.EXR")
    else:
        inputs.refuse(here / "PHOTO.EXR")


def test_results_of_earlier_runs_are_replaced(here: Path):
    for _ in range(2):
        assert main(["inverse", "photo.png", "-o", "mini", "--model", "mini"]) == 0
    assert sorted(path.name for path in (here / "mini").iterdir()) == ["photo.exr", "photo.maps.png", "run.json"]


def test_a_result_name_that_is_a_folder_is_said_before_anything_moves(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "out" / "photo.maps.png").mkdir(parents=True)
    assert main(["inverse", "photo.png", "-o", "out"]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert [path.name for path in (here / "out").iterdir()] == ["photo.maps.png"]


def test_several_inputs_into_one_folder_keep_a_record_each(here: Path):
    assert main(["inverse", "photo.png", "-o", "out", "--maps", "depth"]) == 0
    assert main(["inverse", "photo.relit.exr", "-o", "out", "--maps", "depth"]) == 0
    assert main(["relight", "photo.png", "-o", "out", *LIGHT]) == 0
    records = {path.name for path in (here / "out").glob("*run.json")}
    assert records == {"run.json", "photo.inverse.run.json", "photo.relit.inverse.run.json"}
