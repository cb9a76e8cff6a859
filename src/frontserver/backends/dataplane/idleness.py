"""Which slots have no stream left, asked so rarely that it costs little.

The API tells numbers of sessions of everything at once only, which takes seconds with many routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.performer import Performer
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.runtime import ServerStats
from frontserver.errors import FrontServerError

logger = logging.getLogger(__name__)

# Seconds between two looks; and after one that took long, so many times as long.
_PAUSE = 2.0
_REST = 20.0

# Servers taken away while writes wait, some milliseconds each.
_REMOVED_AT_ONCE = 200


class Idleness:
    """Looks in the background, once somebody has asked.

    Inside `held` nothing is written, and HAProxy isn't reloaded.
    """

    def __init__(
        self,
        client: DataPlaneClient,
        performer: Performer,
        book: Book,
        held: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._runtime = client.runtime
        self._performer = performer
        self._book = book
        self._held = held
        self._asked: dict[str, float] = {}
        self._idle: set[str] = set()
        self._looking: asyncio.Task[None] | None = None
        self._due = 0.0

    def idle(self, backends: Sequence[str]) -> frozenset[str]:
        """Those of the backends that were seen without a stream since they were first asked for."""
        now = time.monotonic()
        for backend in backends:
            self._asked.setdefault(backend, now)
        self._look_soon(now)
        found = self._idle & set(backends)
        self.forget(found)
        return frozenset(found)

    def forget(self, backends: Iterable[str]) -> None:
        """These are in use again, or nobody asks any more."""
        for backend in tuple(backends):
            self._idle.discard(backend)
            self._asked.pop(backend, None)

    def forget_all(self) -> None:
        """Any may be in use by now."""
        self._idle.clear()
        self._asked.clear()

    def _look_soon(self, now: float) -> None:
        if now >= self._due and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        began = time.monotonic()
        # What leaves, or is asked for, after this was asked for in another life.
        asked, leaving = dict(self._asked), dict(self._book.leaving)
        try:
            rows = await self._runtime.stats()
            gone = await self._remove(leaving, rows)
            in_use = {row.backend for row in rows if _holds(row, gone)}
            in_use |= {backend for backend, _ in self._book.leaving}
            self._idle |= {
                backend
                for backend, at in asked.items()
                if self._asked.get(backend) == at and backend not in in_use
            }
        except FrontServerError as error:
            logger.debug("idle slots couldn't be looked for: %s", error)
        took = time.monotonic() - began
        self._due = time.monotonic() + max(_PAUSE, took * _REST)

    async def _remove(
        self, leaving: dict[tuple[str, str], float], rows: Iterable[ServerStats]
    ) -> set[tuple[str, str]]:
        """Take away the servers that leave and that no stream holds; returns those that went."""
        streams = {(row.backend, row.server) for row in rows if row.current_sessions}
        ended = [(pair, left) for pair, left in leaving.items() if pair not in streams]
        gone: set[tuple[str, str]] = set()
        async with self._held():
            for (backend, server), left in ended[:_REMOVED_AT_ONCE]:
                if await self._performer.remove(backend, server, left):
                    gone.add((backend, server))
        return gone

    async def close(self) -> None:
        """Give up looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})


def _holds(row: ServerStats, gone: set[tuple[str, str]]) -> bool:
    """Whether a server keeps its backend in use: by streams, or since it may get some."""
    if row.current_sessions:
        return True
    return not row.status.startswith("MAINT") and (row.backend, row.server) not in gone
