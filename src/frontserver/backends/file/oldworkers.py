"""Workers that a reload replaced, and that live on for the sake of their connections."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from frontserver.backends.file.leaving import Leaving
from frontserver.backends.port import Leftovers
from frontserver.errors import ProxyUnavailableError
from frontserver.haproxy import procfs
from frontserver.haproxy.commands import word
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.reads import parse_map_value
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import DropEntry
from frontserver.planning.compiled import ROUTING
from frontserver.planning.plan import RouteSteps

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SESSION = re.compile(r"(0x[0-9a-f]+): .* be=(\S+) ")
# Commands a line; a line may have some 12 kB.
_AT_ONCE = 40


class _Debt(msgspec.Struct):
    """A route that was removed, and the workers that served later: what they have is newer."""

    entries: set[tuple[str, str]]
    spared: set[int] = msgspec.field(default_factory=set)


class OldWorkers:
    """Takes removed routes out of old workers too; nothing else is ever changed there.

    Otherwise a connection that is kept alive would lead to a route's server once more, whoever
    its name belongs to by then, and a MongoDB stream would for as long as it likes.
    """

    def __init__(self, master: MasterClient, leaving: Leaving) -> None:
        self._master = master
        self._leaving = leaving
        self._worker = 0
        self._expected = True
        # By worker, the slots that routes had left while streams went on there.
        self._left: dict[int, Mapping[RouteKey, frozenset[str]]] = {}
        self._debts: dict[RouteKey, _Debt] = {}

    def meet(self, worker: int) -> None:
        """The worker of this PID serves; 0 if it can't be told which one does."""
        if worker == self._worker:
            return
        self._expected = True
        if not worker:
            return
        if self._worker:
            self._left[self._worker] = self._leaving.handed_over()
            for debt in self._debts.values():
                debt.spared.add(self._worker)
        self._worker = worker

    async def leftovers(self) -> Leftovers:
        """How many there are, and their memory; none if the master doesn't answer."""
        await self.let_go()
        try:
            old = await self._pids()
        except ProxyUnavailableError:
            return Leftovers()
        return Leftovers(len(old), sum(map(procfs.private_memory, old)))

    def owe(self, steps: Sequence[RouteSteps]) -> None:
        """The routes that these steps remove are to be taken out of the workers that are old."""
        for step in steps:
            if step.new is not None:
                continue
            entries = {
                (action.map, action.key)
                for action in step.actions
                if isinstance(action, DropEntry) and action.map in ROUTING
            }
            if entries:
                before = self._debts.get(step.key)
                self._debts[step.key] = _Debt(entries | (before.entries if before else set()))

    async def let_go(self) -> None:
        """Make what is owed unreachable there, and end its streams; what fails is owed on."""
        if not self._debts:
            return
        try:
            old = await self._pids()
        except ProxyUnavailableError as error:
            logger.warning("old workers aren't told of %d removals: %s", len(self._debts), error)
            return
        self._left = {pid: left for pid, left in self._left.items() if pid in old}
        debts, unpaid = dict(self._debts), set[RouteKey]()
        for pid in old:
            due = {key: debt for key, debt in debts.items() if pid not in debt.spared}
            try:
                await self._remove(pid, due)
            except ProxyUnavailableError as error:
                # It has ended by now, most likely.
                logger.warning("old worker %d isn't told of removals: %s", pid, error)
                unpaid |= due.keys()
        for key, debt in debts.items():
            if key not in unpaid and self._debts.get(key) is debt:
                del self._debts[key]

    async def _pids(self) -> list[int]:
        if not self._expected:
            return []
        old = [worker.pid for worker in await self._master.processes() if worker.kind == "old"]
        self._expected = bool(old)
        return old

    async def _remove(self, pid: int, debts: Mapping[RouteKey, _Debt]) -> None:
        # It has slots of its own: only its maps tell which one is this route's.
        known: dict[tuple[str, str], str] = {}
        for some in _batches([entry for debt in debts.values() for entry in debt.entries]):
            asked = [f"get map {name} {word(key)}" for name, key in some]
            answer = await self._master.command_old_worker(pid, *asked)
            for name, key in some:
                if (backend := parse_map_value(answer, key)) is not None:
                    known[name, key] = backend
        for some in _batches(list(known)):
            commands = [f"del map {name} {word(key)}" for name, key in some]
            await self._master.command_old_worker(pid, *commands)
        left = self._left.get(pid, {})
        backends = frozenset(known.values()).union(*(left.get(key, ()) for key in debts))
        if backends:
            await self._end_sessions(pid, backends)

    async def _end_sessions(self, pid: int, backends: frozenset[str]) -> None:
        sessions = await self._master.command_old_worker(pid, "show sess")
        ended = [match[1] for match in _SESSION.finditer(sessions) if match[2] in backends]
        for some in _batches(ended):
            commands = [f"shutdown session {session}" for session in some]
            await self._master.command_old_worker(pid, *commands)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))
