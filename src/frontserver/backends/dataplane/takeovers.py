"""Checked servers take over from those that routes went live on, so that their checks run.

With a write of the configuration a prepared server gets its address, out of service; once that is
seen it is put in service, and the one that served until then leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice

from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.servers import PREPARED, takeover
from frontserver.backends.port import State
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import AbsentError
from frontserver.planning.compiled import Server

logger = logging.getLogger(__name__)

# Slots whose prepared server gets its address by one write.
_AT_ONCE = 500


class Takeovers:
    """Everything raises `ProxyUnavailableError` and `DataPlaneError`."""

    def __init__(self, client: DataPlaneClient, book: Book) -> None:
        self._runtime = client.runtime
        self._book = book
        # Servers that HAProxy wouldn't give an address: they wait for a reload.
        self._given_up: dict[str, Server] = {}

    @property
    def waiting(self) -> bool:
        """Whether any is to be carried out."""
        return any(self._given_up.get(b) != s for b, s in self._book.waiting.items())

    def due(self, state: State) -> dict[str, Server]:
        """Those that the next write may begin, by backend: of routes that it brings to disk."""
        occupied = set(state.layout.slots.values())
        some = (
            (backend, server)
            for backend, server in self._book.waiting.items()
            if backend in occupied and self._given_up.get(backend) != server
        )
        return dict(islice(some, _AT_ONCE))

    @staticmethod
    def actions(due: Mapping[str, Server]) -> list[str]:
        """The runtime actions that go with the write."""
        return [action for backend, server in due.items() for action in takeover(backend, server)]

    async def carry_out(self, due: Mapping[str, Server], *, all_acted: bool) -> None:
        """Put prepared servers in service that have their address; `due` were written.

        `all_acted` is whether no runtime action failed: those after it were left out.
        """
        for backend, server in due.items():
            async with self._book.turn([backend]):
                if self._book.waiting.get(backend) != server:
                    continue  # It was taken out meanwhile, or is another one by now.
                if await self._has_address(backend, server):
                    await self._take_over(backend, server)
                    continue
            logger.warning("the checks of %s wait for a reload: its address isn't set", backend)
            self._given_up[backend] = server
            if not all_acted:
                return  # Its action failed, and whatever comes after has another chance.

    async def _has_address(self, backend: str, server: Server) -> bool:
        found = {s.name: s for s in await self._runtime.servers(backend)}.get(PREPARED)
        return found is not None and (found.address, found.port) == (server.address, server.port)

    async def _take_over(self, backend: str, server: Server) -> None:
        # First: whatever happens now, whoever removes the route takes both out.
        self._book.prepared[backend] = server.name
        self._book.serves(backend, PREPARED)
        await self._runtime.set_state(backend, PREPARED, "ready")
        try:
            await self._runtime.set_state(backend, server.name, "drain")
            self._book.left(backend, server.name)
        except AbsentError:
            pass
        del self._book.waiting[backend]
        self._given_up.pop(backend, None)

    def forget(self) -> None:
        """Another worker may do what this one wouldn't."""
        self._given_up.clear()
