"""Where the reconciler learns what should run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from frontserver.model.routes import RouteKey
from frontserver.model.status import RouteStatus
from frontserver.storage.routes import StoredRoute


class RouteSource(Protocol):
    """The stored state, as far as a reconciler needs it. Everything raises `StorageError`."""

    async def snapshot(self) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        """The newest revision and every route."""
        ...

    async def changes_since(self, revision: int) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        """The newest revision and the routes changed after `revision`; removed ones hold none."""
        ...

    async def save_statuses(self, node: str, statuses: Mapping[RouteKey, RouteStatus]) -> None:
        """Remember what became of routes on a node."""
        ...

    async def load_statuses(self, node: str) -> Mapping[RouteKey, RouteStatus]:
        """What was remembered last."""
        ...
