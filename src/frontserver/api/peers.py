"""Whose request this is on the network: the peer's address, seen through known proxies only."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from litestar.connection import ASGIConnection


class PeerAddresses:
    """Finds the peer's address; `trusted` are the CIDRs whose `X-Forwarded-For` counts."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ip_network(network) for network in trusted)

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str:
        """The rightmost address that isn't a trusted proxy's; the direct peer's without any."""
        peer = connection.client.host if connection.client else ""
        address = _address(peer)
        if address is None:
            return peer
        for entry in reversed(_forwarded(connection)):
            if not self._is_trusted(address):
                break
            if (earlier := _address(entry)) is None:
                break  # Whatever stands left of nonsense is not to be believed either.
            address = earlier
        return str(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _forwarded(connection: ASGIConnection[Any, Any, Any, Any]) -> list[str]:
    fields = connection.headers.getall("x-forwarded-for", [])
    return [entry.strip() for entry in ",".join(fields).split(",") if entry.strip()]


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
