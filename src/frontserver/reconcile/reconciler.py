"""The loop: hear of changes, plan, apply, verify, remember; look again from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from frontserver.backends.port import Backend, State
from frontserver.errors import FrontServerError, ProxyUnavailableError, StorageError
from frontserver.model.routes import RouteKey
from frontserver.model.status import Health, ProxyStatus, RouteState, RouteStatus
from frontserver.planning.actions import Action
from frontserver.planning.compiled import Certificate, CompiledConfig
from frontserver.planning.diff import RouteChange, diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import Plan, ReloadReason, RouteSteps, lay_out, plan
from frontserver.planning.running import Running, adopt
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.isolation import isolate
from frontserver.reconcile.resolution import Resolver
from frontserver.reconcile.source import RouteSource

logger = logging.getLogger(__name__)


class Timing(msgspec.Struct, frozen=True):
    """Seconds between looks, and the bounds of the pause after a failure."""

    drift: float = 10.0
    names: float = 15.0
    sweep: float = 0.5
    statuses: float = 1.0
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
    ) -> None:
        self.board = StatusBoard()
        self._backend = backend
        self._source = source
        self._desired = desired
        self._resolver = resolver
        self._policy = policy
        self._certificates = certificates
        self._node = node
        self._timing = timing or Timing()
        self._applied = State(CompiledConfig(desired.config.frontends), Layout())
        self._dirty: set[RouteKey] = set()
        self._resting: dict[str, tuple[Action, ...]] = {}
        self._revision = 0
        self._applied_revision = 0
        self._woken = asyncio.Event()
        self._must_observe = True
        self._begun = False
        self._seen = False
        self._problem: str | None = "starting"
        self._failures = 0
        backend.on_change(self._process_changed)

    # --- what the services ask ---

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
        return ProxyStatus(
            reachable=self._begun and self._problem is None,
            # A few revisions behind for a moment is how it works; a problem isn't.
            in_step=self._problem is None,
            applied_revision=self._applied_revision,
            stored_revision=self._revision,
            version=self._backend.version,
            reason=self._problem,
            counts=self.board.counts(),
        )

    # --- the loop ---

    async def run(self) -> None:
        """Go on until cancelled. No error ends it: each is logged, and tried again later."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop())
            group.create_task(self._follow_names())
            group.create_task(self._look_for_drift())
            group.create_task(self._remember_regularly())

    async def _loop(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.step()
            except ProxyUnavailableError as error:
                self._begun = False
                await self._pause(error.message)
            except StorageError as error:
                await self._pause(error.message)
            except FrontServerError as error:
                logger.error("%s", error)
                await self._pause(str(error))
            except Exception:
                logger.exception("the reconciler met an unexpected error")
                await self._pause("internal error; see the log")
            else:
                self._problem, self._failures = None, 0
                await self._wait()

    async def _wait(self) -> None:
        seconds = self._timing.sweep if self._resting else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    async def _pause(self, problem: str) -> None:
        """Back off after a failure; what HAProxy runs must be asked again."""
        if problem != self._problem:
            logger.warning("HAProxy can't be brought in step: %s", problem)
        self._problem = problem
        self._must_observe = True
        self._note_pending(problem)
        ceiling = self._timing.least_pause * 2.0**self._failures
        self._failures = min(self._failures + 1, 16)
        seconds = min(self._timing.most_pause, ceiling) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(seconds)

    def _note_pending(self, problem: str) -> None:
        for key in self._dirty:
            revision = self._desired.revision_of(key)
            if self.board.get(key).state != RouteState.FAILED:
                self.board.set(key, RouteStatus(RouteState.PENDING, revision, problem))

    def _process_changed(self) -> None:
        self._must_observe = True
        self.wake()

    async def step(self) -> None:
        """One round: bring everything that is known to be stored into HAProxy."""
        await self._hear()
        if not self._begun:
            await self._begin()
        if self._must_observe:
            await self._observe()
        await self._apply()
        await self._sweep()
        self._applied_revision = self._revision

    async def _hear(self) -> None:
        """Load what was stored since the last round: everything, the first time."""
        if self._revision == 0 and not self._desired.stored:
            self.board.restore(dict(await self._source.load_statuses(self._node)))
            revision, changed = await self._source.snapshot()
        else:
            revision, changed = await self._source.changes_since(self._revision)
        unknown = self._desired.take(changed)
        self._dirty |= changed.keys()
        self._revision = revision
        self._set_certificates()
        if unknown:
            # In the background: a slow name server holds up its own routes only.
            task = asyncio.create_task(self._resolve(unknown))
            _BACKGROUND.add(task)
            task.add_done_callback(_BACKGROUND.discard)

    def _set_certificates(self) -> None:
        certificates = self._certificates()
        if certificates != self._desired.config.certificates:
            self._desired.config = msgspec.structs.replace(
                self._desired.config, certificates=certificates
            )

    async def _begin(self) -> None:
        config = self._desired.config.with_routes(dict.fromkeys(self._desired.config.routes))
        await self._backend.start(State(config, Layout().reloaded({}, self._policy)))
        self._begun = True
        self._must_observe = True

    async def _observe(self) -> None:
        """Ask HAProxy what it runs, and take that as the truth."""
        first = not self._seen
        running = await self._backend.observe()
        if first:
            self._desired.recompile(self._desired.stored, self._applied.config)
        found = adopt(self._desired.config, running, self._applied.layout)
        if found.strays:
            await self._backend.perform(found.strays)
        drift = diff(found.config, self._applied.config)
        if not first and (drift or found.strays):
            logger.warning(
                "HAProxy wasn't as it was left: %d routes and %d strays to mend",
                len(drift.routes),
                len(found.strays),
            )
        if first or drift or found.strays or found.layout.slots != self._applied.layout.slots:
            self._applied = State(found.config, found.layout)
            self._resting = {b: self._resting.get(b, ()) for b in found.layout.resting()}
            await self._backend.persist(self._applied, None)
        self._dirty |= {change.key for change in diff(found.config, self._desired.config).routes}
        if first:
            self._dirty |= set(self._desired.stored)
        self._must_observe, self._seen = False, True
        self._see_health(running)

    async def _apply(self) -> None:
        """Make the differences go away: at once what needs no reload, then the rest with one."""
        dirty, self._dirty = self._dirty, set()
        try:
            blocked = self._desired.recompile(dirty, self._applied.config)
            changes = diff(self._applied.config, self._desired.config, dirty)
            planned = plan(changes, self._applied.layout, self._policy)
            deferred = {change.key for change in planned.deferred}
            refused = await self._take_steps(planned)
            self._publish(dirty - deferred, blocked, refused)
            if planned.reasons:
                refused = await self._reload(planned.deferred, planned.reasons)
                self._publish(deferred, blocked, refused)
            if self._applied.layout.low(self._policy):
                await self._reload((), (ReloadReason.POOL_REFILL,))
        except BaseException:
            self._dirty |= dirty
            raise

    async def _take_steps(self, planned: Plan) -> Mapping[RouteKey, str]:
        if not planned.steps and not planned.certificates:
            return {}
        await self._backend.perform(planned.certificates)
        failed = await self._backend.apply(planned.steps)
        layout = planned.layout
        done: list[RouteSteps] = []
        for step in planned.steps:
            if step.key in failed:
                layout = layout.revert(step.key, self._applied.layout.slots.get(step.key))
                continue
            done.append(step)
            if step.vacated is not None:
                self._resting[step.vacated] = step.afterwards
        config = self._applied.config.with_routes({step.key: step.new for step in done})
        if planned.certificates:
            config = msgspec.structs.replace(config, certificates=self._desired.config.certificates)
        self._applied = State(config, layout)
        await self._backend.persist(self._applied, done)
        return failed

    async def _reload(
        self, deferred: Sequence[RouteChange], reasons: Sequence[ReloadReason]
    ) -> dict[RouteKey, str]:
        """Load everything anew; routes that HAProxy refuses are found and left out."""

        async def load(keys: Sequence[RouteKey]) -> None:
            chosen = [change for change in deferred if change.key in keys]
            config = msgspec.structs.replace(
                self._applied.config,
                frontends=self._desired.config.frontends,
                certificates=self._desired.config.certificates,
            ).with_routes({change.key: change.new for change in chosen})
            state = State(config, lay_out(self._applied.layout, chosen, self._policy))
            logger.info("reloading HAProxy: %s", ", ".join(reasons))
            await self._backend.reload(state, reasons)
            self._applied = state
            self._resting.clear()

        return await isolate([change.key for change in deferred], load)

    def _publish(
        self,
        keys: Iterable[RouteKey],
        blocked: Mapping[RouteKey, RouteStatus],
        refused: Mapping[RouteKey, str],
    ) -> None:
        """Tell everybody what became of these routes."""
        for key, reason in refused.items():
            logger.warning("HAProxy refuses route %s: %s", key, reason)
            self._desired.refuse(key, reason)
        statuses = {**blocked, **self._desired.recompile(refused, self._applied.config)}
        for key in keys:
            revision = self._desired.revision_of(key)
            stored = self._desired.stored.get(key)
            if stored is None or stored.route is None:
                self.board.remove(key, revision)
                self._desired.forget(key)
            else:
                active = RouteStatus(RouteState.ACTIVE, revision)
                self.board.set(key, statuses.get(key, active))

    async def _sweep(self) -> None:
        """Let slots serve again whose last stream has ended."""
        idle = await self._backend.idle(tuple(self._resting))
        for backend in sorted(idle & self._resting.keys()):
            await self._backend.perform(self._resting.pop(backend))
            layout = self._applied.layout.give_back(backend)
            self._applied = msgspec.structs.replace(self._applied, layout=layout)

    async def remember(self) -> None:
        """Store the statuses that changed; they are about what runs, so they may be late."""
        unsaved = self.board.take_unsaved()
        if not unsaved:
            return
        try:
            await self._source.save_statuses(self._node, unsaved)
        except StorageError as error:
            logger.warning("statuses couldn't be stored: %s", error)
            self.board.give_back_unsaved(unsaved)

    async def _remember_regularly(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._timing.statuses)
                await self.remember()
        finally:
            await self.remember()

    # --- looks from time to time ---

    async def _look_for_drift(self) -> None:
        while True:
            await asyncio.sleep(self._timing.drift)
            self._must_observe = True
            self.wake()

    async def _follow_names(self) -> None:
        while True:
            await asyncio.sleep(self._timing.names)
            await self._resolve(self._desired.hosts)

    async def _resolve(self, hosts: Iterable[str]) -> None:
        changed = await self._resolver.refresh(hosts)
        if changed:
            self._dirty |= self._desired.keys_of(changed)
            self.wake()

    def _see_health(self, running: Running) -> None:
        for key, backend in self._applied.layout.slots.items():
            route = self._applied.config.routes.get(key)
            if route is None or route.profile.check == "none":
                continue
            servers = running.servers.get(backend, {})
            up = any(server.up for server in servers.values())
            self.board.set_health(key, Health.UP if up else Health.DOWN)


_BACKGROUND: set[asyncio.Task[None]] = set()
