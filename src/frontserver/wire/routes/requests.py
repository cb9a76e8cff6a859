"""Requests about routes."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from frontserver.wire.routes.options import HttpOptions, MongoOptions


class HttpRouteRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/proxy/http. Unknown top-level fields are ignored (`expectedDomain`).

    The route has everything of its domain from `path` on that no longer path has; `/` by default.
    """

    agent_id: str
    subdomain: str
    target_url: str | None = None
    options: HttpOptions | None = None
    path: str | UnsetType = UNSET


class MongoRouteRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/proxy/mongodb."""

    agent_id: str
    target_host: str | None = None
    target_port: int = 27017
    options: MongoOptions | None = None


class LegacyMongoRequest(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/mongodb/register, as older agents send it."""

    agent_id: str
    target_ip: str
    target_port: int = 27017
    use_tls: bool = True


class RemoveRequest(msgspec.Struct, rename="camel", frozen=True):
    """DELETE /api/proxy, as a body or as query parameters."""

    agent_id: str
    subdomain: str | None = None
    type: str = "http"
    path: str | UnsetType = UNSET
