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
from unrender.diffusion.card import ModelCard
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
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 116
    heading, *rows = lines[: 1 + len(cards())]
    told = " ".join(" ".join(lines[1 + len(cards()) :]).split())
    assert "\x1b" not in "".join(rows)
    assert [row.split()[0] for row in rows] == [card.id for card in cards()]
    assert " ".join(heading.split()) == "id task maps commercial GB memory here"
    assert all(card.id in row and card.task in row for row, card in zip(rows, cards(), strict=True))
    lines = {row.split()[0]: row.split() for row in rows}
    assert lines["mini"][-1] == "embedded"
    # 2 bytes each of 865922244 + 83653863 numbers, 340387840 of words, and 3 * 256 * 768 * 768 of activations.
    assert " ".join(lines[MARIGOLD]) == f"{MARIGOLD} inverse depth yes 2.58 2.81 pulled"
    assert lines[X_TO_RGB][-4:] == ["no", "2.58", "2.81", "no"]
    assert "OpenRAIL++-M: Marigold" in told
    assert "estimate" in told
    assert told.endswith("madebyollin/taesd.")


def test_list_leaves_out_what_may_not_be_sold(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "list", "--commercial"]) == 0
    said = capsys.readouterr().out
    assert [
        line.split()[0] for line in said.splitlines()[1 : 1 + sum(c.identity.commercial is True for c in cards())]
    ] == [card.id for card in cards() if card.identity.commercial]
    assert X_TO_RGB not in said
    assert "Adobe" not in said


@pytest.mark.parametrize("card", cards(), ids=lambda card: f"{card.id}-{card.task}")
def test_every_page_fits_and_says_what_a_person_asks(card: ModelCard, capsys: pytest.CaptureFixture[str]):
    assert main(["models", "show", card.id]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    words = " ".join(said.split())
    for part in (card.identity.licence, f"commercial use: {card.identity.commercial_use}", ", ".join(card.map_names)):
        assert part in words
    assert f"--model {card.id}" in words
    assert "{" not in said


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
    assert main(["models", "show", MARIGOLD, "--json"]) == 0
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert (shown["identity"]["id"], shown["sampling"]["schedule"]["steps"]) == (MARIGOLD, 4)
    assert shown["conditioning"][0] == {"padded": False, "domains": [], "kind": "text"}
    assert said.err == f"{MARIGOLD}: licence OpenRAIL++-M; commercial use: yes\n"
    assert main(["models", "show", OUROBOROS, "--json"]) == 0
    assert [card["identity"]["source"]["unet"] for card in json.loads(capsys.readouterr().out)] == ["unet_1", "unet_0"]


def test_show_and_adopt_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(hold(tmp_path / "weights", "unet"))
    assert main(["models", "show", folder]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["models", "adopt", folder, X_TO_RGB]) == 0
    assert capsys.readouterr().out == f"{folder} holds {X_TO_RGB}\n"
    assert main(["models", "show", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identity"]["id"] == X_TO_RGB


def test_pulling_what_is_embedded(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "pull", "mini"]) == 2
    assert "mini cannot be pulled: it is embedded in unrender" in capsys.readouterr().err
