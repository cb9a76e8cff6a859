"""Servers as the Data Plane API takes them, at run time and in the configuration.

What is added at run time has no health check until the next reload: the API can't start one. So
every slot of a profile with checks has a prepared server, loaded with its check and out of service;
given an address and put in service, it is checked at once. A route goes live on a server of its own
that isn't checked, and moves to the prepared one with the next write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from frontserver.planning.compiled import CompiledRoute, Profile, Server, ServerTls
from frontserver.planning.limits import is_prepared, ordinary_check, prepared
from frontserver.planning.running import known_servers
from frontserver.planning.serverline import arguments
from frontserver.rendering.dialect import ServerLine

PREPARED = "prepared"

# Nobody listens there; it is out of service besides.
_NOWHERE = Server("127.0.0.1", 1)

# Put into maintenance, such a server ends its streams: the API has no other way to end them. One
# that is checked must not have it, or a failed check would end them too.
_CUT = "shutdown-sessions"


def lines(
    profile: Profile, route: CompiledRoute | None, place: Callable[[str], str]
) -> list[ServerLine]:
    """The `server` lines of a slot; `place` gives HAProxy's name of a CA file."""
    found = [_line(server, place) for server in known_servers(route)] if route else []
    if not is_prepared(profile):
        return found
    ready = prepared(profile, route.servers) if route else None
    if ready is not None:
        return [ServerLine(PREPARED, arguments(ready))]
    waiting = msgspec.structs.replace(_NOWHERE, check=ordinary_check(profile))
    return [*found, ServerLine(PREPARED, f"{arguments(waiting)} disabled")]


def _line(server: Server, place: Callable[[str], str]) -> ServerLine:
    words = arguments(_placed(server, place))
    if server.check is None:
        words += f" on-marked-down {_CUT}"
    return ServerLine(server.name, words)


def _placed(server: Server, place: Callable[[str], str]) -> Server:
    if server.tls is None or server.tls.ca_file is None:
        return server
    tls = ServerTls(ca_file=place(server.tls.ca_file), sni=server.tls.sni)
    return msgspec.structs.replace(server, tls=tls)


def as_found(profile: Profile, address: str, port: int) -> Server:
    """The server that the prepared one of a slot is, with this address."""
    return Server(address, port, check=ordinary_check(profile))


def body(server: Server, place: Callable[[str], str]) -> dict[str, Any]:
    """What `POST …/runtime/backends/B/servers` takes; without the check, which wouldn't run."""
    host = f"[{server.address}]" if ":" in server.address else server.address
    fields: dict[str, Any] = {
        "name": server.name,
        "address": host,
        "port": server.port,
        "weight": server.weight,
    }
    if server.check is None:
        fields["on-marked-down"] = _CUT
    if server.backup:
        fields["backup"] = "enabled"
    if server.maxconn is not None:
        fields["maxconn"] = server.maxconn
    if server.tls is not None:
        fields["ssl"] = "enabled"
        fields["verify"] = "required" if server.tls.ca_file else "none"
        if server.tls.ca_file:
            fields["ssl_cafile"] = place(server.tls.ca_file)
        if server.tls.sni is not None:
            fields["sni"] = f"str({server.tls.sni})"
    return fields


def takeover(backend: str, server: Server) -> tuple[str, ...]:
    """The runtime actions that give the prepared server of a slot address and weight."""
    return (
        f"SetServerAddr {backend} {PREPARED} {server.address} {server.port}",
        f"SetServerWeight {backend} {PREPARED} {server.weight}",
    )
