"""Whether the front server is alive and ready, on the wire."""

from __future__ import annotations

import msgspec

from frontserver.model.status import ProxyStatus
from frontserver.wire.problems import Problem


class Alive(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /health: the process answers."""

    success: bool = True
    status: str = "ok"
    version: str


class ProxyView(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """HAProxy as its reconciler sees it. `in_step`: it runs all that is stored.

    `warnings` are things to mend that stop nothing, such as a changed template that is refused.
    """

    reachable: bool
    in_step: bool
    applied_revision: int
    stored_revision: int
    version: str | None
    reason: str | None
    counts: dict[str, int]
    warnings: list[str]


class Ready(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /health/ready with status 200."""

    success: bool = True
    status: str = "ready"
    version: str
    haproxy: ProxyView


class Unready(Problem, rename="camel", frozen=True, kw_only=True):
    """GET /health/ready with status 503: a problem that names every reason."""

    reasons: list[str]
    version: str
    haproxy: ProxyView


def proxy_view(status: ProxyStatus) -> ProxyView:
    """`status` as health answers show it."""
    return ProxyView(
        reachable=status.reachable,
        in_step=status.in_step,
        applied_revision=status.applied_revision,
        stored_revision=status.stored_revision,
        version=status.version,
        reason=status.reason,
        counts=status.counts,
        warnings=list(status.warnings),
    )
