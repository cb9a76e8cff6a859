"""What HAProxy runs: brought up, asked for everything when in doubt, and taken as the truth."""

from __future__ import annotations

import logging

import msgspec

from frontserver.backends.port import Backend, State
from frontserver.beside import beside
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.running import Running, adopt
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.certificates import Certificates
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.drift import health_of
from frontserver.reconcile.waiting import Waiting

logger = logging.getLogger(__name__)


class Observed(msgspec.Struct, frozen=True):
    """Whether HAProxy ran something else than was known, and whether it is another version."""

    news: bool
    other_version: bool


class Observation:
    """`begun` is whether HAProxy was brought up, `due` whether what it runs is in doubt."""

    def __init__(
        self,
        backend: Backend,
        desired: DesiredState,
        applied: Applied,
        certificates: Certificates,
        board: StatusBoard,
        waiting: Waiting,
    ) -> None:
        self.begun = False
        self.due = True
        self._backend = backend
        self._desired = desired
        self._applied = applied
        self._certificates = certificates
        self._board = board
        self._waiting = waiting
        self._seen = False
        self._version: str | None = None

    async def begin(self, policy: PoolPolicy) -> None:
        """Bring HAProxy up, or find the one that runs; raises what `Backend.start` does."""
        config = self._desired.config.with_routes(dict.fromkeys(self._desired.config.routes))
        await self._backend.start(State(config, Layout().reloaded({}, policy)))
        self.begun = True
        self.due = True

    async def take(self) -> Observed:
        """Ask HAProxy what it runs, and take that as the truth.

        Routes that then differ from what is wanted wait. Raises what the backend does; it is due
        again then.
        """
        # First: should HAProxy be replaced while we look, that is said anew.
        self.due = False
        try:
            return await self._take_as_true(await self._backend.observe())
        except BaseException:
            self.due = True
            raise

    async def _take_as_true(self, running: Running) -> Observed:
        first = not self._seen
        if first:
            self._desired.recognise(running)
            await self._desired.recompile_in_turns(self._desired.stored, self._applied.config)
        # In a thread: with many routes it takes seconds, and others want to be served.
        found = await beside(adopt, self._desired.config, running, self._applied.layout)
        await self._applied.clear(found.strays)
        drift = await beside(diff, found.config, self._applied.config)
        if not first and (drift or found.strays):
            logger.warning(
                "HAProxy wasn't as it was left: %d routes and %d strays to mend",
                len(drift.routes),
                len(found.strays),
            )
        known = running.frontends is not None
        news = bool(
            first
            or drift
            or found.strays
            or known != self._applied.known
            or not self._applied.looks_like(found)
        )
        if news:
            await self._applied.adopted(found, known=known)
        wanted = await beside(diff, found.config, self._desired.config)
        self._waiting.add(change.key for change in wanted.routes)
        if first:
            self._waiting.add(self._desired.stored)
            self._trust_what_is_wanted()
            # Which ones an adopted HAProxy holds, nobody asks it.
            await self._certificates.serve()
        other_version = self._version not in (None, self._backend.version)
        self._seen, self._version = True, self._backend.version
        self._see_health(running)
        return Observed(news, other_version)

    def _trust_what_is_wanted(self) -> None:
        """Whoever wants exactly what runs, owns it."""
        wanted, runs = self._desired.config.routes, self._applied.config.routes
        for key in self._desired.handed_over(runs):
            if runs[key] == wanted.get(key):
                self._desired.taken_over(key)

    def _see_health(self, running: Running) -> None:
        for key, backend in self._applied.layout.slots.items():
            route = self._applied.config.routes.get(key)
            servers = running.servers.get(backend, {}).values()
            self._board.set_health(key, health_of(route, servers))
