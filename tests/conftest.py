import pytest


@pytest.fixture(scope="session")
def mitsuba():
    """Mitsuba, with a variant that renders here."""
    mi = pytest.importorskip("mitsuba", reason="mitsuba is not installed (extra: raytrace)")
    mi.set_variant("llvm_ad_rgb")
    return mi
