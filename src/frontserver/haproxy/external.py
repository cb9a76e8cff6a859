"""A HAProxy that systemd, a container or an operator runs: watched, never started or stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from frontserver.errors import ProxyError
from frontserver.haproxy.runtime import RuntimeClient


class ExternalHaproxy:
    """Somebody else's HAProxy, known by its sockets."""

    def __init__(
        self, *, runtime_socket: Path, master_socket: Path | None = None, every: float = 1.0
    ) -> None:
        """`every` is the pause between two looks, in seconds."""
        self._runtime = RuntimeClient(runtime_socket, master=master_socket)
        self._every = every
        self._pid: int | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The current worker's PID, as last seen."""
        return self._pid

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever another worker answers: after a restart or a reload."""
        self._callbacks.append(callback)

    async def ensure_running(self, prepare: Callable[[], Awaitable[None]] | None = None) -> None:
        """Raises `ProxyUnavailableError` if it doesn't answer now; it is watched from here on.

        `prepare` isn't called: when this HAProxy starts is not ours to say.
        """
        del prepare
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_again())
        self._pid = (await self._runtime.info()).pid

    async def close(self) -> None:
        """Stop watching; HAProxy goes on."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await self._runtime.close()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            # Away or unreadable: then the next one to answer is another one.
            with contextlib.suppress(ProxyError):
                pid = (await self._runtime.info()).pid
                if pid != self._pid:
                    self._pid = pid
                    for callback in self._callbacks:
                        callback()
