"""What became of a route: whether HAProxy runs it, and whether its origin answers."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RouteState(StrEnum):
    """`active` is read back from HAProxy; `pending` is stored and being brought in."""

    ACTIVE = "active"
    PENDING = "pending"
    FAILED = "failed"


class Health(StrEnum):
    """Whether the origin answers its checks; `unknown` without checks."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class RouteStatus(msgspec.Struct, frozen=True):
    """The state of one route at one revision; `reason` is for people."""

    state: RouteState
    revision: int = 0
    reason: str | None = None
    health: Health = Health.UNKNOWN


class ProxyStatus(msgspec.Struct, frozen=True):
    """One HAProxy as its reconciler sees it, for /health/ready. Times in seconds since start."""

    reachable: bool
    in_step: bool
    applied_revision: int
    stored_revision: int
    version: str | None = None
    reason: str | None = None
    counts: dict[str, int] = {}


PENDING = RouteStatus(RouteState.PENDING)
