"""When disk follows: a moment after a change, and again until it works."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from frontserver.errors import FrontServerError
from frontserver.model.measurements import Measurements

logger = logging.getLogger(__name__)

_DELAY = 0.25
_LONGEST_DELAY = 1.0
_RETRY = 1.0


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
    """

    def __init__(
        self,
        disk: Disk,
        measurements: Measurements,
        recovered: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem: str | None = None
        self._disk = disk
        self._recovered = recovered
        self._measurements = measurements
        self._behind_since = 0.0
        self._delay = _DELAY
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> float:
        """Seconds since the oldest change that isn't on disk yet; 0 if there is none."""
        return time.monotonic() - self._behind_since if self._behind_since else 0.0

    def soon(self) -> None:
        """Flush in a moment, if anything is behind. Returns at once."""
        if self._disk.is_behind and not self._behind_since:
            self._behind_since = time.monotonic()
        if self._disk.is_behind and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._flush_later())

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
        delay = self._delay
        while self._disk.is_behind:
            await asyncio.sleep(delay)
            began = time.monotonic()
            since, self._behind_since = self._behind_since, began
            try:
                written = await self._disk.flush()
            except Exception as error:
                if self.problem is None:
                    known = isinstance(error, FrontServerError)
                    logger.error("%s; it is tried again until it works", error, exc_info=not known)
                self.problem = str(error)
                delay = _RETRY
                self._behind_since = since
            else:
                if self.problem is not None:
                    self._recovered()
                self.problem = None
                # What takes long is done less often: more comes together for each time.
                took = time.monotonic() - began
                delay = self._delay = min(max(took, _DELAY), _LONGEST_DELAY)
                self._measurements.flushed(time.monotonic() - since, written)
        self.caught_up()
