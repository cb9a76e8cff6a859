"""Workers that a reload replaced, and that live on for the sake of their connections."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from frontserver.backends.port import Leftovers
from frontserver.errors import ProxyUnavailableError
from frontserver.haproxy import procfs
from frontserver.haproxy.commands import word
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.reads import parse_map_value
from frontserver.planning.actions import DropEntry
from frontserver.planning.compiled import ROUTING
from frontserver.planning.plan import RouteSteps

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SESSION = re.compile(r"(0x[0-9a-f]+): .* be=(\S+) ")
# Commands a line; a line may have some 12 kB.
_AT_ONCE = 40


class OldWorkers:
    """Takes removed routes out of old workers too; nothing else is ever changed there.

    Otherwise a connection that is kept alive would lead to a route's server once more, whoever
    its name belongs to by then, and a MongoDB stream would for as long as it likes.
    """

    def __init__(self, master: MasterClient) -> None:
        self._master = master
        self._expected = True

    def expect(self) -> None:
        """There may be some: HAProxy was reloaded, or is new to us."""
        self._expected = True

    async def leftovers(self) -> Leftovers:
        """How many there are, and their memory; none if the master doesn't answer."""
        try:
            old = await self._pids()
        except ProxyUnavailableError:
            return Leftovers()
        return Leftovers(len(old), sum(map(procfs.private_memory, old)))

    async def let_go(self, steps: Sequence[RouteSteps]) -> None:
        """Make the removed routes of these steps unreachable there, and end their streams."""
        removed = [
            (action.map, action.key)
            for step in steps
            if step.new is None
            for action in step.actions
            if isinstance(action, DropEntry) and action.map in ROUTING
        ]
        if not removed or not self._expected:
            return
        try:
            old = await self._pids()
        except ProxyUnavailableError as error:
            logger.warning("old workers aren't told of %d removals: %s", len(removed), error)
            return
        for pid in old:
            try:
                await self._remove(pid, removed)
            except ProxyUnavailableError as error:
                # It has ended by now, most likely.
                logger.warning("old worker %d isn't told of removals: %s", pid, error)

    async def _pids(self) -> list[int]:
        if not self._expected:
            return []
        old = [worker.pid for worker in await self._master.processes() if worker.kind == "old"]
        self._expected = bool(old)
        return old

    async def _remove(self, pid: int, removed: Sequence[tuple[str, str]]) -> None:
        # It has slots of its own: only its maps tell which one is this route's.
        known: dict[tuple[str, str], str] = {}
        for some in _batches(removed):
            asked = [f"get map {name} {word(key)}" for name, key in some]
            answer = await self._master.command_old_worker(pid, *asked)
            for name, key in some:
                if (backend := parse_map_value(answer, key)) is not None:
                    known[name, key] = backend
        for some in _batches(list(known)):
            commands = [f"del map {name} {word(key)}" for name, key in some]
            await self._master.command_old_worker(pid, *commands)
        if known:
            await self._end_sessions(pid, frozenset(known.values()))

    async def _end_sessions(self, pid: int, backends: frozenset[str]) -> None:
        sessions = await self._master.command_old_worker(pid, "show sess")
        ended = [match[1] for match in _SESSION.finditer(sessions) if match[2] in backends]
        for some in _batches(ended):
            commands = [f"shutdown session {session}" for session in some]
            await self._master.command_old_worker(pid, *commands)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))
