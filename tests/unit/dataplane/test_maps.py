"""Map entries, as the real API answers them."""

from __future__ import annotations

import pytest

from frontserver.dataplane.errors import AbsentError, UnsayableError
from frontserver.errors import ProxyUnavailableError
from tests.unit.dataplane.answering import DOWN, REFUSED, SOCKET, Api, refused

MAP = "/runtime/maps/hosts.map/entries"
SHOP = f"{MAP}/shop.example"
UNREAD = refused(404, f"{SOCKET} shop.example not found")


async def test_an_entry_is_read_by_its_key() -> None:
    api = Api()
    api.says(f"GET {SHOP}", (200, '{"key":"shop.example","value":"slot_1"}'))

    assert await api.client().runtime.entry("hosts.map", "shop.example") == "slot_1"


async def test_an_entry_is_absent_if_haproxy_is_there() -> None:
    api = Api()
    api.says(f"GET {SHOP}", UNREAD)

    assert await api.client().runtime.entry("hosts.map", "shop.example") is None
    assert api.lines == [f"GET {SHOP}", "GET /runtime/info"]


@pytest.mark.parametrize(
    "answer", [UNREAD, refused(404, f"{SOCKET} {REFUSED} [get map /maps/hosts.map x] not found")]
)
async def test_no_entry_is_absent_while_haproxy_is_down(answer: tuple[int, str]) -> None:
    api = Api()
    api.says(f"GET {SHOP}", answer)
    api.says("GET /runtime/info", DOWN)

    with pytest.raises(ProxyUnavailableError, match="connection refused"):
        await api.client().runtime.entry("hosts.map", "shop.example")


async def test_a_key_that_the_api_would_misread_is_looked_up_in_the_whole_map() -> None:
    api = Api()
    entries = '[{"id":"0x1","key":"a","value":"1"},{"id":"0x2","key":"a=b","value":"2"}]'
    api.says(f"GET {MAP}", (200, entries))
    runtime = api.client().runtime

    assert await runtime.entry("hosts.map", "a=b") == "2"
    assert await runtime.entry("hosts.map", "a,b") is None


async def test_a_map_keeps_haproxys_order() -> None:
    api = Api()
    entries = '[{"id":"0x2","key":"b","value":"2"},{"id":"0x1","key":"a","value":"1"}]'
    api.says(f"GET {MAP}", (200, entries))

    assert await api.client().runtime.entries("hosts.map") == [("b", "2"), ("a", "1")]


async def test_a_map_that_haproxy_does_not_have_is_absent_without_asking_again() -> None:
    api = Api()
    said = (
        f"{SOCKET} [3]  Unknown map identifier. Please use #<id> or <file>. [show map x] not found"
    )
    api.says(f"GET {MAP}", refused(404, said))

    with pytest.raises(
        AbsentError, match=r"^Unknown map identifier\. Please use #<id> or <file>\.$"
    ):
        await api.client().runtime.entries("hosts.map")
    assert len(api.requests) == 1


async def test_a_new_entry_is_added_with_its_spaces_escaped() -> None:
    api = Api()
    api.says(f"POST {MAP}", (201, "{}"))

    assert await api.client().runtime.add_entry("hosts.map", "shop.example", "a b")
    assert api.sent == {"key": "shop.example", "value": "a\\ b"}


async def test_an_entry_that_is_there_is_not_added() -> None:
    api = Api()
    api.says(f"POST {MAP}", refused(409, f"{SOCKET} already exists"))

    assert not await api.client().runtime.add_entry("hosts.map", "shop.example", "slot_1")


async def test_adding_while_haproxy_is_down_says_so() -> None:
    api = Api()
    api.says(f"POST {MAP}", refused(400, f"{SOCKET} {REFUSED} [add map x y z] general error"))

    with pytest.raises(ProxyUnavailableError):
        await api.client().runtime.add_entry("hosts.map", "shop.example", "slot_1")


async def test_changing_says_whether_there_was_something_to_change() -> None:
    api = Api()
    absent = refused(404, f"{SOCKET} [3]  entry not found. [set map x y z] not found")
    api.says(f"PUT {SHOP}", (200, '{"key":"shop.example","value":"slot_2"}'), absent)
    runtime = api.client().runtime

    assert await runtime.set_entry("hosts.map", "shop.example", "slot_2")
    assert not await runtime.set_entry("hosts.map", "shop.example", "slot_2")


async def test_a_change_that_the_api_cannot_read_back_was_made() -> None:
    api = Api()
    api.says(f"PUT {MAP}/a%3Db", (404, ""))

    assert await api.client().runtime.set_entry("hosts.map", "a=b", "slot_2")


async def test_deleting_says_whether_there_was_something_to_delete() -> None:
    api = Api()
    path = f"DELETE {MAP}/shop.example%2Fapi%2F"
    api.says(path, (204, ""), refused(404, f"{SOCKET} [3]  Key not found. [del map x y] not found"))
    runtime = api.client().runtime

    assert await runtime.delete_entry("hosts.map", "shop.example/api/")
    assert not await runtime.delete_entry("hosts.map", "shop.example/api/")


@pytest.mark.parametrize(
    ("key", "value"), [("a b", "x"), ("", "x"), ("*.example", "x"), ("a", "x;y"), ("a", "")]
)
async def test_what_cannot_be_said_is_not_sent(key: str, value: str) -> None:
    api = Api()

    with pytest.raises(UnsayableError):
        await api.client().runtime.add_entry("hosts.map", key, value)
    assert api.requests == []
