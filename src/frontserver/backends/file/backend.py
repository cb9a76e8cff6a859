"""The file backend's port: what the reconciler sees of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from frontserver.backends.file.drafts import Draft, Drafts
from frontserver.backends.file.generations import Generations
from frontserver.backends.file.judge import Check, Judge
from frontserver.backends.file.mirror import Mirror
from frontserver.backends.file.observer import Observer
from frontserver.backends.file.oldworkers import OldWorkers
from frontserver.backends.file.performer import Performer
from frontserver.backends.file.tree import Tree
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
from frontserver.haproxy.check import rejection
from frontserver.haproxy.external import ExternalHaproxy
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.probe import Prober
from frontserver.haproxy.process import HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.measurements import Measurements, Unmeasured
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action, PutCertificate
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running
from frontserver.rendering.invariants import check_invariants
from frontserver.rendering.render import PROFILES, Renderer

logger = logging.getLogger(__name__)

_FLUSH_DELAY = 0.25
_FLUSH_RETRY = 1.0
_NEW_WORKER_SECONDS = 5.0
_WATCH_SECONDS = 1.0
_POLL = 0.01


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
    ) -> None:
        """Without a `canary`, new profiles are loaded untried; without a `prober`, what this
        HAProxy can do is what its version is known for.
        """
        self._renderer = renderer
        self._generations = generations
        self._process = process
        self._runtime = runtime
        self._master = master
        self._measurements = measurements or Unmeasured()
        self._behind_since = 0.0
        self._judge = Judge(generations, check, canary, self._measurements)
        self._mirror = Mirror(renderer)
        self._drafts = Drafts(renderer, generations, self._mirror)
        self._draft: Draft | None = None
        # Routes that were changed since the draft was begun; `None` without one.
        self._touched: set[RouteKey] | None = None
        self._performer = Performer(runtime, self._mirror)
        self._old_workers = OldWorkers(master)
        self._observer = Observer(
            runtime, generations, self._judge, self._performer, self._old_workers, prober
        )
        self._flushing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._switching = False
        self._empty: State | None = None
        self._frame: CompiledConfig | None = None

    @property
    def version(self) -> str | None:
        return self._observer.version

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)
        self._process.on_change(lambda: None if self._is_ours() else callback())

    def _is_ours(self) -> bool:
        """Whether a change of somebody else's HAProxy is a reload that we asked for."""
        if not isinstance(self._process, ExternalHaproxy):
            return False
        return self._switching or self._process.pid == self._observer.worker

    # --- starting and observing ---

    async def start(self, empty: State) -> None:
        await asyncio.to_thread(self._generations.prepare)
        if self._generations.current() is None:
            await self._promote_new(empty)
        self._empty, self._frame = empty, empty.config
        try:
            await self._process.ensure_running(self._before_start)
        except ProxyUnavailableError:
            # Whoever starts it will find the listeners that are set now.
            await asyncio.to_thread(self._reframe)
            raise

        current = self._generations.current()
        if current is not None and await self._observer.runs(current):
            await asyncio.to_thread(self._generations.mark, current)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch_worker())

    async def _watch_worker(self) -> None:
        """Notice a reload that wasn't ours: its worker knows only what was on disk by then."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                pid = (await self._runtime.info()).pid
                if not self._switching and self._observer.worker not in (None, pid):
                    for listener in self._listeners:
                        listener()
            except ProxyError:
                continue  # Whoever asks it next will say so.
            except Exception:
                logger.exception("HAProxy's worker couldn't be looked at")

    async def _promote_new(self, state: State) -> None:
        draft = await self._drafts.make_whole(state)
        await self._judge_or_discard(draft)
        await asyncio.to_thread(self._generations.promote, draft.path)

    async def _before_start(self) -> None:
        """See to it that HAProxy finds a configuration that it will load.

        That is the current one, else the last good one, else a new one of what is known.
        """
        try:
            await self._mirror.flush()
            await asyncio.to_thread(self._reframe)
        except FrontServerError as error:
            logger.error("%s; HAProxy starts with what is on disk", error)
        current = self._generations.current()
        last_good = self._generations.before(current) if current else None
        for generation in (current, last_good):
            if generation is not None and await self._is_good(generation):
                if generation != current:
                    await asyncio.to_thread(self._generations.promote, generation)
                return
        state = self._mirror.state or self._empty
        if state is None:
            raise ConfigRejectedError("there is no configuration to start with")
        await self._promote_new(state)

    async def _is_good(self, generation: Path) -> bool:
        if self._generations.manifest(generation.name) is None:
            logger.error("the configuration %s is gone or damaged", generation)
            return False
        for name in await asyncio.to_thread(self._generations.heal, generation):
            logger.error("the last line of %s in %s had no end; it is left out", name, generation)
        try:
            await self._judge.accepts(generation)
        except ConfigRejectedError as error:
            logger.error("%s; HAProxy won't start with %s", error, generation)
            return False
        return True

    def _reframe(self) -> None:
        """Give a stopped HAProxy's configuration the listeners that are set now."""
        current, frame = self._generations.current(), self._frame
        if current is None or frame is None:
            return
        frontends = frame.frontends
        manifest = self._generations.manifest(current.name)
        if manifest is None or manifest.frontends == frontends.fingerprint:
            return
        name = self._generations.next_name()
        same = manifest.templates == frontends.templates
        # Slots of another template stay as they are, so the next look finds a difference.
        fresh = msgspec.structs.replace(
            manifest, frontends=frontends.fingerprint if same else "of mixed templates"
        )
        files = self._generations.read(current)
        files |= self._renderer.frame(frontends, generation=fresh.label(name))
        files[PROFILES] = self._renderer.profiles(frontends, (p for p, _ in manifest.pools))
        files |= self._renderer.certificates(frame)
        check_invariants(files)
        self._generations.promote(self._generations.write(name, files, fresh))

    async def observe(self) -> Running:
        return await self._observer.observe()

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        return await self._observer.look(backends)

    # --- runtime ---

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        failed = await self._performer.take(steps)
        await self._old_workers.let_go([step for step in steps if step.key not in failed])
        # Only now: a draft that was begun meanwhile doesn't know of them.
        if self._touched is not None:
            self._touched |= {step.key for step in steps}
        return failed

    async def perform(self, actions: Sequence[Action]) -> None:
        await self._performer.perform(actions)
        for action in actions:
            if isinstance(action, PutCertificate):
                self._mirror.certificate(action.certificate.name, action.certificate.pem)
        self._mirror.act(actions)
        self._flush_soon()

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
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._mirror.is_behind and not self._behind_since:
            self._behind_since = time.monotonic()
        if self._mirror.is_behind and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        delay = _FLUSH_DELAY
        while self._mirror.is_behind:
            await asyncio.sleep(delay)
            since, self._behind_since = self._behind_since, time.monotonic()
            try:
                written = await self._mirror.flush()
            except Exception as error:
                if delay != _FLUSH_RETRY:
                    known = isinstance(error, FrontServerError)
                    logger.error("%s; it is tried again until it works", error, exc_info=not known)
                delay = _FLUSH_RETRY
                self._behind_since = since
            else:
                self._measurements.flushed(time.monotonic() - since, written)
        self._behind_since = 0.0

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
            await self._judge_or_discard(draft, self._generations.current())
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
            await self._switch_to(draft.path)
        except ProxyError as error:
            if before is not None and not await self._observer.runs(draft.path):
                await asyncio.to_thread(self._generations.promote, before)
                if isinstance(error, ConfigRejectedError) or sockets.refused(error):
                    # Else it may come to run it after all, and must be recognised then.
                    await asyncio.to_thread(self._generations.discard, draft.path)
            raise
        self._frame = state.config
        self._judge.loaded(state.config.frontends.fingerprint)
        self._mirror.loaded(state, draft.tree, difference)
        self._performer.forget_leaving()
        self._old_workers.expect()

    async def _judge_or_discard(self, draft: Draft, running: Path | None = None) -> None:
        try:
            await self._judge.require(draft.path, draft.state, running)
        except BaseException:
            await asyncio.to_thread(self._generations.discard, draft.path)
            raise

    async def _switch_to(self, generation: Path) -> None:
        self._switching = True
        try:
            await self._hand_over(generation)
        finally:
            self._switching = False

    async def _hand_over(self, generation: Path) -> None:
        result = await self._master.reload()
        # The conversation was with the worker that leaves.
        await self._runtime.close()
        if not result.success:
            raise rejection(result.log)
        if not await self._comes_to_run(generation):
            raise ProxyUnavailableError("HAProxy reloaded, but another configuration answers")

    async def _comes_to_run(self, generation: Path) -> bool:
        """Wait for the new worker; up to 0.1 s after the answer at 50,000 backends."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _NEW_WORKER_SECONDS
        while not (running := await self._observer.runs(generation)) and loop.time() < deadline:
            if self._process.pid is None:
                return False  # It ended, and must not be started with this again.
            await asyncio.sleep(_POLL)
        return running

    @property
    def disk_behind(self) -> float:
        return time.monotonic() - self._behind_since if self._behind_since else 0.0

    @property
    def growing(self) -> frozenset[str]:
        if self._renderer.newest.holds("custom/slot.cfg.j2"):
            # What is made at run time has no lines of the operator's.
            return frozenset()
        return self._judge.growing

    @property
    def limits(self) -> RuntimeLimits:
        return RuntimeLimits()

    async def leftovers(self) -> Leftovers:
        return await self._old_workers.leftovers()

    async def close(self) -> None:
        for task in (self._watching, self._flushing, self._observer.learning):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        try:
            if self._mirror.is_behind:
                await self._mirror.flush()
        except FrontServerError as error:
            logger.error("%s; HAProxy goes on, but its files are behind", error)
        await self._process.close()
        await self._runtime.close()
