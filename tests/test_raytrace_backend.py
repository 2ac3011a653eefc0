"""Which Mitsuba variant renders: found by rendering, remembered, and overruled by the user."""

import json

import pytest

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.errors import UserError
from unrender.raytrace import backend


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A user who has never probed: an empty cache folder, no override, nothing remembered in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(backend.OVERRIDE, raising=False)
    backend.variant.cache_clear()
    yield tmp_path
    backend.variant.cache_clear()


def test_the_probe_finds_a_variant_that_renders_and_remembers_it(fresh):
    try:
        found = backend.variant()
    except UserError as reason:
        pytest.skip(str(reason))
    assert found in backend.CANDIDATES
    (remembered,) = fresh.glob("unrender/mitsuba-*.json")
    assert json.loads(remembered.read_text()) == {"variant": found}
    # Not probed again: what the file says is the answer.
    remembered.write_text(json.dumps({"variant": "scalar_rgb"}))
    backend.variant.cache_clear()
    assert backend.variant() == "scalar_rgb"


def test_what_cannot_render_is_found_out_without_harm():
    assert not backend.renders("no_such_variant")


def test_the_user_overrules_the_probe(fresh, monkeypatch):
    monkeypatch.setenv(backend.OVERRIDE, "scalar_rgb")
    assert backend.variant() == "scalar_rgb"
    assert not list(fresh.iterdir())


def test_a_variant_that_does_not_exist_is_the_users_mistake(fresh, monkeypatch):
    monkeypatch.setenv(backend.OVERRIDE, "lvm_ad_rgb")
    with pytest.raises(UserError, match=r"'lvm_ad_rgb', which this Mitsuba lacks; it has .*scalar_rgb"):
        backend.variant()
