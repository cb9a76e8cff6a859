"""What waits for the next round of a reconciler, and what begins one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from frontserver.model.routes import RouteKey


class Waiting:
    """`routes` are to be compared with what runs; `woken` is set when that is to be done now."""

    def __init__(self) -> None:
        self.routes: set[RouteKey] = set()
        self.woken = asyncio.Event()

    def add(self, keys: Iterable[RouteKey]) -> None:
        """These routes may differ from what runs."""
        self.routes.update(keys)

    def take(self) -> set[RouteKey]:
        """The routes that wait; none does afterwards."""
        routes, self.routes = self.routes, set()
        return routes

    def wake(self) -> None:
        """Begin a round now."""
        self.woken.set()
