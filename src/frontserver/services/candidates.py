"""Requests for routes, judged by themselves: what may be stored if nothing there stands against it.

One at a time or many together, every route comes in through here.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from frontserver.model.names import RESERVED_SUBDOMAINS, AgentId
from frontserver.model.routes import Route, RouteKey
from frontserver.model.targets import TargetPolicy
from frontserver.planning.compile import profile_of
from frontserver.planning.compiled import Profile
from frontserver.security.principals import Principal
from frontserver.services.admission import (
    check_http_targets,
    check_profile,
    check_target,
    normalised_ca,
)
from frontserver.services.views import details
from frontserver.storage.routes import RouteReader, RouteRequest, encode_request
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest
from frontserver.wire.routes.translation import http_route, mongo_route


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A route that is valid by itself; `request` is its stored form.

    `details` is what the audit keeps of it, `profile` what an HTTP route needs of HAProxy.
    """

    route: Route
    request: str
    profile: Profile | None
    details: dict[str, Any]

    @property
    def key(self) -> RouteKey:
        return self.route.key

    @property
    def agent_id(self) -> AgentId:
        return self.route.agent_id


class Candidates:
    """Makes candidates of requests, by the operator's rules."""

    def __init__(
        self,
        reader: RouteReader,
        *,
        policy: TargetPolicy,
        reserved: frozenset[str],
        profiles: frozenset[str],
    ) -> None:
        """`reserved` are subdomains beside those that are always reserved.

        `profiles` are those of the operator's that routes may ask for.
        """
        self._reader = reader
        self._policy = policy
        self._reserved = RESERVED_SUBDOMAINS | reserved
        self._profiles = profiles

    def http(self, request: HttpRouteRequest, principal: Principal) -> Candidate:
        """The candidate of an HTTP route. Raises `InputError` and `PermissionDeniedError`."""
        agent_id = AgentId(request.agent_id)
        principal.require_agent(agent_id)
        request = normalised_ca(request)
        route = http_route(
            request,
            app_domain=self._reader.app_domain,
            tls_available=self._reader.tls_available,
            reserved=self._reserved,
        )
        check_http_targets(request, self._policy)
        check_profile(route.profile, self._profiles)
        request = msgspec.structs.replace(
            request,
            agent_id=str(agent_id),
            subdomain=str(route.subdomain),
            path=UNSET if route.path.is_root else str(route.path),
        )
        return _candidate(route, request, profile_of(route))

    def mongodb(
        self, request: MongoRouteRequest, principal: Principal, default_host: str
    ) -> Candidate:
        """The candidate of a MongoDB route; without a target host it has the default one.

        Raises `InputError` and `PermissionDeniedError`.
        """
        agent_id = AgentId(request.agent_id)
        principal.require_agent(agent_id)
        route = mongo_route(
            request, mongo_domain=self._reader.mongo_domain, default_host=default_host
        )
        check_target("targetHost", route.target, self._policy)
        request = msgspec.structs.replace(
            request, agent_id=str(agent_id), target_host=str(route.target.host)
        )
        return _candidate(route, request)


def _candidate(route: Route, request: RouteRequest, profile: Profile | None = None) -> Candidate:
    return Candidate(
        route=route,
        request=encode_request(request),
        profile=profile,
        details=details(route.agent_id, request),
    )
