"""What handlers ask for by name, so that a signature says what its handler needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation

from frontserver.api.peers import PeerAddresses
from frontserver.api.preferences import Wait, preferred_wait
from frontserver.model.names import AgentId
from frontserver.security.principals import Principal
from frontserver.services.agents import AgentService
from frontserver.services.certificates import CertificateService
from frontserver.services.ports import Publisher
from frontserver.services.routes import RouteService

Agents = NamedDependency[SkipValidation[AgentService]]
Routes = NamedDependency[SkipValidation[RouteService]]
Certificates = NamedDependency[SkipValidation[CertificateService]]
Proxy = NamedDependency[SkipValidation[Publisher]]
# The caller, whoever it is.
Caller = NamedDependency[SkipValidation[Principal]]
# The agent in the path, once the caller is known to be that agent or an operator.
OwnAgent = NamedDependency[SkipValidation[AgentId]]
# The caller's address, as far as it can be known.
Peer = NamedDependency[str]


class Call(msgspec.Struct, frozen=True):
    """Who calls the routes' service, from where, and how long the answer may take.

    One dependency, since it is for requests that must be quick: Litestar gives each of several
    a task of its own.
    """

    routes: RouteService
    principal: Principal
    peer: str
    wait: Wait


RouteCall = NamedDependency[SkipValidation[Call]]


def caller(request: Request[Any, Any, Any]) -> Principal:
    """The principal that the authentication middleware found."""
    return cast("Principal", request.user)


def own_agent(
    agentId: FromPath[str],  # noqa: N803 - the path's parameter, as the API names it
    principal: Caller,
) -> AgentId:
    """The agent that the path names. Raises `PermissionDeniedError` unless it is the caller's."""
    agent_id = AgentId(agentId)
    principal.require_agent(agent_id)
    return agent_id


def providers(
    *,
    agents: AgentService,
    routes: RouteService,
    certificates: CertificateService,
    publisher: Publisher,
    peers: PeerAddresses,
) -> dict[str, Provide]:
    """The dependencies of all handlers, by the names that they use."""

    def peer(request: Request[Any, Any, Any]) -> str:
        return peers(request)

    def call(request: Request[Any, Any, Any]) -> Call:
        return Call(routes, caller(request), peers(request), preferred_wait(request))

    provided: dict[str, Callable[..., object]] = {
        "agents": lambda: agents,
        "routes": lambda: routes,
        "certificates": lambda: certificates,
        "publisher": lambda: publisher,
        "principal": caller,
        "own_agent": own_agent,
        "peer": peer,
        "call": call,
    }
    return {name: Provide(provide, sync_to_thread=False) for name, provide in provided.items()}
