"""Model → compiled configuration, one route at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from frontserver.errors import InputError
from frontserver.model.routes import (
    Balance,
    HeaderEdits,
    HealthCheck,
    HostHeader,
    HttpRoute,
    MongoRoute,
    Route,
    Target,
)
from frontserver.model.targets import HostPort
from frontserver.planning.compiled import (
    FLAGS,
    HOSTS,
    MAINTENANCE,
    PATHS,
    PLAIN_ONLY,
    REDIRECT_HTTPS,
    SNI,
    SYSTEM_CA,
    TIMEOUT_SERVER,
    TIMEOUT_TUNNEL,
    VALUES,
    CaFile,
    CheckTiming,
    CompiledRoute,
    Extension,
    Profile,
    Server,
    ServerTls,
    SlotValue,
    ca_name,
    digest,
)
from frontserver.planning.limits import MONGO_CHECK

# `source` and `uri` must hash consistently: HAProxy adds no servers to map-based hashes.
_BALANCE = {
    Balance.SOURCE: "source",
    Balance.URI: "uri",
    Balance.ROUNDROBIN: "roundrobin",
    Balance.LEASTCONN: "leastconn",
    Balance.FIRST: "first",
    Balance.RANDOM: "random",
}

HTTP_PROFILE = Profile(mode="http")
MONGO_PROFILE = Profile(mode="tcp")

# Loaded from the first start, with spare slots, so that ordinary routes never wait for a reload.
STANDARD_PROFILES = (
    HTTP_PROFILE,
    Profile(mode="http", check="connect"),
    Profile(mode="http", check="http", check_expect="200-399"),
    MONGO_PROFILE,
    Profile(mode="tcp", check="connect"),
)


def unresolved_hosts(route: Route, addresses: Mapping[str, str]) -> tuple[str, ...]:
    """The host names of a route that `addresses` doesn't know yet."""
    return tuple(sorted(host for host in named_hosts(route) if host not in addresses))


def named_hosts(route: Route) -> frozenset[str]:
    """The targets' hosts that are names, not addresses."""
    if isinstance(route, MongoRoute):
        origins = [route.target]
    else:
        origins = [target.url.origin for target in route.targets]
    return frozenset(origin.host for origin in origins if origin.address is None)


def compile_route(
    route: Route, addresses: Mapping[str, str], extensions: Iterable[Extension] | None = None
) -> CompiledRoute:
    """What HAProxy needs for `route`.

    `addresses` maps every host name among the targets to one IP address; HAProxy's dynamic
    servers never resolve names themselves. Raises `KeyError` for a name it lacks, and
    `InputError` for a route whose profile isn't among the operator's `extensions`; without them
    any is taken to exist.
    """
    if isinstance(route, MongoRoute):
        return _compile_mongo(route, addresses)
    return _compile_http(route, addresses, extensions)


def _compile_mongo(route: MongoRoute, addresses: Mapping[str, str]) -> CompiledRoute:
    check = MONGO_CHECK if route.check else None
    server = Server(_address(route.target, addresses), route.target.port, check=check)
    return CompiledRoute(
        key=route.key,
        profile=Profile(mode="tcp", check="connect" if route.check else "none"),
        servers=(server,),
        routing=((SNI, route.domain),),
    )


def _compile_http(
    route: HttpRoute, addresses: Mapping[str, str], extensions: Iterable[Extension] | None
) -> CompiledRoute:
    ca = _ca_file(route)
    servers: dict[str, Server] = {}
    for server in (_server(route, target, ca, addresses) for target in route.targets):
        same = servers.get(server.name)
        if same is None or same.weight < server.weight:
            servers[server.name] = server
    return CompiledRoute(
        key=route.key,
        profile=profile_of(route, extensions),
        servers=tuple(servers[name] for name in sorted(servers)),
        routing=(_entry(route),),
        values=tuple(sorted(_values(route))),
        ca_files=(ca,) if ca else (),
    )


def _address(origin: HostPort, addresses: Mapping[str, str]) -> str:
    return origin.host if origin.address else addresses[origin.host]


def _entry(route: HttpRoute) -> tuple[str, str]:
    # The `/` at the end keeps /apix out of /api, since beginnings are compared.
    return (HOSTS, route.domain) if route.path.is_root else (PATHS, f"{route.domain}{route.path}/")


def _extension(route: HttpRoute, extensions: Iterable[Extension] | None) -> Extension | None:
    if route.profile is None:
        return None
    if extensions is None:
        return Extension(str(route.profile), version="")
    for extension in extensions:
        if extension.name == route.profile:
            return extension
    raise InputError("options.profile", f"the operator has no profile '{route.profile}' any more")


def profile_of(route: HttpRoute, extensions: Iterable[Extension] | None = None) -> Profile:
    """The structure of a route's rules. `extensions` as for `compile_route`."""
    extension = _extension(route, extensions)
    check = route.check
    return Profile(
        mode="http",
        balance=_BALANCE[route.balance],
        cookie=route.sticky,
        connect_ms=route.timeouts.connect_ms,
        queue_ms=route.timeouts.queue_ms,
        check="none" if check is None else "connect" if check.path is None else "http",
        check_expect=str(check.expect) if check and check.path else None,
        check_timeout_ms=check.timeout_ms if check else None,
        rewrite_host=route.host_header != HostHeader.PRESERVE,
        set_request=tuple(name for name, _ in route.request_headers.set),
        remove_request=route.request_headers.remove,
        set_response=tuple(name for name, _ in route.response_headers.set),
        remove_response=route.response_headers.remove,
        extension=extension,
    )


def _server(
    route: HttpRoute, target: Target, ca: CaFile | None, addresses: Mapping[str, str]
) -> Server:
    address = _address(target.url.origin, addresses)
    return Server(
        address=address,
        port=target.url.origin.port,
        weight=0 if target.drain else target.weight,
        backup=target.backup,
        maxconn=route.max_connections,
        # The origin's own identity, so that a changed weight doesn't lose its clients.
        cookie=digest(str(target.url)) if route.sticky else None,
        check=_timing(route.check),
        tls=_server_tls(route, target, ca),
    )


def _timing(check: HealthCheck | None) -> CheckTiming | None:
    return CheckTiming(check.interval_ms, check.rise, check.fall) if check else None


def _server_tls(route: HttpRoute, target: Target, ca: CaFile | None) -> ServerTls | None:
    if not target.url.tls:
        return None
    origin = target.url.origin
    name = route.origin_tls.server_name or (None if origin.address else origin.host)
    ca_name = ca.name if ca else SYSTEM_CA
    return ServerTls(ca_file=ca_name if route.origin_tls.verify else None, sni=name)


def _ca_file(route: HttpRoute) -> CaFile | None:
    pem = route.origin_tls.ca_pem
    if pem is None or not route.origin_tls.verify:
        return None
    return CaFile(name=ca_name(pem), pem=pem)


def _flags(route: HttpRoute) -> str:
    words = ""
    if route.redirect_https:
        words += REDIRECT_HTTPS
    if not route.use_tls:
        words += PLAIN_ONLY
    if route.maintenance:
        words += MAINTENANCE
    return words


def _values(route: HttpRoute) -> list[SlotValue]:
    values = [
        *_header_values("req", route.request_headers),
        *_header_values("res", route.response_headers),
    ]
    if flags := _flags(route):
        values.append(SlotValue(FLAGS, "", flags))
    if route.timeouts.server_ms is not None:
        values.append(SlotValue(TIMEOUT_SERVER, "", str(route.timeouts.server_ms)))
    if route.timeouts.tunnel_ms is not None:
        values.append(SlotValue(TIMEOUT_TUNNEL, "", str(route.timeouts.tunnel_ms)))
    if route.host_header != HostHeader.PRESERVE:
        values.append(SlotValue(VALUES, "/host", _sent_host(route)))
    if route.sticky and not route.path.is_root:
        values.append(SlotValue(VALUES, "/cookie-path", route.path))
    if route.check and route.check.path:
        values.append(SlotValue(VALUES, "/check-path", route.check.path))
        values.append(SlotValue(VALUES, "/check-host", route.check.host or _sent_host(route)))
    return values


def _header_values(direction: str, edits: HeaderEdits) -> list[SlotValue]:
    return [SlotValue(VALUES, f"/{direction}/{name}", value) for name, value in edits.set]


def _sent_host(route: HttpRoute) -> str:
    """The `Host` that the origin sees."""
    match route.host_header:
        case HostHeader.PRESERVE:
            return route.domain
        case HostHeader.TARGET:
            host = route.targets[0].url.origin.host
            return f"[{host}]" if ":" in host else host
        case name:
            return name
