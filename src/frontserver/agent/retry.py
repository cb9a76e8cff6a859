"""How often and after how long a call is tried again: pure, so tests need no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

# RFC 6585 section 4, RFC 9110 sections 15.6.3 to 15.6.5.
RETRIED_STATUSES = frozenset({429, 502, 503, 504})


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts in all, and seconds between them: doubling from `first` up to `longest`.

    A server that asks (Retry-After) for more than `patience` seconds isn't waited for.
    """

    attempts: int = 5
    first: float = 0.5
    longest: float = 20.0
    patience: float = 60.0


ONCE = RetryPolicy(attempts=1)


def pauses(policy: RetryPolicy, draw: Callable[[], float]) -> Iterator[float]:
    """Seconds before each further attempt: half fixed, half drawn, so that agents spread out.

    `draw` gives numbers from 0 up to 1.
    """
    ceiling = policy.first
    for _ in range(policy.attempts - 1):
        yield ceiling * (0.5 + draw() / 2)
        ceiling = min(policy.longest, ceiling * 2)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After field asks for (RFC 9110 section 10.2.3), `None` if it's unfit."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
