"""Host names of targets, resolved and followed by us: HAProxy's dynamic servers never do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Awaitable[list[str]]]

_LOOKUP_SECONDS = 5.0
_AT_ONCE = 8
# A lookup that nobody waits for any more goes on in its thread until the name server answers.
_MOST_THREADS = 64
_threads = threading.BoundedSemaphore(_MOST_THREADS)


async def system_lookup(
    host: str, *, query: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo
) -> list[str]:
    """The addresses of a name by the system's resolver; raises `OSError`.

    In a thread of its own: in the shared ones, slow name servers would hold up the disk.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()
    if not _threads.acquire(blocking=False):
        raise OSError("too many names are being looked up")

    def deliver(found: list[tuple[Any, ...]] | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look() -> None:
        try:
            found: list[tuple[Any, ...]] | Exception = query(host, None, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - the caller's to judge
            found = error
        finally:
            _threads.release()
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, found)

    threading.Thread(target=look, name="lookup", daemon=True).start()
    addresses = {str(entry[4][0]) for entry in await answer}
    # One with a zone means something on one interface only.
    return sorted(address for address in addresses if "%" not in address)


class Resolver:
    """Knows one address for every name it was asked about.

    An address stays as long as the name still has it, and when the name can't be resolved for a
    while: what works isn't disturbed. `addresses` maps names to addresses, `problems` to why
    there is none.
    """

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self.addresses: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self._lookup = lookup

    async def refresh(self, hosts: Iterable[str]) -> frozenset[str]:
        """Look the names up, a few at a time; returns those whose address or problem changed."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(host: str) -> str | None:
            async with slots:
                return host if await self._refresh_one(host) else None

        changed = await asyncio.gather(*(one(host) for host in hosts))
        return frozenset(host for host in changed if host is not None)

    def forget(self, hosts: Iterable[str]) -> None:
        """Drop names that no route has any more."""
        for host in hosts:
            self.addresses.pop(host, None)
            self.problems.pop(host, None)

    async def _refresh_one(self, host: str) -> bool:
        known = self.addresses.get(host)
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = await self._lookup(host)
        except Exception as error:  # noqa: BLE001 - of any kind, it concerns this name alone
            problem = f"{host} can't be resolved: {str(error) or 'no answer in time'}"
            return self._note_problem(host, problem, known)
        if not found:
            return self._note_problem(host, f"{host} has no address", known)
        self.problems.pop(host, None)
        if known in found:
            return False
        self.addresses[host] = min(found, key=_preference)
        return True

    def _note_problem(self, host: str, problem: str, known: str | None) -> bool:
        changed = self.problems.get(host) != problem
        self.problems[host] = problem
        if changed:
            logger.warning("%s%s", problem, f"; keeping {known}" if known else "")
        return changed and known is None


def _preference(address: str) -> tuple[int, int]:
    """IPv4 first, then by number: the same choice from the same answer."""
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)
