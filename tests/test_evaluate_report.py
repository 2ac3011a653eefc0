"""Tables, Markdown and JSON of a report, and the door that compares pictures."""

import json
import math
from pathlib import Path

import pytest
import torch

from unrender.cli import main
from unrender.evaluate.pictures import score
from unrender.evaluate.report import Figure, Report, as_dict, markdown, mean_scores, table
from unrender.files.images import write_image
from unrender.scene.frames import Frames

PSNR = Figure("base_color", "PSNR", "dB", "sRGB", "surface", "scale", higher_is_better=True)
RMSE = Figure("roughness", "RMSE", "", "perceptual", "all")
REPORT = Report("words", 2, {"model": {PSNR: 20.0, RMSE: 0.1}, "trivial": {PSNR: math.inf, RMSE: 0.2}})


def test_every_row_says_space_mask_and_alignment():
    head, first, second = table(REPORT).splitlines()
    assert head.split() == ["map", "figure", "space", "mask", "alignment", "model", "trivial", "model", "/", "trivial"]
    assert first.split()[:6] == ["base_color", "PSNR", "sRGB", "surface", "scale", "20.000"]
    assert second.split() == ["roughness", "RMSE", "perceptual", "all", "none", "0.100", "0.200", "50", "%"]


def test_markdown_has_a_cell_for_each():
    lines = markdown(REPORT).splitlines()
    assert {line.count("|") for line in lines[:4]} == {9}
    assert lines[2].startswith("| base_color | PSNR | sRGB | surface | scale | 20.000 dB | inf dB |")
    assert lines[-1] == "2 pictures; words."


def test_json_has_no_word_that_json_lacks():
    report = Report("words", 1, {"model": {PSNR: math.inf, RMSE: math.nan}})
    first, second = json.loads(json.dumps(as_dict(report), allow_nan=False))["figures"]
    assert first == {
        "map": "base_color",
        "name": "PSNR",
        "unit": "dB",
        "space": "sRGB",
        "mask": "surface",
        "alignment": "scale",
        "higher_is_better": True,
        "values": {"model": "inf"},
    }
    assert second["values"] == {"model": None}


def test_a_picture_without_a_figure_is_left_out_of_its_mean():
    means = mean_scores([{PSNR: 10.0, RMSE: math.nan}, {PSNR: 20.0, RMSE: math.nan}, {PSNR: math.nan, RMSE: math.nan}])
    assert means[PSNR] == 15
    assert math.isnan(means[RMSE])


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    """Two frames twice, EXR; the second pair is half as bright."""
    picture = 0.2 + 0.6 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    for name, gain in (("truth", 1.0), ("dim", 0.5)):
        (tmp_path / name).mkdir()
        for number in (1, 2):
            write_image(tmp_path / name / f"{number}.exr", gain * picture)
    return tmp_path / "dim", tmp_path / "truth"


def test_pictures_beside_what_they_should_be(clips: tuple[Path, Path], tmp_path: Path, capsys):
    files = ["--json", str(tmp_path / "told.json"), "--markdown", str(tmp_path / "told.md")]
    assert main(["evaluate", "pictures", *map(str, clips), *files]) == 0
    conditions = capsys.readouterr().out
    assert "2 frames" in conditions
    written = json.loads((tmp_path / "told.json").read_text())
    assert written["target"] == str(clips[1])
    values = {(f["name"], f["space"], f["alignment"]): f["values"]["predicted"] for f in written["figures"]}
    assert values["si-RMSE", "linear", "scale"] == pytest.approx(0, abs=1e-3)
    assert values["RMSE", "linear", "none"] == pytest.approx(0.5 * math.sqrt(0.25 + 0.6**2 / 12), rel=0.05)
    assert values["SSIM", "sRGB", "none"] < 1
    assert (tmp_path / "told.md").read_text().startswith("| map | figure | space | mask | alignment | predicted |")


def test_the_targets_alpha_is_the_mask():
    g = torch.Generator().manual_seed(2)
    guess, truth = torch.rand(2, 1, 3, 32, 32, generator=g)
    alpha = torch.ones(1, 1, 32, 32)
    alpha[..., 16:] = 0.5
    spoiled = torch.where(alpha > 0.9, guess, 9.0)
    assert score(Frames(spoiled), Frames(truth, alpha)) == score(Frames(guess), Frames(truth, alpha))
    assert score(Frames(spoiled), Frames(truth)) != score(Frames(guess), Frames(truth))
    assert all(map(math.isnan, score(Frames(guess), Frames(truth, 0 * alpha)).values()))


def test_what_is_missing_is_said_in_a_line(clips: tuple[Path, Path], tmp_path: Path, capsys):
    def conditions(*options: str) -> str:
        assert main(["evaluate", "pictures", *map(str, clips), *options]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    nowhere = str(tmp_path / "nowhere.pth")
    for option, file in (
        ("--fid", "pt_inception-2015-12-05"),
        ("--lpips", "alexnet-owt"),
        ("--lpips-linear", "alexnet"),
    ):
        line = conditions(option, nowhere)
        assert file in line
        assert "FILE" in line
    torch.save({"conv.weight": torch.zeros(1)}, nowhere)
    assert "is not that network" in conditions("--fid", nowhere)
    (clips[0] / "2.exr").unlink()
    assert "as many of the same size" in conditions()
