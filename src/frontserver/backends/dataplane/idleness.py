"""Which slots have no stream left, asked so rarely that it costs little.

The API tells numbers of sessions of everything at once only, which takes seconds with many routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.performer import Performer
from frontserver.dataplane.client import DataPlaneClient
from frontserver.errors import FrontServerError

logger = logging.getLogger(__name__)

# Seconds between two looks; and after one that took long, so many times as long.
_PAUSE = 2.0
_REST = 20.0


class Idleness:
    """Looks in the background, once somebody has asked."""

    def __init__(self, client: DataPlaneClient, performer: Performer, book: Book) -> None:
        self._runtime = client.runtime
        self._performer = performer
        self._book = book
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

    def _look_soon(self, now: float) -> None:
        if now >= self._due and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        began = time.monotonic()
        asked = {backend for backend, at in self._asked.items() if at <= began}
        try:
            rows = await self._runtime.stats()
            busy = {row.backend for row in rows if row.current_sessions}
            streams = {(row.backend, row.server) for row in rows if row.current_sessions}
            for backend, server in tuple(self._book.leaving):
                if (backend, server) not in streams:
                    await self._performer.remove(backend, server)
            left = {backend for backend, _ in self._book.leaving}
            self._idle |= {b for b in asked & self._asked.keys() if b not in busy | left}
        except FrontServerError as error:
            logger.debug("idle slots couldn't be looked for: %s", error)
        took = time.monotonic() - began
        self._due = time.monotonic() + max(_PAUSE, took * _REST)

    async def close(self) -> None:
        """Give up looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
