"""What is stored, as the reconciler of one node hears of it and adds to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from frontserver.errors import StorageError
from frontserver.model.routes import RouteKey
from frontserver.model.status import RouteStatus
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.source import RouteSource
from frontserver.storage.routes import StoredRoute

logger = logging.getLogger(__name__)


class StoredState:
    """Reads changes in the order of their revisions, and keeps what became of them.

    `revision` is the newest that was dealt with: whoever deals with changes sets it.
    """

    def __init__(self, source: RouteSource, node: str) -> None:
        self.revision = 0
        self._source = source
        self._node = node
        # Changes by their revisions, as far as somebody told of them.
        self._told: dict[int, tuple[RouteKey, StoredRoute]] = {}

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        """This was stored, and is durable."""
        self._told[stored.revision] = key, stored

    async def everything(
        self,
    ) -> tuple[int, Mapping[RouteKey, StoredRoute], dict[RouteKey, RouteStatus]]:
        """The newest revision, all routes, and what was remembered of them.

        Raises `StorageError`.
        """
        statuses = await self._source.load_statuses(self._node)
        revision, routes = await self._source.snapshot()
        return revision, routes, {key: statuses[key] for key in routes if key in statuses}

    async def changes(self) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        """The newest revision, and the routes that were changed after `revision`.

        Raises `StorageError`.
        """
        revision, changed = self._told_without_a_gap()
        if revision == self.revision:
            revision, changed = await self._source.changes_since(self.revision)
        return revision, changed

    def _told_without_a_gap(self) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        """The revisions that follow the last one, if they are all that was told of.

        Revisions have no gaps: what is told of each needn't be asked of the database. Where one
        is missing, somebody else has stored something, and then it is asked for everything.
        """
        told, self._told = self._told, {}
        fresh = {at: change for at, change in told.items() if at > self.revision}
        revision = self.revision + len(fresh)
        if max(fresh, default=self.revision) != revision:
            return self.revision, {}
        return revision, dict(fresh[at] for at in sorted(fresh))

    async def remember(self, board: StatusBoard) -> None:
        """Store the statuses that changed; they are about what runs, so they may be late.

        A database that doesn't take them gets them the next time.
        """
        unsaved = board.take_unsaved()
        if not unsaved:
            return
        try:
            await self._source.save_statuses(self._node, unsaved)
        except Exception as error:
            board.give_back_unsaved(unsaved)
            if not isinstance(error, StorageError):
                raise
            logger.warning("statuses couldn't be stored: %s", error)
