"""Torch on one thread (the tests' tensors are small, and the machine's cores are shared); a Mitsuba that renders."""

import signal

import pytest
import torch

torch.set_num_threads(1)
# A shell starts what runs in its background with Ctrl-C ignored, which the processes that tests start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def mitsuba():
    """Mitsuba, with a variant that really renders here."""
    from unrender.raytrace import backend

    backend.use()
    import mitsuba

    return mitsuba


@pytest.fixture(scope="session")
def vectorised_mitsuba(mitsuba):
    """The same, of a variant that runs Dr.Jit's loops: ours are written in them."""
    if mitsuba.variant().startswith("scalar"):
        pytest.skip("only Mitsuba's scalar variant renders here; light transport needs LLVM or CUDA")
    return mitsuba
