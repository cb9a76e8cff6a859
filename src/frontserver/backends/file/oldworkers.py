"""Workers that a reload replaced, and that live on for the sake of their connections."""

from __future__ import annotations

import logging
import re

from frontserver.errors import ProxyUnavailableError
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.reads import parse_map_value
from frontserver.planning.actions import DropEntry
from frontserver.planning.compiled import ROUTING
from frontserver.planning.plan import RouteSteps

logger = logging.getLogger(__name__)

_SESSION = re.compile(r"(0x[0-9a-f]+): .* be=(\S+) ")


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

    async def let_go(self, step: RouteSteps) -> None:
        """Make the route of a step unreachable there, and end its streams, if it is a removal."""
        if step.new is not None or not self._expected:
            return
        try:
            workers = await self._master.processes()
        except ProxyUnavailableError as error:
            logger.warning("old workers aren't told that %s is removed: %s", step.key, error)
            return
        old = [worker.pid for worker in workers if worker.kind == "old"]
        self._expected = bool(old)
        for pid in old:
            try:
                await self._remove(pid, step)
            except ProxyUnavailableError as error:
                # It has ended by now, most likely.
                logger.warning("old worker %d isn't told of a removal: %s", pid, error)

    async def _remove(self, pid: int, step: RouteSteps) -> None:
        # It has slots of its own: only its maps tell which one is this route's.
        backends = set()
        for action in step.actions:
            if isinstance(action, DropEntry) and action.map in ROUTING:
                entry = f"map {action.map} {action.key}"
                answer = await self._master.command_old_worker(pid, f"get {entry}")
                backend = parse_map_value(answer, action.key)
                if backend is not None:
                    backends.add(backend)
                    await self._master.command_old_worker(pid, f"del {entry}")
        if backends:
            await self._end_sessions(pid, backends)

    async def _end_sessions(self, pid: int, backends: set[str]) -> None:
        sessions = await self._master.command_old_worker(pid, "show sess")
        for match in _SESSION.finditer(sessions):
            if match[2] in backends:
                await self._master.command_old_worker(pid, f"shutdown session {match[1]}")
