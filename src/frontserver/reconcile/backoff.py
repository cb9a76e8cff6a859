"""Pauses that grow while something goes on failing."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """When to try again. `clock` gives seconds; the pauses are spread so as not to march in step.

    `problem` is what went wrong last, `None` after a success.
    """

    def __init__(self, least: float, most: float, clock: Callable[[], float]) -> None:
        self.problem: str | None = None
        self._least = least
        self._most = most
        self._clock = clock
        self._failures = 0
        self._until = clock()

    @property
    def remaining(self) -> float:
        """Seconds until the next try is due; never negative."""
        return max(0.0, self._until - self._clock())

    def failed(self, problem: str, *, at_least: float = 0.0) -> bool:
        """Make the pause longer; returns whether this problem is news.

        `at_least` is a pause in seconds for what is costly to try, whatever the bounds are.
        """
        ceiling = max(2 * at_least, min(self._most, self._least * 2.0**self._failures))
        self._failures = min(self._failures + 1, 16)
        self._until = self._clock() + ceiling * random.uniform(0.5, 1.0)  # noqa: S311
        news = problem != self.problem
        self.problem = problem
        return news

    def succeeded(self) -> None:
        """Whatever was wrong is over."""
        self.problem, self._failures = None, 0
        self._until = self._clock()
