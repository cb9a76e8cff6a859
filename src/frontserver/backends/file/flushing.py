"""When disk follows: a moment after a change, and again until it works."""

from __future__ import annotations

import asyncio
import logging
import time

from frontserver.backends.file.mirror import Mirror
from frontserver.errors import FrontServerError
from frontserver.model.measurements import Measurements

logger = logging.getLogger(__name__)

_DELAY = 0.25
_RETRY = 1.0


class Flushing:
    """Has a mirror flush what is behind, and knows for how long some of it has been.

    `problem` is why the last flush failed, if it did.
    """

    def __init__(self, mirror: Mirror, measurements: Measurements) -> None:
        self.problem: str | None = None
        self._mirror = mirror
        self._measurements = measurements
        self._behind_since = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> float:
        """Seconds since the oldest change that isn't on disk yet; 0 if there is none."""
        return time.monotonic() - self._behind_since if self._behind_since else 0.0

    def soon(self) -> None:
        """Flush in a moment, if anything is behind. Returns at once."""
        if self._mirror.is_behind and not self._behind_since:
            self._behind_since = time.monotonic()
        if self._mirror.is_behind and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._flush_later())

    async def close(self) -> None:
        """Flush what is behind, now, and nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        try:
            if self._mirror.is_behind:
                await self._mirror.flush()
        except FrontServerError as error:
            logger.error("%s; HAProxy goes on, but its files are behind", error)

    async def _flush_later(self) -> None:
        delay = _DELAY
        while self._mirror.is_behind:
            await asyncio.sleep(delay)
            since, self._behind_since = self._behind_since, time.monotonic()
            try:
                written = await self._mirror.flush()
            except Exception as error:
                if delay != _RETRY:
                    known = isinstance(error, FrontServerError)
                    logger.error("%s; it is tried again until it works", error, exc_info=not known)
                self.problem = str(error)
                delay = _RETRY
                self._behind_since = since
            else:
                self.problem = None
                self._measurements.flushed(time.monotonic() - since, written)
        self._behind_since = 0.0
