"""Options of clips on a still, and those that verbs have alike."""

from pathlib import Path

import OpenEXR
import pytest
from PIL import Image
from skimage import data

from unrender.cli import main
from unrender.diffusion.card.sampling import Guidance
from unrender.errors import UserError
from unrender.forward import ForwardOptions


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(data.astronaut()).resize((48, 40)).save(tmp_path / "p.png")
    return tmp_path / "p.png"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--window", "4", "--temporal", "none"], "--temporal, --window are of clips: without effect"),
        (["--overlap", "1"], "--overlap is of clips: without effect"),
        ([], ""),
    ],
)
def test_settings_of_clips_do_nothing_to_a_still_and_it_is_said(given: list[str], said: str, photo: Path, capsys):
    assert main(["inverse", str(photo), "-o", str(photo.parent / "out"), *given]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unrender: ")]
    assert len(lines) == bool(said)
    assert all(said in line for line in lines)


def test_edit_stores_as_relight_does(photo: Path, capsys: pytest.CaptureFixture[str]):
    out = photo.parent / "out"
    command = ["edit", str(photo), "--set", "roughness=0.2", "-o"]
    how = ["--bits", "16", "--compression", "dwaa", "--fps", "23.976", "--light", "sunset", "--exposure", "1"]
    assert main([*command, str(out), *how]) == 0
    assert (out / "p.edited.png").read_bytes()[24] == 16
    header = OpenEXR.File(str(out / "p.edited.exr")).header()
    assert header["compression"] == OpenEXR.DWAA_COMPRESSION
    assert (header["framesPerSecond"].numerator, header["framesPerSecond"].denominator) == (24000, 1001)
    assert header["unrender:exposure"] == "1.0"
    capsys.readouterr()
    assert main([*command, str(photo.parent / "b.png"), "--exposure", "1"]) == 2
    assert "expected --light HDRI" in capsys.readouterr().err


def test_a_guidance_of_1_is_none_and_0_is_without_words():
    assert not Guidance(1.0, 1.0).on
    assert not Guidance().on
    assert Guidance(0.0, 1.0).on
    assert Guidance(1.0, 1.5, inclusive=True).on
    assert not Guidance(0.5, 1.5, least=1.0).on  # as official code reads it
    with pytest.raises(UserError, match=r"no words"):
        ForwardOptions(guidance=-1.0)
