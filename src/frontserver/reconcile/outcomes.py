"""What became of routes, told to the status board."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import msgspec

from frontserver.model.routes import RouteKey
from frontserver.model.status import RouteState, RouteStatus
from frontserver.planning.plan import ReloadReason
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.waiting import Waiting

logger = logging.getLogger(__name__)


class Outcomes:
    """Says of each route how far it got; those that are to be tried again wait."""

    def __init__(
        self, board: StatusBoard, desired: DesiredState, applied: Applied, waiting: Waiting
    ) -> None:
        self._board = board
        self._desired = desired
        self._applied = applied
        self._waiting = waiting

    def publish(
        self,
        keys: Iterable[RouteKey],
        blocked: Mapping[RouteKey, RouteStatus],
        refused: Mapping[RouteKey, str],
        why: Mapping[RouteKey, ReloadReason] | None = None,
    ) -> None:
        """Tell everybody what became of these routes, and `why` some needed a reload.

        `blocked` are the statuses of those that couldn't be tried, `refused` HAProxy's reasons.
        """
        for key, reason in refused.items():
            logger.warning("HAProxy refuses route %s: %s", key, reason)
            self._desired.refuse(key, reason)
        statuses = {**blocked, **self._desired.recompile(refused, self._applied.config)}
        for key in keys:
            revision = self._desired.revision_of(key)
            stored = self._desired.stored.get(key)
            if (stored is None or stored.route is None) and key in refused:
                self.stays(key, refused[key])
            elif (stored is None or stored.route is None) and not self._applied.known:
                # What runs may serve it still: the reload that replaces that decides.
                self._waiting.add((key,))
            elif stored is None or stored.route is None:
                self._board.remove(key, revision)
                self._desired.forget(key)
            else:
                status = statuses.get(key) or RouteStatus(RouteState.ACTIVE, revision)
                reload = (why or {}).get(key)
                self._board.set(key, msgspec.structs.replace(status, reload=reload))

    def stays(self, key: RouteKey, reason: str) -> None:
        """What is to go is still there, and HAProxy's `reason`."""
        logger.error("HAProxy doesn't let go of route %s: %s", key, reason)
        self.pending(key, reason)
        self._waiting.add((key,))

    def pending(self, key: RouteKey, problem: str) -> None:
        """The route isn't there yet because of this."""
        known = self._board.get(key)
        if known.state != RouteState.FAILED or known.revision < self._desired.revision_of(key):
            # The revision stays the one that was dealt with last: a restart doubts what is older.
            self._board.set(key, RouteStatus(RouteState.PENDING, known.revision, problem))

    def await_reload(self, why: Mapping[RouteKey, ReloadReason]) -> None:
        """These wait for a reload."""
        for key, reason in why.items():
            known = self._board.get(key)
            runs = key in self._applied.config.routes
            if not runs or known.revision < self._desired.revision_of(key):
                said = "HAProxy is being reloaded for this route"
                status = RouteStatus(RouteState.PENDING, known.revision, said, reload=reason)
                self._board.set(key, status)
