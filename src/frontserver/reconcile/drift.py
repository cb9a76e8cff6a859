"""Looking whether HAProxy still runs what it was given, a few routes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from frontserver.backends.port import Backend, Look
from frontserver.model.routes import RouteKey
from frontserver.model.status import Health
from frontserver.planning.compiled import ROUTING, CompiledRoute
from frontserver.planning.running import RunningServer, entries, known_servers
from frontserver.reconcile.applied import Applied

# Routes a look: some 0.1 ms each, so that a change that comes meanwhile waits a few milliseconds.
SLICE = 25


class Seen(msgspec.Struct, frozen=True):
    """What a look found: whether all was as it should be, and the health of each route."""

    as_expected: bool
    healths: dict[RouteKey, Health]


class DriftLook:
    """Goes round all routes. Everything raises `ProxyUnavailableError`."""

    def __init__(self, backend: Backend, applied: Applied) -> None:
        self._backend = backend
        self._applied = applied
        self._round: Iterator[RouteKey] = iter(())
        self._worker: int | None = None

    def pause(self, seconds: float, least: float) -> float:
        """Seconds between two looks, so that a round takes `seconds`, if it can."""
        looks = max(1, -(-len(self._applied.layout.slots) // SLICE))
        return max(least, seconds / looks)

    def forget_worker(self) -> None:
        """HAProxy was replaced or reloaded, and somebody knows."""
        self._worker = None

    async def look(self) -> Seen:
        """Compare the next routes with what is known to run."""
        layout, config = self._applied.layout, self._applied.config
        keys = list(islice(self._round, SLICE))
        if not keys:
            self._round = iter(layout.slots)
            keys = list(islice(self._round, SLICE))
        sat: dict[str, tuple[RouteKey, CompiledRoute]] = {}
        for key in keys:
            backend, route = layout.slots.get(key), config.routes.get(key)
            if backend is not None and route is not None:
                sat[backend] = key, route
        expected = {
            backend: {(e.map, e.key): e.value for e in entries(route, backend)}
            for backend, (_, route) in sat.items()
        }
        seen = await self._backend.look({b: tuple(pairs) for b, pairs in expected.items()})
        same_worker = self._worker in (None, seen.worker)
        self._worker = seen.worker
        as_expected = (
            same_worker
            and self._counts_fit(seen)
            and all(
                _is_in_place(route, seen.servers.get(backend, {}))
                and all(seen.entries.get(pair) == v for pair, v in expected[backend].items())
                for backend, (_, route) in sat.items()
            )
        )
        healths = {
            key: health_of(route, seen.servers.get(backend, {}).values())
            for backend, (key, route) in sat.items()
        }
        return Seen(as_expected, healths)

    def _counts_fit(self, seen: Look) -> bool:
        """Whether routing maps hold nothing beside what is known: it could lead anywhere."""
        return all(
            seen.counts[name] == self._applied.routing_count(name)
            for name in ROUTING
            if name in seen.counts
        )


def _is_in_place(route: CompiledRoute, found: Mapping[str, RunningServer]) -> bool:
    return found.keys() == {server.name for server in route.servers} and all(
        found[wanted.name].is_in_place(wanted) for wanted in known_servers(route)
    )


def health_of(route: CompiledRoute | None, servers: Iterable[RunningServer]) -> Health:
    """What the checks of a route's servers say."""
    if route is None or route.profile.check == "none":
        return Health.UNKNOWN
    return Health.UP if any(server.up for server in servers) else Health.DOWN
