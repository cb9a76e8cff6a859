"""Routes as the product means them: defaults filled in, every value checked.

A route's options are what its owner asked for, in the product's units (milliseconds).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from frontserver.errors import InputError
from frontserver.model.names import AgentId, DomainName, PathPrefix, Subdomain, shown
from frontserver.model.targets import HostPort, TargetUrl


class RouteKind(StrEnum):
    """The two kinds of routes, under the names that agents use for them."""

    HTTP = "http"
    MONGODB = "mongodb"


class RouteKey(msgspec.Struct, frozen=True, order=True):
    """What identifies a route: its kind and its name.

    That is the label below the kind's domain, and for an HTTP route that begins below the root the
    path after it: `shop`, `shop/api`.
    """

    kind: RouteKind
    name: str

    @classmethod
    def http(cls, subdomain: Subdomain, path: PathPrefix) -> RouteKey:
        """The key of an HTTP route."""
        return cls(RouteKind.HTTP, str(subdomain) if path.is_root else f"{subdomain}{path}")

    @property
    def label(self) -> str:
        """The label below the kind's domain."""
        return self.name.partition("/")[0]

    @property
    def path(self) -> str:
        """Where the route begins below its domain; `/` for all of it."""
        return "/" + self.name.partition("/")[2]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Balance(StrEnum):
    """Load balancing algorithms; those that hash do so consistently."""

    ROUNDROBIN = "roundrobin"
    LEASTCONN = "leastconn"
    FIRST = "first"
    RANDOM = "random"
    SOURCE = "source"
    URI = "uri"


class HostHeader(StrEnum):
    """What the origin sees as `Host` when it isn't a fixed name."""

    PRESERVE = "preserve"
    TARGET = "target"


_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{0,1023}")

# Hop-by-hop fields (RFC 9110 section 7.6.1), framing, and what the front server itself sets.
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    }
)


class HeaderName(str):
    """A header field that a route may set or remove, in lower case. Raises `InputError`."""

    __slots__ = ()

    def __new__(cls, value: str) -> HeaderName:
        lowered = value.lower() if value.isascii() else value
        if not _HEADER_NAME.fullmatch(lowered):
            raise InputError(
                "", f"{shown(value)} is not a header name: letters, digits, '-' and '_'"
            )
        if lowered in _OURS:
            raise InputError("", f"{shown(value)} is hop-by-hop or set by the front server")
        return super().__new__(cls, lowered)


class HeaderValue(str):
    """A header value: printable ASCII, no outer blanks, at most 4,096 characters."""

    __slots__ = ()

    def __new__(cls, value: str) -> HeaderValue:
        if not _PRINTABLE.fullmatch(value):
            raise InputError(
                "", "a header value is 1 to 4096 printable ASCII characters without outer blanks"
            )
        return super().__new__(cls, value)


class HeaderEdits(msgspec.Struct, frozen=True):
    """Fields to remove, then fields to set, each sorted by name."""

    set: tuple[tuple[HeaderName, HeaderValue], ...] = ()
    remove: tuple[HeaderName, ...] = ()


class StatusRange(msgspec.Struct, frozen=True):
    """Inclusive range of HTTP status codes that count as healthy."""

    low: int = 200
    high: int = 399

    def __post_init__(self) -> None:
        if not 100 <= self.low <= self.high <= 599:
            raise InputError("", "expectStatus is a status from 100 to 599, or a range low-high")

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


class HealthCheck(msgspec.Struct, frozen=True):
    """An active check of the origin; without a path it only connects. Times in milliseconds."""

    path: str | None = None
    host: DomainName | None = None
    expect: StatusRange = StatusRange()
    interval_ms: int = 2000
    timeout_ms: int | None = None
    rise: int = 2
    fall: int = 3

    def __post_init__(self) -> None:
        if self.path is not None and not _PATH.fullmatch(self.path):
            raise InputError("path", "a path starts with / and holds URL characters only")
        if self.path is None and (self.host is not None or self.expect != StatusRange()):
            raise InputError(
                "path", "host and expectStatus need a path: without one the check only connects"
            )
        _in_range("interval", self.interval_ms, 100, 3_600_000)
        if self.timeout_ms is not None:
            _in_range("timeout", self.timeout_ms, 10, 3_600_000)
        _in_range("rise", self.rise, 1, 100)
        _in_range("fall", self.fall, 1, 100)


def _in_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(field, f"{value} is out of range: {low} to {high}")


class Target(msgspec.Struct, frozen=True):
    """One origin of an HTTP route. Weight is relative, 1 to 256; backups serve when none is up.

    One that drains gets no new visitors: only those whose cookie names it come back.
    """

    url: TargetUrl
    weight: int = 100
    backup: bool = False
    drain: bool = False

    def __post_init__(self) -> None:
        _in_range("weight", self.weight, 1, 256)


class Timeouts(msgspec.Struct, frozen=True):
    """Milliseconds, `None` for the operator's."""

    connect_ms: int | None = None
    server_ms: int | None = None
    queue_ms: int | None = None
    tunnel_ms: int | None = None

    def __post_init__(self) -> None:
        day = 86_400_000
        for field in ("connect", "server", "queue", "tunnel"):
            value = getattr(self, f"{field}_ms")
            if value is not None:
                _in_range(field, value, 10, 7 * day)


class OriginTls(msgspec.Struct, frozen=True):
    """How an `https://` origin is verified: against `ca_pem`, or the system's CAs without it."""

    verify: bool = True
    server_name: DomainName | None = None
    ca_pem: str | None = None


class CookieName(str):
    """The name of a stickiness cookie: a token of letters, digits, `-` and `_`."""

    __slots__ = ()

    def __new__(cls, value: str) -> CookieName:
        if not _COOKIE_NAME.fullmatch(value):
            raise InputError("", f"{shown(value)} is not a cookie name: letters, digits, '-', '_'")
        return super().__new__(cls, value)


class HttpRoute(msgspec.Struct, frozen=True):
    """`subdomain.APP_DOMAIN`, from `path` on → its targets, as its owner wants it.

    Under `maintenance` visitors are told to come back later, and no target hears of them.
    """

    agent_id: AgentId
    subdomain: Subdomain
    domain: DomainName
    targets: tuple[Target, ...]
    path: PathPrefix = PathPrefix("/")
    use_tls: bool = True
    redirect_https: bool = False
    check: HealthCheck | None = None
    balance: Balance = Balance.ROUNDROBIN
    sticky: CookieName | None = None
    timeouts: Timeouts = Timeouts()
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    max_connections: int | None = None
    host_header: HostHeader | DomainName = HostHeader.PRESERVE
    origin_tls: OriginTls = OriginTls()
    maintenance: bool = False

    def __post_init__(self) -> None:
        if not self.targets:
            raise InputError("targetUrl", "a route needs targetUrl, options.targets, or both")
        if len(self.targets) > 64:
            raise InputError("options.targets", "a route has at most 64 targets")
        if len({target.url for target in self.targets}) < len(self.targets):
            raise InputError("options.targets", "the same target is named twice")
        if all(target.backup for target in self.targets):
            raise InputError("options.targets", "at least one target must not be a backup")
        if self.max_connections is not None:
            _in_range("options.maxConnections", self.max_connections, 1, 1_000_000)
        self._check_origin_names()

    def _check_origin_names(self) -> None:
        hosts = {target.url.origin.host for target in self.targets}
        if self.host_header == HostHeader.TARGET and len(hosts) > 1:
            raise InputError(
                "options.hostHeader",
                "'target' needs all targets to have the same host",
                hint="name the host to send instead",
            )
        if not self.origin_tls.verify or self.origin_tls.server_name:
            return
        for target in self.targets:
            if target.url.tls and target.url.origin.address:
                raise InputError(
                    "options.originTls",
                    f"{target.url} is an address, and certificates are verified by name",
                    hint="give originTls.serverName, or set originTls.verify to false",
                )

    @property
    def key(self) -> RouteKey:
        return RouteKey.http(self.subdomain, self.path)


class MongoRoute(msgspec.Struct, frozen=True):
    """`agent.MONGO_DOMAIN`, chosen by SNI → one mongod; TLS passes through."""

    agent_id: AgentId
    domain: DomainName
    target: HostPort
    check: bool = False

    @property
    def key(self) -> RouteKey:
        return RouteKey(RouteKind.MONGODB, self.agent_id)


Route = HttpRoute | MongoRoute
