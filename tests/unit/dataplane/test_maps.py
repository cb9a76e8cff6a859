"""Map entries, as the real API answers them."""

from __future__ import annotations

import pytest

from frontserver.dataplane.errors import UnsayableError
from frontserver.errors import ProxyUnavailableError
from tests.unit.dataplane.answering import Api

SOCKET = "/run/haproxy/master.sock"
SHOP = "/runtime/maps/hosts.map/entries/shop.example"
ABSENT = (404, f'{{"code":404,"message":"{SOCKET} shop.example not found"}}')
DOWN = (200, f'{{"error":"dial unix {SOCKET}: connect: connection refused"}}')


async def test_an_entry_is_read_by_its_key() -> None:
    api = Api()
    api.says(f"GET {SHOP}", (200, '{"key":"shop.example","value":"slot_1"}'))

    assert await api.client().runtime.entry("hosts.map", "shop.example") == "slot_1"


async def test_an_entry_is_absent_if_haproxy_is_there() -> None:
    api = Api()
    api.says(f"GET {SHOP}", ABSENT)

    assert await api.client().runtime.entry("hosts.map", "shop.example") is None


async def test_no_entry_is_absent_while_haproxy_is_down() -> None:
    api = Api()
    api.says(f"GET {SHOP}", ABSENT)
    api.says("GET /runtime/info", DOWN)

    with pytest.raises(ProxyUnavailableError, match="connection refused"):
        await api.client().runtime.entry("hosts.map", "shop.example")


async def test_what_cannot_be_said_is_not_sent() -> None:
    api = Api()

    with pytest.raises(UnsayableError, match="';'"):
        await api.client().runtime.add_entry("hosts.map", "shop.example", "a;b")

    assert api.requests == []
