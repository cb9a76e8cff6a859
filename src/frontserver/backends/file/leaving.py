"""Servers that were taken out of service while streams went on: whose they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from frontserver.model.routes import RouteKey

# Backend and name.
ServerPath = tuple[str, str]


class Leaving:
    """Servers in maintenance that can't be deleted yet, and whether their streams are cut.

    One that a route left for another target or another slot may finish its streams, as long as
    the route is there.
    """

    def __init__(self) -> None:
        self._cut: dict[ServerPath, bool] = {}
        self._owners: dict[ServerPath, RouteKey] = {}
        self._left_by: dict[RouteKey, set[ServerPath]] = defaultdict(set)

    def __contains__(self, server: ServerPath) -> bool:
        return server in self._cut

    def __iter__(self) -> Iterator[ServerPath]:
        return iter(tuple(self._cut))

    def __len__(self) -> int:
        return len(self._cut)

    def is_cut(self, server: ServerPath) -> bool:
        """Whether its streams are ended."""
        return self._cut[server]

    def of(self, owner: RouteKey) -> tuple[ServerPath, ...]:
        """The servers that this route left."""
        return tuple(self._left_by.get(owner, ()))

    def add(self, server: ServerPath, *, cut: bool) -> None:
        """It is out of service, and still there."""
        self._cut[server] = cut

    def belong(self, servers: Iterable[ServerPath], owner: RouteKey) -> None:
        """Those of these that are still there were this route's."""
        for server in servers:
            if server in self._cut:
                self._owners[server] = owner
                self._left_by[owner].add(server)

    def gone(self, server: ServerPath) -> None:
        """It was deleted, or serves again."""
        self._cut.pop(server, None)
        owner = self._owners.pop(server, None)
        if owner is not None:
            self._left_by[owner].discard(server)
            if not self._left_by[owner]:
                del self._left_by[owner]

    def handed_over(self) -> Mapping[RouteKey, frozenset[str]]:
        """The backends of all of them by route; a new worker has none of these servers."""
        left = {
            owner: frozenset(backend for backend, _ in servers)
            for owner, servers in self._left_by.items()
        }
        self._cut.clear()
        self._owners.clear()
        self._left_by.clear()
        return left
