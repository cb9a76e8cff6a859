"""HAProxy as a process of our own: started, supervised, adopted, stopped.

It isn't tied to our life. It has its own session and none of our files, so that a crash or a
`kill -9` of the control plane cuts nothing, and the next start finds it by its master socket.
(Under systemd this needs `KillMode=process`, which leaves it out of the service's end.)
When a worker dies, its master ends with it, so supervision is about the master alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from frontserver.errors import (
    FrontServerError,
    ProcessConflictError,
    ProxyError,
    ProxyUnavailableError,
)
from frontserver.haproxy import exits, locks, ports, procfs, spawn
from frontserver.haproxy.external import ExternalHaproxy
from frontserver.haproxy.locks import ControllerLock
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.runtime import RuntimeClient

__all__ = ["ControllerLock", "EmbeddedHaproxy", "ExternalHaproxy", "HaproxyProcess"]

logger = logging.getLogger(__name__)

_POLL = 0.02
# After its master was killed, a worker needs up to 0.7 s to notice and end.
_LEFTOVERS = 5.0
_BACKOFF_FIRST = 0.1
_BACKOFF_LONGEST = 5.0
# Having run so long, the next failure is a new one.
_STEADY = 30.0

Prepare = Callable[[], Awaitable[None]]


class HaproxyProcess(Protocol):
    """The HAProxy that we drive, whoever runs it."""

    @property
    def pid(self) -> int | None:
        """The process that is watched, if known."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever another HAProxy process took over."""
        ...

    async def ensure_running(self, prepare: Prepare | None = None) -> None:
        """Return when HAProxy answers, and watch it from then on. Raises `ProxyError`.

        `prepare` runs before each start, now or later: files current and checked, or the last good.
        """
        ...

    async def close(self) -> None:
        """Stop watching; HAProxy goes on."""
        ...


class EmbeddedHaproxy:
    """A HAProxy of our own, in master-worker mode."""

    def __init__(
        self,
        *,
        binary: Path,
        config_path: Path,
        master_socket: Path,
        runtime_socket: Path,
        run_dir: Path,
        binds: Sequence[ports.Bind] = (),
        ready_within: float = 120.0,
    ) -> None:
        """`config_path` is a file, or a directory of `*.cfg` files; it must name `runtime_socket`.

        `binds` are looked at before a start. `ready_within` is in seconds; 10,000 certificates
        alone take 12 of them on 2.8.
        """
        self._binary = binary.absolute()
        self._config = config_path.absolute()
        self._master_socket = master_socket.absolute()
        self._runtime_socket = runtime_socket.absolute()
        self._run_dir = run_dir.absolute()
        self._binds = tuple(binds)
        self._ready_within = ready_within
        self._prepare: Prepare | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._pid: int | None = None
        self._changing = asyncio.Lock()
        self._supervision: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The master's PID."""
        return self._pid

    @property
    def log(self) -> Path:
        """Where HAProxy's own messages go."""
        return self._run_dir / "haproxy.log"

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever HAProxy ended and is back."""
        self._callbacks.append(callback)

    async def ensure_running(self, prepare: Prepare | None = None) -> None:
        """Adopt the HAProxy that runs already, or start one; then supervise it.

        Raises what `adopt` and `start` raise.
        """
        self._prepare = prepare or self._prepare
        await self._bring_up()
        if self._supervision is None or self._supervision.done():
            self._supervision = asyncio.create_task(self._supervise())

    async def adopt(self) -> int | None:
        """Take over a HAProxy that an earlier control plane started: its PID, `None` if none runs.

        Raises `ProcessConflictError` if one is there that only finishes its last connections, and
        `ProxyUnavailableError` if one is there that doesn't answer.
        """
        async with self._changing:
            return await self._adopt()

    async def start(self) -> None:
        """Start HAProxy and wait until it answers.

        Raises `ProcessConflictError` if a port or the run directory is somebody else's,
        `ProxyUnavailableError` with the log's end if it doesn't come up, and what `prepare` raises.
        """
        async with self._changing:
            await self._start()

    async def stop(self, *, graceful: bool = False, timeout: float | None = 10.0) -> bool:  # noqa: ASYNC109
        """Stop HAProxy and its supervision; false if none runs.

        Graceful: it closes its listeners and ends when its last connection does. After `timeout`
        seconds (`None`: never) it is made to end at once.
        """
        await self.close()
        async with self._changing:
            pid = await self._find_to_stop()
            if pid is None:
                return False
            first = signal.SIGUSR1 if graceful else signal.SIGTERM
            if not await exits.end(pid, first, timeout) and graceful:
                await exits.end(pid, signal.SIGTERM, 5.0)
            for left in procfs.ours(self._master_socket):
                await exits.end(left, signal.SIGKILL, 5.0)
            self._pid = None
            self._clear_sockets()
            self._pid_file.unlink(missing_ok=True)
            return True

    async def close(self) -> None:
        """End supervision; HAProxy goes on."""
        if self._supervision is not None:
            self._supervision.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervision
            self._supervision = None

    async def _bring_up(self) -> None:
        async with self._changing:
            if await self._adopt() is None:
                await self._start()

    async def _adopt(self) -> int | None:
        pid = await self._find()
        self._pid = pid or self._pid
        return pid

    async def _start(self) -> None:
        if self._prepare is not None:
            await self._prepare()
        lock = await self._take_lock()
        try:
            ports.require_free(self._binds)
            self._clear_sockets()
            logged = spawn.rotate(self.log)
            pid = spawn.spawn(self._command(), log=self.log, lock=lock)
        finally:
            os.close(lock)
        try:
            await self._wait_ready(pid, logged)
        except ProxyError:
            await exits.end(pid, signal.SIGKILL, 5.0)
            raise
        self._pid = pid

    def _command(self) -> list[str]:
        master = f"{self._master_socket},mode,600"
        pid_file = str(self._pid_file)
        return [str(self._binary), "-W", "-S", master, "-f", str(self._config), "-p", pid_file]

    @property
    def _pid_file(self) -> Path:
        return self._run_dir / "haproxy.pid"

    async def _wait_ready(self, pid: int, logged: int) -> None:
        """Until worker and master answer; `logged` is where the log's news begin.

        A master that doesn't answer yet may lose a signal.
        """
        runtime = RuntimeClient(self._runtime_socket)
        master = MasterClient(self._master_socket, timeout=2.0, patience=0.0)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._ready_within
        try:
            while True:
                if not exits.alive(pid):
                    raise ProxyUnavailableError(self._obituary("HAProxy ended", logged))
                with contextlib.suppress(ProxyUnavailableError):
                    await runtime.info()
                    await master.processes()
                    return
                if loop.time() > deadline:
                    what = f"HAProxy gave no answer within {self._ready_within} s"
                    raise ProxyUnavailableError(self._obituary(what, logged))
                await asyncio.sleep(_POLL)
        finally:
            await runtime.close()

    async def _supervise(self) -> None:
        """Bring HAProxy back whenever it ends, and say so."""
        delay = _BACKOFF_FIRST
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            if self._pid is not None:
                await exits.exit_of(self._pid)
            logger.error("HAProxy (PID %s) ended; starting it again", self._pid)
            self._pid = None
            if loop.time() - since > _STEADY:
                delay = _BACKOFF_FIRST
            delay = await self._bring_back(delay)
            for callback in self._callbacks:
                callback()

    async def _bring_back(self, delay: float) -> float:
        """Try until it runs; returns the pause to make before the next attempt, in seconds."""
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, _BACKOFF_LONGEST)
            try:
                await self._bring_up()
            except (FrontServerError, OSError) as error:
                logger.error("HAProxy doesn't start: %s", error)
            else:
                return delay

    async def _find(self) -> int | None:
        """The master that runs with our master socket, confirmed by its answers there.

        The runtime socket isn't asked: two failed reloads may have left it dead (red list R8).
        """
        loop = asyncio.get_running_loop()
        master = MasterClient(self._master_socket, timeout=2.0, patience=0.0)
        deadline = loop.time() + _LEFTOVERS
        while found := procfs.ours(self._master_socket):
            try:
                workers, current = await master.processes(), await master.current_worker()
            except ProxyError:
                # A reload re-executes the master, or a killed master's worker still ends.
                if loop.time() > deadline:
                    raise
            else:
                pid = next(worker.pid for worker in workers if worker.kind == "master")
                if pid in found and not current.stopping:
                    return pid
                if loop.time() > deadline:
                    raise ProcessConflictError(
                        f"HAProxy (PID {pid}) finishes its last connections",
                        hint="wait for it, or stop it",
                    )
            await asyncio.sleep(_POLL)
        return None

    async def _find_to_stop(self) -> int | None:
        found = procfs.ours(self._master_socket)
        if not found:
            return None
        with contextlib.suppress(ProxyError):
            workers = await MasterClient(self._master_socket, timeout=2.0).processes()
            return next(worker.pid for worker in workers if worker.kind == "master")
        # It doesn't answer; the oldest of them is the master.
        return min(found)

    async def _take_lock(self) -> int:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LEFTOVERS
        while (lock := locks.take(self._run_dir / "haproxy.lock")) is None:
            if loop.time() > deadline:
                pids = ", ".join(map(str, procfs.ours(self._master_socket)))
                raise ProcessConflictError(
                    f"a HAProxy (PID {pids or 'unknown'}) still uses {self._run_dir}",
                    hint="wait until its last connections end, or stop it",
                )
            await asyncio.sleep(_POLL)
        return lock

    def _clear_sockets(self) -> None:
        for path in (self._runtime_socket, self._master_socket):
            if path.is_socket():
                path.unlink(missing_ok=True)

    def _obituary(self, what: str, logged: int) -> str:
        log = spawn.tail(self.log, logged)
        return f"{what}; its log: {log or 'empty'} ({self.log})"
