"""The master's socket: reloads that answer, and the workers that live.

HAProxy management guide, section 9.4 "Master CLI". Every question has a connection of its own,
half-closed, since the master leaves a connection open after most answers.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Literal

import msgspec

from frontserver.errors import ProxyUnavailableError
from frontserver.haproxy import reads, sockets
from frontserver.haproxy.commands import encode

WorkerKind = Literal["master", "current", "old", "program"]

_PAUSE = 0.02

_BUSY = "Another reload is still in progress"
_SUCCESS = re.compile(r"^Success=([01])$", re.MULTILINE)
_PROCESS = re.compile(
    r"(?P<pid>\d+)\s+(?P<type>\S+)\s+(?P<reloads>\d+)(?:\s+\[failed: (?P<failed>\d+)\])?"
    r"\s+(?P<days>\d+)d(?P<hours>\d+)h(?P<minutes>\d+)m(?P<seconds>\d+)s\s+(?P<version>\S+)\s*"
)


class ReloadResult(msgspec.Struct, frozen=True):
    """Whether the new configuration serves. If not, the old worker goes on; `log` says why."""

    success: bool
    log: str


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `show proc`. `reloads` counts those that it has seen, `failed` the refused ones."""

    pid: int
    kind: WorkerKind
    reloads: int
    failed: int
    uptime_s: int
    version: str


class MasterClient:
    """Asks the master process. Reloads are serialised."""

    def __init__(self, path: Path, *, timeout: float = 10.0, patience: float = 5.0) -> None:
        """`timeout` is for an answer, `patience` for a socket that refuses; both in seconds."""
        self._path = path
        self._timeout = timeout
        self._patience = patience
        self._reloading = asyncio.Lock()

    async def reload(self, timeout: float = 120.0) -> ReloadResult:  # noqa: ASYNC109
        """Reload and wait for the answer, at most `timeout` seconds.

        Raises `ProxyUnavailableError` if there is no answer: whether the configuration was taken
        is then unknown, and `processes()` and the runtime socket tell.
        """
        async with self._reloading:
            deadline = asyncio.get_running_loop().time() + timeout
            while True:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise ProxyUnavailableError(f"HAProxy didn't reload within {timeout} s")
                result = parse_reload(await self._ask(b"reload\n", left))
                if result.success or _BUSY not in result.log:
                    return result
                # Somebody else's reload; it says nothing of our configuration.
                await asyncio.sleep(_PAUSE)

    async def processes(self) -> list[Worker]:
        """The master, the current worker and old ones that still hold connections."""
        return parse_processes(await self._ask(b"show proc\n", self._timeout))

    async def current_worker(self) -> reads.Info:
        """`show info` of the newest worker; raises `ProxyError` if there is none to answer."""
        return reads.parse_info(await self._ask(b"@1 show info\n", self._timeout))

    async def command_old_worker(self, pid: int, *commands: str) -> str:
        """The answers of worker `pid`, one after the other; or raises `ProxyUnavailableError`.

        All are sent as one line: commands that have no payload, some 12 kB of them at most.
        """
        line = ";".join(encode(command).text for command in commands)
        answer = await self._ask(f"@!{pid} {line}\n".encode(), self._timeout)
        return answer.strip("\n")

    async def _ask(self, data: bytes, timeout: float) -> str:  # noqa: ASYNC109
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(timeout, self._patience)
        while True:
            try:
                return await sockets.ask(self._path, data, timeout)
            except ProxyUnavailableError as error:
                # Nothing was sent: the master re-executes itself, which takes some milliseconds.
                refused = isinstance(error.__cause__, ConnectionRefusedError)
                if not refused or loop.time() > deadline:
                    raise
            await asyncio.sleep(_PAUSE)


def parse_reload(answer: str) -> ReloadResult:
    """`Success=1|0`, a line `--`, the log. Raises `ProxyUnavailableError` for anything else."""
    match = _SUCCESS.search(answer)
    if match is None:
        raise ProxyUnavailableError(
            "HAProxy didn't say whether it reloaded", hint="look at what it runs now"
        )
    log = answer[match.end() :].strip().removeprefix("--").strip()
    return ReloadResult(success=match[1] == "1", log=log)


def parse_processes(answer: str) -> list[Worker]:
    """The answer of `show proc`."""
    workers: list[Worker] = []
    old = False
    for line in answer.splitlines():
        if line.startswith("# "):
            old = line.startswith("# old")
        elif match := _PROCESS.fullmatch(line):
            workers.append(_worker(match, old=old))
    if not any(worker.kind == "master" for worker in workers):
        raise ProxyUnavailableError(f"the answer to 'show proc' can't be read: {answer[:200]!r}")
    return workers


def _worker(match: re.Match[str], *, old: bool) -> Worker:
    kind: WorkerKind
    if match["type"] == "master":
        kind = "master"
    elif match["type"] == "worker":
        kind = "old" if old else "current"
    else:
        kind = "program"
    hours = int(match["days"]) * 24 + int(match["hours"])
    return Worker(
        pid=int(match["pid"]),
        kind=kind,
        reloads=int(match["reloads"]),
        failed=int(match["failed"] or 0),
        uptime_s=hours * 3600 + int(match["minutes"]) * 60 + int(match["seconds"]),
        version=match["version"],
    )
