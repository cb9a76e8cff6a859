"""Whether the API's trouble is its own, or lies in what some routes ask for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import msgspec

from frontserver.model.routes import RouteKey

# A route is to blame that was in trouble for so many rounds running, and so many seconds.
_ROUNDS = 3
_SECONDS = 10.0
# Rounds with a longer pause between them aren't one after the other.
_PAUSE = 60.0


class _Met(msgspec.Struct, frozen=True):
    """Rounds in which a route met trouble; the seconds of the first and the last of them."""

    rounds: int
    first: float
    last: float


class Blame:
    """Remembers which routes met trouble. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._met: dict[RouteKey, _Met] = {}

    def falls_on(self, keys: Collection[RouteKey]) -> bool:
        """In this round nothing worked, and these routes are all there were: whether one is known.

        To be asked once a round. Where one of them is to blame, the others needn't be.
        """
        now = self._clock()
        self._met = {key: self._again(key, now) for key in keys}
        return any(
            met.rounds >= _ROUNDS and now - met.first >= _SECONDS for met in self._met.values()
        )

    def _again(self, key: RouteKey, now: float) -> _Met:
        met = self._met.get(key)
        if met is None or now - met.last > _PAUSE:
            return _Met(1, now, now)
        return _Met(met.rounds + 1, met.first, now)
