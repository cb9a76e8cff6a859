"""A throwaway HAProxy: the same program for a moment, in a directory and on sockets of its own.

For what must not be tried on the one that carries traffic. Whatever happens, it is ended by its
PID; one that outlived a killed control plane is ended by the next (`sweep`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from frontserver.errors import ProxyError, ProxyUnavailableError
from frontserver.haproxy import procfs, spawn
from frontserver.haproxy.binary import environment
from frontserver.haproxy.check import rejection
from frontserver.haproxy.excerpt import RUNTIME
from frontserver.haproxy.runtime import RuntimeClient

_PREFIX = "frontserver-throwaway-"
_NAME = re.compile(re.escape(_PREFIX) + r"(\d+)-.+")
_CONFIG = "haproxy.cfg"
_POLL = 0.003
# To glibc's allocator: pack memory closely and fill it with rubbish, so that whoever reads what
# isn't theirs crashes here. (Cache rules in a profile end 2.8 only now and then otherwise.)
_STRICT_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=90"}
# Between a worker's last answer and the kernel's word that it is gone, a core dump included.
_DYING = 2.0
_LOG_TAIL = 500


class Throwaway:
    """A process that answers on `runtime`; its files are in `directory`."""

    def __init__(
        self, directory: Path, process: asyncio.subprocess.Process, runtime: RuntimeClient
    ) -> None:
        self.directory = directory
        self.runtime = runtime
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        """How long it has computed so far."""
        return procfs.cpu_seconds(self._process.pid)

    async def obituary(self, within: float = _DYING) -> str | None:
        """How it ended, with its last words; `None` if it lives on for `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                code = await self._process.wait()
                return f"HAProxy ended with {_named(code)}; its log: {self.log() or 'empty'}"
        return None

    def log(self) -> str:
        """The last lines that it printed."""
        text = spawn.tail(self.directory / "log", 0, _LOG_TAIL)
        return text.partition("\n")[2] if len(text) == _LOG_TAIL else text


@contextlib.asynccontextmanager
async def throwaway(
    program: Path,
    configuration: Callable[[Path], str],
    files: Mapping[str, str],
    *,
    ready_within: float = 10.0,
) -> AsyncIterator[Throwaway]:
    """Run one while the block lasts. `configuration` gives its text for its directory.

    `files` are written beside it, by relative name. `ready_within` is in seconds. Raises
    `ConfigRejectedError` if HAProxy refuses the configuration, `ProxyUnavailableError` if it gives
    no answer, and `ProxyError` if it can't be run at all.
    """
    directory = _directory()
    try:
        config = directory / _CONFIG
        try:
            _write(directory, {**files, _CONFIG: configuration(directory)})
        except OSError as error:
            raise ProxyError(f"a trial of HAProxy can't be prepared: {error}") from error
        async with _process(program, config) as process:
            runtime = RuntimeClient(directory / RUNTIME, timeout=ready_within)
            try:
                one = Throwaway(directory, process, runtime)
                await _wait_ready(one, process, ready_within)
                yield one
            finally:
                await runtime.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep() -> None:
    """End what a control plane that was killed has left, and remove its files."""
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:
        return  # There is none that can be written to, and nothing in it.
    for directory in temporary.glob(f"{_PREFIX}*"):
        match = _NAME.fullmatch(directory.name)
        with contextlib.suppress(OSError):
            if match and not Path("/proc", match[1]).exists() and _is_ours(directory):
                for pid in procfs.local_peer(directory.name):
                    os.kill(pid, signal.SIGKILL)
                shutil.rmtree(directory, ignore_errors=True)


def _is_ours(directory: Path) -> bool:
    status = directory.lstat()
    return directory.is_dir() and not directory.is_symlink() and status.st_uid == os.geteuid()


def _directory() -> Path:
    # Not in the state directory: a socket's path has room for about a hundred bytes.
    try:
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    except OSError as error:
        raise ProxyError(
            f"a trial of HAProxy can't be prepared: {error}",
            hint="TMPDIR names a directory that can be written to; in a container, mount one",
        ) from error


def _write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextlib.asynccontextmanager
async def _process(program: Path, config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with (config.parent / "log").open("wb") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                # `-L`: no peer of the real one's, so that no `peers` section listens.
                *("-db", "-L", config.parent.name, "-f", config.name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env={**environment(), **_STRICT_MEMORY},
                cwd=config.parent,
            )
        except OSError as error:
            raise ProxyError(f"{program} can't be run: {error.strerror}") from error
    try:
        # It is expected to crash now and then: nobody wants its memory on disk.
        with contextlib.suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _wait_ready(
    one: Throwaway, process: asyncio.subprocess.Process, ready_within: float
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ready_within
    while True:
        if process.returncode is not None:
            raise rejection((one.directory / "log").read_text(errors="replace"), process.returncode)
        with contextlib.suppress(ProxyUnavailableError):
            await one.runtime.info()
            return
        if loop.time() > deadline:
            raise ProxyUnavailableError(
                f"a trial of HAProxy gave no answer within {ready_within} s: {one.log()}"
            )
        await asyncio.sleep(_POLL)


def _named(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
