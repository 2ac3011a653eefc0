"""Who visits, and the photos that they have open."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrender.scene.environment import EnvironmentMap
    from unrender.studio.stage import OpenPhoto

COOKIE = "unrender-visit"
MOST_STAGES, MOST_VISITS = 6, 1000


@dataclass
class Visits:
    """Visitors by a cookie nobody can guess, each with stages and lights that no other can see.

    Attributes:
        keep_seconds: after which a visitor who did nothing is forgotten.
    """

    keep_seconds: float
    _seen: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _stages: OrderedDict[str, tuple[str, OpenPhoto]] = field(default_factory=OrderedDict)
    _lights: OrderedDict[str, tuple[str, EnvironmentMap]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def owner(self, cookie: str) -> str | None:
        """The visitor of a cookie; None where it was never given, or long ago."""
        with self._lock:
            now = time.monotonic()
            if now - self._seen.get(cookie, -1e18) > self.keep_seconds:
                self._seen.pop(cookie, None)
                return None
            self._seen[cookie] = now
            self._seen.move_to_end(cookie)
            return cookie

    def welcome(self) -> str:
        """A new visitor's cookie."""
        with self._lock:
            cookie = secrets.token_urlsafe(24)
            self._seen[cookie] = time.monotonic()
            while len(self._seen) > MOST_VISITS:
                self._seen.popitem(last=False)
            return cookie

    def keep_stage(self, owner: str, id: str, stage: OpenPhoto) -> None:
        """Keeps a stage of a visitor; of all stages the `MOST_STAGES` last used."""
        self._keep(self._stages, owner, id, stage)

    def keep_light(self, owner: str, id: str, light: EnvironmentMap) -> None:
        """Keeps a light of a visitor, likewise."""
        self._keep(self._lights, owner, id, light)

    def _keep(self, shelf: OrderedDict, owner: str, id: str, thing: OpenPhoto | EnvironmentMap) -> None:
        with self._lock:
            shelf[id] = (owner, thing)
            shelf.move_to_end(id)
            while len(shelf) > MOST_STAGES:
                shelf.popitem(last=False)

    def stage(self, owner: str, id: str) -> OpenPhoto:
        """A stage of a visitor; KeyError where there is none, or it is another's."""
        return self._thing(self._stages, owner, id)

    def light(self, owner: str, id: str) -> EnvironmentMap:
        """A light of a visitor; KeyError likewise."""
        return self._thing(self._lights, owner, id)

    def _thing(self, shelf: OrderedDict, owner: str, id: str):
        with self._lock:
            whose, thing = shelf[id]
            if whose != owner:
                raise KeyError(id)
            shelf.move_to_end(id)
            return thing
