"""A runtime socket and a master socket that speak as the real ones were recorded to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

Dialect = Literal["2.8", "3.2", "3.4"]

INFO = (
    "Name: HAProxy\nVersion: {version}\nRelease_date: 2026/06/26\nNbthread: 2\nProcess_num: 1\n"
    "Pid: {pid}\nUptime: 0d 0h00m07s\nUptime_sec: 7\nMaxconn: 9974\nCurrConns: 3\n"
    "Stopping: {stopping}\nnode: box\ndescription: generation 12\n"
)


class FakeRuntime:
    """Prompt mode: `\\n> ` after each line; 2.8 and 3.0 print `+ ` while a payload goes on."""

    def __init__(self, dialect: Dialect = "2.8") -> None:
        self.dialect = dialect
        self.version = {"2.8": "2.8.25-5cf5d0683", "3.2": "3.2.26-1", "3.4": "3.4.7-1"}[dialect]
        self.pid = 4711
        self.stopping = False
        self.answers: dict[str, str] = {}
        self.received: list[tuple[str, str]] = []
        self.connections = 0
        # Returns False to hang up instead of answering.
        self.before_answer: Callable[[str], bool] = lambda _: True
        self.release = asyncio.Event()
        self.release.set()
        self.arrived: set[str] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def on(self, path: Path) -> AsyncIterator[FakeRuntime]:
        server = await asyncio.start_unix_server(self._serve, path, limit=1 << 20)
        try:
            yield self
        finally:
            self.release.set()
            server.close()
            await self.hang_up()
            await server.wait_closed()

    async def hang_up(self) -> None:
        """Close every connection, as an idle time-out or a finished worker does."""
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while line := (await reader.readline()).decode().removesuffix("\n"):
                plus = ""
                payload: list[str] = []
                if line.endswith(" <<"):
                    line = line.removesuffix(" <<")
                    plus = "+ "
                    while text := (await reader.readline()).decode().removesuffix("\n"):
                        payload.append(text)
                        plus += "+ "
                self.arrived.add(line)
                await self.release.wait()
                if not self.before_answer(line):
                    break
                if self.dialect != "2.8":
                    plus = ""
                answer = self._answer(line, "\n".join(payload))
                writer.write(f"{plus}{answer}\n> ".encode())
                await writer.drain()
        writer.close()

    def _answer(self, line: str, payload: str) -> str:
        if line == "prompt" or line.startswith("set timeout cli"):
            return ""
        if line == "show info":
            stopping = int(self.stopping)
            return INFO.format(version=self.version, pid=self.pid, stopping=stopping)
        self.received.append((line, payload))
        return self.answers.get(line, "")


@contextlib.asynccontextmanager
async def master_socket(path: Path, *answers: str | None) -> AsyncIterator[list[str]]:
    """Each connection gets the next answer after the half-close (`None`: a reset, the last stays).

    Yields what was asked.
    """
    asked: list[str] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.read()).decode())
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            writer.transport.abort()
        else:
            writer.write(answer.encode())
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield asked
    finally:
        server.close()
        await server.wait_closed()
