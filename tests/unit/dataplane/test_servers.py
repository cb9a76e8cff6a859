"""Servers and the process, as the real API answers about them."""

from __future__ import annotations

import pytest

from frontserver.dataplane.errors import AbsentError, BusyError
from frontserver.dataplane.runtime import HaproxyInfo, RuntimeServer, ServerStats
from frontserver.errors import ProxyUnavailableError
from tests.unit.dataplane.answering import DOWN, REFUSED, SOCKET, Api, refused

SERVERS = "/runtime/backends/slot_1/servers"
ONE = (
    '{"address":"127.0.0.1","admin_state":"ready","id":"1","name":"s1",'
    '"operational_state":"up","port":21001}'
)
SERVER = RuntimeServer("s1", "127.0.0.1", 21001, "ready", "up")
NO_DATA = refused(404, "no data for slot_1/s1: not found")


async def test_the_process_is_known() -> None:
    assert await Api().client().runtime.info() == HaproxyInfo("3.2.26-1", 12558, 26)


@pytest.mark.parametrize(
    "answer",
    [
        DOWN,
        (200, "{}"),
        (200, '{"info":{"node":""}}'),
        refused(500, "retry - unable to configure runtime client: x"),
    ],
)
async def test_a_process_that_is_down_is_told(answer: tuple[int, str]) -> None:
    api = Api()
    api.says("GET /runtime/info", answer)

    with pytest.raises(ProxyUnavailableError, match="doesn't reach HAProxy"):
        await api.client().runtime.info()


async def test_servers_are_listed() -> None:
    api = Api()
    api.says(f"GET {SERVERS}", (200, f"[{ONE}]"), (200, "[]"))
    runtime = api.client().runtime

    assert await runtime.servers("slot_1") == (SERVER,)
    assert await runtime.servers("slot_1") == ()


async def test_a_backend_is_absent_only_if_haproxy_is_there() -> None:
    api = Api()
    api.says(f"GET {SERVERS}", refused(404, "no data for slot_1: not found"))
    runtime = api.client().runtime

    with pytest.raises(AbsentError):
        await runtime.servers("slot_1")
    api.says("GET /runtime/info", DOWN)
    with pytest.raises(ProxyUnavailableError):
        await runtime.servers("slot_1")


async def test_a_server_is_added_once() -> None:
    api = Api()
    there = f"{SOCKET} [3]  Already exists a server with the same name in backend. [add server x]"
    none = f"{SOCKET} [3]  No such backend. [add server slot_1/s1  127.0.0.1:21001]"
    api.says(f"POST {SERVERS}", (201, ONE), refused(409, there), refused(404, none))
    runtime = api.client().runtime
    server = {"name": "s1", "address": "127.0.0.1", "port": 21001, "check": "enabled"}

    assert await runtime.add_server("slot_1", server)
    assert api.sent == server
    assert not await runtime.add_server("slot_1", server)
    with pytest.raises(AbsentError, match=r"^No such backend\.$"):
        await runtime.add_server("slot_1", server)


async def test_a_server_is_switched_and_seen() -> None:
    api = Api()
    api.says(f"PUT {SERVERS}/s1", (200, ONE), NO_DATA)
    runtime = api.client().runtime

    assert await runtime.set_state("slot_1", "s1", "ready") == SERVER
    assert api.sent == {"admin_state": "ready"}
    with pytest.raises(AbsentError):
        await runtime.set_state("slot_1", "s1", "ready")


async def test_a_server_is_deleted_unless_it_is_busy_or_gone() -> None:
    api = Api()
    busy = f"{SOCKET} [3]  Server still has connections attached to it, cannot remove it. [del x]"
    api.says(f"DELETE {SERVERS}/s1", (204, ""), NO_DATA, refused(500, busy))
    runtime = api.client().runtime

    assert await runtime.delete_server("slot_1", "s1")
    assert not await runtime.delete_server("slot_1", "s1")
    with pytest.raises(BusyError, match="connections"):
        await runtime.delete_server("slot_1", "s1")


async def test_all_servers_statistics_come_in_one_call() -> None:
    api = Api()
    lines = (
        '{"runtimeAPI":"x","stats":['
        '{"backend_name":"slot_1","name":"s1","stats":{"addr":"127.0.0.1:21001","status":"UP 1/3",'
        '"check_status":"INI","weight":5,"scur":2,"mode":"http"},"type":"server"},'
        '{"backend_name":"slot_2","name":"s1","stats":{"addr":"[::1]:80","status":"MAINT",'
        '"weight":0,"scur":0},"type":"server"},'
        '{"backend_name":"slot_3","name":"s1","stats":{"status":"no check"},"type":"server"}]}'
    )
    api.says("GET /stats/native?type=server", (200, lines))

    assert await api.client().runtime.stats() == (
        ServerStats("slot_1", "s1", "127.0.0.1", 21001, 5, "UP 1/3", 2, "INI"),
        ServerStats("slot_2", "s1", "::1", 80, 0, "MAINT", 0, ""),
        ServerStats("slot_3", "s1", "", 0, 0, "no check", 0, ""),
    )


@pytest.mark.parametrize("status", [200, 500])
async def test_no_statistics_while_haproxy_is_down(status: int) -> None:
    api = Api()
    api.says("GET /stats/native", (status, f'{{"error":"{REFUSED} [show stat]"}}'))

    with pytest.raises(ProxyUnavailableError, match="connection refused"):
        await api.client().runtime.stats()
