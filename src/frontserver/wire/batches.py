"""Many routes in one request, on the wire: POST /api/proxy/routes."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest


class HttpEntry(HttpRouteRequest, frozen=True, kw_only=True):
    """An HTTP route of a batch: what POST /api/proxy/http takes."""

    type: Literal["http"] = "http"


class MongoEntry(MongoRouteRequest, frozen=True, kw_only=True):
    """A MongoDB route of a batch: what POST /api/proxy/mongodb takes, and its type."""

    type: Literal["mongodb"]


class BatchRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/proxy/routes: routes of one agent or, for an operator, of any.

    What the lists of routes show can be sent as it is: what isn't asked for here is ignored.
    """

    routes: list[HttpEntry | MongoEntry]


class RouteOutcome(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What became of one route of a batch.

    `change` is created, updated, or unchanged where it was stored just so. `status`, `reason` and
    `reload` are those of a route; `path` is absent where it begins at `/`.
    """

    type: str
    agent_id: str
    domain: str
    subdomain: str | UnsetType = UNSET
    path: str | UnsetType = UNSET
    connection_string: str | UnsetType = UNSET
    change: Literal["created", "updated", "unchanged"]
    status: str
    reason: str | UnsetType = UNSET
    reload: str | UnsetType = UNSET


class BatchCounts(msgspec.Struct, frozen=True):
    """How many routes of a batch are in each state."""

    active: int
    pending: int
    failed: int


class BatchAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The answer to POST /api/proxy/routes; `routes` are in the order of the request."""

    success: bool = True
    message: str
    counts: BatchCounts
    routes: list[RouteOutcome]
