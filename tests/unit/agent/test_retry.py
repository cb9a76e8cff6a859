"""When a call is tried again, and after how long."""

from __future__ import annotations

import pytest

from frontserver.agent.retry import ONCE, RetryPolicy, pauses, retry_after
from tests.unit.agent.fakes import NOW


def test_pauses_double_up_to_the_longest() -> None:
    policy = RetryPolicy(attempts=6, first=1, longest=5)
    assert list(pauses(policy, lambda: 1.0)) == [1, 2, 4, 5, 5]


def test_half_of_a_pause_is_fixed_and_half_drawn() -> None:
    assert list(pauses(RetryPolicy(attempts=3, first=2), lambda: 0.0)) == [1, 2]


def test_one_attempt_has_no_pause() -> None:
    assert list(pauses(ONCE, lambda: 0.5)) == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("Thu, 01 May 2031 12:00:30 GMT", 30.0),
        ("Thu, 01 May 2031 12:00:30 -0000", 30.0),
        ("Thu, 01 May 2031 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds
