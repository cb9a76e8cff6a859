"""How often somebody may guess: failed log-ins, counted by peer, and by peer and agent."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, TypeVar

from frontserver.errors import TooManyRequestsError

# Sums of floats: a wait below this is none.
_ROUNDING = 1e-6


class Throttle:
    """Counts failures of each (peer, agent), and of each peer whatever agents it names.

    Of a pair, `burst` are free at once and `burst` per `window`; then it has to wait. The pair
    includes the peer, so nobody can lock an agent out from elsewhere. Of a peer, as many as
    `peer_burst` are free; one that had more is only given less room (see `KeyCheck`), since many
    agents can be behind one address. An IPv6 peer counts as its /64, since whoever has one address
    there has them all. At most `capacity` pairs and as many peers are held: then the one that
    failed longest ago is forgotten. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        burst: int = 10,
        peer_burst: int = 30,
        window: float = 300.0,
        capacity: int = 10_000,
    ) -> None:
        self._pairs: _Buckets[tuple[str, str]] = _Buckets(clock, burst, window, capacity)
        self._peers: _Buckets[str] = _Buckets(clock, peer_burst, window, capacity)

    def check(self, peer: str, agent_id: str) -> None:
        """Raise `TooManyRequestsError`, with the seconds to wait, while the bucket is full."""
        wait = self._pairs.wait(_key(peer, agent_id))
        if wait > 0:
            raise TooManyRequestsError(
                "too many failed attempts to authenticate", retry_after=math.ceil(wait)
            )

    def failed(self, peer: str, agent_id: str) -> None:
        """Count a failure of the pair."""
        self._pairs.fill(_key(peer, agent_id))

    def succeeded(self, peer: str, agent_id: str) -> None:
        """Forget the agent's failures from this peer."""
        self._pairs.empty(_key(peer, agent_id))

    def charge(self, peer: str) -> bool:
        """Count a failure of the peer in advance, so that those under way count; or say no.

        It says no, and counts nothing, while the peer had too many.
        """
        key = _network(peer)
        if self._peers.wait(key) > 0:
            return False
        self._peers.fill(key)
        return True

    def refund(self, peer: str) -> None:
        """What was charged was no failure."""
        self._peers.drain(_network(peer))


Key = TypeVar("Key")


class _Buckets(Generic[Key]):
    """Leaky buckets (GCRA): each holds `burst` and loses as many in `window` seconds."""

    def __init__(
        self, clock: Callable[[], float], burst: int, window: float, capacity: int
    ) -> None:
        self._clock = clock
        self._interval = window / burst
        self._tolerance = window - self._interval
        self._capacity = capacity
        # When the bucket of a key will be empty again (the "theoretical arrival time" of GCRA).
        self._empty_at: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._empty_at)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._empty_at)

    def wait(self, key: Key) -> float:
        """Seconds until the bucket takes one more; 0 if it does now."""
        empty_at = self._empty_at.get(key)
        if empty_at is None:
            return 0
        now = self._clock()
        if empty_at <= now:
            del self._empty_at[key]
            return 0
        wait = empty_at - now - self._tolerance
        return wait if wait > _ROUNDING else 0

    def fill(self, key: Key) -> None:
        """Put one in; the bucket that was filled longest ago makes room."""
        now = self._clock()
        self._empty_at[key] = max(self._empty_at.get(key, now), now) + self._interval
        self._empty_at.move_to_end(key)
        if len(self._empty_at) > self._capacity:
            self._empty_at.popitem(last=False)

    def drain(self, key: Key) -> None:
        """Take one out, if it hasn't leaked by now."""
        if key in self._empty_at:
            self._empty_at[key] -= self._interval

    def empty(self, key: Key) -> None:
        """Take all out."""
        self._empty_at.pop(key, None)


# An agent id has at most 63 characters; what is longer is no agent's, and isn't kept whole.
_LONGEST_PART = 64


def _key(peer: str, agent_id: str) -> tuple[str, str]:
    return _network(peer), agent_id.lower()[:_LONGEST_PART]


def _network(peer: str) -> str:
    try:
        address = ip_address(peer)
    except ValueError:
        return peer[:_LONGEST_PART]
    if not isinstance(address, IPv6Address):
        return peer
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), 64), strict=False))
