"""Torch on one thread (the tests' tensors are small, and the machine's cores are shared); a Mitsuba that renders."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mitsuba():
    """Mitsuba, with a variant that really renders here."""
    from unrender.raytrace import backend

    backend.use()
    import mitsuba

    return mitsuba
