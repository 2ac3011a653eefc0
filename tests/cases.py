"""The small inputs that were read wrongly once, kept beside the checkout."""

from pathlib import Path

import pytest

CASES = next(
    (parent / "shared" / "cases" for parent in Path(__file__).parents if (parent / "shared" / "cases").is_dir()), None
)


def case(*parts: str) -> Path:
    """A file or folder of the cases; the test is skipped, with the reason, where they are not beside the checkout."""
    if CASES is None:
        pytest.skip("shared/cases is not beside this checkout")
    return CASES.joinpath(*parts)
