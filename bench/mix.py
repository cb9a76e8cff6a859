"""The routes that are loaded and added: a realistic mix of twenty profiles, the same in each run.

A profile is a combination of options that HAProxy needs a section of its own for. The routes that
are loaded follow a long tail (the most frequent profile has almost half of them, the rarest four in
a thousand); those that are added and timed are drawn evenly, so that rare profiles, whose pools are
small, run low and are refilled while we measure. Three routes in ten have health checks, in both.
"""

from __future__ import annotations

import resource
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, cycle
from typing import Any

import msgspec

from harness.frontserver import APP_DOMAIN

# Once a minute: at the product's default of two seconds, what is measured at 50,000 routes on
# loopback would be 7,500 checks a second, most of them the origin's work.
_INTERVAL = 60

# From the most frequent to the rarest. None changes the `Host` that the origin sees and echoes.
PROFILES: tuple[dict[str, Any], ...] = (
    {},
    {"check": {"interval": _INTERVAL}},
    {"check": {"path": "/health", "interval": _INTERVAL}},
    {"balance": "leastconn"},
    {"check": {"path": "/live", "interval": _INTERVAL, "expectStatus": 200}},
    {"sticky": True},
    {"headers": {"request": {"set": {"x-tenant": "shop"}}}},
    {"check": {"interval": _INTERVAL, "timeout": "2s"}},
    {"headers": {"response": {"set": {"cache-control": "no-store"}}}},
    {"balance": "source"},
    {"headers": {"request": {"set": {"x-app": "a", "x-region": "r"}, "remove": ["x-debug"]}}},
    {"check": {"path": "/health", "interval": _INTERVAL}, "sticky": {"cookie": "APPID"}},
    {"balance": "uri"},
    {"timeouts": {"connect": "3s", "server": "20s"}},
    {"balance": "leastconn", "sticky": True},
    {
        "check": {"path": "/health", "interval": _INTERVAL},
        "headers": {"response": {"set": {"x-frame-options": "DENY"}}},
    },
    {"timeouts": {"queue": 10}},
    {"balance": "random"},
    {"headers": {"response": {"set": {"x-served-by": "front"}, "remove": ["x-powered-by"]}}},
    {"balance": "first", "headers": {"request": {"remove": ["x-internal"]}}},
)
# Those that the product has pools for from its first start.
STANDARD = (0, 1, 2)

_TAIL = 1.6
_GOLDEN = 0.6180339887498949
# HAProxy reserves a file for each check, and doesn't start if it can't have them. The product gives
# checks three quarters of what it may open, and the routes that are added need some, too.
_FILES_FOR_CHECKS = 0.6
# Below the product's limit of 1,000 routes an agent.
_ROUTES_AN_AGENT = 900


class Route(msgspec.Struct, frozen=True):
    """`name.APP_DOMAIN` → 127.0.0.1:`port`, published by `agent` with `options`."""

    name: str
    port: int
    profile: int
    agent: str
    options: dict[str, Any]

    @property
    def host(self) -> str:
        return f"{self.name}.{APP_DOMAIN}"

    @property
    def echo(self) -> bytes:
        """What the right origin answers under the right name."""
        return f"{self.port} {self.host}".encode()


class Names:
    """Numbers routes. Each agent has routes of one profile only, and not too many."""

    def __init__(self, prefix: str, ports: Sequence[int]) -> None:
        self._prefix = prefix
        self._ports = cycle(ports)
        self._next = count()
        self._of_profile: Counter[int] = Counter()

    def route(self, profile: int, options: dict[str, Any] | None = None) -> Route:
        """The next route, of this profile."""
        agent = self._of_profile[profile] // _ROUTES_AN_AGENT
        self._of_profile[profile] += 1
        return Route(
            name=f"{self._prefix}{next(self._next)}",
            port=next(self._ports),
            profile=profile,
            agent=f"{self._prefix}-{profile}-{agent}",
            options=PROFILES[profile] if options is None else options,
        )


def base(size: int, ports: Sequence[int], *, checks: int | None = None) -> list[Route]:
    """The routes that are there at first; a longer list begins with a shorter one.

    At most `checks` of them have health checks, as many as this process's limit of open files
    lets HAProxy have, unless told otherwise; the others are plain ones.
    """
    left = most_checks() if checks is None else checks
    weights = list(accumulate((rank + 1) ** -_TAIL for rank in range(len(PROFILES))))
    names = Names("b", ports)
    routes = []
    for number in range(size):
        # A low-discrepancy sequence: every part of the list has the mix of the whole.
        share = (0.5 + number * _GOLDEN) % 1
        profile = bisect_right(weights, share * weights[-1])
        if "check" in PROFILES[profile]:
            profile = profile if left else 0
            left = max(0, left - 1)
        routes.append(names.route(profile))
    return routes


def most_checks() -> int:
    """How many health checks leave HAProxy files to serve with."""
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[1] * _FILES_FOR_CHECKS)


class Additions:
    """The routes to add and time, without end, evenly over `profiles`.

    Those of another `prefix` share neither names nor new profiles with them.
    """

    def __init__(self, ports: Sequence[int], prefix: str = "t") -> None:
        self._prefix = prefix
        self._names = Names(prefix, ports)
        self._turn = count()
        self._new = count()

    def take(self, number: int, profiles: Sequence[int]) -> list[Route]:
        """The next `number` routes."""
        return [
            self._names.route(profiles[next(self._turn) % len(profiles)]) for _ in range(number)
        ]

    def new_profile(self) -> Route:
        """A route of a profile that nobody has used yet: it sets a header of its own."""
        header = f"x-new-{self._prefix}-{next(self._new)}"
        options = {"headers": {"request": {"set": {header: "1"}}}}
        return self._names.route(next(self._turn) % len(PROFILES), options)

    def __iter__(self) -> Iterator[Route]:
        while True:
            yield from self.take(1, range(len(PROFILES)))
