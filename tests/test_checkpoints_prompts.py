"""Prompts are embedded once, as transformers embeds them, and kept; the photo becomes a token as GeoWizard makes it."""

import json
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from tiny_clip import IMAGE_SIZE, LIMIT, MEAN, STD, VOCABULARY, write_image_encoder, write_text_encoder
from tiny_models import tiny_card
from unrender.device import Compute
from unrender.diffusion.card import Grouping, ImageTokens, MapCodec, TargetPicture
from unrender.diffusion.card.file import read_card
from unrender.diffusion.checkpoints.clip.image_encoder import image_tokens, load_image_encoder
from unrender.diffusion.checkpoints.clip.prompts import TOKENS_FILE, embed_prompts, keep_prompts, prompt_tokens
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.hub.registry import embedded
from unrender.diffusion.checkpoints.published.ouroboros import FORWARD, INVERSE
from unrender.errors import UserError

CPU = Compute(torch.device("cpu"), torch.float32)
WIDTH = 8
TEXT_WEIGHTS = "text_encoder/model.safetensors"
LAYER = "text_model.encoder.layers.1.mlp.fc1.bias"


def told_card(*prompts, **changes):
    targets = tuple(TargetPicture(f"p{i}", (MapCodec("depth"),), prompt) for i, prompt in enumerate(prompts))
    return tiny_card(targets=targets, grouping=Grouping("target"), **changes)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unrender" / "tokens"


@pytest.fixture
def folder(tmp_path):
    write_text_encoder(tmp_path / "model", WIDTH)
    return tmp_path / "model"


def reference(folder, text, padded):
    """What transformers makes of the folder, by the letters of the text: start, letters, end, padding (word 0)."""
    letters = [VOCABULARY.index(letter) for letter in text[:-1]]
    last = [VOCABULARY.index(f"{text[-1]}</w>")] if text else []
    ids = [len(VOCABULARY) - 2, *letters, *last, len(VOCABULARY) - 1]
    ids += [0] * (LIMIT - len(ids) if padded else 0)
    with torch.no_grad():
        return CLIPTextModel.from_pretrained(folder / "text_encoder")(torch.tensor([ids])).last_hidden_state[0]


def forget_text(folder):
    shutil.rmtree(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")


def edit(path, change):
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def one_line(caught):
    return "\n" not in str(caught.value)


@pytest.mark.parametrize("padded", [False, True])
def test_prompts_are_what_transformers_makes_of_them(folder, padded):
    home = ModelLocation(told_card("", "normal", "albedo", padded_prompts=padded), folder)
    tokens = prompt_tokens(home)
    assert list(tokens) == ["", "normal", "albedo"]
    for text, value in tokens.items():
        assert value.dtype == torch.float32
        assert value.shape == (LIMIT if padded else 2 + len(text), WIDTH)
        torch.testing.assert_close(value, reference(folder, text, padded), rtol=0, atol=1e-6)
    # The last of the letters tells most: there the two differ by far more than rounding does.
    assert (tokens["normal"][6] - tokens["albedo"][6]).abs().max() > 0.05


def test_a_caption_is_cut_at_the_limit(folder):
    for padded in (False, True):
        long, longer = embed_prompts(ModelLocation(told_card(""), folder), ["a" * 75, "a" * 200], padded)
        assert long.shape == longer.shape == (LIMIT, WIDTH)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = tokenizer(["a" * 200], truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = CLIPTextModel.from_pretrained(folder / "text_encoder")(ids)[0][0]
    torch.testing.assert_close(longer, expected, rtol=0, atol=1e-6)


def test_padding_is_masked_only_where_the_encoder_says_so(folder):
    home = ModelLocation(told_card(""), folder)
    (seen,) = embed_prompts(home, ["ab"], True)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_attention_mask": True}))
    (masked,) = embed_prompts(home, ["ab"], True)
    torch.testing.assert_close(masked[:4], seen[:4])
    assert (masked[4:] - seen[4:]).abs().max() > 0.05


def test_weights_as_transformers_itself_writes_them(folder):
    (expected,) = embed_prompts(ModelLocation(told_card(""), folder), ["ab"], False)
    names = {"text_model.embeddings.position_ids": None}
    state = safetensors.torch.load_file(folder / TEXT_WEIGHTS)
    kept = {name.removeprefix("text_model."): value for name, value in state.items() if name not in names}
    safetensors.torch.save_file(kept, folder / TEXT_WEIGHTS)
    (found,) = embed_prompts(ModelLocation(told_card(""), folder), ["ab"], False)
    assert torch.equal(found, expected)


def test_half_precision_and_shards_are_read_in_float32(folder):
    state = {name: value.half() for name, value in safetensors.torch.load_file(folder / TEXT_WEIGHTS).items()}
    (folder / TEXT_WEIGHTS).unlink()
    names = sorted(state)
    parts = {"a.safetensors": names[:10], "b.safetensors": names[10:]}
    for part, inside in parts.items():
        safetensors.torch.save_file({name: state[name] for name in inside}, folder / "text_encoder" / part)
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "text_encoder" / "model.safetensors.index.fp16.json").write_text(json.dumps(index))
    (found,) = embed_prompts(ModelLocation(told_card(""), folder), ["ab"], False)
    assert found.dtype == torch.float32
    rounded = {name: value.float() for name, value in state.items() if "position_ids" not in name}
    safetensors.torch.save_file(rounded, folder / TEXT_WEIGHTS, {"format": "pt"})
    torch.testing.assert_close(found, reference(folder, "ab", False), rtol=0, atol=1e-6)


def test_kept_prompts_need_no_text_encoder(folder):
    home = ModelLocation(told_card("normal", "albedo", padded_prompts=True), folder)
    keep_prompts(home)
    expected = {text: reference(folder, text, True) for text in home.card.prompts}
    forget_text(folder)
    for text, value in prompt_tokens(home).items():
        torch.testing.assert_close(value, expected[text], rtol=0, atol=1e-6)


def test_kept_prompts_are_read_not_made_again(folder):
    home = ModelLocation(told_card("normal"), folder)
    keep_prompts(home)
    edit(folder / TOKENS_FILE, lambda state: state.update(normal=torch.full((3, WIDTH), 0.25)))
    before = (folder / TOKENS_FILE).stat()
    assert torch.equal(prompt_tokens(home)["normal"], torch.full((3, WIDTH), 0.25))
    after = (folder / TOKENS_FILE).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_only_the_prompts_that_are_lacking_are_added(folder):
    keep_prompts(ModelLocation(told_card("normal"), folder))
    edit(folder / TOKENS_FILE, lambda state: state.update(normal=torch.zeros(3, WIDTH)))
    tokens = prompt_tokens(ModelLocation(told_card("normal", "albedo"), folder))
    assert tokens["normal"].abs().max() == 0
    torch.testing.assert_close(tokens["albedo"], reference(folder, "albedo", False), rtol=0, atol=1e-6)


def test_a_folder_that_cannot_be_written_to_keeps_them_in_the_cache(folder, cache):
    blocked = folder / TOKENS_FILE
    blocked.mkdir()
    (blocked / "in the way").touch()
    home = ModelLocation(told_card("normal"), folder)
    made = prompt_tokens(home)
    (kept,) = cache.glob(f"*/{TOKENS_FILE}")
    forget_text(folder)
    assert torch.equal(prompt_tokens(home)["normal"], made["normal"])
    assert blocked.is_dir()
    assert kept.parent.parent == cache
    with pytest.raises(UserError):
        prompt_tokens(ModelLocation(told_card("normal", padded_prompts=True), folder))


def test_where_nothing_can_be_written_they_are_made_each_time(folder, cache):
    (folder / TOKENS_FILE / "in the way").mkdir(parents=True)
    cache.parent.parent.mkdir()
    cache.parent.touch()
    home = ModelLocation(told_card("normal"), folder)
    assert torch.equal(prompt_tokens(home)["normal"], prompt_tokens(home)["normal"])


def test_nothing_is_left_beside_the_file(folder):
    before = {path.name for path in folder.iterdir()}
    keep_prompts(ModelLocation(told_card("normal"), folder))
    assert {path.name for path in folder.iterdir()} == before | {TOKENS_FILE}


def test_tokens_padded_otherwise_than_the_card_says_are_not_used(folder):
    keep_prompts(ModelLocation(told_card("normal", padded_prompts=True), folder))
    tokens = prompt_tokens(ModelLocation(told_card("normal"), folder))
    torch.testing.assert_close(tokens["normal"], reference(folder, "normal", False), rtol=0, atol=1e-6)
    assert metadata(folder / TOKENS_FILE) == {"padded": "false"}


def test_a_file_that_says_nothing_of_padding_is_believed(tmp_path):
    (tmp_path / "m").mkdir()
    safetensors.torch.save_file({"": torch.ones(2, WIDTH).half()}, tmp_path / "m" / TOKENS_FILE)
    tokens = prompt_tokens(ModelLocation(told_card("", padded_prompts=True), tmp_path / "m"))
    assert torch.equal(tokens[""], torch.ones(2, WIDTH))


def test_the_embedded_model_has_its_tokens():
    folder = embedded()["mini"]
    (tokens,) = prompt_tokens(ModelLocation(read_card(folder), folder)).values()
    assert torch.equal(tokens, safetensors.torch.load_file(folder / TOKENS_FILE)[""].float())


def test_two_cards_share_one_folder_whose_text_encoder_is_elsewhere(folder, tmp_path):
    own = tmp_path / "ouroboros"
    own.mkdir()
    inverse, forward = ModelLocation(INVERSE, own, folder), ModelLocation(FORWARD, own, folder)
    first, second = prompt_tokens(inverse), prompt_tokens(forward)
    assert [path.name for path in own.iterdir()] == [TOKENS_FILE]
    assert not (folder / TOKENS_FILE).exists()
    assert set(safetensors.torch.load_file(own / TOKENS_FILE)) == {*INVERSE.prompts, *FORWARD.prompts}
    forget_text(folder)
    assert all(torch.equal(value, first[text]) for text, value in prompt_tokens(inverse).items())
    assert all(torch.equal(value, second[text]) for text, value in prompt_tokens(forward).items())


def test_a_card_that_is_shown_the_photo_has_no_prompts(tmp_path):
    assert prompt_tokens(ModelLocation(tiny_card(conditioning=(ImageTokens(),)), tmp_path)) == {}


def test_reading_kept_tokens_loads_no_text_encoder(folder):
    keep_prompts(ModelLocation(told_card(""), folder))
    program = f"""
import sys
from pathlib import Path
from unrender.diffusion.card import Identity, MapCodec, MapsCard, ModelCard, TargetPicture
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.clip.image_encoder import load_image_encoder
from unrender.diffusion.checkpoints.clip.prompts import prompt_tokens
card = ModelCard(Identity("tiny"), "inverse", MapsCard((TargetPicture("depth", (MapCodec("depth"),)),)))
assert prompt_tokens(ModelLocation(card, Path({str(folder)!r})))[""].shape == (2, {WIDTH})
sys.exit(str({{"transformers", "diffusers", "accelerate", "tokenizers"}} & sys.modules.keys() or ""))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("missing", ["text_encoder", "tokenizer"])
def test_without_a_text_encoder(folder, missing):
    shutil.rmtree(folder / missing)
    home = ModelLocation(told_card("normal"), folder)
    with pytest.raises(
        UserError, match=rf"no {missing}, and no tokens\.safetensors with the prompts of tiny"
    ) as caught:
        prompt_tokens(home)
    assert one_line(caught)
    with pytest.raises(UserError, match=f"no {missing}; a caption needs .* without a caption none is needed") as caught:
        embed_prompts(home, ["a caption"], False)
    assert one_line(caught)


@pytest.mark.parametrize("size", [0, 4, 50, -10])
def test_truncated_tokens(folder, size):
    keep_prompts(ModelLocation(told_card("normal"), folder))
    path = folder / TOKENS_FILE
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"tokens\.safetensors is damaged or not a safetensors file") as caught:
        prompt_tokens(ModelLocation(told_card("normal"), folder))
    assert one_line(caught)


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.zeros(1, 77, WIDTH), torch.zeros(2, 2, dtype=torch.int64)])
def test_tokens_that_are_none(folder, tensor):
    safetensors.torch.save_file({"normal": tensor}, folder / TOKENS_FILE)
    with pytest.raises(UserError, match=r"tokens\.safetensors has no tokens: 'normal'") as caught:
        prompt_tokens(ModelLocation(told_card("normal"), folder))
    assert one_line(caught)


def _drop(state):
    del state[LAYER]


def _add(state):
    state["text_model.surplus"] = torch.zeros(1)


def _reshape(state):
    state[LAYER] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop, rf"tensor {LAYER} is missing \(1 in all\)"),
        (_add, r"tensor text_model\.surplus is not one"),
        (_reshape, rf"{LAYER} is \(3,\); expected \(16,\)"),
    ],
)
def test_broken_tensors_are_named(folder, change, said):
    edit(folder / TEXT_WEIGHTS, change)
    with pytest.raises(UserError, match=said) as caught:
        prompt_tokens(ModelLocation(told_card("normal"), folder))
    assert one_line(caught)
    assert not (folder / TOKENS_FILE).exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (TEXT_WEIGHTS, None, "has no model.safetensors"),
        (TEXT_WEIGHTS, "pickle", "damaged or not a safetensors file"),
        ("text_encoder/config.json", None, "has no config.json"),
        ("text_encoder/config.json", '{"a":', "no configuration of a CLIPTextModel"),
        ("tokenizer/vocab.json", None, "has no vocabulary"),
        ("tokenizer/vocab.json", '{"a":', "damaged or not a tokenizer"),
        ("tokenizer/merges.txt", "a b c d", "damaged or not a tokenizer"),
        ("tokenizer/tokenizer_config.json", "{", "damaged or not a tokenizer"),
    ],
)
def test_damaged_files_are_named(folder, file, content, said):
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        embed_prompts(ModelLocation(told_card(""), folder), ["a"], False)
    assert one_line(caught)


def test_pickles_are_not_read(folder):
    torch.save(safetensors.torch.load_file(folder / TEXT_WEIGHTS), folder / "text_encoder" / "pytorch_model.bin")
    (folder / TEXT_WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        embed_prompts(ModelLocation(told_card(""), folder), ["a"], False)


def test_a_tokenizer_of_another_encoder(folder):
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text()) | {"a</w>": 400}
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(UserError, match="token 400, the text encoder 55 in all"):
        embed_prompts(ModelLocation(told_card(""), folder), ["a"], False)


@pytest.fixture
def image_home(tmp_path):
    write_image_encoder(tmp_path / "geo", WIDTH)
    return ModelLocation(tiny_card(conditioning=(ImageTokens(),)), tmp_path / "geo")


@pytest.mark.parametrize("size", [(20, 50), (60, 40)])
def test_the_photo_becomes_one_token(image_home, size):
    rgb = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(1))
    found = image_tokens(load_image_encoder(image_home, CPU), rgb)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    seen = functional.interpolate(rgb, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True, align_corners=False)
    model = CLIPVisionModelWithProjection.from_pretrained(image_home.folder / "image_encoder")
    with torch.no_grad():
        expected = model((seen - mean) / std).image_embeds.unsqueeze(1)
    assert found.shape == (2, 1, WIDTH)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.01


def test_the_image_encoder_runs_in_the_precision_asked_for(image_home):
    rgb = torch.rand((1, 3, 40, 40), generator=torch.Generator().manual_seed(1))
    exact = image_tokens(load_image_encoder(image_home, CPU), rgb)
    encoder = load_image_encoder(image_home, Compute(torch.device("cpu"), torch.bfloat16))
    assert encoder.mean.dtype == torch.float32
    found = image_tokens(encoder, rgb)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))


def test_a_crop_size_may_be_one_number(image_home):
    path = image_home.folder / "feature_extractor" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"crop_size": IMAGE_SIZE}))
    assert load_image_encoder(image_home, CPU).size == (IMAGE_SIZE, IMAGE_SIZE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"crop_size": {"shortest_edge": 32}}, "or a height and a width"),
        ({"crop_size": 16}, "the image encoder takes 32 x 32"),
        ({"image_mean": [0.5]}, "expected three numbers"),
    ],
)
def test_settings_that_are_wrong_are_named(image_home, change, said):
    path = image_home.folder / "feature_extractor" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=said) as caught:
        load_image_encoder(image_home, CPU)
    assert one_line(caught)


def test_a_broken_image_encoder_is_named(image_home):
    edit(image_home.folder / "image_encoder" / "model.safetensors", lambda state: state.pop("visual_projection.weight"))
    with pytest.raises(UserError, match=r"tensor visual_projection\.weight is missing"):
        load_image_encoder(image_home, CPU)


@pytest.mark.parametrize("missing", ["image_encoder", "feature_extractor"])
def test_a_missing_part_of_the_image_encoder_is_named(image_home, missing):
    shutil.rmtree(image_home.folder / missing)
    with pytest.raises(UserError, match=f"has no {missing}"):
        load_image_encoder(image_home, CPU)
