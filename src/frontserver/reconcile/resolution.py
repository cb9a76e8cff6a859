"""Host names of targets, resolved and followed by us: HAProxy's dynamic servers never do."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Awaitable[list[str]]]

_LOOKUP_SECONDS = 5.0
_AT_ONCE = 8


async def system_lookup(host: str) -> list[str]:
    """The addresses of a name by the system's resolver; raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


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
        except (OSError, TimeoutError, UnicodeError) as error:
            problem = f"{host} can't be resolved: {str(error) or 'no answer in time'}"
            logger.warning("%s%s", problem, f"; keeping {known}" if known else "")
            return self._note_problem(host, problem) and known is None
        if not found:
            return self._note_problem(host, f"{host} has no address") and known is None
        self.problems.pop(host, None)
        if known in found:
            return False
        self.addresses[host] = min(found, key=_preference)
        return True

    def _note_problem(self, host: str, problem: str) -> bool:
        changed = self.problems.get(host) != problem
        self.problems[host] = problem
        return changed


def _preference(address: str) -> tuple[int, int]:
    """IPv4 first, then by number: the same choice from the same answer."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.version, int(parsed)
