"""The one intermediate model: what HAProxy should run, before anybody says how it gets there.

A route compiles to a profile (structure, needs a loaded `defaults` section), servers, and map
entries (values, always changed at run time). Which backend it occupies is the layout's business.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal

import msgspec
from immutables import Map

from frontserver.model.routes import RouteKey
from frontserver.model.targets import HostPort

# Names of map files, as written in the configuration: HAProxy's runtime API knows them so.
HOSTS = "maps/hosts.map"
PATHS = "maps/paths.map"
SNI = "maps/sni.map"
FLAGS = "maps/flags.map"
VALUES = "maps/values.map"
TIMEOUT_SERVER = "maps/timeout_server.map"
TIMEOUT_TUNNEL = "maps/timeout_tunnel.map"
MAPS = (HOSTS, PATHS, SNI, FLAGS, VALUES, TIMEOUT_SERVER, TIMEOUT_TUNNEL)

# Maps whose values name a backend: an entry there is what makes a route reachable.
ROUTING = (HOSTS, PATHS, SNI)

SYSTEM_CA = "certs/system-ca.pem"
HTTPS_CERTIFICATE = "certs/https.pem"
# Of CA bundles that routes bring along, see `ca_name`.
CA_PREFIX = "certs/ca-"

# Words in a FLAGS value, each between commas so that one can't be part of another. Its keys are
# backends, so that routes of one domain each have their own.
REDIRECT_HTTPS = ",redirect-https,"
PLAIN_ONLY = ",plain-only,"
MAINTENANCE = ",maintenance,"


def digest(value: object, length: int = 12) -> str:
    """A short content hash: SHA-256 over the value's canonical JSON, as hex digits."""
    encoded = msgspec.json.encode(value, enc_hook=str, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:length]


class Extension(msgspec.Struct, frozen=True, order=True):
    """Lines of the operator's own that a profile may end with; `version` is a hash of them."""

    name: str
    version: str


class Profile(msgspec.Struct, frozen=True):
    """The structure of a route's rules: whatever HAProxy can't change at run time.

    Becomes a named `defaults` section. Values belong in maps, so that few profiles serve many
    routes. Times in milliseconds, `None` for the operator's.
    """

    mode: Literal["http", "tcp"]
    balance: str = "roundrobin"
    cookie: str | None = None
    connect_ms: int | None = None
    queue_ms: int | None = None
    check: Literal["none", "connect", "http"] = "none"
    check_expect: str | None = None
    check_timeout_ms: int | None = None
    rewrite_host: bool = False
    set_request: tuple[str, ...] = ()
    remove_request: tuple[str, ...] = ()
    set_response: tuple[str, ...] = ()
    remove_response: tuple[str, ...] = ()
    extension: Extension | None = None

    @property
    def id(self) -> str:
        """The name of the `defaults` section: `p` and a hash of the content."""
        return _profile_id(self)


@lru_cache(maxsize=4096)
def _profile_id(profile: Profile) -> str:
    return "p" + digest(profile)


class CheckTiming(msgspec.Struct, frozen=True):
    """When a server is checked. Milliseconds and counts."""

    interval_ms: int
    rise: int
    fall: int


class ServerTls(msgspec.Struct, frozen=True):
    """TLS to the origin. `ca_file` is a name HAProxy knows; `sni` is also the name verified."""

    ca_file: str | None
    sni: str | None


class Server(msgspec.Struct, frozen=True):
    """One `server` line. Equal content has an equal name, so a change is another server.

    The weight doesn't count: it is changed in place. With 0 the server drains: it is given no new
    visitor, while those whose cookie names it stay.
    """

    address: str
    port: int
    weight: int = 100
    backup: bool = False
    maxconn: int | None = None
    cookie: str | None = None
    check: CheckTiming | None = None
    tls: ServerTls | None = None

    @property
    def name(self) -> str:
        """`t` and a hash of the content but the weight."""
        return _server_name(self)


@lru_cache(maxsize=131_072)
def _server_name(server: Server) -> str:
    return "t" + digest(msgspec.structs.replace(server, weight=100))


def ca_name(pem: str) -> str:
    """The name of a CA bundle, by its content alone: equal ones are one file, whoever has them.

    128 bits, since content is an agent's choice: with 48, which are enough for names that only
    one route's backend knows, an agent could make a second bundle for another's name.
    """
    return f"{CA_PREFIX}{digest(pem, 32)}.pem"


def former_name(server: Server) -> str | None:
    """What an earlier release called the server, whose CA bundle had a name of 48 bits then."""
    ca_file = server.tls.ca_file if server.tls else None
    if server.tls is None or ca_file is None or not ca_file.startswith(CA_PREFIX):
        return None
    tls = msgspec.structs.replace(server.tls, ca_file=f"{ca_file[: len(CA_PREFIX) + 12]}.pem")
    return msgspec.structs.replace(server, tls=tls).name


class CaFile(msgspec.Struct, frozen=True):
    """A CA bundle that some server refers to by `name`; `pem` is normalised."""

    name: str
    pem: str


class Certificate(msgspec.Struct, frozen=True):
    """A certificate that a frontend serves: chain and key in one PEM."""

    name: str
    pem: str


class MapEntry(msgspec.Struct, frozen=True, order=True):
    """One line of a map file."""

    map: str
    key: str
    value: str


class SlotValue(msgspec.Struct, frozen=True, order=True):
    """A map entry whose key is the route's backend name and `suffix`."""

    map: str
    suffix: str
    value: str


class CompiledRoute(msgspec.Struct, frozen=True):
    """All that HAProxy needs for one route, except which backend it occupies.

    `routing` are the (map, key) pairs whose value will be that backend's name.
    """

    key: RouteKey
    profile: Profile
    servers: tuple[Server, ...]
    routing: tuple[tuple[str, str], ...]
    values: tuple[SlotValue, ...] = ()
    ca_files: tuple[CaFile, ...] = ()

    @property
    def checks(self) -> int:
        """How many of its servers have health checks."""
        return sum(server.check is not None for server in self.servers)


class Frontends(msgspec.Struct, frozen=True):
    """Everything outside the routes. A difference here needs a reload.

    `templates` is a fingerprint of the operator's and our templates, `extensions` are those that
    profiles may have. `…_adopted` are frontends of the operator's own that lead to routes, instead
    of ours. Times in milliseconds.
    """

    http_binds: tuple[HostPort, ...]
    https_binds: tuple[HostPort, ...]
    mongo_binds: tuple[HostPort, ...]
    runtime_socket: str
    hard_stop_after: str | None = None
    connect_ms: int = 5_000
    client_ms: int = 60_000
    server_ms: int = 60_000
    tunnel_ms: int = 3_600_000
    queue_ms: int = 30_000
    mongo_tunnel_ms: int = 43_200_000
    templates: str = ""
    extensions: tuple[Extension, ...] = ()
    system_ca: str | None = None
    http_adopted: tuple[str, ...] = ()
    mongodb_adopted: tuple[str, ...] = ()

    @property
    def adopts(self) -> bool:
        """Whether routes are reached by frontends of the operator's."""
        return bool(self.http_adopted or self.mongodb_adopted)

    @property
    def fingerprint(self) -> str:
        """A hash by which a running HAProxy is recognised as having loaded these."""
        return digest(self, 16)


class CompiledConfig(msgspec.Struct, frozen=True):
    """The whole of it. `routes` is a persistent map: changing one shares all others."""

    frontends: Frontends
    routes: Map[RouteKey, CompiledRoute] = Map()
    certificates: tuple[Certificate, ...] = ()

    def with_routes(self, changed: dict[RouteKey, CompiledRoute | None]) -> CompiledConfig:
        """The configuration with these routes put in place, or taken out where `None`."""
        routes = self.routes.mutate()
        for key, route in changed.items():
            if route is not None:
                routes[key] = route
            elif key in routes:
                del routes[key]
        return msgspec.structs.replace(self, routes=routes.finish())

    def with_certificate(self, renewed: Certificate) -> CompiledConfig:
        """The configuration with this certificate in place of the one of its name."""
        certificates = tuple(renewed if c.name == renewed.name else c for c in self.certificates)
        return msgspec.structs.replace(self, certificates=certificates)
