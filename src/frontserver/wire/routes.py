"""Routes and their options, on the wire, and their translation into the model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from frontserver.errors import InputError
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
    StatusRange,
    Target,
    Timeouts,
)
from frontserver.model.targets import HostPort, TargetUrl

P = ParamSpec("P")
T = TypeVar("T")

# Seconds as a number, or a string with a unit: "250ms", "30s", "5m", "1h", "1d".
Duration = int | float | str

_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,3})?)(?P<unit>ms|s|m|h|d)?")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_STICKY_COOKIE = CookieName("FSID")


class _Options(
    msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Inside `options` an unknown field is a mistake, not something to ignore."""


class CheckOptions(_Options, frozen=True):
    """An active check of the origin; without `path` it only connects."""

    path: str | None = None
    interval: Duration = 2
    timeout: Duration | None = None
    rise: int = 2
    fall: int = 3
    expect_status: int | str | None = None
    host: str | None = None


class TargetOptions(_Options, frozen=True):
    """One of several origins. One that drains gets no new visitors; sticky ones come back."""

    url: str
    weight: int = 100
    backup: bool = False
    drain: bool = False


class StickyOptions(_Options, frozen=True):
    """Stickiness by a cookie of this name."""

    cookie: str = _STICKY_COOKIE


class TimeoutOptions(_Options, frozen=True):
    """Each is the operator's where it isn't given."""

    connect: Duration | None = None
    server: Duration | None = None
    queue: Duration | None = None
    tunnel: Duration | None = None


class HeaderEditOptions(_Options, frozen=True):
    """Fields to set (replacing what is there) and fields to remove."""

    set: dict[str, str] = {}
    remove: list[str] = []


class HeaderOptions(_Options, frozen=True):
    """Edits on the way to the origin and on the way back."""

    request: HeaderEditOptions = HeaderEditOptions()
    response: HeaderEditOptions = HeaderEditOptions()


class OriginTlsOptions(_Options, frozen=True):
    """For `https://` targets; `ca` is PEM text."""

    verify: bool = True
    server_name: str | None = None
    ca: str | None = None


class HttpOptions(_Options, frozen=True):
    """All options of an HTTP route; every one may be left out.

    Under `maintenance` visitors get 503 with `Retry-After`, and targets hear of nobody.
    """

    use_tls: bool | UnsetType = UNSET
    redirect_https: bool = False
    check: bool | CheckOptions = False
    targets: list[TargetOptions] = []
    balance: Balance = Balance.ROUNDROBIN
    sticky: bool | StickyOptions = False
    timeouts: TimeoutOptions = TimeoutOptions()
    headers: HeaderOptions = HeaderOptions()
    max_connections: int | None = None
    host_header: str = HostHeader.PRESERVE.value
    origin_tls: OriginTlsOptions = OriginTlsOptions()
    maintenance: bool = False


class MongoOptions(_Options, frozen=True):
    """Options of a MongoDB route. `useTls: false` is refused: names are chosen by TLS SNI."""

    use_tls: bool = True
    check: bool = False


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


class RouteView(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A route as lists show it. `status` is active, pending or failed; `reason` says why.

    `path` is absent where a route begins at `/`.
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


class RouteAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """GET /api/proxy/routes/{type}/{name}: one route, where a `Location` of a 202 points."""

    success: bool = True
    status: str
    reason: str | UnsetType = UNSET
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


def duration_ms(value: Duration) -> int:
    """Milliseconds of a wire duration: seconds as a number, or text with a unit."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise InputError("", 'a duration is seconds as a number, or text such as "30s", "500ms"')
    return round(float(match["number"]) * _UNIT_MS[match["unit"] or "s"])


def http_route(
    request: HttpRouteRequest,
    *,
    app_domain: str,
    tls_available: bool,
    reserved: frozenset[str] | None = None,
) -> HttpRoute:
    """The route that a request asks for. Raises `InputError` with the path of the bad field.

    `tls_available` is whether the operator has an HTTPS certificate: the default of `useTls`.
    """
    options = request.options or HttpOptions()
    agent_id = AgentId(request.agent_id)
    subdomain = (
        Subdomain(request.subdomain)
        if reserved is None
        else Subdomain(request.subdomain, reserved=reserved)
    )
    if options.redirect_https and not (tls_available and options.use_tls is not False):
        raise InputError(
            "options.redirectHttps",
            "this domain isn't served over HTTPS, so it can't redirect there",
            hint="leave useTls on, and ask the operator for an HTTPS certificate",
        )
    return _at(
        "options",
        HttpRoute,
        agent_id=agent_id,
        subdomain=subdomain,
        domain=_at("subdomain", DomainName, f"{subdomain}.{app_domain}"),
        path=path_prefix(request.path),
        targets=_targets(request.target_url, options.targets),
        use_tls=tls_available and options.use_tls is not False,
        redirect_https=options.redirect_https,
        check=_check(options.check),
        balance=options.balance,
        sticky=_sticky(options.sticky),
        timeouts=_timeouts(options.timeouts),
        request_headers=_edits("options.headers.request", options.headers.request),
        response_headers=_edits("options.headers.response", options.headers.response),
        max_connections=options.max_connections,
        host_header=_host_header(options.host_header),
        origin_tls=_origin_tls(options.origin_tls),
        maintenance=options.maintenance,
    )


def path_prefix(path: str | UnsetType) -> PathPrefix:
    """Where the route begins that a request names. Raises `InputError`."""
    return PathPrefix() if path is UNSET else PathPrefix(path)


def mongo_route(request: MongoRouteRequest, *, mongo_domain: str, default_host: str) -> MongoRoute:
    """The route that a request asks for; without a target host it is the agent's own address."""
    options = request.options or MongoOptions()
    if not options.use_tls:
        raise InputError(
            "options.useTls",
            "MongoDB routes share one port and are told apart by TLS SNI, so TLS can't be off",
        )
    agent_id = AgentId(request.agent_id)
    if not 1 <= request.target_port <= 65535:
        raise InputError("targetPort", f"{request.target_port} is not a TCP port: 1 to 65535")
    return MongoRoute(
        agent_id=agent_id,
        domain=_at("agentId", DomainName, f"{agent_id}.{mongo_domain}"),
        target=_at(
            "targetHost",
            HostPort,
            _without_brackets(request.target_host or default_host),
            request.target_port,
        ),
        check=options.check,
    )


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _at(field: str, build: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `build`; a refusal without a field of its own gets this one."""
    try:
        return build(*args, **kwargs)
    except InputError as error:
        if error.field.startswith(("options", "targetUrl", "agentId", "subdomain")):
            raise
        raise error.under(field) from error


def _targets(target_url: str | None, extra: list[TargetOptions]) -> tuple[Target, ...]:
    targets = [Target(_at("targetUrl", TargetUrl.parse, target_url))] if target_url else []
    for index, option in enumerate(extra):
        path = f"options.targets[{index}]"
        url = _at(f"{path}.url", TargetUrl.parse, option.url)
        target = _at(path, Target, url, option.weight, option.backup, option.drain)
        if target.url in {known.url for known in targets[:1]} and target_url:
            targets[0] = target  # Named again with its weight: the longer form counts.
        else:
            targets.append(target)
    return tuple(targets)


def _check(option: bool | CheckOptions) -> HealthCheck | None:
    if isinstance(option, bool):
        return HealthCheck() if option else None
    path = "options.check"
    return _at(
        path,
        HealthCheck,
        path=option.path,
        host=_at(f"{path}.host", DomainName, option.host) if option.host is not None else None,
        expect=_at(f"{path}.expectStatus", _status_range, option.expect_status),
        interval_ms=_at(f"{path}.interval", duration_ms, option.interval),
        timeout_ms=_optional_ms(f"{path}.timeout", option.timeout),
        rise=option.rise,
        fall=option.fall,
    )


def _status_range(value: int | str | None) -> StatusRange:
    if value is None:
        return StatusRange()
    match = re.fullmatch(r"([0-9]{3})(?:-([0-9]{3}))?", str(value))
    if match is None:
        raise InputError("", "expectStatus is a status from 100 to 599, or a range low-high")
    return StatusRange(int(match[1]), int(match[2] or match[1]))


def _sticky(option: bool | StickyOptions) -> CookieName | None:
    if isinstance(option, bool):
        return _STICKY_COOKIE if option else None
    return _at("options.sticky.cookie", CookieName, option.cookie)


def _timeouts(option: TimeoutOptions) -> Timeouts:
    path = "options.timeouts"
    return _at(
        path,
        Timeouts,
        connect_ms=_optional_ms(f"{path}.connect", option.connect),
        server_ms=_optional_ms(f"{path}.server", option.server),
        queue_ms=_optional_ms(f"{path}.queue", option.queue),
        tunnel_ms=_optional_ms(f"{path}.tunnel", option.tunnel),
    )


def _optional_ms(field: str, value: Duration | None) -> int | None:
    return None if value is None else _at(field, duration_ms, value)


_MOST_HEADERS = 32


def _edits(path: str, option: HeaderEditOptions) -> HeaderEdits:
    if len(option.set) + len(option.remove) > _MOST_HEADERS:
        raise InputError(path, f"at most {_MOST_HEADERS} headers can be changed")
    pairs = {
        _at(f"{path}.set", HeaderName, name): _at(f"{path}.set.{name[:64]}", HeaderValue, value)
        for name, value in option.set.items()
    }
    removed = {_at(f"{path}.remove", HeaderName, name) for name in option.remove}
    return HeaderEdits(set=tuple(sorted(pairs.items())), remove=tuple(sorted(removed)))


def _host_header(option: str) -> HostHeader | DomainName:
    if option in {HostHeader.PRESERVE, HostHeader.TARGET}:
        return HostHeader(option)
    return _at("options.hostHeader", DomainName, option)


def _origin_tls(option: OriginTlsOptions) -> OriginTls:
    path = "options.originTls.serverName"
    name = _at(path, DomainName, option.server_name) if option.server_name is not None else None
    return OriginTls(verify=option.verify, server_name=name, ca_pem=option.ca)
