"""The names of targets, looked up beside everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.places import Places
from frontserver.reconcile.resolution import Resolver
from frontserver.reconcile.waiting import Waiting

# Of each kind of names, and of one agent's among them. A place is a thread, see `system_lookup`.
_PLACES = 32
_EACH = 8
# So many names are queued before others may run.
_IN_A_TURN = 500


class Lookups:
    """Has names resolved; the routes of those that changed then wait for the next round.

    Names that are new, healthy and in trouble have places of their own, and agents take turns: a
    name server that never answers holds a place for long, and holds up nothing but names of the
    same agent that are in the same state.
    """

    def __init__(self, desired: DesiredState, resolver: Resolver, waiting: Waiting) -> None:
        self._desired = desired
        self._resolver = resolver
        self._waiting = waiting
        self._new, self._healthy, self._troubled = (Places(_PLACES, _EACH) for _ in range(3))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._started = False

    async def start(self) -> None:
        """What runs has been seen, so begin; later calls do nothing.

        Sooner, an answer could move a route off an address that it runs with and its name still
        has.
        """
        if not self._started:
            self._started = True
            await self.follow()

    def begin(self, hosts: Iterable[str]) -> None:
        """Look these up in the background, as soon as there are places; nothing before `start`."""
        if not self._started:
            return
        for host in hosts:
            if host not in self._tasks:
                self._places_of(host).wait(host, self._desired.owners_of(host))
        self._fill()

    async def follow(self) -> None:
        """Have all names looked up again, but those that rest after a failure."""
        hosts = self._desired.hosts
        for places in (self._new, self._healthy, self._troubled):
            places.keep(hosts)
        for number, host in enumerate(hosts, 1):
            if self._resolver.is_due(host):
                self.begin([host])
            if number % _IN_A_TURN == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Give up what was begun."""
        for task in self._tasks.values():
            task.cancel()

    def _places_of(self, host: str) -> Places:
        if host in self._resolver.problems:
            return self._troubled
        return self._healthy if host in self._resolver.addresses else self._new

    def _fill(self) -> None:
        for places in (self._new, self._healthy, self._troubled):
            while (taken := places.take()) is not None:
                host, owner = taken
                if host in self._tasks:
                    # It changed its state while it waited, and went in as the other kind.
                    places.leave(owner)
                else:
                    self._tasks[host] = asyncio.create_task(self._look_up(host, owner, places))

    async def _look_up(self, host: str, owner: str, places: Places) -> None:
        try:
            await self._resolver.refresh(host, self._tell)
        finally:
            del self._tasks[host]
            places.leave(owner)
        if not self._desired.owners_of(host):
            # Its last route went while it was looked up.
            self._resolver.forget([host])
        self._fill()

    def _tell(self, host: str) -> None:
        self._waiting.add(self._desired.keys_of([host]))
        self._waiting.wake()
