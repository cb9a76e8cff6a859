"""The runtime and master sockets of a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from frontserver.errors import CommandRefusedError
from frontserver.haproxy.answers import check, is_absent
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.process import EmbeddedHaproxy
from frontserver.haproxy.reads import parse_sessions
from frontserver.haproxy.runtime import RuntimeClient
from tests.unit.haproxy.conftest import Site


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until true."""
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.01)


async def accepted(runtime: RuntimeClient, *commands: str | tuple[str, str]) -> None:
    for command, answer in zip(commands, await runtime.run(commands), strict=True):
        check(command if isinstance(command, str) else command[0], answer)


async def fetch(port: int, host: str) -> int:
    """The status of a request for `host`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


async def test_info_is_of_the_worker(
    runtime: RuntimeClient, running: EmbeddedHaproxy, master: MasterClient
) -> None:
    info = await runtime.info()
    workers = {worker.kind: worker.pid for worker in await master.processes()}
    assert workers == {"master": running.pid, "current": info.pid}
    assert info.description == "answers 418"
    assert (await runtime.capabilities()).version >= (2, 8, 0)


async def test_map_entries_come_and_go(site: Site, runtime: RuntimeClient) -> None:
    hosts = str(site.hosts)
    await accepted(
        runtime,
        f"add map {hosts} a.example slot1",
        (f"add map {hosts}", 'b.example slot2 and; "more"\nc.example slot1'),
        f"set map {hosts} a.example slot2",
        f"del map {hosts} c.example",
    )
    assert await runtime.map_entries(hosts) == [
        ("a.example", "slot2"),
        ("b.example", 'slot2 and; "more"'),
    ]
    assert await runtime.map_value(hosts, "b.example") == 'slot2 and; "more"'
    assert await runtime.map_value(hosts, "c.example") is None
    absent = await runtime.run([f"set map {hosts} c.example x", f"del map {hosts} c.example"])
    assert [is_absent(answer) for answer in absent] == [True, True]
    with pytest.raises(CommandRefusedError):
        await runtime.map_entries("/no/such.map")


async def test_odd_keys_arrive_as_they_are(site: Site, runtime: RuntimeClient) -> None:
    hosts = str(site.hosts)
    key = "a;b\\c#d\"e'f<<g"
    await accepted(runtime, (f"add map {hosts}", f"{key} value"))
    assert await runtime.map_value(hosts, key) == "value"


async def test_a_full_payload_and_thousands_of_commands(site: Site, runtime: RuntimeClient) -> None:
    hosts = str(site.hosts)
    lines = "\n".join(f"h{n}.example slot1-{'x' * 40}" for n in range(240))
    assert 14_000 < len(lines) < 15_000
    await accepted(runtime, (f"add map {hosts}", lines), f"clear map {hosts}")
    await accepted(runtime, *(f"add map {hosts} k{n} v{n}" for n in range(3000)))
    assert await runtime.map_entries(hosts) == [(f"k{n}", f"v{n}") for n in range(3000)]


async def test_a_route_goes_live_and_away_without_a_reload(
    site: Site, runtime: RuntimeClient
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as origin:
        port = origin.sockets[0].getsockname()[1]
        await accepted(
            runtime,
            f"add server slot1/s1 127.0.0.1:{port} weight 7",
            "enable server slot1/s1",
            "enable health slot1/s1",
            f"add map {site.hosts} a.example slot1",
        )
        assert await fetch(site.port, "a.example") == 204
    state = (await runtime.server_states("slot1"))["slot1"]["s1"]
    assert (state.address, state.port, state.weight) == ("127.0.0.1", port, 7)
    assert state.ready
    assert state.up
    await accepted(
        runtime,
        f"del map {site.hosts} a.example",
        "set server slot1/s1 state maint",
        "shutdown sessions server slot1/s1",
    )
    assert (await runtime.server_states())["slot1"]["s1"].maintenance
    assert await fetch(site.port, "a.example") == 418

    async def deleted() -> bool:
        (answer,) = await runtime.run(["del server slot1/s1"])
        return "Server deleted." in answer

    await until(deleted)
    assert await runtime.server_states("slot1") == {}
    (answer,) = await runtime.run(["show stat slot1 2 -1"])
    sessions = parse_sessions(answer)
    assert (sessions.current, sessions.queued) == (0, 0)


@pytest.mark.parametrize(
    "command",
    [
        "add server slot1/s1 127.0.0.1:1 bogus",
        "add server nowhere/s1 127.0.0.1:1",
        "del server slot1/none",
        "enable server slot1/none",
        "add map /no/such.map a b",
        "no such command",
    ],
)
async def test_refusals_are_recognised(runtime: RuntimeClient, command: str) -> None:
    (answer,) = await runtime.run([command])
    with pytest.raises(CommandRefusedError):
        check(command, answer)


@pytest.mark.parametrize("read", ["show servers state none", "show stat none 2 -1"])
async def test_a_backend_that_is_not_there_is_absent(runtime: RuntimeClient, read: str) -> None:
    (answer,) = await runtime.run([read])
    assert is_absent(answer)


async def test_ca_files_live_in_memory(runtime: RuntimeClient) -> None:
    await accepted(runtime, "new ssl ca-file ours.pem")
    assert "ours.pem" in await runtime.ca_files()
    assert await runtime.certificates() == []
    await accepted(runtime, "del ssl ca-file ours.pem")


async def test_a_reload_brings_the_new_configuration_and_ends_old_conversations(
    site: Site, runtime: RuntimeClient, master: MasterClient
) -> None:
    before = await runtime.info()
    site.write(451)
    assert (await master.reload()).success

    async def reloaded() -> bool:
        return await fetch(site.port, "x.example") == 451

    await until(reloaded)
    # The open conversation was with the old worker.
    after = await runtime.info()
    assert after.pid != before.pid
    assert after.description == "answers 451"


async def test_a_refused_reload_leaves_the_old_worker_serving(
    site: Site, runtime: RuntimeClient, master: MasterClient
) -> None:
    before = await runtime.info()
    site.config.write_text(site.config.read_text() + "  bogus keyword\n")
    result = await master.reload()
    assert not result.success
    assert "bogus" in result.log
    assert (await runtime.info()).pid == before.pid
    assert await fetch(site.port, "x.example") == 418
    site.write(451)
    assert (await master.reload()).success


async def test_reloads_wait_for_each_other(master: MasterClient) -> None:
    results = await asyncio.gather(*(master.reload() for _ in range(3)))
    assert [result.success for result in results] == [True] * 3


async def test_an_old_worker_answers_by_its_pid(
    site: Site, runtime: RuntimeClient, master: MasterClient
) -> None:
    old = (await runtime.info()).pid
    # A connection that the old worker has to wait for.
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    await writer.drain()

    async def counted() -> bool:
        return (await runtime.info()).connections >= 1

    await until(counted)
    assert (await master.reload()).success
    kinds = {worker.pid: worker.kind for worker in await master.processes()}
    assert kinds[old] == "old"
    assert f"Pid: {old}\n" in await master.command_old_worker(old, "show info")
    writer.close()
    await writer.wait_closed()
    assert reader.at_eof() or not reader.exception()


async def test_the_master_takes_over_when_the_runtime_socket_is_gone(
    site: Site, runtime: RuntimeClient
) -> None:
    """Red list R8: two failed reloads in a row leave 3.2 and later without it."""
    await accepted(runtime, f"add map {site.hosts} a.example slot1")
    await runtime.close()
    site.runtime.unlink()
    assert await runtime.map_value(str(site.hosts), "a.example") == "slot1"
    await accepted(runtime, (f"add map {site.hosts}", "b.example slot2; x\nc.example slot1"))
    assert len(await runtime.map_entries(str(site.hosts))) == 3


async def test_two_reloads_that_fail_at_binding_leave_every_command_possible(
    site: Site, runtime: RuntimeClient, master: MasterClient
) -> None:
    """Red list R8 itself: from 3.2 on nobody answers at the runtime socket's path afterwards."""
    before = (await runtime.info()).pid
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        site.add(f"frontend g\n  bind 127.0.0.1:{taken.getsockname()[1]}\n")
        for _ in range(2):
            assert not (await master.reload()).success
    await runtime.close()
    assert (await runtime.info()).pid == before
    await accepted(runtime, f"add map {site.hosts} a.example slot1")
    assert await runtime.map_value(str(site.hosts), "a.example") == "slot1"
    # The next good one heals it.
    site.write(451)
    assert (await master.reload()).success

    async def serves_anew() -> bool:
        return await fetch(site.port, "b.example") == 451

    await until(serves_anew)
    await runtime.close()
    direct = RuntimeClient(site.runtime)
    assert (await direct.info()).description == "answers 451"
    await direct.close()
