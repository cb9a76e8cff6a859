"""How often somebody may guess: failed log-ins, counted by peer and agent together."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from frontserver.errors import TooManyRequestsError

# Sums of floats: a wait below this is none.
_ROUNDING = 1e-6


class Throttle:
    """A leaky bucket of failures for each (peer, agent): `burst` at once, `burst` per `window`.

    A key includes the peer, so nobody can lock an agent out from elsewhere; an IPv6 peer counts
    as its /64, since whoever has one address there has them all. At most `capacity` keys are
    held: then the one that failed longest ago is forgotten. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        burst: int = 10,
        window: float = 300.0,
        capacity: int = 10_000,
    ) -> None:
        self._clock = clock
        self._interval = window / burst
        self._tolerance = window - self._interval
        self._capacity = capacity
        # When the bucket of a key will be empty again (the "theoretical arrival time" of GCRA).
        self._empty_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, peer: str, agent_id: str) -> None:
        """Raise `TooManyRequestsError`, with the seconds to wait, while the bucket is full."""
        key = _key(peer, agent_id)
        empty_at = self._empty_at.get(key)
        if empty_at is None:
            return
        now = self._clock()
        if empty_at <= now:
            del self._empty_at[key]
            return
        wait = empty_at - now - self._tolerance
        if wait > _ROUNDING:
            raise TooManyRequestsError(
                "too many failed attempts to authenticate", retry_after=math.ceil(wait)
            )

    def failed(self, peer: str, agent_id: str) -> None:
        """Count a failure."""
        key = _key(peer, agent_id)
        now = self._clock()
        self._empty_at[key] = max(self._empty_at.get(key, now), now) + self._interval
        self._empty_at.move_to_end(key)
        if len(self._empty_at) > self._capacity:
            self._empty_at.popitem(last=False)

    def succeeded(self, peer: str, agent_id: str) -> None:
        """Forget the agent's failures from this peer."""
        self._empty_at.pop(_key(peer, agent_id), None)


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
