"""What a HAProxy runs, seen from outside, and what that means for the routes.

`materialise` says what it would run after loading a configuration; `adopt` is its inverse: from
what was observed it tells which routes are there, so that `diff` can say what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from frontserver.model.routes import RouteKey, RouteKind
from frontserver.planning.actions import Action, DropEntry, PutEntry, RetireServer
from frontserver.planning.compiled import (
    HOSTS,
    MAPS,
    PATHS,
    ROUTING,
    SNI,
    CompiledConfig,
    CompiledRoute,
    MapEntry,
    Profile,
    Server,
    SlotValue,
)
from frontserver.planning.layout import Layout, backend_name, placed, slot_of


class RunningServer(msgspec.Struct, frozen=True):
    """A server in a running HAProxy. `ready` is whether it is in service, health aside.

    `weight` is `None` where it wasn't told.
    """

    address: str
    port: int
    ready: bool = True
    up: bool = True
    weight: int | None = 100

    def is_in_place(self, wanted: Server) -> bool:
        """Whether it serves as `wanted` should, as far as was told."""
        return (
            self.ready
            and (self.address, self.port) == (wanted.address, wanted.port)
            and self.weight in (None, wanted.weight)
        )


class Running(msgspec.Struct, frozen=True):
    """A running HAProxy. `pools` are the loaded profiles and their number of slots.

    `extra` are backends beyond them, made at run time; `doubled` are the (map, key) pairs of which
    there are several entries, where `maps` has the one that counts.

    `servers` is backend → server name → server, `maps` is map → key → value. `frontends` is the
    fingerprint of the frontends it loaded, `None` if that can't be told. `on_disk` are backends
    that its files lead to: a cold start would, whoever sits there by then.
    """

    frontends: str | None
    pools: Mapping[Profile, int]
    servers: Mapping[str, Mapping[str, RunningServer]]
    maps: Mapping[str, Mapping[str, str]]
    extra: frozenset[str] = frozenset()
    doubled: frozenset[tuple[str, str]] = frozenset()
    on_disk: frozenset[str] = frozenset()


def materialise(config: CompiledConfig, layout: Layout) -> Running:
    """What HAProxy runs once it has loaded `config` laid out as `layout`."""
    servers: dict[str, dict[str, RunningServer]] = {
        backend_name(profile_id, slot): {}
        for profile_id, pool in layout.pools.items()
        for slot in (*range(pool.size), *pool.extra)
    }
    maps: dict[str, dict[str, str]] = {name: {} for name in MAPS}
    for slot, route in seats(config, layout).items():
        servers[slot] = {
            server.name: RunningServer(server.address, server.port, weight=server.weight)
            for server in known_servers(route)
        }
        for entry in entries(route, slot):
            maps[entry.map][entry.key] = entry.value
    return Running(
        frontends=config.frontends.fingerprint,
        pools={pool.profile: pool.size for pool in layout.pools.values()},
        servers=servers,
        maps=maps,
        extra=frozenset(
            backend_name(profile_id, slot)
            for profile_id, pool in layout.pools.items()
            for slot in pool.extra
        ),
    )


def seats(config: CompiledConfig, layout: Layout) -> dict[str, CompiledRoute]:
    """The routes by the backends that they sit on."""
    return {
        backend: config.routes[key] for key, backend in layout.slots.items() if key in config.routes
    }


def entries(route: CompiledRoute, slot: str) -> Iterable[MapEntry]:
    """Every map entry of a route that sits on `slot`."""
    for name, key in route.routing:
        yield MapEntry(name, key, slot)
    for value in route.values:
        yield MapEntry(value.map, slot + value.suffix, value.value)


class Adopted(msgspec.Struct, frozen=True):
    """What was found: routes as they run (`config`), where they sit, and what to clear away.

    `strays` undo whatever belongs to no route: entries that lead nowhere or to somebody else's
    backend, and servers on backends that nobody owns (those rest until a reload).
    """

    config: CompiledConfig
    layout: Layout
    strays: tuple[Action, ...]


class _Found(msgspec.Struct, frozen=True):
    """An observation, indexed by backend."""

    running: Running
    profiles: dict[str, Profile]
    routing: dict[str, list[tuple[str, str]]]
    values: dict[str, list[SlotValue]]

    @classmethod
    def index(cls, running: Running) -> _Found:
        routing: dict[str, list[tuple[str, str]]] = defaultdict(list)
        values: dict[str, list[SlotValue]] = defaultdict(list)
        for name, content in sorted(running.maps.items()):
            for key, value in sorted(content.items()):
                if name in ROUTING:
                    routing[value].append((name, key))
                else:
                    backend, separator, rest = key.partition("/")
                    values[backend].append(SlotValue(name, separator + rest, value))
        profiles = {profile.id: profile for profile in running.pools}
        return cls(running, profiles, routing, values)


def adopt(desired: CompiledConfig, running: Running, known: Layout | None = None) -> Adopted:
    """Recognise the routes in a running HAProxy.

    A route that runs exactly as desired is taken as such; another is described as it was found,
    so that `diff` against `desired` shows what to repair. `known` is where routes were put, if
    that is remembered: without it a route with no routing entry left counts as gone. What runs
    counts for more than what is remembered: HAProxy may have come back with older files.
    """
    found = _Found.index(running)
    occupied = _occupied(desired, found, known)
    routes: dict[RouteKey, CompiledRoute | None] = {}
    for key, backend in occupied.items():
        wanted = desired.routes.get(key)
        seen = _as_found(key, backend, found, wanted)
        routes[key] = wanted if wanted is not None and _same(wanted, seen) else seen
    resting = known.resting() if known else frozenset()
    single = (PutEntry(name, key, running.maps[name][key]) for name, key in running.doubled)
    strays = (*single, *_strays(desired, found, occupied, resting))
    retired = {action.backend for action in strays if isinstance(action, RetireServer)}
    # Whoever it was, disk must have forgotten before somebody else gets the backend.
    dirty = resting | retired | running.on_disk
    frontends = desired.frontends
    if running.frontends != frontends.fingerprint:
        frontends = msgspec.structs.replace(frontends, templates="unknown")
    config = CompiledConfig(frontends, certificates=desired.certificates)
    layout = placed(running.pools, occupied, dirty, running.extra)
    return Adopted(config.with_routes(routes), layout, strays)


def _occupied(desired: CompiledConfig, found: _Found, known: Layout | None) -> dict[RouteKey, str]:
    """Who sits where: a backend has one owner, and a route one backend. Best evidence first."""
    remembered = frozenset(known.slots.items() if known else ())
    led = frozenset(
        (_owner(name, domain), backend)
        for backend, pairs in found.routing.items()
        for name, domain in pairs
    )

    def evidence(claim: tuple[RouteKey, str]) -> int | None:
        wanted = desired.routes.get(claim[0])
        servers = found.running.servers.get(claim[1], {})
        if claim in led and claim in remembered:
            return 0
        if wanted is not None and any(server.name in servers for server in wanted.servers):
            if claim in led:
                return 2
            return 3 if claim[1] in found.routing else 1
        if claim in led:
            return 4
        # Whose servers these are, nobody knows; nothing new must lead to them.
        return 5 if wanted is None or not servers else None

    ranked = sorted(
        (rank, claim) for claim in led | remembered if (rank := evidence(claim)) is not None
    )
    occupied: dict[RouteKey, str] = {}
    taken: set[str] = set()
    for _, (key, backend) in ranked:
        if key not in occupied and backend not in taken and _exists(backend, found):
            occupied[key] = backend
            taken.add(backend)
    return occupied


_KINDS = {HOSTS: RouteKind.HTTP, PATHS: RouteKind.HTTP, SNI: RouteKind.MONGODB}


def _owner(name: str, entry: str) -> RouteKey:
    """The route that a routing entry belongs to, wherever it points."""
    domain, slash, path = entry.partition("/")
    return RouteKey(_KINDS[name], domain.partition(".")[0] + slash + path.removesuffix("/"))


def _own(key: RouteKey, backend: str, found: _Found) -> tuple[tuple[str, str], ...]:
    """The routing entries of a backend that are its route's own."""
    return tuple(pair for pair in found.routing.get(backend, ()) if _owner(*pair) == key)


def _exists(backend: str, found: _Found) -> bool:
    try:
        profile_id, slot = slot_of(backend)
    except ValueError:
        return False
    profile = found.profiles.get(profile_id)
    if profile is None:
        return False
    return slot < found.running.pools[profile] or backend in found.running.extra


def _same(wanted: CompiledRoute, seen: CompiledRoute) -> bool:
    """Whether what was seen is what is wanted, as far as an observation can tell."""
    return (
        wanted.profile == seen.profile
        and {server.name for server in wanted.servers} == {server.name for server in seen.servers}
        and sorted(wanted.routing) == sorted(seen.routing)
        and set(wanted.values) == set(seen.values)
    )


def _as_found(
    key: RouteKey, backend: str, found: _Found, wanted: CompiledRoute | None
) -> CompiledRoute:
    """Describe what runs on a backend, so that every part of it can be kept or undone.

    A server that bears a wanted name but isn't as wanted is left out: so it gets corrected.
    Where nothing leads yet, foreign servers are left out too: they go before anything does.
    """
    named = {server.name: server for server in wanted.servers} if wanted else {}
    routing = _own(key, backend, found)
    return CompiledRoute(
        key=key,
        profile=found.profiles[slot_of(backend)[0]],
        servers=tuple(
            named.get(name) or UnknownServer(server.address, server.port, found_name=name)
            for name, server in sorted(found.running.servers.get(backend, {}).items())
            if (server.is_in_place(named[name]) if name in named else routing or not wanted)
        ),
        routing=routing,
        values=tuple(found.values.get(backend, ())),
    )


class UnknownServer(Server, frozen=True):
    """A server found running, of which only the name and the address are known."""

    found_name: str = ""

    @property
    def name(self) -> str:
        return self.found_name


def known_servers(route: CompiledRoute) -> tuple[Server, ...]:
    """The servers that can be written down: of one that was only found, the options are unknown.

    Guessing them could mean plain text to a TLS origin.
    """
    return tuple(server for server in route.servers if not isinstance(server, UnknownServer))


def _strays(
    desired: CompiledConfig,
    found: _Found,
    occupied: Mapping[RouteKey, str],
    resting: frozenset[str],
) -> Iterator[Action]:
    """What undoes everything that no route owns: entries first, then servers.

    A resting backend's values and servers are still in use by its last streams.
    """
    owned = {backend: key for key, backend in occupied.items()}
    kept = {pair for key, backend in occupied.items() for pair in _own(key, backend, found)}
    for pairs in found.routing.values():
        # Somebody else's backend included: its traffic would cross.
        yield from (DropEntry(name, domain) for name, domain in pairs if (name, domain) not in kept)
    for backend, values in found.values.items():
        if backend not in owned and backend not in resting:
            yield from (DropEntry(v.map, backend + v.suffix) for v in values)
    for backend, servers in found.running.servers.items():
        if backend in resting or not _exists(backend, found):
            continue
        names: Iterable[str] = servers
        if backend in owned:
            names = sorted(_strangers(backend, owned[backend], desired, found))
        yield from (RetireServer(backend, name) for name in names)


def _strangers(
    backend: str, owner: RouteKey, desired: CompiledConfig, found: _Found
) -> frozenset[str]:
    """Servers that must go before an entry leads to their backend; see `_as_found`."""
    wanted = desired.routes.get(owner)
    if wanted is None or _own(owner, backend, found):
        return frozenset()
    return frozenset(found.running.servers[backend]) - {server.name for server in wanted.servers}
