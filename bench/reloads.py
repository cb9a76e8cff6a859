"""How long HAProxy's reloads take, seen from outside while routes are timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_PAUSE = 0.005
# Of one that is under way at the end.
_PATIENCE = 10.0


class ReloadWatch:
    """A context manager; `durations` are the seconds of each reload that ended within it.

    `newest` names the newest generation on disk, which appears once a reload begins to write;
    `runs` the one that HAProxy's worker says it runs, or nothing while none answers. A generation
    that goes again without having run (a check, or a refused one) is no reload.
    """

    def __init__(self, newest: Callable[[], str], runs: Callable[[], str | None]) -> None:
        self.durations: list[float] = []
        self._newest = newest
        self._runs = runs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reload watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        known = self._newest()
        begun: float | None = None
        stopping = False
        while not stopping or (begun and time.perf_counter() - begun < _PATIENCE):
            # Noted before the look, so that there is one after the end.
            stopping = self._stop.wait(_PAUSE)
            newest = self._newest()
            if newest == known:
                continue
            begun = begun or time.perf_counter()
            if newest < known or self._runs() == newest:
                if newest > known:
                    self.durations.append(time.perf_counter() - begun)
                known, begun = newest, None
