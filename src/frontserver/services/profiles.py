"""What an agent says of itself when it registers: its name, and where it can be reached."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import msgspec

from frontserver.errors import InputError
from frontserver.model.names import shown
from frontserver.storage.agents import AgentRecord
from frontserver.wire.agents import RegisterRequest

_LONGEST_NAME = 128


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Checked. Without a name, a known agent keeps its own and a new one is named by its id."""

    name: str | None
    target_ip: str
    # Whether the agent called from that address.
    peer_verified: bool

    def matches(self, record: AgentRecord) -> bool:
        """Whether there is nothing to change."""
        return (
            self.name in {None, record.name}
            and self.target_ip == record.target_ip
            and self.peer_verified == record.peer_verified
        )


def profile(request: RegisterRequest, peer: str) -> Profile:
    """The profile in a request that came from `peer`. Raises `InputError`."""
    caller = _address(peer)
    target = caller
    if request.target_ip:
        target = _address(request.target_ip)
        if target is None:
            raise InputError("targetIp", f"{shown(request.target_ip)} is not an IP address")
    if target is None:
        raise InputError("targetIp", "the caller has no IP address, so give one")
    return Profile(name=_name(request.agent_name), target_ip=target, peer_verified=target == caller)


def _name(text: str | None) -> str | None:
    # Only spaces: a name that ends in a newline is to be refused.
    if text is None or not text.strip(" "):
        return None
    name = text.strip(" ")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError("agentName", f"a name has at most {_LONGEST_NAME} printable characters")
    return name


def _address(text: str) -> str | None:
    """The address in its shortest form, IPv4-mapped ones as IPv4; `None` for anything else."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    return str(address)
