"""Many requests at a time, on kept connections: the load of the throughput series."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

import msgspec

_ACCEPTED = 202


class Load(msgspec.Struct):
    """What became of the requests: when the last one was answered, and how long each took."""

    seconds: float = 0.0
    latencies_ms: list[float] = []
    refused: int = 0
    # Answered with 202: stored, and not live yet.
    pending: int = 0


async def send_all(
    port: int, requests: Iterable[bytes], *, connections: int, seconds: float | None = None
) -> Load:
    """Send requests, as fast as they are answered, until they or the seconds are over.

    An answer that isn't 2xx counts as refused. Raises `OSError` if a connection breaks.
    """
    load = Load()
    begun = time.perf_counter()
    until = None if seconds is None else begun + seconds
    waiting = iter(requests)
    workers = (_work(port, waiting, load, until) for _ in range(connections))
    await asyncio.gather(*workers)
    load.seconds = time.perf_counter() - begun
    return load


async def _work(port: int, waiting: Iterator[bytes], load: Load, until: float | None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for data in waiting:
            begun = time.perf_counter()
            if until is not None and begun >= until:
                return
            writer.write(data)
            status = await _answer(reader)
            if 200 <= status < 300:
                load.latencies_ms.append((time.perf_counter() - begun) * 1000)
                load.pending += status == _ACCEPTED
            else:
                load.refused += 1
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    """The status of an answer whose length is told; its body is read and dropped."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, after = head.partition(b"\r\ncontent-length:")
    length = int(after.partition(b"\r\n")[0]) if after else 0
    if length:
        await reader.readexactly(length)
    return int(head[9:12])
