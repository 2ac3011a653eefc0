"""Which pixels: conditions on the maps of a G-buffer, such as `metallic > 0.5 & instance == 3`.

    condition  = term { "|" term }
    term       = factor { "&" factor }
    factor     = "!" factor | "(" condition ")" | comparison
    comparison = value relation value { relation value }          0.2 < roughness < 0.5
    value      = number | map | map "." component                 normal.y, base_color.r, depth
    relation   = "<" | "<=" | ">" | ">=" | "==" | "!="

`and`, `or` and `not` are the same as `&`, `|` and `!`. A map of three channels without a component counts by its
luminance where it is a colour.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene.color import luminance
from unrender.scene.gbuffer import CHANNELS, GBuffer

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
                    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z])?)|(?P<sign><=|>=|==|!=|&&?|\|\|?|[<>!~()-]))")  # fmt: skip
_RELATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_WORDS = {"and": "&", "or": "|", "not": "!", "&&": "&", "||": "|", "~": "!"}
_COMPONENTS = {"normal": "xyz"}
"""Of maps whose channels are no colours."""

DEEPEST = 50
"""Levels of brackets and negations that a condition may have."""


def select(gbuffer: GBuffer, condition: str) -> Tensor:
    """The pixels of a G-buffer that a condition holds for.

    Args:
        gbuffer: whose maps the condition names.
        condition: as the grammar above; a bare map's name (`mask`) is where it is above a half.

    Returns:
        (T, 1, H, W), 1.0 where it holds and 0.0 elsewhere.

    Raises:
        UserError: a condition that does not read so, or a map that is unknown or not there.
    """
    return _Reader(condition, gbuffer, _tokens(condition)).all().float()


def _tokens(condition: str) -> list[str]:
    tokens, at = [], 0
    text = condition.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise UserError(
                f"condition {_short(condition)}: {text[at:].strip()[:20]!r} has no meaning; expected {_EXAMPLE}"
            )
        token = found[0].strip()
        tokens.append(_WORDS.get(token, token))
        at = found.end()
    if not tokens:
        raise UserError(f"the condition is empty; expected {_EXAMPLE}")
    return tokens


def _short(condition: str) -> str:
    return repr(condition if len(condition) <= 60 else condition[:57] + "...")


_EXAMPLE = "one such as metallic>0.5 & instance==3"


@dataclass
class _Reader:
    """Reads a condition from left to right, and finds its pixels on the way.

    Attributes:
        condition: the whole, for messages.
        gbuffer: whose maps it names.
        tokens: what is left of it.
        depth: levels of brackets that are open.
    """

    condition: str
    gbuffer: GBuffer
    tokens: list[str]
    depth: int = 0

    def all(self) -> Tensor:
        found = self._either()
        if self.tokens:
            raise self._unexpected("& or | before it")
        return found

    def _either(self) -> Tensor:
        found = self._both()
        while self._take("|"):
            found = found | self._both()
        return found

    def _both(self) -> Tensor:
        found = self._one()
        while self._take("&"):
            found = found & self._one()
        return found

    def _one(self) -> Tensor:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UserError(f"a condition of more than {DEEPEST} levels of brackets; expected {_EXAMPLE}")
        if self._take("!"):
            found = ~self._one()
        elif self._take("("):
            found = self._either()
            if not self._take(")"):
                raise self._unexpected("a closing bracket")
        else:
            found = self._comparison()
        self.depth -= 1
        return found

    def _comparison(self) -> Tensor:
        left = self._value()
        if not self.tokens or self.tokens[0] not in _RELATIONS:
            return self._spread(left > 0.5)
        found = None
        while self.tokens and self.tokens[0] in _RELATIONS:
            relation = _RELATIONS[self.tokens.pop(0)]
            right = self._value()
            holds = relation(left, right)
            found = holds if found is None else found & holds
            left = right
        assert found is not None
        return self._spread(found)

    def _spread(self, found: Tensor) -> Tensor:
        """(T, 1, H, W), also of what only numbers say."""
        return found.expand(len(self.gbuffer), 1, *self.gbuffer.size)

    def _value(self) -> Tensor:
        sign = -1.0 if self._take("-") else 1.0
        if not self.tokens or self.tokens[0] in ("&", "|", "!", "(", ")", *_RELATIONS):
            raise self._unexpected("a map or a number")
        token = self.tokens.pop(0)
        if token[0].isdigit() or token[0] == ".":
            any_map = next(iter(self.gbuffer.maps.values()))
            return torch.tensor(sign * float(token), device=any_map.device)
        return sign * self._map(token)

    def _map(self, token: str) -> Tensor:
        name, _, component = token.partition(".")
        if name not in CHANNELS:
            near = difflib.get_close_matches(name, CHANNELS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(self.gbuffer.maps)}"
            raise UserError(f"condition {_short(self.condition)}: there is no map {name}; {hint}")
        self.gbuffer.require(name, by=f"condition {_short(self.condition)}")
        value = self.gbuffer.maps[name]
        letters = _COMPONENTS.get(name, "rgb") if CHANNELS[name] == 3 else ""
        if component:
            if component.lower() not in letters:
                known = ", ".join(letters) or "none, for it is a single value"
                raise UserError(f"condition {_short(self.condition)}: {token} is no component; expected {known}")
            index = letters.index(component.lower())
            return value[:, index : index + 1]
        if CHANNELS[name] == 1:
            return value
        if name in _COMPONENTS:
            raise UserError(
                f"condition {_short(self.condition)}: {name} is a vector; expected {name}.x, {name}.y or {name}.z"
            )
        return luminance(value)

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False

    def _unexpected(self, expected: str) -> UserError:
        found = repr(self.tokens[0]) if self.tokens else "its end"
        return UserError(f"condition {_short(self.condition)}: found {found}; expected {expected}")
