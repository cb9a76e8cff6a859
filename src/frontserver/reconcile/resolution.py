"""Host names of targets, resolved and followed by us: HAProxy's dynamic servers never do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Awaitable[list[str]]]

_LOOKUP_SECONDS = 5.0
# A name that fails is left alone for so many times as long as its lookup took, so that one whose
# servers never answer has a place for a small part of the time.
_REST = 10
_LONGEST_REST = 120.0


async def system_lookup(
    host: str, *, query: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo
) -> list[str]:
    """The addresses of a name by the system's resolver; raises `OSError`.

    In a thread of its own: in the shared ones, slow name servers would hold up the disk. Nothing
    ends it before the system gives up, so whoever calls this bounds how many there are.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

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
    there is none. `clock` gives monotonic seconds.
    """

    def __init__(
        self, lookup: Lookup = system_lookup, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.addresses: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self._lookup = lookup
        self._clock = clock
        self._rests_until: dict[str, float] = {}

    def is_due(self, host: str) -> bool:
        """Whether to look the name up again: not soon, if it failed lately and took long."""
        return self._rests_until.get(host, 0.0) <= self._clock()

    async def refresh(self, host: str, changed: Callable[[str], None]) -> None:
        """Look the name up, and call `changed` if its address or its problem is another then.

        One that isn't answered in time is a problem meanwhile; a late answer counts all the same.
        """
        began = self._clock()
        late = asyncio.get_running_loop().call_later(_LOOKUP_SECONDS, self._is_late, host, changed)
        try:
            found = sorted(await self._lookup(host), key=_preference)
        except Exception as error:  # noqa: BLE001 - of any kind, it concerns this name alone
            found, problem = [], f"{host} can't be resolved: {str(error) or type(error).__name__}"
        else:
            problem = f"{host} has no address"
        finally:
            late.cancel()
        if found:
            news = self._note_addresses(host, found)
        else:
            rest = min(_REST * (self._clock() - began), _LONGEST_REST)
            self._rests_until[host] = self._clock() + rest
            news = self._note_problem(host, problem)
        if news:
            changed(host)

    def forget(self, hosts: Iterable[str]) -> None:
        """Drop names that no route has any more."""
        for host in hosts:
            self.addresses.pop(host, None)
            self.problems.pop(host, None)
            self._rests_until.pop(host, None)

    def _is_late(self, host: str, changed: Callable[[str], None]) -> None:
        # What was wrong before says more, and would only be noted again at the end.
        if host not in self.problems:
            problem = f"{host} can't be resolved: no answer in time"
            if self._note_problem(host, problem):
                changed(host)

    def _note_addresses(self, host: str, found: Sequence[str]) -> bool:
        self.problems.pop(host, None)
        self._rests_until.pop(host, None)
        # Only now: another address may have become known while the name was looked up.
        if self.addresses.get(host) in found:
            return False
        self.addresses[host] = found[0]
        return True

    def _note_problem(self, host: str, problem: str) -> bool:
        known = self.addresses.get(host)
        changed = self.problems.get(host) != problem
        self.problems[host] = problem
        if changed:
            logger.warning("%s%s", problem, f"; keeping {known}" if known else "")
        return changed and known is None


def _preference(address: str) -> tuple[int, int]:
    """IPv4 first, then by number: the same choice from the same answer."""
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)
