"""What is known of the running worker, as far as the Data Plane API was told or has told it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from frontserver.backends.dataplane.servers import PREPARED
from frontserver.backends.port import State
from frontserver.planning.actions import Action, DropEntry, PutEntry
from frontserver.planning.compiled import MAPS, Server
from frontserver.planning.limits import prepared
from frontserver.planning.running import materialise, seats


class Book:
    """The entries of maps, and which servers stand for which.

    `prepared` says by backend which server (its name) the prepared one is; `waiting` are servers
    that wait to be that, whose route has one without a check until then. A backend that is in both
    has both in service. `leaving` are servers (backend, HAProxy's name) out of service whose
    streams may not have ended, with the monotonic second at which they left. `weights` are those
    that the next write is to set.
    """

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, str]] = {name: {} for name in MAPS}
        self.prepared: dict[str, str] = {}
        self.waiting: dict[str, Server] = {}
        self.leaving: dict[tuple[str, str], float] = {}
        self.weights: dict[tuple[str, str], int] = {}
        self._doubled: frozenset[str] = frozenset()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, backends: Collection[str]) -> AsyncIterator[None]:
        """Nobody else changes servers of these backends inside the block."""
        async with AsyncExitStack() as stack:
            for backend in sorted(set(backends)):
                lock = self._turns.get(backend)
                if lock is None:
                    lock = self._turns[backend] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield

    def loaded(self, state: State) -> None:
        """A worker has just loaded this."""
        running = materialise(state.config, state.layout)
        self.maps = {name: dict(content) for name, content in running.maps.items()}
        self.prepared = {backend: server.name for backend, server in _wanted(state)}
        self.waiting.clear()
        self.leaving.clear()
        self.weights.clear()
        self._doubled = frozenset()

    def found(
        self,
        maps: Mapping[str, Mapping[str, str]],
        prepared_as: Mapping[str, str],
        *,
        doubled: Collection[str],
        worker: bool,
    ) -> None:
        """This was observed; `worker` is whether the worker is the one that was known.

        Of `doubled` backends, both the prepared server and the one that it stands for serve.
        """
        self.maps = {name: dict(maps.get(name, {})) for name in MAPS}
        self.prepared = dict(prepared_as)
        self._doubled = frozenset(doubled)
        if not worker:
            self.leaving.clear()
            self.weights.clear()

    def expect(self, state: State) -> None:
        """This is what is to run: routes whose checks don't run wait for it."""
        self.waiting = {
            backend: server
            for backend, server in _wanted(state)
            if self.prepared.get(backend) != server.name or backend in self._doubled
        }

    def act(self, actions: Iterable[Action]) -> None:
        """These were carried out."""
        for action in actions:
            match action:
                case PutEntry(name, key, value):
                    self.maps[name][key] = value
                case DropEntry(name, key):
                    self.maps[name].pop(key, None)
                case _:
                    pass

    def names(self, backend: str, name: str) -> tuple[str, ...]:
        """The servers of HAProxy that a server of ours is."""
        if self.prepared.get(backend) == name:
            return (PREPARED, name) if backend in self.waiting else (PREPARED,)
        return (name,)

    def weigh(self, backend: str, name: str, weight: int | None) -> None:
        """The next write sets this weight, or none."""
        self.weights.pop((backend, name), None)
        if weight is not None:
            self.weights[backend, name] = weight

    def serves(self, backend: str, name: str) -> None:
        """This server of HAProxy is in service again, or gone."""
        self.leaving.pop((backend, name), None)

    def left(self, backend: str, name: str) -> None:
        """This server of HAProxy was taken out of service just now."""
        self.leaving[backend, name] = time.monotonic()
        self.weights.pop((backend, name), None)


def _wanted(state: State) -> Iterable[tuple[str, Server]]:
    for backend, route in seats(state.config, state.layout).items():
        ready = prepared(route.profile, route.servers)
        if ready is not None:
            yield backend, ready
