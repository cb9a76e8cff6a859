"""Stored things as they are shown on the wire.

msgspec encodes no subclass of `str`, so names go out as plain text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from frontserver.errors import InputError
from frontserver.model.names import AgentId
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import RouteState, RouteStatus
from frontserver.storage.routes import RouteReader, RouteRecord, RouteRequest, decode_request
from frontserver.wire.routes.answers import RouteView
from frontserver.wire.routes.requests import HttpRouteRequest


def rfc3339(moment: datetime) -> str:
    """The time in UTC with seconds, such as `2030-01-31T12:00:00Z` (RFC 3339)."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def connection_string(domain: str, port: int) -> str:
    """How a client reaches a MongoDB route; credentials are the client's own matter."""
    return f"mongodb://{domain}:{port}/?tls=true&directConnection=true"


def served_status(reader: RouteReader, record: RouteRecord, known: RouteStatus) -> RouteStatus:
    """`known`, unless today's rules don't let the stored route be served at all."""
    try:
        reader.route(record.key.kind, record.request)
    except InputError as error:
        return RouteStatus(RouteState.FAILED, record.revision, error.message)
    return known


def route_view(reader: RouteReader, record: RouteRecord, status: RouteStatus) -> RouteView:
    """A route with its options as its owner gave them."""
    return RouteView(
        type=record.key.kind.value,
        agent_id=str(record.agent_id),
        domain=_domain(reader, record.key),
        status=status.state.value,
        reason=status.reason,
        reload=status.reload,
        health=status.health.value,
        created_at=rfc3339(record.created_at),
        updated_at=rfc3339(record.updated_at),
        **_request_members(record),
    )


def _domain(reader: RouteReader, key: RouteKey) -> str:
    below = reader.app_domain if key.kind is RouteKind.HTTP else reader.mongo_domain
    return f"{key.label}.{below}"


def _name_members(key: RouteKey) -> dict[str, str]:
    below = {} if key.path == "/" else {"path": key.path}
    return {"subdomain": key.label, **below}


def _request_members(record: RouteRecord) -> dict[str, Any]:
    """What the view takes from the request; of one that doesn't decode any more, its name."""
    name = _name_members(record.key) if record.key.kind is RouteKind.HTTP else {}
    try:
        request = decode_request(record.key.kind, record.request)
    except InputError:
        return {"options": {}, **name}
    return {**_asked_for(request), **name}


def _asked_for(request: RouteRequest) -> dict[str, Any]:
    """The options and the target of a request."""
    options = {} if request.options is None else msgspec.to_builtins(request.options)
    if isinstance(request, HttpRouteRequest):
        targets = [target.url for target in request.options.targets] if request.options else []
        return {"options": options, "target_url": request.target_url or next(iter(targets), None)}
    return {
        "options": options,
        "target_host": request.target_host,
        "target_port": request.target_port,
    }


def details(agent_id: AgentId, request: RouteRequest) -> dict[str, Any]:
    """What the audit keeps of a route: where it points and which options it names.

    Not their values: a header to set may be a credential.
    """
    asked = _asked_for(request)
    return {
        "agent": str(agent_id),
        "target": asked.get("target_url") or asked.get("target_host"),
        "options": sorted(asked["options"]),
    }


def mongod_port(record: RouteRecord | None) -> int:
    """The port where the agent's mongod listens: its route's target, or MongoDB's own."""
    return 27017 if record is None else _request_members(record).get("target_port", 27017)
