"""From one worker to the next: the reloads that are ours, and notice of those that aren't."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from frontserver.backends.file.observer import Observer
from frontserver.errors import ProxyError, ProxyUnavailableError
from frontserver.haproxy.check import rejection
from frontserver.haproxy.external import ExternalHaproxy
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.process import HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient

logger = logging.getLogger(__name__)

_NEW_WORKER_SECONDS = 5.0
_WATCH_SECONDS = 1.0
_POLL = 0.01


class Handover:
    """Reloads one HAProxy, and tells when a worker came that this class didn't ask for."""

    def __init__(
        self,
        process: HaproxyProcess,
        runtime: RuntimeClient,
        master: MasterClient,
        observer: Observer,
    ) -> None:
        self._process = process
        self._runtime = runtime
        self._master = master
        self._observer = observer
        self._under_way = False
        self._watching: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when a process or a worker that isn't our doing serves."""
        self._listeners.append(callback)
        self._process.on_change(lambda: None if self._is_ours() else callback())

    def watch(self) -> None:
        """Look out for other workers from now on."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch_worker())

    async def to(self, generation: Path) -> None:
        """Reload, and wait for the worker that runs `generation`, the current one on disk.

        Raises `ConfigRejectedError` if HAProxy refuses it, `ProxyUnavailableError` if it isn't
        seen to run.
        """
        self._under_way = True
        try:
            await self._reload(generation)
        finally:
            self._under_way = False

    async def close(self) -> None:
        """End the watch."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    async def _reload(self, generation: Path) -> None:
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

    def _is_ours(self) -> bool:
        """Whether a change of somebody else's HAProxy is a reload that we asked for."""
        if not isinstance(self._process, ExternalHaproxy):
            return False
        return self._under_way or self._process.pid == self._observer.worker

    async def _watch_worker(self) -> None:
        """Notice a reload that wasn't ours: its worker knows only what was on disk by then."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                pid = (await self._runtime.info()).pid
                if not self._under_way and self._observer.worker not in (None, pid):
                    for listener in self._listeners:
                        listener()
            except ProxyError:
                continue  # Whoever asks it next will say so.
            except Exception:
                logger.exception("HAProxy's worker couldn't be looked at")
