"""The file backend's port: what the reconciler sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from frontserver.backends.file.generations import Generations, Manifest
from frontserver.backends.file.mirror import Mirror
from frontserver.backends.file.oldworkers import OldWorkers
from frontserver.backends.file.performer import Performer
from frontserver.backends.port import State
from frontserver.errors import (
    CommandRefusedError,
    ConfigRejectedError,
    FrontServerError,
    ProxyError,
    ProxyUnavailableError,
)
from frontserver.haproxy.check import rejection
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.process import HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import Action, PutCertificate
from frontserver.planning.compiled import MAPS, CompiledConfig
from frontserver.planning.layout import backend_name
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running, RunningServer
from frontserver.rendering.invariants import check_invariants, check_reloadable
from frontserver.rendering.render import FRAME, PROFILES, Renderer

logger = logging.getLogger(__name__)

Check = Callable[[Path], Awaitable[None]]

_FLUSH_DELAY = 0.1
_FLUSH_RETRY = 1.0
_NEW_WORKER_SECONDS = 5.0
_WATCH_SECONDS = 1.0
_POLL = 0.01
_PREFIX = "frontserver-"


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
    ) -> None:
        self._renderer = renderer
        self._generations = generations
        self._process = process
        self._runtime = runtime
        self._master = master
        self._check = check
        self._mirror = Mirror(renderer, generations)
        self._performer = Performer(runtime, self._mirror)
        self._old_workers = OldWorkers(master)
        self._flushing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._version: str | None = None
        self._worker: int | None = None
        self._empty: State | None = None
        self._frame: CompiledConfig | None = None

    @property
    def version(self) -> str | None:
        return self._version

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)
        self._process.on_change(callback)

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

        if self._watching is None:
            self._watching = asyncio.create_task(self._watch_worker())

    async def _watch_worker(self) -> None:
        """Notice a reload that wasn't ours: its worker knows only what was on disk by then."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            with contextlib.suppress(ProxyError):
                pid = (await self._runtime.info()).pid
                if self._worker not in (None, pid):
                    for listener in self._listeners:
                        listener()

    async def _promote_new(self, state: State) -> None:
        generation = await self._write(state)
        await self._check_or_discard(generation)
        await asyncio.to_thread(self._generations.promote, generation)

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
        try:
            await self._check(generation)
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
        info = await self._runtime.info()
        self._version = info.version
        if self._worker not in (None, info.pid):
            self._performer.forget_leaving()
            self._old_workers.expect()
        self._worker = info.pid
        loaded = self._loaded(info.description)
        if loaded is None:
            logger.warning("HAProxy runs a configuration that isn't here; it will be replaced")
            return Running(frontends=None, pools={}, servers={}, maps={})
        generation, manifest = loaded
        if generation != self._generations.current():
            # A reload was interrupted. What follows on disk is what runs.
            logger.warning("HAProxy runs %s: that is the current one again", generation)
            await asyncio.to_thread(self._generations.promote, generation)
        servers = await self._servers(manifest)
        maps = {name: dict(reversed(await self._runtime.map_entries(name))) for name in MAPS}
        return Running(
            frontends=manifest.frontends,
            pools=dict(manifest.pools),
            servers=servers,
            maps=maps,
        )

    def _loaded(self, description: str) -> tuple[Path, Manifest] | None:
        """The generation that a worker has loaded, by its description, if it is here."""
        label = description.removeprefix(_PREFIX)
        name = label.partition("-")[0]
        manifest = self._generations.manifest(name) if name.isdigit() else None
        if manifest is None or manifest.label(name) != label:
            return None
        return self._generations.path(name), manifest

    async def _servers(self, manifest: Manifest) -> dict[str, dict[str, RunningServer]]:
        found = await self._runtime.server_states(None)
        leaving = self._performer.leaving
        return {
            backend: {
                name: RunningServer(state.address, state.port, ready=state.ready, up=state.up)
                for name, state in found.get(backend, {}).items()
                if (backend, name) not in leaving
            }
            for profile, size in manifest.pools
            for backend in (backend_name(profile.id, slot) for slot in range(size))
        }

    # --- runtime ---

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        failed: dict[RouteKey, str] = {}
        for step in steps:
            try:
                await self._performer.take(step)
            except CommandRefusedError as error:
                failed[step.key] = error.message
            else:
                self._mirror.act(step.actions)
                await self._old_workers.let_go(step)
        return failed

    async def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            await self._performer.perform(action)
            if isinstance(action, PutCertificate):
                self._mirror.certificate(action.certificate.name, action.certificate.pem)
        self._mirror.act(actions)
        self._flush_soon()

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        await self._performer.sweep()
        idle = frozenset([backend for backend in backends if await self._is_idle(backend)])
        if idle:
            # Another route may take the slot next: disk must not know both at once. Also when
            # nothing is behind: a flush may be under way, and fail.
            try:
                await self._mirror.flush()
            except FrontServerError as error:
                logger.error("%s; emptied slots aren't used again until then", error)
                return frozenset()
        return idle

    async def _is_idle(self, backend: str) -> bool:
        if (await self._runtime.server_states(backend)).get(backend):
            return False
        sessions = await self._runtime.backend_sessions(backend)
        return sessions.current == sessions.queued == 0

    # --- disk ---

    async def persist(self, state: State, steps: Sequence[RouteSteps] | None) -> None:
        if steps is None:
            self._mirror.doubt(state)
        else:
            self._mirror.follow(state, steps)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._mirror.is_behind and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        delay = _FLUSH_DELAY
        while self._mirror.is_behind:
            await asyncio.sleep(delay)
            try:
                await self._mirror.flush()
            except FrontServerError as error:
                if delay != _FLUSH_RETRY:
                    logger.error("%s; it is tried again until it works", error)
                delay = _FLUSH_RETRY

    # --- reloads ---

    async def check(self, state: State) -> None:
        generation = await self._write(state)
        try:
            await self._check_or_discard(generation, self._generations.current())
        finally:
            await asyncio.to_thread(self._generations.discard, generation)

    async def reload(self, state: State, reasons: Sequence[ReloadReason]) -> None:
        await self._mirror.flush()
        before = self._generations.current()
        generation = await self._write(state)
        await self._check_or_discard(generation, before)
        await asyncio.to_thread(self._generations.promote, generation)
        try:
            await self._switch_to(generation)
        except ProxyError:
            if before is not None and not await self._runs(generation):
                await asyncio.to_thread(self._generations.promote, before)
                await asyncio.to_thread(self._generations.discard, generation)
            raise
        self._frame = state.config
        self._mirror.loaded(state)
        self._performer.forget_leaving()
        self._old_workers.expect()
        await asyncio.to_thread(self._generations.prune)
        logger.info("HAProxy runs generation %s (%s)", generation.name, ", ".join(reasons))

    async def _write(self, state: State) -> Path:
        return await asyncio.to_thread(self._write_blocking, state)

    def _write_blocking(self, state: State) -> Path:
        name = self._generations.next_name()
        pools = tuple((pool.profile, pool.size) for _, pool in sorted(state.layout.pools.items()))
        frontends = state.config.frontends
        manifest = Manifest(frontends.fingerprint, pools, frontends.templates)
        files = self._renderer.everything(
            state.config, state.layout, generation=manifest.label(name)
        )
        check_invariants(files)
        return self._generations.write(name, files, manifest)

    async def _check_or_discard(self, generation: Path, running: Path | None = None) -> None:
        try:
            if running is not None:
                check_reloadable(*map(self._frame_of, (running, generation)))
            await self._check(generation)
        except BaseException:
            await asyncio.to_thread(self._generations.discard, generation)
            raise

    def _frame_of(self, generation: Path) -> dict[str, str]:
        return self._generations.read(generation, *FRAME)

    async def _switch_to(self, generation: Path) -> None:
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
        while not (running := await self._runs(generation)) and loop.time() < deadline:
            if self._process.pid is None:
                return False  # It ended, and must not be started with this again.
            await asyncio.sleep(_POLL)
        return running

    async def _runs(self, generation: Path) -> bool:
        """Whether the worker that answers has loaded this generation."""
        try:
            info = await self._runtime.info()
        except ProxyError:
            return False
        self._worker = info.pid
        loaded = self._loaded(info.description)
        return loaded is not None and loaded[0] == generation

    async def close(self) -> None:
        for task in (self._watching, self._flushing):
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
