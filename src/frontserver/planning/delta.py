"""What differs between two states of some routes, in terms of what is written down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.planning.compiled import CaFile, CompiledConfig, CompiledRoute, MapEntry
from frontserver.planning.layout import Layout
from frontserver.planning.running import entries


class Delta(msgspec.Struct, frozen=True):
    """Map entries to set (or, with `None`, to drop), who sits on backends now, CA bundles."""

    maps: Mapping[str, Mapping[str, str | None]]
    seats: Mapping[str, CompiledRoute | None]
    ca_files: tuple[CaFile, ...]


def delta(
    before: tuple[CompiledConfig, Layout],
    after: tuple[CompiledConfig, Layout],
    keys: Iterable[RouteKey],
) -> Delta:
    """How the routes of these keys look after, and looked before; all others are alike."""
    maps: dict[str, dict[str, str | None]] = defaultdict(dict)
    fresh: dict[tuple[str, str], str] = {}
    seats: dict[str, CompiledRoute | None] = {}
    taken: dict[str, CompiledRoute] = {}
    ca_files: dict[str, CaFile] = {}
    for key in keys:
        old, new = _seat(before, key), _seat(after, key)
        if old == new:
            continue
        # A slot that one route left may be another's by now: what goes comes first.
        for entry in _entries(old):
            maps[entry.map][entry.key] = None
        for entry in _entries(new):
            fresh[entry.map, entry.key] = entry.value
        if old[0] is not None:
            seats[old[0]] = None
        if new[0] is not None and new[1] is not None:
            taken[new[0]] = new[1]
        ca_files |= {file.name: file for file in new[1].ca_files} if new[1] else {}
    for (name, map_key), value in fresh.items():
        maps[name][map_key] = value
    return Delta(maps, seats | taken, tuple(ca_files.values()))


# The backend that a route occupies, and the route.
_Seat = tuple[str | None, CompiledRoute | None]


def _seat(state: tuple[CompiledConfig, Layout], key: RouteKey) -> _Seat:
    config, layout = state
    route = config.routes.get(key)
    return (layout.slots.get(key), route) if route is not None else (None, None)


def _entries(seat: _Seat) -> Iterable[MapEntry]:
    backend, route = seat
    return entries(route, backend) if backend is not None and route is not None else ()
