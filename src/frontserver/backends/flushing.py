"""When disk follows: a moment after a change, and again until it works."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from frontserver.errors import FrontServerError
from frontserver.model.measurements import Measurements

logger = logging.getLogger(__name__)

# Seconds without a change before it begins, and the longest it waits for them.
_QUIET = 0.1
_LONGEST = 0.25
_RETRY = 1.0
_POLL = 0.02


class Disk(Protocol):
    """Files that follow what is done at run time."""

    @property
    def is_behind(self) -> bool:
        """Whether they say less than HAProxy runs."""
        ...

    async def flush(self) -> int:
        """Write what is behind; returns the bytes written."""
        ...


class Flushing:
    """Has files flushed that are behind, and knows for how long they have been.

    `problem` is why the last flush failed, if it did; `recovered` is called once one works again.
    It begins when changes pause, after `longest` seconds at most: what takes long wants more time,
    so that what comes at once is in one write.
    """

    def __init__(
        self,
        disk: Disk,
        measurements: Measurements,
        recovered: Callable[[], None] = lambda: None,
        *,
        longest: float = _LONGEST,
    ) -> None:
        self.problem: str | None = None
        self._disk = disk
        self._recovered = recovered
        self._measurements = measurements
        self._behind_since = 0.0
        self._longest = longest
        self._coming = 0
        self._changed_at = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> float:
        """Seconds since the oldest change that isn't on disk yet; 0 if there is none."""
        return time.monotonic() - self._behind_since if self._behind_since else 0.0

    def soon(self) -> None:
        """Flush in a moment, if anything is behind. Returns at once."""
        self._changed_at = time.monotonic()
        if self._disk.is_behind and not self._behind_since:
            self._behind_since = time.monotonic()
        if self._disk.is_behind and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._flush_later())

    @contextmanager
    def coming(self) -> Iterator[None]:
        """What changes inside the block belongs to one write, if it doesn't take too long."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed_at = time.monotonic()

    def caught_up(self) -> None:
        """Nothing is behind any more."""
        self._behind_since, self.problem = 0.0, None

    async def close(self) -> None:
        """Flush what is behind, now, and nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        try:
            if self._disk.is_behind:
                await self._disk.flush()
        except FrontServerError as error:
            logger.error("%s; HAProxy goes on, but its files are behind", error)

    async def _flush_later(self) -> None:
        while self._disk.is_behind:
            await (self._pause() if self.problem is None else asyncio.sleep(_RETRY))
            began = time.monotonic()
            since, self._behind_since = self._behind_since, began
            try:
                written = await self._disk.flush()
            except Exception as error:
                if self.problem is None:
                    known = isinstance(error, FrontServerError)
                    logger.error("%s; it is tried again until it works", error, exc_info=not known)
                self.problem = str(error)
                self._behind_since = since
            else:
                if self.problem is not None:
                    self._recovered()
                self.problem = None
                self._measurements.flushed(time.monotonic() - since, written)
        self.caught_up()

    async def _pause(self) -> None:
        """Until changes pause; never no time at all, whatever the last flush left undone."""
        latest = time.monotonic() + self._longest
        await asyncio.sleep(min(_QUIET, self._longest))
        while (now := time.monotonic()) < latest:
            if self._coming:
                await asyncio.sleep(_POLL)
            elif (left := self._changed_at + _QUIET - now) > 0:
                await asyncio.sleep(min(left, latest - now))
            else:
                return
