"""The text-to-image protocol: what a model that knows, and one that knows nothing, score; and what colours are read."""

import json
from dataclasses import replace

import pytest
import torch

from sd_folders import sd_folder
from test_synth_captions import clip
from unrender.cli import main
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.text_to_image import TextToImage
from unrender.errors import UserError
from unrender.evaluate import text_to_image as protocol
from unrender.evaluate.text_to_image import COLOR, DISTANCE, LIGHT, NOUN, evaluate_text_to_image, wrong_words
from unrender.files.shards import write_shard
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames
from unrender.synth.captions import caption, scene_words

CPU = InferenceOptions("cpu", "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> TextToImage:
    found = TextToImage.from_pretrained(sd_folder(tmp_path_factory.mktemp("t2i")), CPU)
    card = found.card.with_schedule(steps=1)
    return TextToImage(replace(found.engine, checkpoint=replace(found.engine.checkpoint, card=card)))


def test_wrong_words_are_wrong_in_one_thing_and_the_same_for_a_seed():
    words = next(scene_words(clip()))
    for seed in range(20):
        wrong = wrong_words(words, seed)
        assert wrong == wrong_words(words, seed)
        assert wrong[COLOR].things[0].color != words.things[0].color
        assert wrong[NOUN].things[0].noun != words.things[0].noun
        assert wrong[LIGHT].light != words.light
        texts = [caption(one) for one in (words, *wrong.values())]
        assert len(set(texts)) == 4
        assert len({len(text.split()) for text in (texts[0], texts[1])}) == 1


def test_the_report_has_trivial_answers_beside_the_model(model, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(protocol, "COLORS", ("red", "orange"))
    monkeypatch.setattr(protocol, "ASKED", 1)
    seen: list[int] = []
    report = evaluate_text_to_image(model, [clip(), clip(light="night")], seen.append, seed=1)
    assert seen == [1, 2]
    assert report.pictures == 2
    assert report.answers["trivial"][COLOR] == 50
    assert report.answers["model"][DISTANCE] > 0
    with pytest.raises(UserError, match="1 pictures with things in them; expected 2 or more"):
        evaluate_text_to_image(model, [clip(), clip(("matte plain ground", "", ""))])
    write_shard(tmp_path / "shard-000000.tar", [(f"{i:06d}", clip()) for i in range(2)])
    command = ["evaluate", "text-to-image", "--model", str(model.engine.checkpoint.home.folder), "--clips", "2"]
    assert main([*command, "--data", str(tmp_path), "--json", str(tmp_path / "r.json")]) == 0
    assert "caption chosen, colour" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["pictures"] == 2


def test_colours_are_read_as_base_colour_in_the_middle():
    reader = InverseRenderer.from_pretrained("mini", CPU)
    picture = torch.full((1, 3, 128, 128), 0.5)
    picture[..., 30:100, 30:100] = torch.tensor([0.5, 0.03, 0.03])[:, None, None]
    assert protocol.middle_color(reader, Frames(picture)) == "red"
    picture[..., 30:100, 30:100] = torch.tensor([0.03, 0.06, 0.5])[:, None, None]
    assert protocol.middle_color(reader, Frames(picture)) in ("blue", "purple")


def test_errors_are_of_one_noise_and_differ_by_caption(model):
    words = next(scene_words(clip()))
    still = protocol.Still(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), words)
    errors = protocol.caption_errors(model, still, [words, words, wrong_words(words, 0)[COLOR]], 0)
    torch.testing.assert_close(errors[0], errors[1])
    assert float(errors[0]) != float(errors[2])
    assert torch.equal(errors, protocol.caption_errors(model, still, [words, words, wrong_words(words, 0)[COLOR]], 0))
