"""Visitors as they are: each keeps its connection, thinks between two requests, and notices all."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from harness.errors import HarnessError
from harness.polling import until

# Seconds that a visitor thinks: mostly little, now and then long enough to miss a reload.
_PAUSES = (0.005, 0.02, 0.1, 0.4)
_PATIENCE = 10.0


class Visit(msgspec.Struct, frozen=True):
    """Where a visitor goes, and which origin must answer there."""

    host: str
    origin: str


class Visitors:
    """One visitor a `Visit`, all in one thread, until the end of the `with` block.

    `complaints` names what went wrong: no answer, another status than 200, another origin, or a
    connection that was closed without its having been said so before (`Connection: close`).
    """

    def __init__(self, port: int, visits: Sequence[Visit], *, seed: int = 1) -> None:
        self.complaints: list[str] = []
        self._port = port
        self._visits = visits
        self._random = random.Random(seed)  # noqa: S311 - pauses
        self._served = dict.fromkeys(visits, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="visitors")

    @property
    def done(self) -> int:
        """The requests so far that went well."""
        return sum(self._served.values())

    def wait_for(self, more: int) -> None:
        """Wait until `more` requests than now are done, or one has failed since now."""
        goal, known = self.done + more, len(self.complaints)
        until(
            f"{more} more visits",
            lambda: self.done >= goal or len(self.complaints) > known,
            seconds=60,
        )

    def settle(self, *, seconds: float = 20.0) -> None:
        """Wait until each has been served since now: nobody has a connection of before.

        Raises `HarnessError` if one complained twice meanwhile: at first it may have met what was
        left of its old connection.
        """
        served, known = dict(self._served), len(self.complaints)
        until(
            "each visitor is served",
            lambda: all(self._served[visit] > count for visit, count in served.items()),
            seconds=seconds,
            detail=lambda: "; ".join(self.complaints[-5:]),
        )
        hosts = [complaint.partition(": ")[0] for complaint in self.complaints[known:]]
        if len(hosts) > len(set(hosts)):
            raise HarnessError(f"visitors failed again: {self.complaints[known:]}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    async def _run(self) -> None:
        await asyncio.gather(*(self._visit(visit) for visit in self._visits))

    async def _visit(self, visit: Visit) -> None:
        connection: _Connection | None = None
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(_PATIENCE):
                    connection = connection or await _Connection.open(self._port)
                    body, last = await connection.get(visit.host)
                if body.get("origin") != visit.origin:
                    raise HarnessError(f"answered by {body.get('origin')!r}")
            except (OSError, HarnessError, ValueError, EOFError, TimeoutError) as error:
                self.complaints.append(f"{visit.host}: {type(error).__name__} {error}")
                last = True
            else:
                self._served[visit] += 1
            if last and connection is not None:
                connection.close()
                connection = None
            await asyncio.sleep(self._random.choice(_PAUSES))
        if connection is not None:
            connection.close()


class _Connection:
    """A kept HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, host: str) -> tuple[dict[str, Any], bool]:
        """The JSON of `GET /`, and whether the server said that it closes."""
        self._writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = head.split(" ", 2)[1]
        length = next(
            int(line.partition(":")[2]) for line in head.split("\r\n") if "content-length" in line
        )
        body = await self._reader.readexactly(length)
        if status != "200":
            raise HarnessError(f"status {status}: {body[:80]!r}")
        return json.loads(body), "connection: close" in head

    def close(self) -> None:
        self._writer.close()
