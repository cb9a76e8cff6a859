"""The loop: hear of changes, plan, apply, verify, remember; look again from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import msgspec

from frontserver.backends.port import Backend
from frontserver.errors import (
    ConfigRejectedError,
    FrontServerError,
    ProxyUnavailableError,
    StorageError,
    TemplateError,
)
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.model.routes import RouteKey
from frontserver.model.status import PENDING, ProxyStatus, RouteStatus
from frontserver.planning.compiled import Certificate, CompiledConfig, Frontends
from frontserver.planning.layout import PoolPolicy
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.backoff import Backoff
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.certificates import Certificates
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.drift import DriftLook
from frontserver.reconcile.lookups import Lookups
from frontserver.reconcile.observation import Observation
from frontserver.reconcile.outcomes import Outcomes
from frontserver.reconcile.reloads import Reloads
from frontserver.reconcile.resolution import Resolver
from frontserver.reconcile.rollout import Rollout
from frontserver.reconcile.source import RouteSource
from frontserver.reconcile.stored import StoredState
from frontserver.reconcile.upkeep import regularly
from frontserver.reconcile.waiting import Waiting
from frontserver.storage.routes import StoredRoute

logger = logging.getLogger(__name__)

# A sweep of more than so many seconds is followed by a rest.
_LONG = 0.005

# Seconds after which to look whether old workers have ended.
_RELOAD_LOOK = 0.5

# What went wrong is known, and what HAProxy runs isn't in doubt because of it.
_HARMLESS = (StorageError, ConfigRejectedError, TemplateError)


class Timing(msgspec.Struct, frozen=True):
    """Seconds between looks, and the bounds of the pause after a failure.

    Every route is looked at about every `drift` seconds, a few of them each `least_drift` at the
    soonest. What HAProxy refused is tried again every `refused` seconds: it may have been short
    of something. Slots that rest are looked at every `sweep` seconds, servers that a change left
    behind every `leaving`; after a sweep that took long, `sweep_rest` times as long is for others.
    Between two reloads are `reloads` seconds or more, and `rejected` after one that HAProxy
    refused though its check had accepted it.
    """

    drift: float = 10.0
    least_drift: float = 0.2
    names: float = 15.0
    refused: float = 300.0
    sweep: float = 0.5
    leaving: float = 10.0
    sweep_rest: float = 10.0
    statuses: float = 1.0
    reloads: float = 0.2
    rejected: float = 30.0
    least_pause: float = 0.1
    most_pause: float = 5.0


_UNKNOWN = "HAProxy doesn't run a configuration of this front server yet"
_OTHER_FRONTENDS = "HAProxy has other listeners or templates than are set; it is reloaded"


class Reconciler:
    """Drives one backend; the only one that does. Implements the services' `Publisher`."""

    def __init__(
        self,
        backend: Backend,
        source: RouteSource,
        desired: DesiredState,
        resolver: Resolver,
        *,
        policy: PoolPolicy,
        certificates: Callable[[], tuple[Certificate, ...]] = tuple,
        node: str = "default",
        timing: Timing | None = None,
        budget: int = 1 << 30,
        measurements: Measurements | None = None,
    ) -> None:
        """`budget` is how many bytes old workers may hold before reloads wait."""
        self.board = StatusBoard()
        measurements = measurements or Unmeasured()
        timing = timing or Timing()
        self._timing = timing
        self._policy = policy
        self._backend = backend
        self._stored = StoredState(source, node)
        self._desired = desired
        self._applied = Applied(backend, policy, CompiledConfig(desired.config.frontends))
        self._waiting = Waiting()
        self._certificates = Certificates(certificates, desired, self._applied)
        self._lookups = Lookups(desired, resolver, self._waiting)
        self._drift = DriftLook(backend, self._applied)
        self._observation = Observation(
            backend, desired, self._applied, self._certificates, self.board, self._waiting
        )
        self._outcomes = Outcomes(self.board, desired, self._applied, self._waiting)
        bounds = timing.least_pause, timing.most_pause
        self._rounds = Backoff(*bounds, time.monotonic)
        self._reloads = Reloads(
            self._applied,
            Backoff(*bounds, time.monotonic),
            gap=timing.reloads,
            rejected=timing.rejected,
            budget=budget,
            measurements=measurements,
            woken=self.wake,
        )
        self._rollout = Rollout(
            backend,
            desired,
            self._applied,
            self._reloads,
            self._certificates,
            self._outcomes,
            self._waiting,
            policy=policy,
            measurements=measurements,
        )
        self._applied_revision = 0
        self._problem: str | None = "starting"
        # Whether HAProxy has had the wanted listeners since this began.
        self._framed = False
        self._look_due = False
        self._swept = self._sweep_rest = 0.0
        self._warnings: dict[str, str] = {}
        backend.on_change(self._process_changed)

    # --- what the services ask ---

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        """This was stored, and is durable: bring it in."""
        self._stored.tell(key, stored)
        self.wake()

    def wake(self) -> None:
        """Something was stored: look at it now."""
        self._waiting.wake()

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
        """Wait until the route is active, failed or gone at `revision`, at most `seconds`."""
        return await self.board.settle(key, revision, seconds)

    def status(self, key: RouteKey) -> RouteStatus:
        """What is known of the route now."""
        return self.board.get(key)

    def proxy_status(self) -> ProxyStatus:
        """What is known of HAProxy now."""
        pools = self._applied.layout.pools
        problem = self._problem or self._beginning
        return ProxyStatus(
            reachable=self._observation.begun,
            # A few revisions behind for a moment is how it works; a problem isn't.
            in_step=problem is None,
            applied_revision=self._applied_revision,
            stored_revision=self._stored.revision,
            version=self._backend.version,
            reason=problem,
            counts=self.board.counts(),
            reload_waits=self._reloads.waits if self._rollout.reload_waits else None,
            old_workers=self._reloads.leftovers.count,
            old_worker_bytes=self._reloads.leftovers.memory,
            profiles=len(pools),
            slots=sum(pool.size + len(pool.extra) for pool in pools.values()),
            spare_slots=sum(pool.spare for pool in pools.values()),
            disk_behind_seconds=self._backend.disk_behind,
            warnings=(*self._warnings.values(), *self._own_warnings()),
        )

    @property
    def _beginning(self) -> str | None:
        """What is still to be loaded before HAProxy serves what is wanted for the first time."""
        if not self._applied.known:
            return _UNKNOWN
        return None if self._framed else _OTHER_FRONTENDS

    def _own_warnings(self) -> Iterator[str]:
        if self._certificates.problem is not None:
            yield self._certificates.problem
        if self._backend.disk_problem:
            yield f"HAProxy's files are behind what it runs: {self._backend.disk_problem}"

    # --- what the operator asks ---

    def reframe(self, frontends: Frontends) -> None:
        """Load these frontends with the next reload, which is due now."""
        self._desired.config = msgspec.structs.replace(self._desired.config, frontends=frontends)
        self._waiting.add(self._desired.extended)
        self._reloads.forgive()
        self.wake()

    def warn(self, subject: str, warning: str | None) -> None:
        """Show what is to be mended about a subject, or that nothing is any more."""
        self._warnings.pop(subject, None)
        if warning is not None:
            self._warnings[subject] = warning

    # --- the loop ---

    async def run(self) -> None:
        """Go on until cancelled. No error ends it: each is logged, and tried again later."""
        timing = self._timing
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._loop())
                group.create_task(regularly(timing.names, self._lookups.follow))
                group.create_task(self._look_for_drift())
                group.create_task(regularly(timing.refused, self._retry_refused))
                group.create_task(regularly(timing.statuses, self.remember))
                group.create_task(regularly(timing.names, self._reloads.look))
        finally:
            await self._reloads.abandon()
            self._lookups.close()
            try:
                await self.remember()
            except Exception:
                logger.exception("the last statuses weren't stored")

    async def _loop(self) -> None:
        while True:
            self._waiting.woken.clear()
            try:
                await self._round()
            except ProxyUnavailableError as error:
                self._observation.begun = False
                self.board.suspend(error.message)
                self._failed(error, error.message)
            except StorageError as error:
                self._failed(error, error.message)
            except FrontServerError as error:
                self._failed(error, str(error))
            except Exception as error:
                logger.exception("the reconciler met an unexpected error")
                self._failed(error, "internal error; see the log")
            else:
                self.board.resume()
                self._rounds.succeeded()
                self._problem = self._reloads.problem
            await self._wait()

    async def _wait(self) -> None:
        """Until something is to be done. After a failure that isn't sooner than its pause."""
        if self._rounds.problem is not None:
            # Whatever is stored meanwhile may work, so it needn't wait for the whole pause.
            await asyncio.sleep(min(self._timing.least_pause, self._rounds.remaining))
        # Not `wait_for`: on 3.11, it loses a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience()):
                await self._waiting.woken.wait()

    def _patience(self) -> float | None:
        """Seconds after which to look again, even if nothing happens."""
        if self._rounds.problem is not None:
            return self._rounds.remaining
        due = []
        if (sweep := self._until_sweep()) is not None:
            due.append(sweep)
        if self._reloads.preparing:
            return min(due, default=None)
        if self._reloads.problem is not None or self._rollout.reload_waits:
            due.append(
                max(self._reloads.remaining, _RELOAD_LOOK if self._reloads.over_budget else 0)
            )
        elif self._waiting.routes:
            due.append(self._timing.most_pause)
        return min(due, default=None)

    def _failed(self, error: Exception, problem: str) -> None:
        """Back off; what HAProxy runs must be asked again, unless it can't have changed."""
        # Its hint is for operators, and routes' reasons are for agents.
        self._problem = str(error) if isinstance(error, FrontServerError) else problem
        if self._rounds.failed(problem):
            logger.error("HAProxy can't be brought in step: %s", self._problem)
        if not isinstance(error, _HARMLESS):
            self._observation.due = True
        for key in self._waiting.routes:
            self._outcomes.pending(key, problem)

    def _process_changed(self) -> None:
        self._observation.due = True
        self.wake()

    async def step(self) -> None:
        """Bring everything that is known to be stored into HAProxy, reloads included."""
        await self._round()
        while self._reloads.preparing:
            await self._reloads.wait()
            await self._round()

    async def _round(self) -> None:
        """Whatever can be done now; what needs a reload waits beside it for the next rounds."""
        await self._hear()
        if not self._observation.begun:
            await self._observation.begin(self._policy)
        if self._observation.due:
            await self._observe()
        if self._reloads.prepared:
            await self._rollout.finish_reload()
            self._drift.forget_worker()
        await self._rollout.apply()
        await self._sweep()
        if self._look_due:
            await self._look()
        self._applied_revision = self._stored.revision
        wanted = self._desired.config.frontends
        self._framed = self._framed or self._applied.config.frontends == wanted

    async def _hear(self) -> None:
        """Load what was stored since the last round: everything, the first time."""
        if self._stored.revision == 0 and not self._desired.stored:
            revision, changed, statuses = await self._stored.everything()
            self.board.restore(statuses)
            self._desired.doubt(
                key
                for key, stored in changed.items()
                if statuses.get(key, PENDING).revision < stored.created
            )
        else:
            revision, changed = await self._stored.changes()
        unknown = self._desired.take(changed)
        self._waiting.add(changed)
        self._stored.revision = revision
        self._certificates.look()
        if unknown:
            self._lookups.begin(unknown)

    async def _observe(self) -> None:
        """Take as the truth what HAProxy runs."""
        observed = await self._observation.take()
        await self._lookups.start()
        if observed.other_version:
            self._rollout.forget_stunted()
            await self._retry_refused()
        self._drift.forget_worker()
        if observed.news:
            await self._rollout.give_up_reload()

    def _until_sweep(self) -> float | None:
        """Seconds until the next sweep; `None` if there is nothing to sweep."""
        if self._applied.anything_rests:
            pause = self._timing.sweep
        elif self._applied.anything_leaves:
            pause = self._timing.leaving
        else:
            return None
        return max(0.0, self._swept + max(pause, self._sweep_rest) - time.monotonic())

    async def _sweep(self) -> None:
        if self._until_sweep() == 0.0:
            began = time.monotonic()
            swept = True
            while swept and time.monotonic() - began <= _LONG:
                swept = await self._applied.sweep()
            took = time.monotonic() - began
            # However long it takes, most of the time is for changes.
            self._sweep_rest = took * self._timing.sweep_rest if took > _LONG else 0.0
            self._swept = began

    async def remember(self) -> None:
        """Store the statuses that changed."""
        await self._stored.remember(self.board)

    # --- looks from time to time ---

    async def _look_for_drift(self) -> None:
        while True:
            await asyncio.sleep(self._drift.pause(self._timing.drift, self._timing.least_drift))
            self._look_due = True
            self.wake()

    async def _look(self) -> None:
        """See whether some routes run as they should; if not, ask for everything."""
        self._look_due = False
        if not self._applied.known:
            return
        seen = await self._drift.look()
        for key, health in seen.healths.items():
            self.board.set_health(key, health)
        if not seen.as_expected:
            self._process_changed()

    async def _retry_refused(self) -> None:
        """What HAProxy refused may be possible now: another version, or room again."""
        refused = self._desired.retry_refused()
        self._waiting.add(refused)
        self._certificates.retry()
        if refused or self._certificates.due:
            self.wake()
