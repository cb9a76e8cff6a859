"""A removed route is gone from workers that a reload left behind, and nothing else is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from frontserver.backends.port import State
from frontserver.errors import ProxyUnavailableError
from frontserver.haproxy.master import MasterClient
from frontserver.planning.plan import RouteSteps, lay_out
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    closed,
    database,
    driving,
    echo,
    self_signed,
    shop,
    stream,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import POLICY

ONE, TWO = "a1.mongodb.example.com", "a2.mongodb.example.com"


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return self_signed(ONE)[1]


async def reloaded(driver: Driver) -> None:
    state = State(driver.state.config, lay_out(driver.state.layout, (), POLICY))
    await driver.backend.reload(state, REFILL)
    driver.state = state


class KeptAlive:
    """An HTTP connection on which request follows request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def status(self, host: str) -> int:
        """Of `GET /`; 0 if the connection has ended."""
        self._writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            return 0
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(head.split()[1])


@asynccontextmanager
async def kept_alive(port: int) -> AsyncIterator[KeptAlive]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield KeptAlive(reader, writer)
    finally:
        await closed(writer)


@asynccontextmanager
async def patient_origin() -> AsyncIterator[int]:
    """An HTTP origin that keeps its connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        await closed(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


async def test_a_stream_of_a_removed_route_ends_in_every_old_worker(
    site: Site, context: ssl.SSLContext
) -> None:
    async with driving(site) as driver, echo(context) as port:
        await driver.to(database(port, "a1"), database(port, "a2"))
        async with (
            stream(site.mongo_port, ONE) as oldest,
            stream(site.mongo_port, TWO) as untouched,
        ):
            assert await untouched.says("here")
            await reloaded(driver)
            async with stream(site.mongo_port, ONE) as younger:
                await reloaded(driver)
                assert await oldest.says("hello")
                assert await younger.says("hello")

                await driver.to(database(port, "a2"))

                assert not await oldest.says("hello")
                assert not await younger.says("hello")
                assert await untouched.says("hello")


async def test_a_stream_that_a_change_left_ends_in_old_workers_too(
    site: Site, context: ssl.SSLContext
) -> None:
    """On the slot that its route had left before the reload, and on no other's."""
    async with driving(site) as driver, echo(context) as port:
        await driver.to(database(port), database(port, "a2"))
        async with stream(site.mongo_port, ONE) as left, stream(site.mongo_port, TWO) as other:
            assert await left.says("hello")
            assert await other.says("hello")
            moved = msgspec.structs.replace(database(port), check=True)
            await driver.to(moved, msgspec.structs.replace(database(port, "a2"), check=True))
            await reloaded(driver)
            assert await left.says("hello")

            await driver.to(msgspec.structs.replace(database(port, "a2"), check=True))

            assert not await left.says("hello")
            assert await other.says("hello")


async def test_a_removal_right_after_somebody_elses_reload_is_told_to_the_old_worker(
    site: Site, context: ssl.SSLContext
) -> None:
    """Nobody has noticed that reload by then."""
    async with driving(site) as driver, echo(context) as port:
        await driver.to(database(port), shop(1))
        # By now it is known that there are no old workers.
        await driver.to(database(port))
        await driver.backend._mirror.flush()  # type: ignore[attr-defined]
        async with stream(site.mongo_port, ONE) as old:
            assert await old.says("hello")
            assert (await MasterClient(site.master_socket).reload()).success

            await driver.to()

            assert not await old.says("hello")


async def test_what_an_old_worker_could_not_be_told_it_is_told_later(
    site: Site, context: ssl.SSLContext
) -> None:
    async with driving(site) as driver, echo(context) as port:
        await driver.to(database(port))
        async with stream(site.mongo_port, ONE) as old:
            assert await old.says("hello")
            await reloaded(driver)
            master = driver.backend._old_workers._master  # type: ignore[attr-defined]

            async def silent(data: bytes, seconds: float) -> str:
                raise ProxyUnavailableError("gone")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(master, "_ask", silent)
                await driver.to()
                assert await old.says("hello")
            # Somebody else's by now, and served by a worker that is old in its turn.
            await driver.to(database(port))
            async with stream(site.mongo_port, ONE) as newer:
                assert await newer.says("hello")
                await reloaded(driver)

                await driver.backend.leftovers()

                assert not await old.says("hello")
                assert await newer.says("hello")


async def test_a_change_that_got_no_answer_may_have_removed_a_route(
    site: Site, context: ssl.SSLContext
) -> None:
    async with driving(site) as driver, echo(context) as port:
        await driver.to(database(port))
        async with stream(site.mongo_port, ONE) as old:
            assert await old.says("hello")
            await reloaded(driver)
            performer = driver.backend._performer  # type: ignore[attr-defined]
            take = performer.take

            async def breaks_off(steps: Sequence[RouteSteps]) -> None:
                await take(steps)
                raise ProxyUnavailableError("gone")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(performer, "take", breaks_off)
                with pytest.raises(ProxyUnavailableError):
                    await driver.to()
            await driver.backend.leftovers()

            assert not await old.says("hello")


async def test_a_kept_alive_connection_does_not_reach_a_removed_route_again(site: Site) -> None:
    """By now, the name may be somebody else's."""
    async with driving(site) as driver, patient_origin() as port:
        await driver.to(shop(port), shop(port, "other"))
        async with (
            kept_alive(site.http_port) as client,
            kept_alive(site.http_port) as other,
        ):
            assert await client.status("shop.apps.example.com") == 200
            assert await other.status("other.apps.example.com") == 200
            await reloaded(driver)

            await driver.to(shop(port, "other"))

            assert await client.status("shop.apps.example.com") in {0, 404, 421}
            assert await other.status("other.apps.example.com") == 200


async def test_an_updated_route_goes_on_in_old_workers(site: Site, context: ssl.SSLContext) -> None:
    async with driving(site) as driver, echo(context) as port, echo(context) as another:
        await driver.to(database(port))
        async with stream(site.mongo_port, ONE) as old:
            assert await old.says("hello")
            await reloaded(driver)

            await driver.to(database(another))

            assert await old.says("hello")


async def test_a_master_that_does_not_answer_holds_up_no_removal(
    site: Site, context: ssl.SSLContext
) -> None:
    async with driving(site) as driver, echo(context) as port:
        await driver.to(database(port), shop(1))
        async with stream(site.mongo_port, ONE) as old:
            assert await old.says("hello")
            await reloaded(driver)
            old_workers = driver.backend._old_workers  # type: ignore[attr-defined]
            ask = old_workers._master._ask

            async def only_lists(data: bytes, seconds: float) -> str:
                if data.startswith(b"@!"):
                    raise ProxyUnavailableError("gone")
                return str(await ask(data, seconds))

            async def silent(data: bytes, seconds: float) -> str:
                raise ProxyUnavailableError("gone")

            old_workers._master._ask = only_lists
            await driver.to(shop(1))
            old_workers._master._ask = silent
            await driver.to()
            await driver.assert_in_step()
