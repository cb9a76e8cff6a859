"""Routes to plan with: small builders and a hypothesis strategy."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from frontserver.model.names import AgentId, DomainName, PathPrefix, Subdomain
from frontserver.model.routes import (
    Balance,
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    HostHeader,
    HttpRoute,
    MongoRoute,
    OriginTls,
    Route,
    RouteKey,
    Target,
    Timeouts,
)
from frontserver.model.targets import HostPort, TargetUrl
from frontserver.planning.compile import STANDARD_PROFILES, compile_route
from frontserver.planning.compiled import CompiledConfig, CompiledRoute, Frontends
from frontserver.planning.layout import PoolPolicy

FRONTENDS = Frontends(
    http_binds=(HostPort("127.0.0.1", 80),),
    https_binds=(),
    mongo_binds=(HostPort("127.0.0.1", 27017),),
    runtime_socket="/run/runtime.sock",
)
POLICY = PoolPolicy(STANDARD_PROFILES, spare=4)
SCARCE = PoolPolicy((), spare=0)


def http(name: str = "shop", *urls: str, **options: Any) -> HttpRoute:
    """An HTTP route to the given targets."""
    return HttpRoute(
        agent_id=AgentId("a1"),
        subdomain=Subdomain(name),
        domain=DomainName(f"{name}.apps.example.com"),
        targets=tuple(Target(TargetUrl.parse(url)) for url in urls or ("http://10.0.0.1:3000",)),
        **options,
    )


def mongo(name: str = "a1", host: str = "10.0.0.1", **options: Any) -> MongoRoute:
    """A MongoDB route to the given host."""
    return MongoRoute(
        agent_id=AgentId(name),
        domain=DomainName(f"{name}.mongodb.example.com"),
        target=HostPort(host, 27017),
        **options,
    )


def compiled(*routes: Route) -> dict[RouteKey, CompiledRoute | None]:
    """The routes, compiled, by key."""
    return {route.key: compile_route(route, {"db.internal": "10.9.9.9"}) for route in routes}


def config(*routes: Route, frontends: Frontends = FRONTENDS) -> CompiledConfig:
    """A configuration of these routes."""
    return CompiledConfig(frontends).with_routes(compiled(*routes))


def http_named(route: HttpRoute) -> HttpRoute:
    """The route under the domain that belongs to its subdomain."""
    return msgspec.structs.replace(route, domain=DomainName(f"{route.subdomain}.apps.example.com"))


_EDITS = st.builds(
    HeaderEdits,
    set=st.sampled_from([(), ((HeaderName("x-a"), HeaderValue("1; 2")),)]),
    remove=st.sampled_from([(), (HeaderName("server"),)]),
)
_TARGETS = st.lists(
    st.builds(
        Target,
        st.sampled_from([TargetUrl.parse(f"http://10.0.0.{n}:80") for n in range(1, 5)]),
        weight=st.sampled_from([1, 100]),
        drain=st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda target: target.url,
).map(tuple)

HTTP_ROUTES = st.builds(
    HttpRoute,
    agent_id=st.just(AgentId("a1")),
    subdomain=st.sampled_from([Subdomain(f"s{n}") for n in range(6)]),
    domain=st.just(DomainName("replaced.example.com")),
    targets=_TARGETS,
    path=st.sampled_from([PathPrefix("/"), PathPrefix("/api"), PathPrefix("/api/v2")]),
    maintenance=st.booleans(),
    use_tls=st.booleans(),
    redirect_https=st.booleans(),
    check=st.sampled_from([None, HealthCheck(), HealthCheck(path="/h"), HealthCheck(path="/i")]),
    balance=st.sampled_from(Balance),
    sticky=st.sampled_from([None, CookieName("C")]),
    timeouts=st.sampled_from([Timeouts(), Timeouts(server_ms=10), Timeouts(queue_ms=20)]),
    request_headers=_EDITS,
    response_headers=_EDITS,
    max_connections=st.sampled_from([None, 5]),
    host_header=st.sampled_from([HostHeader.PRESERVE, DomainName("other.example.com")]),
    origin_tls=st.just(OriginTls()),
).map(http_named)
MONGO_ROUTES = st.builds(
    mongo, st.sampled_from(["a1", "a2"]), st.sampled_from(["10.0.0.1", "10.0.0.2"])
)


ROUTE_SETS = st.lists(
    st.one_of(HTTP_ROUTES, MONGO_ROUTES), max_size=8, unique_by=lambda route: route.key
)
