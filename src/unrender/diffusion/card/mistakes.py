"""What is wrong with a card, in words for people: the library that checks it speaks of its own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "none": "null",
    "tuple": "a list",
    "list": "a list",
    "dataclass": "named values",
    "dict": "named values",
}
"""What a field has to be, by the first word of the library's name of the error."""
_LONGEST = 60


def mistake(found: Mapping[str, Any]) -> str:
    """What is wrong, as said after the name of the field.

    Args:
        found: an error as pydantic lists it: `type`, `input`, `msg` and, for some types, `ctx`.
    """
    kind, about = str(found["type"]), found.get("ctx", {})
    match kind:
        case "missing" | "missing_argument":
            return "is missing"
        case "unexpected_keyword_argument" | "extra_forbidden" | "unexpected_positional_argument":
            return "is not a field that a card has"
        case "literal_error" | "enum":
            return f"is {_shown(found['input'])}; expected {about.get('expected', 'one of a few words')}"
        case "value_error" | "assertion_error":
            said = str(about.get("error", "expected another value"))
            return f"does not fit: {said if len(said) <= 4 * _LONGEST else said[: 4 * _LONGEST] + '...'}"
        case "too_short" | "too_long":
            return f"has {about.get('actual_length')} values; expected {_count(about)}"
    wanted = _WANTED.get(kind.split("_")[0], "a value of another kind")
    return f"is {_shown(found['input'])}; expected {wanted}"


def _count(about: Mapping[str, Any]) -> str:
    least, most = about.get("min_length"), about.get("max_length")
    return f"{least} or more" if least is not None else f"{most} or fewer"


def _shown(value: Any) -> str:
    try:
        said = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
