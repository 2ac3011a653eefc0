"""Torch on one thread: the tests' tensors are small, and the machine's cores are shared."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mitsuba():
    """Mitsuba, with a variant that renders here."""
    mi = pytest.importorskip("mitsuba", reason="mitsuba is not installed (extra: raytrace)")
    mi.set_variant("llvm_ad_rgb")
    return mi
