"""The loop: hear of changes, plan, apply, verify, remember; look again from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice

import msgspec

from frontserver.backends.port import Backend, State
from frontserver.errors import (
    CommandRefusedError,
    ConfigRejectedError,
    FrontServerError,
    ProxyUnavailableError,
    StorageError,
    TemplateError,
)
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.model.routes import RouteKey
from frontserver.model.status import PENDING, ProxyStatus, RouteState, RouteStatus
from frontserver.planning.actions import PutBackend
from frontserver.planning.compiled import Certificate, CompiledConfig, Frontends
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import Plan, ReloadReason, plan
from frontserver.planning.running import Running, adopt
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.backoff import Backoff
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.drift import DriftLook, health_of
from frontserver.reconcile.reloads import Reloads
from frontserver.reconcile.resolution import Resolver
from frontserver.reconcile.source import RouteSource
from frontserver.reconcile.upkeep import regularly
from frontserver.storage.routes import StoredRoute

logger = logging.getLogger(__name__)

# A sweep of more than so many seconds is followed by a rest.
_LONG = 0.005

_COMPILED_AT_ONCE = 200

# Seconds after which to look whether old workers have ended.
_RELOAD_LOOK = 0.5

# What went wrong is known, and what HAProxy runs isn't in doubt because of it.
_HARMLESS = (StorageError, ConfigRejectedError, TemplateError)


class Timing(msgspec.Struct, frozen=True):
    """Seconds between looks, and the bounds of the pause after a failure.

    Every route is looked at about every `drift` seconds, a few of them each `least_drift` at the
    soonest. What HAProxy refused is tried again every `refused` seconds: it may have been short
    of something. Between two reloads are `reloads` seconds or more. After a sweep that took long,
    `sweep_rest` times as long is for others.
    """

    drift: float = 10.0
    least_drift: float = 0.2
    names: float = 15.0
    refused: float = 300.0
    sweep: float = 0.5
    sweep_rest: float = 10.0
    statuses: float = 1.0
    reloads: float = 0.2
    least_pause: float = 0.1
    most_pause: float = 5.0


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
        self._measurements = measurements
        self._backend = backend
        self._source = source
        self._desired = desired
        self._resolver = resolver
        self._policy = policy
        self._reload_waits = False
        self._applied = Applied(backend, policy, CompiledConfig(desired.config.frontends))
        self._certificates = certificates
        self._node = node
        self._timing = timing or Timing()
        self._dirty: set[RouteKey] = set()
        self._revision = 0
        self._applied_revision = 0
        # Changes by their revisions, as far as somebody told of them.
        self._told: dict[int, tuple[RouteKey, StoredRoute]] = {}
        self._woken = asyncio.Event()
        self._must_observe = True
        self._begun = False
        self._seen = False
        self._version: str | None = None
        self._unusable: tuple[Certificate, ...] = ()
        # Profiles of which HAProxy made no backend, though it should be able to.
        self._stunted: set[str] = set()
        self._problem: str | None = "starting"
        bounds = self._timing.least_pause, self._timing.most_pause
        self._rounds = Backoff(*bounds, time.monotonic)
        self._reloads = Reloads(
            self._applied,
            Backoff(*bounds, time.monotonic),
            gap=self._timing.reloads,
            budget=budget,
            measurements=measurements,
            woken=self.wake,
        )
        self._drift = DriftLook(backend, self._applied)
        self._look_due = False
        self._sweep_due = 0.0
        self._lookups: set[asyncio.Task[None]] = set()
        self._warnings: dict[str, str] = {}
        backend.on_change(self._process_changed)

    # --- what the services ask ---

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        """This was stored, and is durable: bring it in."""
        self._told[stored.revision] = key, stored
        self.wake()

    def wake(self) -> None:
        """Something was stored: look at it now."""
        self._woken.set()

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
        """Wait until the route is active, failed or gone at `revision`, at most `seconds`."""
        return await self.board.settle(key, revision, seconds)

    def status(self, key: RouteKey) -> RouteStatus:
        """What is known of the route now."""
        return self.board.get(key)

    def proxy_status(self) -> ProxyStatus:
        """What is known of HAProxy now."""
        pools = self._applied.layout.pools
        return ProxyStatus(
            reachable=self._begun and self._problem is None,
            # A few revisions behind for a moment is how it works; a problem isn't.
            in_step=self._problem is None,
            applied_revision=self._applied_revision,
            stored_revision=self._revision,
            version=self._backend.version,
            reason=self._problem,
            counts=self.board.counts(),
            reload_waits=self._reloads.waits if self._reload_waits else None,
            old_workers=self._reloads.leftovers.count,
            old_worker_bytes=self._reloads.leftovers.memory,
            profiles=len(pools),
            slots=sum(pool.size + len(pool.extra) for pool in pools.values()),
            spare_slots=sum(pool.spare for pool in pools.values()),
            disk_behind_seconds=self._backend.disk_behind,
            warnings=tuple(self._warnings.values()),
        )

    # --- what the operator asks ---

    def reframe(self, frontends: Frontends) -> None:
        """Load these frontends with the next reload, which is due now."""
        self._desired.config = msgspec.structs.replace(self._desired.config, frontends=frontends)
        self._dirty |= self._desired.extended
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
                group.create_task(regularly(timing.names, self._follow_names))
                group.create_task(self._look_for_drift())
                group.create_task(regularly(timing.refused, self._retry_refused))
                group.create_task(regularly(timing.statuses, self.remember))
                group.create_task(regularly(timing.names, self._reloads.look))
        finally:
            await self._reloads.abandon()
            for task in self._lookups:
                task.cancel()
            try:
                await self.remember()
            except Exception:
                logger.exception("the last statuses weren't stored")

    async def _loop(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self._round()
            except ProxyUnavailableError as error:
                self._begun = False
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
                await self._woken.wait()

    def _patience(self) -> float | None:
        """Seconds after which to look again, even if nothing happens."""
        if self._rounds.problem is not None:
            return self._rounds.remaining
        due = []
        if self._applied.anything_rests:
            due.append(max(0.0, self._sweep_due - time.monotonic()))
        if self._reloads.preparing:
            return min(due, default=None)
        if self._reloads.problem is not None or self._reload_waits:
            due.append(
                max(self._reloads.remaining, _RELOAD_LOOK if self._reloads.over_budget else 0)
            )
        elif self._dirty:
            due.append(self._timing.most_pause)
        return min(due, default=None)

    def _failed(self, error: Exception, problem: str) -> None:
        """Back off; what HAProxy runs must be asked again, unless it can't have changed."""
        if self._rounds.failed(problem):
            logger.error("HAProxy can't be brought in step: %s", problem)
        self._problem = problem
        if not isinstance(error, _HARMLESS):
            self._must_observe = True
        for key in self._dirty:
            self._note_pending(key, problem)

    def _note_pending(self, key: RouteKey, problem: str) -> None:
        known = self.board.get(key)
        if known.state != RouteState.FAILED or known.revision < self._desired.revision_of(key):
            # The revision stays the one that was dealt with last: see `_hear`.
            self.board.set(key, RouteStatus(RouteState.PENDING, known.revision, problem))

    def _process_changed(self) -> None:
        self._must_observe = True
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
        if not self._begun:
            await self._begin()
        if self._must_observe:
            news = await self._observe()
            if news:
                # What is prepared stands on what was thought to run.
                self._dirty |= await self._reloads.abandon()
        if self._reloads.prepared:
            await self._finish_reload()
        await self._apply()
        await self._sweep()
        if self._look_due:
            await self._look()
        self._applied_revision = self._revision

    async def _sweep(self) -> None:
        if self._applied.anything_rests and time.monotonic() >= self._sweep_due:
            began = time.monotonic()
            swept = True
            while swept and time.monotonic() - began <= _LONG:
                swept = await self._applied.sweep()
            took = time.monotonic() - began
            # However long it takes, most of the time is for changes.
            rest = took * self._timing.sweep_rest if took > _LONG else 0.0
            self._sweep_due = began + max(self._timing.sweep, rest)

    async def _hear(self) -> None:
        """Load what was stored since the last round: everything, the first time."""
        if self._revision == 0 and not self._desired.stored:
            statuses = await self._source.load_statuses(self._node)
            revision, changed = await self._source.snapshot()
            self.board.restore({key: statuses[key] for key in changed if key in statuses})
            self._desired.doubt(
                key
                for key, stored in changed.items()
                if statuses.get(key, PENDING).revision != stored.revision
            )
        else:
            revision, changed = self._told_without_a_gap()
            if revision == self._revision:
                revision, changed = await self._source.changes_since(self._revision)
        unknown = self._desired.take(changed)
        self._dirty |= changed.keys()
        self._revision = revision
        self._set_certificates()
        if unknown:
            # In the background: a slow name server holds up its own routes only.
            task = asyncio.create_task(self._resolve(unknown))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    def _told_without_a_gap(self) -> tuple[int, Mapping[RouteKey, StoredRoute]]:
        """The revisions that follow the last one, if they are all that was told of.

        Revisions have no gaps: what is told of each needn't be asked of the database. Where one
        is missing, somebody else has stored something, and then it is asked for everything.
        """
        told, self._told = self._told, {}
        fresh = {at: change for at, change in told.items() if at > self._revision}
        revision = self._revision + len(fresh)
        if max(fresh, default=self._revision) != revision:
            return self._revision, {}
        return revision, dict(fresh[at] for at in sorted(fresh))

    def _set_certificates(self) -> None:
        certificates = self._certificates()
        if certificates not in (self._desired.config.certificates, self._unusable):
            self._desired.config = msgspec.structs.replace(
                self._desired.config, certificates=certificates
            )

    async def _begin(self) -> None:
        config = self._desired.config.with_routes(dict.fromkeys(self._desired.config.routes))
        await self._backend.start(State(config, Layout().reloaded({}, self._policy)))
        self._begun = True
        self._must_observe = True

    async def _observe(self) -> bool:
        """Ask HAProxy what it runs, and take that as the truth; returns whether it is news."""
        # First: should HAProxy be replaced while we look, that is said anew.
        self._must_observe = False
        try:
            return await self._take_as_true(await self._backend.observe())
        except BaseException:
            self._must_observe = True
            raise

    async def _take_as_true(self, running: Running) -> bool:
        first = not self._seen
        if first:
            self._desired.recognise(running)
            await self._recompile(self._desired.stored)
        # In a thread: with many routes it takes seconds, and others want to be served.
        found = await asyncio.to_thread(adopt, self._desired.config, running, self._applied.layout)
        await self._applied.clear(found.strays)
        drift = await asyncio.to_thread(diff, found.config, self._applied.config)
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
        wanted = await asyncio.to_thread(diff, found.config, self._desired.config)
        self._dirty |= {change.key for change in wanted.routes}
        if first:
            self._dirty |= set(self._desired.stored)
            self._trust_what_is_wanted()
            # Which ones an adopted HAProxy holds, nobody asks it.
            await self._serve_certificates()
        if self._version not in (None, self._backend.version):
            self._stunted.clear()
            await self._retry_refused()
        self._seen, self._version = True, self._backend.version
        self._drift.forget_worker()
        self._see_health(running)
        return news

    def _trust_what_is_wanted(self) -> None:
        """Whoever wants exactly what runs, owns it."""
        wanted, runs = self._desired.config.routes, self._applied.config.routes
        for key in self._desired.handed_over(runs):
            if runs[key] == wanted.get(key):
                self._desired.taken_over(key)

    async def _serve_certificates(self) -> None:
        """Have the wanted ones served; if HAProxy refuses, those before go on."""
        names = {certificate.name for certificate in self._applied.config.certificates}
        if not self._applied.known or names != {c.name for c in self._desired.config.certificates}:
            return  # The reload brings them in.
        try:
            await self._applied.serve(self._desired.config.certificates)
        except CommandRefusedError as error:
            logger.error("the new certificate isn't served: %s", error)
            self._unusable = self._desired.config.certificates
            self._desired.config = msgspec.structs.replace(
                self._desired.config, certificates=self._applied.config.certificates
            )

    async def _apply(self) -> None:
        """Make the differences go away: at once what needs no reload, then the rest with one."""
        waiting, self._dirty = self._dirty, set()
        try:
            waiting -= await self._evict(self._desired.handed_over(waiting))
            blocked = await self._recompile(waiting)
            changes = diff(self._applied.config, self._desired.config, waiting)
            planned = plan(changes, self._applied.layout, self._growing, self._backend.limits)
            if planned.certificates:
                await self._serve_certificates()
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
            self._publish(waiting - deferred, blocked, refused)
            waiting = deferred
            self._note_reload(planned.why)
            if not await self._begin_reload(planned):
                self._dirty |= waiting
        except BaseException:
            self._dirty |= waiting
            raise

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

    def _note_reload(self, why: Mapping[RouteKey, ReloadReason]) -> None:
        """These wait for a reload."""
        for key, reason in why.items():
            known = self.board.get(key)
            runs = key in self._applied.config.routes
            if not runs or known.revision < self._desired.revision_of(key):
                said = "HAProxy is being reloaded for this route"
                status = RouteStatus(RouteState.PENDING, known.revision, said, reload=reason)
                self.board.set(key, status)

    async def _recompile(self, keys: Collection[RouteKey]) -> dict[RouteKey, RouteStatus]:
        """Compile these routes; of many some at a time, since others wait for the processor."""
        blocked: dict[RouteKey, RouteStatus] = {}
        waiting = iter(list(keys))
        while some := list(islice(waiting, _COMPILED_AT_ONCE)):
            blocked |= self._desired.recompile(some, self._applied.config)
            if len(some) == _COMPILED_AT_ONCE:
                await asyncio.sleep(0)
        return blocked

    async def _begin_reload(self, planned: Plan) -> bool:
        """Prepare a reload if one is due; returns whether it will bring in the plan's rest."""
        reasons = planned.reasons
        if not reasons and self._applied.layout.low(self._policy, self._reloads.hot):
            reasons = (ReloadReason.POOL_REFILL,)
        self._reload_waits = bool(reasons)
        if not reasons:
            self._reloads.settled()
            return True
        if self._reloads.preparing:
            return False
        await self._reloads.look()
        if self._reloads.remaining or self._reloads.over_budget:
            return False
        self._reload_waits = False
        revisions = {c.key: self._desired.revision_of(c.key) for c in planned.deferred}
        self._reloads.begin(self._desired.config, planned, reasons, revisions)
        return True

    async def _finish_reload(self) -> None:
        keys = self._reloads.keys
        try:
            settled, refused = await self._reloads.finish(
                self._desired.config, self._desired.revision_of
            )
            why = self._reloads.why
        except BaseException:
            self._dirty |= keys
            raise
        self._drift.forget_worker()
        self._dirty |= keys - settled
        self._publish(settled, {}, refused, why)

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
            self._try_again(key, reason)
        return frozenset(refused)

    def _try_again(self, key: RouteKey, reason: str) -> None:
        """What is to go is still there."""
        logger.error("HAProxy doesn't let go of route %s: %s", key, reason)
        self._note_pending(key, reason)
        self._dirty.add(key)

    def _publish(
        self,
        keys: Iterable[RouteKey],
        blocked: Mapping[RouteKey, RouteStatus],
        refused: Mapping[RouteKey, str],
        why: Mapping[RouteKey, ReloadReason] | None = None,
    ) -> None:
        """Tell everybody what became of these routes, and `why` some needed a reload."""
        for key, reason in refused.items():
            logger.warning("HAProxy refuses route %s: %s", key, reason)
            self._desired.refuse(key, reason)
        statuses = {**blocked, **self._desired.recompile(refused, self._applied.config)}
        for key in keys:
            revision = self._desired.revision_of(key)
            stored = self._desired.stored.get(key)
            if (stored is None or stored.route is None) and key in refused:
                self._try_again(key, refused[key])
            elif (stored is None or stored.route is None) and not self._applied.known:
                # What runs may serve it still: the reload that replaces that decides.
                self._dirty.add(key)
            elif stored is None or stored.route is None:
                self.board.remove(key, revision)
                self._desired.forget(key)
            else:
                status = statuses.get(key) or RouteStatus(RouteState.ACTIVE, revision)
                reload = (why or {}).get(key)
                self.board.set(key, msgspec.structs.replace(status, reload=reload))

    async def remember(self) -> None:
        """Store the statuses that changed; they are about what runs, so they may be late."""
        unsaved = self.board.take_unsaved()
        if not unsaved:
            return
        try:
            await self._source.save_statuses(self._node, unsaved)
        except Exception as error:
            self.board.give_back_unsaved(unsaved)
            if not isinstance(error, StorageError):
                raise
            logger.warning("statuses couldn't be stored: %s", error)

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
        self._dirty |= refused
        if refused:
            self.wake()

    async def _follow_names(self) -> None:
        hosts = self._desired.hosts
        troubled = hosts & self._resolver.problems.keys()
        # Apart, so that the healthy ones don't wait for them.
        await asyncio.gather(self._resolve(hosts - troubled), self._resolve(troubled))

    async def _resolve(self, hosts: Iterable[str]) -> None:
        changed = await self._resolver.refresh(hosts)
        if changed:
            self._dirty |= self._desired.keys_of(changed)
            self.wake()
        # Whose last route went while they were looked up.
        self._resolver.forget(set(hosts) - self._desired.hosts)

    def _see_health(self, running: Running) -> None:
        for key, backend in self._applied.layout.slots.items():
            route = self._applied.config.routes.get(key)
            servers = running.servers.get(backend, {}).values()
            self.board.set_health(key, health_of(route, servers))
