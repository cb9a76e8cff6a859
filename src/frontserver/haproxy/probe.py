"""What a HAProxy can do, observed: asked where it can be asked, tried where it can't.

The running worker is only ever asked. What must be tried is tried on a throwaway process of the
same program with the same `global` settings, once: the result is kept beside the verdicts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from frontserver.errors import ProxyError, ProxyUnavailableError, StorageError
from frontserver.haproxy import reads, sockets
from frontserver.haproxy.excerpt import RUNTIME, Excerpt, excerpt
from frontserver.haproxy.program import Program
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.haproxy.throwaway import Throwaway, throwaway
from frontserver.haproxy.verdicts import Verdicts
from frontserver.planning.capabilities import Behaviour, Capabilities
from frontserver.planning.compiled import MAPS, digest

logger = logging.getLogger(__name__)

# Part of every fingerprint: to be changed when the probe looks for something else than before.
_PROBES = "2"
_MAP = "probe.map"
_BACKEND = """\
backend probe from throwaway
    balance roundrobin
    http-request set-var(txn.probe) str(-),map(probe.map)
"""
# Bytes of a command and its payload, from what 3.4 takes down to the smallest buffers in use.
_PAYLOADS = (120_000, 60_000, 30_000, 15_000, 7_000, 3_000)
_LINE = 1_000
_SECONDS = 5.0


async def ask(runtime: RuntimeClient) -> Capabilities:
    """What the worker that answers now says of itself; all else is assumed by its version.

    Raises `ProxyUnavailableError`, or `ProxyError` for a version that is too old.
    """
    version, commands, conditions = await runtime.run(["show version", "help", "wait -h"])
    capabilities = Capabilities.from_version(version)
    offered = reads.parse_help(commands)
    if "help" not in offered:
        # Nothing that can be understood, which isn't to say that it can do nothing.
        return capabilities
    return capabilities.told(offered, reads.parse_wait_conditions(conditions))


class Prober:
    """Observes HAProxys of one program; without a program, what they say is all there is."""

    def __init__(self, program: Path | None, verdicts: Verdicts) -> None:
        self._program = None if program is None else Program(program)
        self._verdicts = verdicts
        self._lock = asyncio.Lock()

    async def observe(self, runtime: RuntimeClient, texts: Mapping[str, str]) -> Capabilities:
        """The capabilities of the worker that answers at `runtime`.

        `texts` are the rendered files that hold its `global` section. What can't be tried, since
        the program isn't here or is another version by now, stays assumed. Raises as `ask`.
        """
        capabilities = await ask(runtime)
        if self._program is None:
            return capabilities
        running = (await runtime.info()).version
        try:
            if await self._program.version() != running:
                logger.info("HAProxy %s runs, and another version is on disk", running)
                return capabilities
            return capabilities.tried(await self.behaviour(running, texts))
        except ProxyError as error:
            logger.warning("HAProxy %s couldn't be tried: %s", running, error)
            return capabilities

    async def behaviour(self, version: str, texts: Mapping[str, str]) -> Behaviour:
        """What trying shows, or has shown before. Raises `ProxyError` if it can't be tried."""
        if self._program is None:
            raise ProxyError("there is no HAProxy program to try")
        cut = excerpt(texts, frozenset(), slots=0)
        fingerprint = digest((_PROBES, cut.base), 24)
        async with self._lock:
            known = self._verdicts.behaviour(version, fingerprint)
            if known is not None:
                return known
            found = await probe(self._program.path, cut)
            try:
                await asyncio.to_thread(self._verdicts.keep_behaviour, version, fingerprint, found)
            except StorageError as error:
                logger.warning("%s; HAProxy will be tried again after a restart", error)
            return found


async def probe(program: Path, cut: Excerpt) -> Behaviour:
    """Try it all on a throwaway process, which takes about 0.1 s. Raises `ProxyError`."""
    files = {**dict.fromkeys(MAPS, ""), _MAP: ""}
    async with throwaway(program, lambda directory: cut.text(directory) + _BACKEND, files) as one:
        return Behaviour(
            payload_limit=await _payload_limit(one),
            del_map_removes_all=await _removes_all(one.runtime),
            init_state=await _accepts(one.runtime, "init-state down"),
            automatic_sni=await _accepts(one.runtime, "ssl verify none no-sni-auto"),
            guid=await _accepts(one.runtime, "guid probe:guid"),
        )


async def _accepts(runtime: RuntimeClient, keywords: str) -> bool:
    """Whether `add server` knows these keywords."""
    name = f"s{digest(keywords)}"
    (answer,) = await runtime.run([f"add server probe/{name} 127.0.0.1:1 {keywords}"])
    return "New server registered." in answer


async def _removes_all(runtime: RuntimeClient) -> bool:
    await runtime.run(
        [
            f"add map {_MAP} twice 1",
            f"add map {_MAP} twice 2",
            f"del map {_MAP} twice",
        ]
    )
    return await runtime.map_value(_MAP, "twice") is None


async def _payload_limit(one: Throwaway) -> int:
    """The largest of some sizes that arrives whole."""
    for size in _PAYLOADS:
        if await _takes(one, size):
            return size
    return _PAYLOADS[-1]


async def _takes(one: Throwaway, size: int) -> bool:
    data, last = command_of(size)
    try:
        # Not by the client, which refuses what its version is said not to take.
        await sockets.ask(one.directory / RUNTIME, data, _SECONDS)
    except ProxyUnavailableError:
        return False
    return await one.runtime.map_value(_MAP, last) is not None


def command_of(size: int) -> tuple[bytes, str]:
    """A command of exactly `size` bytes, at least 2,100, with its payload; and the last key in it.

    The payload's lines are far shorter than any buffer.
    """
    head = f"add map {_MAP} <<\n"
    count, extra = divmod(size - len(head) - 1, _LINE)
    widths = [_LINE + extra, *[_LINE] * (count - 1)]
    keys = [f"{size}-{number}" for number in range(count)]
    lines = (f"{key} ".ljust(width - 1, "x") for key, width in zip(keys, widths, strict=True))
    return (head + "".join(f"{line}\n" for line in lines) + "\n").encode(), keys[-1]
