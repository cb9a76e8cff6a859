"""The loop: how long it pauses, what ends it, what doesn't."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from frontserver.agent.daemon import (
    Signals,
    Timing,
    Wake,
    after_failure,
    after_success,
    keep_up,
)
from frontserver.agent.errors import LocalError, RefusedError, UnreachableError
from frontserver.errors import FrontServerError
from frontserver.wire.problems import Problem
from tests.unit.agent.fakes import NOW

TIMING = Timing(interval=3600, first=5, longest=600)
REFUSAL = Problem(
    type="", title="", status=401, detail="no", success=False, error="", message="", code=401
)


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


@pytest.mark.parametrize(
    ("due", "drawn", "pause"),
    [
        ((), 1.0, 3600),
        ((), 0.0, 3240),
        ((None, seconds(99999)), 1.0, 3600),
        ((seconds(600), seconds(1200)), 0.0, 600),
        ((seconds(600), None), 1.0, 660),
        ((seconds(100),), 1.0, 110),
        ((seconds(0.5),), 0.0, 1),
        # Due already, and the server didn't renew it: no reason to hurry.
        ((seconds(-5),), 1.0, 3600),
    ],
)
def test_the_pause_after_a_good_round(
    due: tuple[datetime | None, ...], drawn: float, pause: float
) -> None:
    assert after_success(due, NOW, drawn, TIMING) == pause


def test_pauses_after_failures_double_up_to_the_longest() -> None:
    assert [after_failure(n, 1.0, TIMING) for n in (1, 2, 3, 8, 10_000)] == [5, 10, 20, 600, 600]
    assert after_failure(1, 0.0, TIMING) == 2.5


class Script:
    """Rounds that end as written; stops when there are no more."""

    def __init__(self, *rounds: FrontServerError | datetime) -> None:
        self.rounds = list(rounds)
        self.pauses: list[float] = []
        self.reported: list[str] = []

    def work(self) -> list[datetime]:
        outcome = self.rounds.pop(0)
        if isinstance(outcome, FrontServerError):
            raise outcome
        return [outcome]

    def wait(self, pause: float) -> Wake:
        self.pauses.append(pause)
        return Wake.TIME if self.rounds else Wake.STOP

    def report(self, error: FrontServerError, pause: float) -> None:
        self.reported.append(error.message)

    def run(self, draw: Callable[[], float] = lambda: 1.0) -> None:
        keep_up(
            self.work,
            self.wait,
            self.report,
            now=lambda: NOW,
            draw=draw,
            timing=TIMING,
        )


def test_the_loop_survives_every_failure_and_starts_afresh_after_a_success() -> None:
    script = Script(
        UnreachableError("down"),
        LocalError("disk full"),
        RefusedError(REFUSAL, 401),
        seconds(100),
        UnreachableError("down again"),
    )
    script.run()
    assert script.reported == ["down", "disk full", "no", "down again"]
    assert script.pauses == [5, 10, 20, 110, 5]


def test_a_defect_is_not_swallowed() -> None:
    def broken() -> list[datetime]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        keep_up(
            broken,
            lambda _: Wake.STOP,
            Script().report,
            now=lambda: NOW,
            draw=lambda: 0.0,
            timing=TIMING,
        )


@pytest.mark.parametrize(
    ("number", "wake"),
    [(signal.SIGTERM, Wake.STOP), (signal.SIGINT, Wake.STOP), (signal.SIGHUP, Wake.NOW)],
)
def test_a_signal_that_came_during_a_round_ends_the_next_pause(
    number: signal.Signals, wake: Wake
) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), number)  # Held back: an ordinary SIGTERM would end the test run.
        assert signals.wait(60) is wake
        assert signals.wait(0) is Wake.TIME
