"""Folders of synth and train: one run at a time, no claim without work, and states that are damaged."""

import os
import sys
from pathlib import Path

import pytest
import torch

from tiny_task import Line
from unrender.cli import main
from unrender.errors import UserError
from unrender.files.lock import LOCK_FILE, locked
from unrender.synth.generation import generate
from unrender.synth.recipe import SynthRecipe
from unrender.train.loop import run
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder

CONFIG = TrainConfig(
    steps=3, stages=(Stage(1.0, 8, 4),), lr=1e-2, warmup=1, precision="no", save_every=1, validate_every=0
)
RECIPE = SynthRecipe(clips=1, frames=1, resolution=16, samples=1)


@pytest.fixture
def trained(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.claim(CONFIG)
    run(Line(), CONFIG, folder)
    return folder


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    folder.claim(CONFIG)
    with locked(folder.path):
        with pytest.raises(UserError, match="in use by another run"):
            run(Line(), CONFIG, folder)
        with pytest.raises(UserError, match="in use by another run"):
            generate(RECIPE, folder.path)
    run(Line(), CONFIG, folder)


def test_a_folder_with_something_else_in_it_is_not_claimed(tmp_path: Path):
    (tmp_path / "photo.png").touch()
    with pytest.raises(UserError, match="not empty"):
        RunFolder(tmp_path).claim(CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_what_a_killed_save_left_is_removed(trained: RunFolder):
    from unrender.files.leftovers import place

    left = trained.path / f".unrender-{place()}-{os.getpid()}-1-00000000.pt"
    left.touch()
    run(Line(), CONFIG, trained)
    assert not left.exists()
    assert not (trained.path / LOCK_FILE).exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of a zip", b"text\n" * 99], ids=["empty", "half", "text"])
def test_a_state_that_cannot_be_read_is_one_line(content: bytes, trained: RunFolder):
    (trained.path / "state.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"state\.pt is damaged: it cannot be read; delete it"):
        run(Line(), CONFIG, trained)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": 10**9}, "step 1000000000 of 3"),
        ({"step": -1}, "step -1 of 3"),
        ({"step": "3"}, "step '3' of 3"),
        ({"weights": {}}, "weights are not those"),
        ({"ema": {"line.weight": torch.zeros(2, 2), "line.bias": torch.zeros(3)}}, "ema are not those"),
        ({"optimiser": {}}, "optimiser"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_state_of_something_else_is_one_line(change: dict, said: str, trained: RunFolder):
    path = trained.path / "state.pt"
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(UserError, match=said):
        run(Line(), CONFIG, trained)


def test_a_state_without_all_its_parts_is_one_line(trained: RunFolder):
    torch.save({"step": 3}, trained.path / "state.pt")
    with pytest.raises(UserError, match="no state of a training run"):
        run(Line(), CONFIG, trained)


def test_a_recipe_that_cannot_be_rendered_holds_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "bad.glb").write_bytes(b"glTF but not really")
    out = tmp_path / "deep" / "out"
    command = ["synth", str(out), "--clips", "1", "--frames", "1", "--resolution", "16", "--samples", "1"]
    command += ["--seed", "1"]  # a world with an asset in it
    assert main([*command, "--workers", "1", "--assets", str(assets)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("rendering: ")]
    assert len(told) == 1  # beside how far it is, which a slow machine says
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


def test_a_recipe_that_is_none_is_one_line(tmp_path: Path):
    (tmp_path / "recipe.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(UserError, match="is no recipe"):
        generate(RECIPE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


NAMES = ["a" * 300 + ".png", "a" * 300, "dangling.png", "dangling/photo.png"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
@pytest.mark.parametrize(
    "command",
    [
        ("inverse", "{}", "-o", "out"),
        ("inverse", "photo.png", "-o", "{}"),
        ("relight", "photo.png", "-o", "out", "--light", "{}"),
        ("relight", "photo.png", "-o", "out", "--light", "sunset", "--model", "{}"),
        ("forward", "{}", "-o", "out", "--light", "sunset"),
        ("synth", "out", "--clips", "1", "--assets", "{}"),
        ("synth", "out/{}", "--clips", "1", "--frames", "1", "--hdris", "nowhere"),
        ("train", "vae", "--data", "{}", "--out", "out"),
        ("train", "vae", "--data", "nowhere", "--out", "{}"),
        ("evaluate", "pictures", "{}", "photo.png"),
        ("evaluate", "pictures", "photo.png", "photo.png", "--json", "{}"),
        ("models", "check", "{}"),
        ("models", "adopt", "{}", "mini"),
    ],
    ids=lambda command: " ".join(command),
)
def test_names_that_the_system_refuses_are_one_line(command, name, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), (90, 60, 30)).save("photo.png")
    Path("dangling.png").symlink_to("nowhere.png")
    Path("dangling").symlink_to("nowhere")
    status = main([part.format(name) for part in command])
    said = capsys.readouterr()
    if status == 0:  # the link itself is replaced
        assert command[-1] == "{}"
        assert name == "dangling.png"
        return
    assert status == 2, said.err
    assert said.err.count("\n") == 1, said.err
    assert len(said.err) < 700
    assert not Path("out").exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are UTF-8 there")
def test_names_that_are_not_utf_8(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (32, 32), (90, 60, 30)).save(name)
    assert main(["inverse", name, "-o", os.fsdecode(b"\xe9")]) in (0, 2)
    assert main(["inverse", os.fsdecode(b"\xe9.exr"), "-o", "out"]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "\\xe9" in said.err
    said.err.encode("utf-8")
    said.out.encode("utf-8")
