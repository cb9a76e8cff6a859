"""Where traffic goes: host and port, target URLs, and which of them the operator allows."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

import msgspec

from frontserver.errors import InputError
from frontserver.model.names import DomainName, shown

IPAddress = IPv4Address | IPv6Address

_SCHEMES = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


class HostPort(msgspec.Struct, frozen=True):
    """A host (IP literal or DNS name) and a TCP port, both validated and normalised."""

    host: str
    port: int

    def __post_init__(self) -> None:
        address = _as_address(self.host)
        host = str(address) if address else DomainName(self.host)
        msgspec.structs.force_setattr(self, "host", host)
        if not 1 <= self.port <= 65535:
            raise InputError("", f"{self.port} is not a TCP port: 1 to 65535")

    @property
    def address(self) -> IPAddress | None:
        """The IP address if the host is a literal, `None` if it is a name to resolve."""
        return _as_address(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@lru_cache(maxsize=65_536)
def _as_address(host: str) -> IPAddress | None:
    """Remembered, since one route asks for the same address many times."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise InputError("", f"{shown(host)} names an interface, which only its own host knows")
    return address


class TargetUrl(msgspec.Struct, frozen=True):
    """The origin of an HTTP route: `http` or `https`, host and port; no path, no user."""

    tls: bool
    origin: HostPort

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host`, `host:port` or `http[s]://host[:port][/]`; raises `InputError`."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "http", text
        scheme = scheme.lower()
        if scheme not in _SCHEMES:
            raise InputError("", f"{shown(text)}: the scheme must be http or https")
        match = _AUTHORITY.fullmatch(rest.removesuffix("/"))
        if match is None:
            raise InputError(
                "",
                f"{shown(text)} is not a target URL",
                hint="write http://HOST:PORT or https://HOST:PORT, without a path",
            )
        host = match["host"].strip("[]")
        if match["host"].startswith("[") and not isinstance(_as_address(host), IPv6Address):
            raise InputError("", f"{shown(text)}: brackets hold an IPv6 address")
        port = int(match["port"]) if match["port"] else _SCHEMES[scheme]
        return cls(tls=scheme == "https", origin=HostPort(host, port))

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.origin}"


_CARRIER_NAT = ip_network("100.64.0.0/10")
# Of clouds; those of Alibaba, Oracle and Azure are not link-local.
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


class TargetPolicy(msgspec.Struct, frozen=True):
    """Which addresses a route may point to.

    `networks` set: only those. Otherwise public addresses, plus private and loopback ones as
    the flags say. Link-local, metadata, multicast and unspecified addresses are never allowed,
    nor is a port of the front server itself on an address of its own.
    """

    private: bool = True
    loopback: bool = False
    networks: tuple[str, ...] | None = None
    own_addresses: frozenset[str] = frozenset()
    own_ports: frozenset[int] = frozenset()

    def refusal(self, address: IPAddress, port: int) -> str | None:
        """Why this target is forbidden, or `None` if it is allowed."""
        ip = _unwrapped(address)
        if ip in _METADATA or ip.is_link_local:
            return f"{ip} is link-local or a metadata address"
        if ip.is_multicast or ip.is_unspecified or (ip.version == 4 and ip.is_reserved):
            return f"{ip} is not the address of one host"
        own = ip.is_loopback or str(ip) in self.own_addresses
        if own and port in self.own_ports:
            return f"{ip}:{port} is the front server itself"
        if self.networks is not None:
            if not any(ip in ip_network(network) for network in self.networks):
                return f"{ip} is outside the networks that the operator allows"
            return None
        if ip.is_loopback:
            return None if self.loopback else f"{ip} is a loopback address"
        if not ip.is_global or ip in _CARRIER_NAT:
            return None if self.private else f"{ip} is a private address"
        return None


def _unwrapped(address: IPAddress) -> IPAddress:
    """The IPv4 address inside an IPv4-mapped, NAT64 or 6to4 one, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
