"""From nothing to measured weights through the doors: synth, train, models check, evaluate."""

import json
from pathlib import Path

import pytest

from unrender.cli import main


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny stills that `unrender synth` has rendered."""
    pytest.importorskip("mitsuba", reason="mitsuba is not installed (extra: raytrace)")
    folder = tmp_path_factory.mktemp("synth") / "shards"
    assert synth(folder) == 0
    return folder


def synth(folder: Path, seed: int = 7) -> int:
    options = [
        "--clips",
        "2",
        "--frames",
        "1",
        "--resolution",
        "64",
        "--samples",
        "4",
        "--seed",
        str(seed),
        "--workers",
        "1",
        "--preview",
    ]
    return main(["synth", str(folder), *options])


def test_synth_leaves_shards_a_preview_and_a_record(shards: Path):
    assert {"index.json", "recipe.json", "preview.png", "run.json", "shard-000000.tar"} <= {
        p.name for p in shards.iterdir()
    }
    assert json.loads((shards / "run.json").read_text())["settings"]["seed"] == 7


def test_synth_refuses_a_folder_of_another_recipe(shards: Path, capsys: pytest.CaptureFixture[str]):
    assert synth(shards, seed=8) == 2
    assert capsys.readouterr().err.startswith(f"unrender: {shards}")


def test_synth_refuses_sources_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for option in ("--assets", "--hdris"):
        assert main(["synth", str(tmp_path / "set"), "--clips", "1", option, str(tmp_path / "nowhere")]) == 2
        said = capsys.readouterr().err
        assert "nowhere is no folder" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_train_check_and_evaluate(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    train = ["train", "e2e", "--data", str(shards), "-o", str(out), "--recipe", "smoke", "--steps", "2"]
    assert main(train) == 0
    assert capsys.readouterr().out == f"{out / 'model'}\n"
    assert main(["models", "check", str(out / "model")]) == 0
    assert capsys.readouterr().out.endswith("sound\n")
    evaluate = ["evaluate", "maps", "--model", str(out / "model"), "--data", str(shards), "--clips", "1"]
    assert main([*evaluate, "--json", str(tmp_path / "scores.json")]) == 0
    told = capsys.readouterr().out
    assert "on 1 pictures" in told
    assert "normal" in told
    assert "trivial" in told
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["pictures"] == 1
    assert {"space", "mask", "alignment", "higher_is_better"} < scores["figures"][0].keys()
