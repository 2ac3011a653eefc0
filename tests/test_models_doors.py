"""`unrender models`: the table, the cards, and folders that are told whose weights they hold."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from model_folders import NEW, WORDS, hold, snapshot
from unrender.cli import main
from unrender.diffusion.checkpoints.hub.registry import cards
from unrender.diffusion.checkpoints.published import PUBLISHED

MARIGOLD, OUROBOROS, X_TO_RGB = "prs-eth/marigold-depth-v1-1", "Y-Research-Group/Ouroboros", "zheng95z/x-to-rgb"


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub cache of the test's own, and no network to fill it from."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def test_list_is_a_table_of_plain_lines(capsys: pytest.CaptureFixture[str]):
    snapshot(MARIGOLD, NEW, "unet", "vae", *WORDS)
    assert main(["models", "list"]) == 0
    heading, *rows, foot, decoders = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(rows)
    assert [row.split()[0] for row in rows] == [card.id for card in cards()]
    assert " ".join(heading.split()) == ("id system task maps resolution licence commercial download memory here")
    lines = {row.split()[0]: row.split() for row in rows}
    assert lines["mini"][-1] == "embedded"
    # 2 bytes each of 865922244 + 83653863 numbers, 340387840 of words, and 3 * 256 * 768 * 768 of activations.
    assert " ".join(lines[MARIGOLD]) == f"{MARIGOLD} Marigold inverse depth 768 OpenRAIL++-M yes 2.58 2.81 pulled"
    assert lines[X_TO_RGB][-4:] == ["no", "2.58", "2.81", "no"]
    assert lines[X_TO_RGB][4] == "native"
    assert "estimate" in foot
    assert decoders.endswith("madebyollin/taesd.")


def test_no_id_is_cut_off_on_a_narrow_terminal():
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm"}
    done = subprocess.Popen([sys.executable, "-m", "unrender", "models", "list"], stdout=follower, env=environment)
    os.close(follower)
    shown = b""
    try:
        while block := os.read(leader, 65536):
            shown += block
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert done.wait() == 0
    text = shown.decode()
    assert all(f"{card.id} " in text for card in PUBLISHED)
    assert "…" not in text


def test_show_gives_every_field(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "show", MARIGOLD]) == 0
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert (shown["identity"]["id"], shown["sampling"]["schedule"]["steps"]) == (MARIGOLD, 4)
    assert shown["conditioning"][0] == {"padded": False, "domains": [], "kind": "text"}
    assert said.err == f"{MARIGOLD}: licence OpenRAIL++-M; commercial use: yes\n"
    assert main(["models", "show", OUROBOROS]) == 0
    assert [card["identity"]["source"]["unet"] for card in json.loads(capsys.readouterr().out)] == ["unet_1", "unet_0"]


def test_show_and_adopt_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(hold(tmp_path / "weights", "unet"))
    assert main(["models", "show", folder]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["models", "adopt", folder, X_TO_RGB]) == 0
    assert capsys.readouterr().out == f"{folder} holds {X_TO_RGB}\n"
    assert main(["models", "show", folder]) == 0
    assert json.loads(capsys.readouterr().out)["identity"]["id"] == X_TO_RGB


def test_pulling_what_is_embedded(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "pull", "mini"]) == 2
    assert "mini cannot be pulled: it is embedded in unrender" in capsys.readouterr().err
