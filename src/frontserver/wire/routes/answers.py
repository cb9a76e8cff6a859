"""Routes as answers show them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class RouteView(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A route as lists show it. `status` is active, pending or failed; `reason` says why.

    `path` is absent where a route begins at `/`.
    `reload` is why it needed a reload of HAProxy, or waits for one; absent where none is needed.
    """

    type: str
    agent_id: str
    domain: str
    status: str
    options: dict[str, Any]
    created_at: str
    updated_at: str
    # A default factory, since `omit_defaults` would leave out a plain default.
    health: str = msgspec.field(default_factory=lambda: "unknown")
    subdomain: str | None = None
    path: str | None = None
    target_url: str | None = None
    target_host: str | None = None
    target_port: int | None = None
    reason: str | None = None
    reload: str | None = None


class RouteAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /api/proxy/routes/{type}/{name}: one route, where a `Location` of a 202 points."""

    success: bool = True
    status: str
    reason: str | UnsetType = UNSET
    reload: str | UnsetType = UNSET
    route: RouteView


class HttpRouteAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The answer to POST /api/proxy/http; `reason` says why `status` isn't active.

    `path` is absent where the route begins at `/`.
    """

    success: bool = True
    message: str
    agent_id: str
    subdomain: str
    domain: str
    path: str | UnsetType = UNSET
    target_url: str
    type: str = "http"
    status: str
    reason: str | UnsetType = UNSET
    reload: str | UnsetType = UNSET
    route: RouteView


class MongoRouteAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The answer to POST /api/proxy/mongodb; `target_ip` repeats `target_host`.

    `reason` says why `status` isn't active.
    """

    success: bool = True
    message: str
    agent_id: str
    domain: str
    connection_string: str
    target_host: str
    target_ip: str
    target_port: int
    use_tls: bool = True
    tls_enabled: bool = True
    type: str = "mongodb"
    status: str
    reason: str | UnsetType = UNSET
    reload: str | UnsetType = UNSET
    route: RouteView


class RouteList(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """GET /api/proxy/agents/{agentId} (with `agentId`) and GET /api/proxy/routes (with a count).

    `next` is the `after` parameter of the next page, absent on the last one.
    """

    # A default factory, since `omit_defaults` would leave out a plain default.
    success: bool = msgspec.field(default_factory=lambda: True)
    routes: list[RouteView]
    agent_id: str | None = None
    route_count: int | None = None
    next: str | None = None
