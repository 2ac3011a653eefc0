"""Several inverse renderers on one picture, and a tiny decoder in the autoencoder's place."""

import json
import shutil
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from PIL import Image

from official_folders import published_folder
from unrender.cli import main
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.published.e2e_ft import E2E_FT
from unrender.diffusion.checkpoints.published.lotus import LOTUS
from unrender.diffusion.checkpoints.published.marigold import MARIGOLD
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.files.gbuffers import read_gbuffer
from unrender.files.video import VideoWriter
from unrender.inverse.multi_model import MultiModelRenderer
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.frames import Frames

DEPTH, NORMALS, APPEARANCE = E2E_FT[0], E2E_FT[1], MARIGOLD[4]
OTHER_DEPTH = LOTUS[3]
LONG_SIDE = 64
STEPS = 2

Load = Callable[[ModelCard], InverseRenderer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a card's tiny weights. Cards with the same channels have the same networks, where the seed is the
    same: so have those of depth and of normals, autoencoder and all."""
    return partial(published_folder, tmp_path_factory.mktemp("models"))


@pytest.fixture
def load(folder) -> Load:
    def of(card: ModelCard, seed: int = 0, decoder: str = "") -> InverseRenderer:
        inference = InferenceOptions("cpu", "float32", decoder=decoder, long_side=LONG_SIDE)
        return InverseRenderer.from_pretrained(folder(card, seed), inference)

    return of


def photo(seed: int = 0, frames: int = 1) -> Frames:
    return Frames(torch.rand(frames, 3, 42, 58, generator=torch.Generator().manual_seed(seed)))


def always(renderer: InverseRenderer) -> InverseRenderer:
    return renderer


def together(*renderers: InverseRenderer) -> MultiModelRenderer:
    return MultiModelRenderer(tuple(partial(always, renderer) for renderer in renderers))


def encodings(renderers: list[InverseRenderer], run: Callable[[], object]) -> int:
    """How often any of the autoencoders encodes while `run` runs."""
    seen: list[None] = []
    hooks = [
        renderer.engine.checkpoint.autoencoder.encoder.register_forward_hook(lambda *_: seen.append(None))
        for renderer in renderers
    ]
    run()
    for hook in hooks:
        hook.remove()
    return len(seen)


def test_the_maps_of_several_models_are_each_models_own(load):
    renderers = [load(card) for card in (DEPTH, NORMALS, APPEARANCE)]
    found = together(*renderers)(photo(), steps=STEPS, seed=3)
    assert set(found.maps) == {"depth", "normal", "base_color", "roughness", "metallic", "rgb"}
    for renderer in renderers:
        own = renderer(photo(), steps=STEPS, seed=3)
        for name in renderer.card.map_names:
            assert torch.equal(found.maps[name], own.maps[name]), name
    assert found.model == " + ".join(card.id for card in (DEPTH, NORMALS, APPEARANCE))
    assert found.depth_kind == "relative"


def test_a_clip_is_taken_apart_by_every_model(load):
    renderers = [load(DEPTH), load(NORMALS)]
    found = together(*renderers)(photo(frames=2))
    assert len(found) == 2
    for renderer in renderers:
        for name in renderer.card.map_names:
            assert torch.equal(found.maps[name], renderer(photo(frames=2)).maps[name])


def test_of_a_map_that_two_models_give_the_first_ones_is_taken(load):
    first, second = load(DEPTH), load(OTHER_DEPTH)
    own = [renderer(photo()).maps["depth"] for renderer in (first, second)]
    assert (own[0] - own[1]).abs().max() > 1e-2
    assert torch.equal(together(first, second)(photo()).maps["depth"], own[0])
    assert torch.equal(together(second, first)(photo()).maps["depth"], own[1])


def test_only_the_models_that_are_needed_are_asked(load):
    renderers = [load(DEPTH), load(NORMALS)]
    several = together(*renderers)
    assert encodings(renderers, lambda: several(photo(), ["normal"])) == 1
    found = several(photo(1), ["normal"])
    assert (list(found.maps), found.model) == (["normal", "rgb"], NORMALS.id)


def test_a_map_that_no_model_gives(load):
    with pytest.raises(UserError) as caught:
        together(load(DEPTH), load(NORMALS))(photo(), ["depth", "metallic"])
    assert str(caught.value) == "the models give no map metallic; expected depth, normal"


def test_a_picture_is_encoded_once_by_equal_autoencoders(load):
    renderers = [load(card) for card in (DEPTH, NORMALS)]
    several = together(*renderers)
    assert encodings(renderers, lambda: several(photo())) == 1
    assert encodings(renderers, lambda: several(photo(1))) == 1


def test_a_picture_is_encoded_again_by_another_autoencoder(load):
    renderers = [load(DEPTH), load(NORMALS, seed=1)]
    found = together(*renderers)
    assert encodings(renderers, lambda: found(photo())) == 2
    assert torch.equal(found(photo()).maps["normal"], renderers[1](photo()).maps["normal"])


def test_one_weight_makes_another_autoencoder(load):
    renderers = [load(DEPTH), load(NORMALS)]
    with torch.no_grad():
        renderers[1].engine.checkpoint.autoencoder.quant_conv.bias[0] += 1e-3
    assert encodings(renderers, lambda: together(*renderers)(photo())) == 2


def test_another_picture_or_another_size_in_the_network_is_encoded_anew(load, folder):
    small, large = (
        load(DEPTH),
        InverseRenderer.from_pretrained(folder(NORMALS), InferenceOptions("cpu", "float32", long_side=96)),
    )
    several = together(small, large)
    assert encodings([small, large], lambda: several(photo())) == 2
    for seed in (1, 2):
        assert torch.equal(several(photo(seed)).maps["depth"], small(photo(seed)).maps["depth"])


def test_every_model_is_gone_before_the_next_one_comes(load):
    networks: list[weakref.ref] = []

    def loader(card: ModelCard) -> InverseRenderer:
        assert all(network() is None for network in networks), "the last model is still there"
        renderer = load(card)
        networks.append(weakref.ref(renderer.engine.checkpoint.unet))
        return renderer

    several = MultiModelRenderer(tuple(partial(loader, card) for card in (DEPTH, NORMALS, APPEARANCE)))
    several(photo(), steps=STEPS)
    assert len(networks) == 3
    several(photo(1), ["normal"], steps=STEPS)
    assert len(networks) == 6


# From the shell. -----------------------------------------------------------------------------------------------------


def picture(path: Path, seed: int = 0) -> Path:
    codes = np.random.default_rng(seed).integers(0, 256, (42, 58, 3), dtype=np.uint8)
    Image.fromarray(codes).save(path)
    return path


def run(*arguments: str | Path) -> int:
    common = ["--long-side", LONG_SIDE, "--dtype", "float32", "--steps", STEPS]
    return main([str(argument) for argument in (*arguments, *common)])


def test_several_models_with_commas_between(folder, tmp_path):
    source, folders = picture(tmp_path / "photo.png"), [folder(card) for card in (DEPTH, NORMALS, APPEARANCE)]
    assert run("inverse", source, "--model", ",".join(map(str, folders)), "-o", tmp_path / "out") == 0
    found = read_gbuffer(tmp_path / "out" / "photo.exr").maps
    for path in folders:
        assert run("inverse", source, "--model", path, "-o", tmp_path / "alone.exr") == 0
        for name, values in read_gbuffer(tmp_path / "alone.exr").maps.items():
            assert torch.equal(found[name], values), name
    said = json.loads((tmp_path / "out" / "run.json").read_text())["model"]
    assert [(model["id"], model["licence"]) for model in said] == [
        (card.id, card.identity.licence) for card in (DEPTH, NORMALS, APPEARANCE)
    ]


def test_several_models_on_a_clip(folder, tmp_path):
    clip = tmp_path / "clip.mkv"
    with VideoWriter(clip, 12) as video:
        for seed in range(2):
            video.write(photo(seed).rgb)
    models = f"{folder(DEPTH)}, {folder(NORMALS)}"
    assert run("inverse", clip, "--model", models, "-o", tmp_path / "out") == 0
    for number in (1, 2):
        assert {"depth", "normal"} <= read_gbuffer(tmp_path / "out" / f"clip.{number:04d}.exr").maps.keys()


@pytest.mark.parametrize(
    ("models", "options", "right"),
    [
        ("{0},{1}", ["--maps", "metallic"], "the models give no map metallic; expected depth, normal"),
        ("{0},nowhere", [], "no model is called nowhere"),
        (" , ", [], "--model ' , ' names no model"),
    ],
)
def test_models_that_cannot_be_asked(models, options, right, folder, tmp_path, capsys):
    source = picture(tmp_path / "photo.png")
    models = models.format(folder(DEPTH), folder(NORMALS))
    assert run("inverse", source, "--model", models, "-o", tmp_path / "out", *options) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"unrender: {right}")
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == [source]


# A tiny decoder. -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder in TAESD's layout, eight times as large as its latents."""
    torch.manual_seed(0)
    network = AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    path = tmp_path_factory.mktemp("decoder") / "taesd"
    network.save_pretrained(path)
    return path


@pytest.mark.parametrize("card", [DEPTH, APPEARANCE], ids=lambda card: card.id)
def test_a_tiny_decoder_decodes_the_latents_as_the_network_has_them(card, decoder, load):
    renderer = load(card, decoder=str(decoder))
    latents, pictures = (call(photo(), steps=STEPS) for call in (renderer.latents, renderer.pictures))
    tiny = AutoencoderTiny.from_pretrained(decoder).eval()
    height, width = 42 * LONG_SIDE // 58, LONG_SIDE
    for latent, picture_of in zip(latents.split(4, dim=1), pictures.values(), strict=True):
        with torch.no_grad():
            expected = tiny.decode(latent).sample[..., :height, :width]
        torch.testing.assert_close(picture_of, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(latents, load(card).latents(photo(), steps=STEPS))
    own = load(card).pictures(photo(), steps=STEPS)
    assert all((own[name] - pictures[name]).abs().max() > 1e-2 for name in own)


def test_a_decoder_of_other_latents_is_one_line(decoder):
    with pytest.raises(UserError, match=r"of 4 channels, and those of mini have 16; expected the model's own"):
        InverseRenderer.from_pretrained("mini", InferenceOptions(decoder=str(decoder)))


def test_a_tiny_decoder_from_the_shell(decoder, folder, tmp_path, caplog):
    source, found = picture(tmp_path / "photo.png"), []
    for index, options in enumerate(([], ["--decoder", decoder], ["--decoder", decoder, "--memory", "low"])):
        path = tmp_path / f"{index}.exr"
        assert run("inverse", source, "--model", folder(DEPTH), "-o", path, *options) == 0
        found.append(read_gbuffer(path).maps["depth"])
    assert (found[0] - found[1]).abs().max() > 1e-2
    torch.testing.assert_close(found[2], found[1], atol=1e-4, rtol=1e-3)
    said = json.loads((tmp_path / "1.run.json").read_text())
    assert said["settings"]["decoder"] == str(decoder)
    assert not caplog.records, "something was said that the caller can do nothing about"


def test_a_decoder_that_is_none(decoder, folder, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(decoder, broken)
    (broken / "config.json").unlink()
    source = picture(tmp_path / "photo.png")
    for wrong, right in ((broken, "is no decoder"), (folder(DEPTH) / "vae", "decoder.layers.0.bias is missing")):
        assert run("inverse", source, "--model", folder(DEPTH), "-o", tmp_path / "out", "--decoder", wrong) == 2
        said = capsys.readouterr().err
        assert right in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
