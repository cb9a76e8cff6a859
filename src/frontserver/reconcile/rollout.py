"""Bringing what waits into HAProxy: at once where that is possible, the rest by a reload."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec

from frontserver.backends.port import Backend
from frontserver.model.measurements import Measurements
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import PutBackend
from frontserver.planning.diff import Changes, diff
from frontserver.planning.layout import PoolPolicy
from frontserver.planning.plan import Plan, ReloadReason, plan
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.certificates import Certificates
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.outcomes import Outcomes
from frontserver.reconcile.reloads import Reloads
from frontserver.reconcile.waiting import Waiting

logger = logging.getLogger(__name__)

_NO_ROOM = (
    "HAProxy may open too few files for more health checks than {most}; "
    "raise its limit (LimitNOFILE), or ask for no check"
)


class Rollout:
    """Compares the routes that wait with what runs, plans, and has the plan carried out.

    `reload_waits` is whether a reload is needed that may not begin yet.
    """

    def __init__(
        self,
        backend: Backend,
        desired: DesiredState,
        applied: Applied,
        reloads: Reloads,
        certificates: Certificates,
        outcomes: Outcomes,
        waiting: Waiting,
        *,
        policy: PoolPolicy,
        measurements: Measurements,
    ) -> None:
        self.reload_waits = False
        self._backend = backend
        self._desired = desired
        self._applied = applied
        self._reloads = reloads
        self._certificates = certificates
        self._outcomes = outcomes
        self._waiting = waiting
        self._policy = policy
        self._measurements = measurements
        # Profiles of which HAProxy made no backend, though it should be able to.
        self._stunted: set[str] = set()

    async def apply(self) -> None:
        """Make the differences go away: at once what needs no reload, then the rest with one.

        Raises what the backend does; what isn't done waits on.
        """
        taken = self._waiting.take()
        try:
            taken -= await self._evict(self._desired.handed_over(taken))
            blocked = await self._desired.recompile_in_turns(taken, self._applied.config)
            changes = diff(self._applied.config, self._desired.config, taken)
            changes, beyond = self._fitting(changes)
            planned = plan(changes, self._applied.layout, self._growing, self._backend.limits)
            if planned.certificates or self._certificates.due:
                await self._certificates.serve()
            began = time.monotonic()
            refused = await self._applied.take(planned)
            if planned.steps:
                self._measurements.applied(len(planned.steps), time.monotonic() - began)
            if unmade := self._unmade(planned, refused):
                refused = {key: why for key, why in refused.items() if key not in unmade}
                left = unmade | {change.key for change in planned.deferred}
                rest = diff(self._applied.config, self._desired.config, left)
                planned = msgspec.structs.replace(
                    plan(rest, self._applied.layout, self._growing, self._backend.limits),
                    steps=(),
                )
            deferred = {change.key for change in planned.deferred}
            self._outcomes.publish(taken - deferred, blocked, {**refused, **beyond})
            taken = deferred
            self._outcomes.await_reload(planned.why)
            if not await self._begin_reload(planned):
                self._waiting.add(taken)
        except BaseException:
            self._waiting.add(taken)
            raise

    def _fitting(self, changes: Changes) -> tuple[Changes, dict[RouteKey, str]]:
        """The changes with as many health checks as HAProxy can have, and why not the others.

        At run time it would take more, and then not start with what is on disk.
        """
        most = self._backend.most_checks
        if most is None:
            return changes, {}
        beyond: dict[RouteKey, str] = {}
        room = most - self._applied.checks
        for change in changes.routes:
            more = sum(r.checks * by for r, by in ((change.new, 1), (change.old, -1)) if r)
            if more > max(0, room):
                beyond[change.key] = _NO_ROOM.format(most=most)
            else:
                room -= more
        if not beyond:
            return changes, beyond
        routes = tuple(change for change in changes.routes if change.key not in beyond)
        return msgspec.structs.replace(changes, routes=routes), beyond

    async def finish_reload(self) -> None:
        """Carry out the reload that is prepared; raises what it does, and its routes wait then."""
        keys = self._reloads.keys
        try:
            settled, refused = await self._reloads.finish(
                self._desired.config, self._desired.revision_of
            )
            why = self._reloads.why
        except BaseException:
            self._waiting.add(keys)
            raise
        self._waiting.add(keys - settled)
        self._outcomes.publish(settled, {}, refused, why)

    async def give_up_reload(self) -> None:
        """What is prepared stands on what was thought to run: its routes wait."""
        self._waiting.add(await self._reloads.abandon())

    def forget_stunted(self) -> None:
        """Another HAProxy may make backends of profiles where the last one didn't."""
        self._stunted.clear()

    @property
    def _growing(self) -> frozenset[str]:
        return self._backend.growing - self._stunted

    def _unmade(self, planned: Plan, refused: Mapping[RouteKey, str]) -> set[RouteKey]:
        """The routes for which HAProxy made no backend: a reload will do what it wouldn't."""
        unmade: set[RouteKey] = set()
        for step in planned.steps if refused else ():
            made = step.actions[0] if step.actions else None
            if step.key in refused and isinstance(made, PutBackend):
                logger.warning("no backend can be made at run time: %s", refused[step.key])
                self._stunted.add(made.profile)
                unmade.add(step.key)
        return unmade

    async def _begin_reload(self, planned: Plan) -> bool:
        """Prepare a reload if one is due; returns whether it will bring in the plan's rest."""
        reasons = planned.reasons
        if not reasons and self._applied.layout.low(self._policy, self._reloads.hot):
            reasons = (ReloadReason.POOL_REFILL,)
        self.reload_waits = bool(reasons)
        if not reasons:
            self._reloads.settled()
            return True
        if self._reloads.preparing:
            return False
        await self._reloads.look()
        if self._reloads.remaining or self._reloads.over_budget:
            return False
        self.reload_waits = False
        revisions = {c.key: self._desired.revision_of(c.key) for c in planned.deferred}
        self._reloads.begin(self._desired.config, planned, reasons, revisions)
        return True

    async def _evict(self, keys: frozenset[RouteKey]) -> frozenset[RouteKey]:
        """Take out what runs under names that were given away; returns those where it stays.

        A route that can't be brought in yet must not leave its name to its former owner.
        """
        if not keys:
            return keys
        without = self._applied.config.with_routes(dict.fromkeys(keys))
        changes = diff(self._applied.config, without, keys)
        refused = await self._applied.take(plan(changes, self._applied.layout))
        for key in keys - refused.keys():
            self._desired.taken_over(key)
        for key, reason in refused.items():
            self._outcomes.stays(key, reason)
        return frozenset(refused)
