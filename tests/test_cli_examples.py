"""The examples run, and leave what they promise."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from official_folders import write_official
from unrender.diffusion.checkpoints.published import published
from unrender.files.gbuffers import read_gbuffer

EXAMPLES = Path(__file__).parents[1] / "examples"
data = pytest.importorskip("skimage.data", reason="scikit-image is not installed (extra: demo)")


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("python_api.py", {"gbuffer.exr", "polished.png"}),
        ("relight_photo.py", {"sunset.png", "night.png", "studio.png"}),
    ],
)
def test_an_example(name: str, left: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photo = tmp_path / "photo.png"
    Image.fromarray(data.coffee()).resize((96, 64)).save(photo)
    run(monkeypatch, name, photo, tmp_path / "out")
    assert left <= {path.name for path in (tmp_path / "out").iterdir()}


def test_the_example_of_published_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photo = tmp_path / "photo.png"
    Image.fromarray(data.coffee()).resize((60, 44)).save(photo)
    (normals,), (appearance,) = (
        published("prs-eth/marigold-normals-v1-1"),
        published("prs-eth/marigold-iid-appearance-v1-1"),
    )
    folders = [write_official(tmp_path, card) for card in (normals, appearance)]
    for folder in folders:
        (folder / "model_index.json").write_text('{"default_denoising_steps": 1, "default_processing_resolution": 64}')
    run(monkeypatch, "published_model.py", photo, tmp_path / "out", *folders)
    default, official = (read_gbuffer(tmp_path / "out" / f"{name}.exr") for name in ("default", "official"))
    assert set(default.maps) == {"normal", "base_color", "roughness", "metallic", "rgb"}
    assert not torch.allclose(default.maps["roughness"], official.maps["roughness"], atol=0.05)


@pytest.mark.slow
def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "demo.py", tmp_path / "demo")
    assert ended.value.code == 0
    promised = [word for word in capsys.readouterr().out.split() if word.endswith((".png", ".exr", ".mp4"))]
    assert len(promised) == 5
    assert all(Path(name).exists() for name in promised)


def test_the_example_of_ones_own_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra: train)")
    run(monkeypatch, "own_training.py", tmp_path / "out", Path("40"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run", "photo.png", "relit.png"}
    assert float(capsys.readouterr().out.split()[0]) < 25  # degrees; 40 and more for a constant
