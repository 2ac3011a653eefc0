"""Cards as files: in parts, strictly read; flat ones of unrender 0.1 are converted."""

import json
from pathlib import Path

import pytest

from tiny_models import tiny_lit_card
from unrender.diffusion.card import FlowCard, Grouping, KarrasCard, MapCodec, SamplingCard
from unrender.diffusion.card.file import card_as_dict, read_card, write_card
from unrender.diffusion.card.legacy import from_flat
from unrender.diffusion.checkpoints.published import PUBLISHED, published
from unrender.errors import UserError
from unrender.scene.encoding import DIFFUSION_RENDERER_SVD

GEOWIZARD_FLAT = {
    "id": "lemonaddie/geowizard",
    "system": "GeoWizard",
    "licence": "CC-BY-4.0",
    "pictures": [
        {"name": "depth", "maps": [{"map": "depth"}], "task": [0.0, 1.0]},
        {"name": "normals", "maps": [{"map": "normal", "signs": [1, -1, -1]}], "task": [1.0, 0.0]},
    ],
    "commercial": True,
    "passes": "one_each",
    "schedule": {"spacing": "leading", "steps": 10},
    "noise": "gaussian",
    "shared_noise": True,
    "size": {"rounding": "down"},
    "domains": ["indoor", "outdoor", "object"],
    "domain_task": True,
    "joint_attention": True,
    "image_tokens": True,
    "quirks": {
        "pictures": [
            {"name": "depth", "maps": [{"map": "depth", "stretched": True}], "task": [0.0, 1.0]},
            {
                "name": "normals",
                "maps": [{"map": "normal", "signs": [1, -1, -1], "back": "nearest_double"}],
                "task": [1.0, 0.0],
            },
        ],
        "size": {
            "fit": "cut",
            "rounding": "down_by_scale",
            "space": "bytes",
            "inward": "bicubic",
            "back": "bicubic",
        },
        "final_step": "previous",
    },
    "source": {"repository": "lemonaddie/geowizard"},
    "description": "depth and normals together, ten steps",
}
"""As unrender 0.1 wrote it."""

LIT_FLAT = {
    "id": "mini",
    "system": "unrender",
    "licence": "Apache-2.0",
    "pictures": [{"name": "rgb", "maps": [{"map": "rgb", "transfer": "srgb"}]}],
    "given": [
        {"codec": {"map": "rgb", "transfer": "srgb"}, "rendered": "split_sum"},
        {"codec": {"map": "irradiance", "transfer": "srgb"}, "encoded": False, "exposure": "percentile"},
    ],
    "concatenation": "given_first",
    "latent_channels": 8,
    "latent_scale": 0.79,
    "mirrored": True,
    "light": {"size": [8, 16]},
}


def written(folder: Path, facts: object) -> Path:
    (folder / "unrender.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("card", PUBLISHED, ids=lambda card: f"{card.id}-{card.task}")
def test_every_published_card_is_the_same_when_read_again(card, tmp_path):
    write_card(card, tmp_path)
    assert read_card(tmp_path) == card


def test_schedules_and_lights_of_every_kind_are_read_again(tmp_path):
    for schedule in (KarrasCard(steps=20), FlowCard(shift=3.0)):
        card = tiny_lit_card().with_sampling(schedule=schedule, grouping=Grouping("target", joint="frames"))
        light = card.conditioning[0]
        card = card.__class__(
            card.identity,
            card.task,
            card.maps,
            conditioning=(light.__class__((8, 16), DIFFUSION_RENDERER_SVD),),
            sampling=card.sampling,
        )
        write_card(card, tmp_path)
        assert read_card(tmp_path) == card


def test_a_flat_card_is_converted_and_said_in_a_line(tmp_path, caplog):
    (geowizard,) = published("lemonaddie/geowizard")
    assert read_card(written(tmp_path, GEOWIZARD_FLAT)) == geowizard
    (record,) = caplog.records
    assert "in the layout of unrender 0.1" in record.getMessage()


def test_a_flat_card_of_a_forward_renderer_is_one(tmp_path):
    card = read_card(written(tmp_path, LIT_FLAT))
    assert card.task == "forward"
    assert [given.name for given in card.maps.inputs] == ["radiance_hint", "irradiance"]
    assert (card.latents.channels, card.latents.scale, card.latents.order) == (8, 0.79, "inputs_first")
    assert card.light is not None
    assert card.light.size == (8, 16)
    assert card.maps.flip_tta
    assert card.sampling == SamplingCard()


def test_what_a_flat_card_says_wrongly_is_named(tmp_path):
    with pytest.raises(UserError, match=r"unrender\.json is not a model card: scedule is not a field"):
        read_card(written(tmp_path, LIT_FLAT | {"scedule": {}}))
    assert "scedule" in from_flat(LIT_FLAT | {"scedule": {}})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "sideways"}, r"task is 'sideways'; expected 'inverse', 'forward', 'text_to_image' or 'multi_view'"),
        (
            {"sampling": {"schedule": {"kind": "ddpm", "spacing": "early"}}},
            r"sampling\.schedule\.spacing is 'early'; expected 'leading'",
        ),
        (
            {"sampling": {"schedule": {"kind": "karras", "rho": "x"}}},
            r"sampling\.schedule\.rho is 'x'; expected a number",
        ),
        ({"conditioning": [{"kind": "light", "size": [8]}]}, r"conditioning\.0\.size\.1 is missing"),
        ({"maps": {"targets": []}, "shape": 3}, r"shape is not a field"),
    ],
)
def test_a_wrong_field_is_named_where_it_is(change, says, tmp_path):
    (card,) = published("lemonaddie/geowizard")
    with pytest.raises(UserError, match=f"is not a model card: {says}"):
        read_card(written(tmp_path, card_as_dict(card) | change))


def test_a_card_that_is_no_table_is_one_line(tmp_path):
    for text in ("[]", "3", '{"identity"'):
        (tmp_path / "unrender.json").write_text(text)
        with pytest.raises(UserError, match=r"unrender\.json is not a model card"):
            read_card(tmp_path)


def test_targets_stacked_in_one_item_cannot_see_one_another():
    with pytest.raises(UserError, match="expected item: target"):
        Grouping("frame", joint="targets")
    with pytest.raises(UserError, match="no map is called albedo"):
        MapCodec("albedo")
