"""The examples run, and leave what they promise."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

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


@pytest.mark.slow
def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "demo.py", tmp_path / "demo")
    assert ended.value.code == 0
    promised = [word for word in capsys.readouterr().out.split() if word.endswith((".png", ".exr", ".mp4"))]
    assert len(promised) == 5
    assert all(Path(name).exists() for name in promised)
