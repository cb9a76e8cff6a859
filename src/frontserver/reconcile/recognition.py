"""What the addresses of running servers say about the names they were made from."""

from __future__ import annotations

from collections.abc import Mapping

from frontserver.model.routes import Route
from frontserver.planning.compile import compile_route, unresolved_hosts
from frontserver.planning.compiled import former_name
from frontserver.planning.running import Running

# For documentation only (RFC 5737): no target has it.
_NOBODY = "192.0.2.0"


def addresses_in_use(route: Route, running: Running, known: Mapping[str, str]) -> dict[str, str]:
    """Addresses for those names of a route that `known` lacks, as far as its servers tell.

    A server's name is a hash of everything it was made of. So an address with which the route
    compiles to a server of that name is the one that was used; nothing is guessed.
    """
    missing = unresolved_hosts(route, known)
    if not missing:
        return {}
    unknown = dict(known) | dict.fromkeys(missing, _NOBODY)
    compiled = compile_route(route, unknown)
    table, entry = compiled.routing[0]
    servers = running.servers.get(running.maps.get(table, {}).get(entry, ""), {})
    explained = {made.name for made in compiled.servers}
    left = {name: server for name, server in servers.items() if name not in explained}
    found: dict[str, str] = {}
    for host in missing:
        for name, server in left.items():
            trial = compile_route(route, unknown | {host: server.address})
            if any(name in (made.name, former_name(made)) for made in trial.servers):
                found[host] = server.address
                del left[name]
                break
    return found
