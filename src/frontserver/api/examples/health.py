"""Sample answers about health."""

from __future__ import annotations

from frontserver.wire.health import Alive, ProxyView, Ready, Unready

_PROXY = ProxyView(
    reachable=True,
    in_step=True,
    applied_revision=42,
    stored_revision=42,
    version="2.8.25",
    reason=None,
    counts={"active": 39, "pending": 0, "failed": 1},
    warnings=[],
)
_REASON = "HAProxy runs revision 41 of 42"

ALIVE = Alive(version="0.1.0")
READY = Ready(version="0.1.0", haproxy=_PROXY)
UNREADY = Unready(
    type="/problems/not-ready",
    title="Not ready",
    status=503,
    detail=_REASON,
    success=False,
    error=_REASON,
    message=_REASON,
    code=503,
    instance="urn:uuid:6c1f5c5e-3b0e-4b06-9d43-0a6d1b9fb7a1",
    reasons=[_REASON],
    version="0.1.0",
    haproxy=ProxyView(
        reachable=True,
        in_step=False,
        applied_revision=41,
        stored_revision=42,
        version="2.8.25",
        reason=None,
        counts={"active": 38, "pending": 1, "failed": 1},
        warnings=["the changed templates aren't used: custom/global.cfg.j2:3: unexpected '}'"],
    ),
)
METRICS = """\
# HELP frontserver_reloads_total Reloads of HAProxy; one with several reasons counts for each.
# TYPE frontserver_reloads_total counter
frontserver_reloads_total{reason="pool-refill"} 2.0
"""
