"""From a request to the route of the model that it asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from msgspec import UNSET, UnsetType

from frontserver.errors import InputError
from frontserver.model.names import AgentId, DomainName, PathPrefix, Subdomain
from frontserver.model.routes import (
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    HostHeader,
    HttpRoute,
    MongoRoute,
    OriginTls,
    ProfileName,
    StatusRange,
    Target,
    Timeouts,
)
from frontserver.model.targets import HostPort, TargetUrl
from frontserver.wire.routes.options import (
    STICKY_COOKIE,
    CheckOptions,
    Duration,
    HeaderEditOptions,
    HttpOptions,
    MongoOptions,
    OriginTlsOptions,
    StickyOptions,
    TargetOptions,
    TimeoutOptions,
)
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest

P = ParamSpec("P")
T = TypeVar("T")

_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,3})?)(?P<unit>ms|s|m|h|d)?")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_HEADERS = 32


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
        profile=_profile(options.profile),
    )


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


def path_prefix(path: str | UnsetType) -> PathPrefix:
    """Where the route begins that a request names. Raises `InputError`."""
    return PathPrefix() if path is UNSET else PathPrefix(path)


def duration_ms(value: Duration) -> int:
    """Milliseconds of a wire duration: seconds as a number, or text with a unit."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise InputError("", 'a duration is seconds as a number, or text such as "30s", "500ms"')
    return round(float(match["number"]) * _UNIT_MS[match["unit"] or "s"])


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
        return STICKY_COOKIE if option else None
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


def _profile(option: str | None) -> ProfileName | None:
    return None if option is None else _at("options.profile", ProfileName, option)


def _origin_tls(option: OriginTlsOptions) -> OriginTls:
    path = "options.originTls.serverName"
    name = _at(path, DomainName, option.server_name) if option.server_name is not None else None
    return OriginTls(verify=option.verify, server_name=name, ca_pem=option.ca)
