"""Backends made at run time (3.4): their whole life, and every refusal on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from frontserver.errors import CommandRefusedError
from frontserver.haproxy import reads
from frontserver.haproxy.answers import check, is_absent
from frontserver.haproxy.probe import ask
from frontserver.haproxy.runtime import RuntimeClient
from tests.unit.haproxy.conftest import Site
from tests.unit.haproxy.test_real_runtime import accepted, fetch


@pytest.fixture
async def dynamic(runtime: RuntimeClient) -> RuntimeClient:
    if not (await ask(runtime)).dynamic_backends:
        pytest.skip("this HAProxy makes no backends at run time")
    return runtime


@contextlib.asynccontextmanager
async def origin(status: int) -> AsyncIterator[int]:
    """A port whose answer is `status`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def answer_of(runtime: RuntimeClient, command: str) -> str:
    """The answer of a command that must be refused."""
    (answer,) = await runtime.run([command])
    with pytest.raises(CommandRefusedError):
        check(command, answer)
    return answer


async def names(runtime: RuntimeClient) -> set[str]:
    (answer,) = await runtime.run(["show backend"])
    return set(reads.parse_backends(answer))


async def test_a_backend_comes_serves_and_goes_under_one_worker(
    site: Site, dynamic: RuntimeClient
) -> None:
    before = await dynamic.info()
    async with origin(204) as port:
        await accepted(
            dynamic,
            "add backend made from d",
            f"add server made/s1 127.0.0.1:{port}",
            "enable server made/s1",
            f"add map {site.hosts} a.example made",
        )
        # Not published yet: the next rule decides.
        assert await fetch(site.port, "a.example") == 418
        await accepted(dynamic, "publish backend made")
        assert await fetch(site.port, "a.example") == 204
        assert "made" in await names(dynamic)
        assert (await dynamic.server_states("made"))["made"]["s1"].ready
        async with origin(205) as other:
            await accepted(
                dynamic,
                f"add server made/s2 127.0.0.1:{other}",
                "enable server made/s2",
                "set server made/s1 state drain",
            )
            assert await fetch(site.port, "a.example") == 205
        await accepted(dynamic, "unpublish backend made")
        assert await fetch(site.port, "a.example") == 418
    await accepted(
        dynamic,
        f"del map {site.hosts} a.example",
        *(f"set server made/{name} state maint" for name in ("s1", "s2")),
        *(f"shutdown sessions server made/{name}" for name in ("s1", "s2")),
        *(f"wait 2s srv-removable made/{name}" for name in ("s1", "s2")),
        "del server made/s1",
        "del server made/s2",
        "wait 2s be-removable made",
        "del backend made",
    )
    assert "made" not in await names(dynamic)
    assert (await dynamic.info()).pid == before.pid


async def test_refusals_are_told_apart(dynamic: RuntimeClient) -> None:
    await accepted(dynamic, "add backend made from d", "add server made/s 127.0.0.1:1")
    assert not is_absent(await answer_of(dynamic, "add backend made from d"))
    assert not is_absent(await answer_of(dynamic, "add server made/s 127.0.0.1:2"))
    assert not is_absent(await answer_of(dynamic, "add backend d from d"))
    assert not is_absent(await answer_of(dynamic, "add backend other from nowhere"))
    for command in ("publish backend", "unpublish backend", "del backend"):
        assert is_absent(await answer_of(dynamic, f"{command} nowhere"))
    assert is_absent(await answer_of(dynamic, "wait 10ms be-removable nowhere"))
    assert is_absent(await answer_of(dynamic, "wait 10ms srv-removable made/nowhere"))
    await accepted(dynamic, "publish backend made")
    assert "must be unpublished" in await answer_of(dynamic, "del backend made")
    await accepted(dynamic, "unpublish backend made")
    assert "without server" in await answer_of(dynamic, "del backend made")
    assert "without server" in await answer_of(dynamic, "wait 10ms be-removable made")
    # The configuration refers to it by name.
    await accepted(dynamic, "unpublish backend nobody")
    assert "pointing to it" in await answer_of(dynamic, "del backend nobody")
    await accepted(dynamic, "publish backend nobody")


async def test_a_static_algorithm_is_a_refusal_though_it_says_registered(
    dynamic: RuntimeClient,
) -> None:
    assert "no support for dynamic servers" in await answer_of(
        dynamic, "add backend made from unfit"
    )
