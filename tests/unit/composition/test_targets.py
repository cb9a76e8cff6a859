"""A route to one of this machine's own addresses is known as such."""

from __future__ import annotations

from pathlib import Path

from frontserver.composition.targets import interface_addresses, target_policy
from frontserver.settings import Settings, completed

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.7
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""
IF_INET6 = """\
20010db8000000000000000000000001 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def test_local_addresses_are_read_from_the_kernels_tables(tmp_path: Path) -> None:
    tables = tmp_path / "net"
    tables.mkdir()
    (tables / "fib_trie").write_text(FIB_TRIE)
    (tables / "if_inet6").write_text(IF_INET6)

    assert interface_addresses(tmp_path) == {"192.0.2.7", "2001:db8::1", "::1"}


def test_without_these_tables_there_are_none(tmp_path: Path) -> None:
    assert interface_addresses(tmp_path) == frozenset()


def test_the_policy_keeps_the_operators_own_addresses() -> None:
    settings = completed(Settings())

    assert target_policy(settings).own_addresses >= settings.target_policy.own_addresses
