"""The loop of `frontserver-agent run`: a round, a pause, until told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

import msgspec

from frontserver.errors import FrontServerError


class Wake(Enum):
    """Why a pause ended."""

    TIME = "time"
    NOW = "now"
    STOP = "stop"


class Timing(msgspec.Struct, frozen=True):
    """Seconds between rounds, and after failed ones (doubling from `first` to `longest`)."""

    interval: float = 3600.0
    first: float = 5.0
    longest: float = 600.0


class Report(Protocol):
    """Hears of rounds that failed."""

    def __call__(self, error: FrontServerError, pause: float) -> None: ...


def keep_up(
    work: Callable[[], Iterable[datetime | None]],
    wait: Callable[[float], Wake],
    report: Report,
    *,
    now: Callable[[], datetime],
    draw: Callable[[], float],
    timing: Timing,
) -> None:
    """Run rounds until `wait` says stop. `work` returns when its parts are due again.

    A round that fails is reported and tried again, later and later: the server or mongod being
    down ends nothing.
    """
    failures = 0
    while True:
        try:
            due = work()
        except FrontServerError as error:
            failures += 1
            pause = after_failure(failures, draw(), timing)
            report(error, pause)
        else:
            failures = 0
            pause = after_success(due, now(), draw(), timing)
        if wait(pause) is Wake.STOP:
            return


def after_success(
    due: Iterable[datetime | None], now: datetime, drawn: float, timing: Timing
) -> float:
    """Seconds to the next round: the interval, or less if something is due before.

    Spread by up to a tenth, so that agents that started together don't come together.
    """
    spread = 0.9 + drawn / 10
    coming = [(moment - now).total_seconds() for moment in due if moment is not None]
    # What is due already was asked for just now: the server alone decides when it is renewed.
    soonest = min((s for s in coming if s > 0), default=timing.interval)
    # Later than due by a little, never earlier, and not in a hurry.
    return max(1.0, min(timing.interval * spread, soonest + drawn * min(60.0, soonest / 10)))


def after_failure(failures: int, drawn: float, timing: Timing) -> float:
    """Seconds to the next attempt after so many failures in a row: half fixed, half drawn."""
    ceiling = min(timing.longest, timing.first * 2.0 ** min(failures - 1, 30))
    return ceiling * (0.5 + drawn / 2)


class Signals:
    """SIGTERM and SIGINT end a pause with STOP, SIGHUP with NOW; held back in between.

    They are blocked rather than handled: a round is never torn in the middle of its files.
    """

    _HELD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

    def __enter__(self) -> Self:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._HELD)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def wait(self, seconds: float) -> Wake:
        """Pause for at most so many seconds."""
        received = signal.sigtimedwait(self._HELD, seconds)
        if received is None:
            return Wake.TIME
        return Wake.NOW if received.si_signo == signal.SIGHUP else Wake.STOP
