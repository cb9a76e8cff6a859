"""Transactions that writes left behind when they failed.

Each write is a transaction of the API's own. One that failed stays, with a copy of the whole
configuration; one that failed for want of room counts as open, and when too many are, the API
begins no other. Those have no version, which whatever can be committed has, but for what is being
written at this moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import DataPlaneError

logger = logging.getLogger(__name__)

# No write takes so many seconds.
_PATIENCE = 15.0


class DeadTransactions:
    """Finds and deletes those that nobody can commit any more. `clock` gives seconds."""

    def __init__(
        self, client: DataPlaneClient, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._configuration = client.configuration
        self._clock = clock
        # When each that seemed open was first seen.
        self._suspects: dict[str, float] = {}

    @property
    def due(self) -> bool:
        """Whether one that seemed open must be dead by now, if it is still there."""
        return any(self._is_old(seen) for seen in self._suspects.values())

    async def delete(self) -> None:
        """Delete what failed, and what has seemed open for too long; we write nothing meanwhile.

        Raises `ProxyUnavailableError`.
        """
        try:
            found = [t for t in await self._configuration.transactions() if t.version is None]
            now = self._clock()
            seen = {t.id: self._suspects.get(t.id, now) for t in found if t.status == "in_progress"}
            dead = [t.id for t in found if t.id not in seen or self._is_old(seen[t.id])]
            self._suspects = {id: at for id, at in seen.items() if id not in dead}  # noqa: A001
            for transaction in dead:
                await self._configuration.delete_transaction(transaction)
        except DataPlaneError as error:
            logger.warning("transactions that failed can't be deleted: %s", error)

    def _is_old(self, seen: float) -> bool:
        return self._clock() - seen >= _PATIENCE
