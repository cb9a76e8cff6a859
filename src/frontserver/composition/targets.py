"""Where routes may lead: the operator's policy, and this machine's own addresses."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from pathlib import Path

import msgspec

from frontserver.model.targets import TargetPolicy
from frontserver.settings import Settings


def target_policy(settings: Settings) -> TargetPolicy:
    """The operator's policy, knowing all addresses of this machine: its own ports are no target."""
    own = settings.target_policy.own_addresses | interface_addresses()
    return msgspec.structs.replace(settings.target_policy, own_addresses=own)


def interface_addresses(proc: Path = Path("/proc")) -> frozenset[str]:
    """This machine's addresses, as the kernel's routing tables list them (proc(5)).

    Empty where there is no /proc: then only the addresses of listeners count as our own.
    """
    try:
        trie = (proc / "net" / "fib_trie").read_text()
        ipv4 = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", trie)
        lines = (proc / "net" / "if_inet6").read_text().splitlines()
    except OSError:
        return frozenset()
    ipv6 = [str(IPv6Address(int(line.split()[0], 16))) for line in lines]
    return frozenset(ipv4) | frozenset(ipv6)
