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
    """The state of one route at one revision; `reason` is for people.

    `reload` is why this revision needed a reload of HAProxy, or waits for one: a word such as
    `new-profile`. It isn't stored.
    """

    state: RouteState
    revision: int = 0
    reason: str | None = None
    health: Health = Health.UNKNOWN
    reload: str | None = None


class ProxyStatus(msgspec.Struct, frozen=True):
    """One HAProxy as its reconciler sees it, for /health/ready and /metrics.

    `reload_waits` is why a reload that is due is put off: one word of a small set. Old workers are
    those that a reload replaced and that still have connections; `old_worker_bytes` is their
    resident memory together. `slots` are all backends of all pools, `spare_slots` the free ones.
    `disk_behind_seconds` is the age of the oldest change that isn't on disk yet. `warnings` are
    for people: things to mend that stop nothing.
    """

    reachable: bool
    in_step: bool
    applied_revision: int
    stored_revision: int
    version: str | None = None
    reason: str | None = None
    counts: dict[str, int] = {}
    reload_waits: str | None = None
    old_workers: int = 0
    old_worker_bytes: int = 0
    profiles: int = 0
    slots: int = 0
    spare_slots: int = 0
    disk_behind_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


PENDING = RouteStatus(RouteState.PENDING)
