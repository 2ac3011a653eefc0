"""A published model from its hub to sound weights on this machine, by the commands alone: pull, show, list, check."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from local_hub import LocalHub, serving
from official_folders import write_official
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.ids import cards_of

OUROBOROS, RGB_TO_X = "Y-Research-Group/Ouroboros", "zheng95z/rgb-to-x"


def publish(hub: LocalHub, model: str, folder: Path) -> str:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return hub.publish(model, files)


@pytest.fixture
def both_ways(tmp_path: Path) -> tuple[ModelCard, ...]:
    """The cards of Ouroboros, with tiny networks of theirs written in the published layout."""
    found = cards_of(OUROBOROS)
    for card in found:
        write_official(tmp_path / "published", card)
    return found


def test_pull_check_and_list_without_a_network_after(both_ways: tuple[ModelCard, ...], tmp_path: Path):
    home = tmp_path / "home"

    def run(*arguments: str, endpoint: str = "http://127.0.0.1:9") -> list[str]:
        place = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "xdg")}
        done = subprocess.run(
            [sys.executable, "-m", "unrender", "models", *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | place,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    with serving(LocalHub()) as hub:
        own = publish(hub, OUROBOROS, tmp_path / "published" / "Ouroboros")
        publish(hub, RGB_TO_X, tmp_path / "published" / "rgb-to-x")
        folder = Path(run("pull", OUROBOROS, "--accept-licence", endpoint=hub.url)[-1])
    assert folder.name == own

    with safe_open(folder / "tokens.safetensors", framework="pt") as kept:
        assert set(kept.keys()) == {prompt for card in both_ways for prompt in card.prompts}
    sound = run("check", OUROBOROS)
    assert [line.split(", ")[1] for line in sound] == ["inverse", "forward"]
    assert all(line.endswith("sound") and "Adobe Research License" in line for line in sound)
    assert [line.split()[-1] for line in run("list") if line.startswith(OUROBOROS)] == ["pulled", "pulled"]
