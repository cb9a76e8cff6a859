"""The file backend's port: what the reconciler sees of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from frontserver.backends.file.coldstart import ColdStart
from frontserver.backends.file.drafts import Draft, Drafts
from frontserver.backends.file.generations import Generations
from frontserver.backends.file.handover import Handover
from frontserver.backends.file.judge import Check, Judge
from frontserver.backends.file.leaving import Leaving
from frontserver.backends.file.mirror import Mirror
from frontserver.backends.file.observer import Observer
from frontserver.backends.file.oldworkers import OldWorkers
from frontserver.backends.file.performer import Performer
from frontserver.backends.file.tree import Tree
from frontserver.backends.flushing import Flushing
from frontserver.backends.port import Leftovers, Look, Prepared, State
from frontserver.errors import (
    ConfigRejectedError,
    FrontServerError,
    ProxyError,
    ProxyUnavailableError,
    StorageError,
)
from frontserver.haproxy import sockets
from frontserver.haproxy.canary import Canary
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.probe import Prober
from frontserver.haproxy.process import HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.model.routes import RouteKey
from frontserver.model.targets import HostPort
from frontserver.planning.actions import Action, PutCertificate
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running
from frontserver.rendering.render import Renderer

logger = logging.getLogger(__name__)

# What a command takes besides its payload, and more.
_COMMAND_BYTES = 200


class FileBackend:
    """Renders, checks, swaps and reloads; runtime commands for everything that can be."""

    def __init__(
        self,
        *,
        renderer: Renderer,
        generations: Generations,
        process: HaproxyProcess,
        runtime: RuntimeClient,
        master: MasterClient,
        check: Check,
        canary: Canary | None = None,
        prober: Prober | None = None,
        measurements: Measurements | None = None,
        first_bind: HostPort | None = None,
    ) -> None:
        """Without a `canary`, new profiles are loaded untried; without a `prober`, what this
        HAProxy can do is what its version is known for. With `first_bind` a HAProxy that is
        started listens there alone, until the first reload: whatever it was left with may be old,
        and another one may have its ports.
        """
        self._renderer = renderer
        self._generations = generations
        self._process = process
        self._runtime = runtime
        measurements = measurements or Unmeasured()
        self._judge = Judge(generations, check, canary, measurements)
        self._mirror = Mirror(renderer)
        self._flushing = Flushing(self._mirror, measurements)
        self._drafts = Drafts(renderer, generations, self._mirror)
        self._draft: Draft | None = None
        # Routes that were changed since the draft was begun; `None` without one.
        self._touched: set[RouteKey] | None = None
        self._leaving = Leaving()
        self._performer = Performer(runtime, self._mirror, self._leaving)
        self._old_workers = OldWorkers(master, self._leaving)
        self._observer = Observer(
            runtime, generations, self._judge, self._leaving, self._old_workers, prober
        )
        self._handover = Handover(process, runtime, master, self._observer)
        self._first_bind = first_bind
        self._cold_start = ColdStart(renderer, generations, self._mirror, self._drafts, self._judge)

    @property
    def version(self) -> str | None:
        return self._observer.version

    def on_change(self, callback: Callable[[], None]) -> None:
        self._handover.on_change(callback)

    # --- starting and observing ---

    async def start(self, empty: State) -> None:
        bind = self._first_bind
        await self._cold_start.provide(empty if bind is None else _listening(empty, bind))
        try:
            await self._process.ensure_running(self._cold_start.prepare)
        except ProxyUnavailableError:
            # Whoever starts it will find the listeners that are set now.
            await asyncio.to_thread(self._cold_start.reframe)
            raise
        self._first_bind, self._cold_start.frame = None, empty.config

        current = self._generations.current()
        if current is not None and await self._observer.runs(current):
            await asyncio.to_thread(self._generations.mark, current)
        self._handover.watch()

    async def observe(self) -> Running:
        return await self._observer.observe()

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        return await self._observer.look(backends)

    # --- runtime ---

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        try:
            failed = await self._performer.take(steps)
        except BaseException:
            # Some of it may be done, and nobody would tell them then.
            self._old_workers.owe(steps)
            raise
        self._old_workers.meet(self._runtime.worker)
        self._old_workers.owe([step for step in steps if step.key not in failed])
        await self._old_workers.let_go()
        # Only now: a draft that was begun meanwhile doesn't know of them.
        if self._touched is not None:
            self._touched |= {step.key for step in steps}
        return failed

    async def perform(self, actions: Sequence[Action]) -> None:
        await self._performer.perform(actions)
        for action in actions:
            if isinstance(action, PutCertificate):
                self._mirror.renew(action.certificate)
                self._cold_start.renew(action.certificate)
        self._mirror.act(actions)
        self._flushing.soon()

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        await self._performer.sweep()
        idle = await self._performer.idle(backends)
        if idle and self._mirror.is_at_rest:
            # Disk follows once a draft is written, and no change shall wait for that: they rest on.
            return frozenset()
        if idle:
            # Another route may take the slot next: disk must not know both at once. Also when
            # nothing is behind: a flush may be under way, and fail.
            try:
                await self._mirror.flush()
            except FrontServerError as error:
                logger.error("%s; emptied slots aren't used again until then", error)
                return frozenset()
        return idle

    # --- disk ---

    async def persist(self, state: State, steps: Sequence[RouteSteps] | None) -> None:
        if steps is None or self._mirror.tree is None:
            current = self._generations.current()
            if current is not None:
                self._mirror.doubt(state, Tree.unknown(current))
        else:
            self._mirror.follow(state, steps)
        self._flushing.soon()

    # --- reloads ---

    async def check(self, state: State, changed: Collection[RouteKey] | None = None) -> None:
        await self.discard(await self.prepare(state, changed))

    async def prepare(self, state: State, changed: Collection[RouteKey] | None = None) -> Prepared:
        touched: set[RouteKey] = set()
        self._touched = touched
        try:
            if changed is None:
                await self._mirror.flush()
                draft = await self._drafts.make_whole(state)
            else:
                keys = frozenset(changed)
                draft = await self._drafts.make(state, lambda: keys | touched)
            await self._judge.require_or_discard(
                draft.path, draft.state, self._generations.current(), draft.fresh
            )
        except BaseException:
            self._touched = None
            raise
        self._draft = draft
        return Prepared(state, draft.path.name)

    async def discard(self, prepared: Prepared) -> None:
        if self._draft is not None and self._draft.path.name == prepared.token:
            self._draft, self._touched = None, None
        await asyncio.to_thread(self._generations.discard, self._generations.path(prepared.token))

    async def reload(
        self,
        state: State,
        reasons: Sequence[ReloadReason],
        prepared: Prepared | None = None,
        changed: Collection[RouteKey] | None = None,
    ) -> None:
        if prepared is None:
            prepared = await self.prepare(state, changed)
        draft, self._draft = self._draft, None
        if draft is None or draft.path.name != prepared.token:
            raise StorageError(f"the configuration {prepared.token} is gone", hint="try again")
        keys = None if changed is None else (self._touched or set()) | set(changed)
        self._touched = None
        # What a flush writes meanwhile could be older than what is loaded.
        async with self._mirror.held():
            await self._load(draft, state, keys)
        try:
            await asyncio.to_thread(self._generations.mark, draft.path)
            await asyncio.to_thread(self._generations.prune)
        except StorageError as error:
            logger.warning("%s; older configurations stay on disk", error)
        logger.info("HAProxy runs generation %s (%s)", draft.path.name, ", ".join(reasons))

    async def _load(self, draft: Draft, state: State, keys: Collection[RouteKey] | None) -> None:
        difference = None
        before = self._generations.current()
        try:
            if keys is not None:
                difference = self._mirror.difference(state, keys)
                await self._drafts.catch_up(draft, state, keys)
            await asyncio.to_thread(self._generations.promote, draft.path)
        except BaseException:
            await asyncio.to_thread(self._generations.discard, draft.path)
            raise
        try:
            await self._handover.to(draft.path)
        except ProxyError as error:
            if before is not None and not await self._observer.runs(draft.path):
                await asyncio.to_thread(self._generations.promote, before)
                if isinstance(error, ConfigRejectedError) or sockets.refused(error):
                    # Else it may come to run it after all, and must be recognised then.
                    await asyncio.to_thread(self._generations.discard, draft.path)
            raise
        self._cold_start.frame = state.config
        self._judge.loaded(state.config.frontends.fingerprint)
        self._mirror.loaded(state, draft.tree, difference)

    @property
    def anything_leaves(self) -> bool:
        return bool(self._leaving)

    @property
    def disk_behind(self) -> float:
        return self._flushing.behind

    @property
    def disk_problem(self) -> str | None:
        return self._flushing.problem

    @property
    def growing(self) -> frozenset[str]:
        if self._renderer.newest.holds("custom/slot.cfg.j2"):
            # What is made at run time has no lines of the operator's.
            return frozenset()
        return self._judge.growing

    @property
    def limits(self) -> RuntimeLimits:
        known = self._observer.capabilities
        if known is None:
            return RuntimeLimits()
        return RuntimeLimits(longest_bundle=known.payload_limit - _COMMAND_BYTES)

    @property
    def most_checks(self) -> int | None:
        return self._observer.most_checks

    async def leftovers(self) -> Leftovers:
        return await self._old_workers.leftovers()

    async def close(self) -> None:
        await self._handover.close()
        if self._observer.learning is not None:
            self._observer.learning.cancel()
            await asyncio.wait({self._observer.learning})
        await self._flushing.close()
        await self._process.close()
        await self._runtime.close()


def _listening(state: State, bind: HostPort) -> State:
    """The same with this listener alone."""
    frontends = msgspec.structs.replace(
        state.config.frontends, http_binds=(bind,), https_binds=(), mongo_binds=()
    )
    config = msgspec.structs.replace(state.config, frontends=frontends)
    return msgspec.structs.replace(state, config=config)
