"""The names of targets, looked up beside everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.resolution import Resolver
from frontserver.reconcile.waiting import Waiting


class Lookups:
    """Has names resolved; the routes of those that changed then wait for the next round."""

    def __init__(self, desired: DesiredState, resolver: Resolver, waiting: Waiting) -> None:
        self._desired = desired
        self._resolver = resolver
        self._waiting = waiting
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, hosts: Iterable[str]) -> None:
        """Look these up in the background: a slow name server holds up its own routes only."""
        task = asyncio.create_task(self._resolve(hosts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def follow(self) -> None:
        """Look all names up again."""
        hosts = self._desired.hosts
        troubled = hosts & self._resolver.problems.keys()
        # Apart, so that the healthy ones don't wait for them.
        await asyncio.gather(self._resolve(hosts - troubled), self._resolve(troubled))

    def close(self) -> None:
        """Give up what was begun."""
        for task in self._tasks:
            task.cancel()

    async def _resolve(self, hosts: Iterable[str]) -> None:
        changed = await self._resolver.refresh(hosts)
        if changed:
            self._waiting.add(self._desired.keys_of(changed))
            self._waiting.wake()
        # Whose last route went while they were looked up.
        self._resolver.forget(set(hosts) - self._desired.hosts)
