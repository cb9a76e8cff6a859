"""What a control plane that was killed in the middle of something leaves to the next one."""

from __future__ import annotations

import asyncio
import ssl
import threading

import pytest

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.tree import Tree
from frontserver.errors import StorageError
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.names import DomainName
from frontserver.model.routes import OriginTls
from frontserver.planning.actions import PutCaFile
from frontserver.planning.compile import compile_route
from frontserver.planning.compiled import CaFile
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import ask, driving, origin, self_signed, until
from tests.unit.planning.routes import http

NAME = "origin.example.com"


@pytest.fixture(scope="module")
def tls() -> tuple[str, ssl.SSLContext]:
    return self_signed(NAME)


@pytest.mark.parametrize("got_to", ["new", "set"])
async def test_a_ca_bundle_that_was_left_half_made_is_made_whole(
    site: Site, tls: tuple[str, ssl.SSLContext], got_to: str
) -> None:
    pem, context = tls
    async with driving(site) as driver, origin("secure", context) as port:
        route = http(
            "shop",
            f"https://127.0.0.1:{port}",
            origin_tls=OriginTls(server_name=DomainName(NAME), ca_pem=pem),
        )
        name = compile_route(route, {}).ca_files[0].name
        runtime = RuntimeClient(site.runtime_socket)
        await runtime.run([f"new ssl ca-file {name}"])
        if got_to == "set":
            await runtime.run([(f"set ssl ca-file {name}", pem)])
        await runtime.close()

        await driver.to(route)

        assert await ask(site.http_port, "shop.apps.example.com") == (200, "secure")


async def test_a_transaction_that_was_left_open_stops_no_other(
    site: Site, tls: tuple[str, ssl.SSLContext]
) -> None:
    pem, _ = tls
    async with driving(site) as driver:
        runtime = RuntimeClient(site.runtime_socket)
        await runtime.run(["new ssl ca-file certs/ca-left.pem"])
        await runtime.run([("set ssl ca-file certs/ca-left.pem", pem)])

        await driver.backend.perform([PutCaFile(CaFile("certs/ca-mine.pem", pem))])

        assert "certs/ca-mine.pem - 1 certificate(s)" in "".join(
            await runtime.run(["show ssl ca-file"])
        )
        await runtime.close()


async def test_a_slot_is_not_given_back_while_its_end_is_still_being_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may fail; and if HAProxy then starts from disk, it must not find two owners there."""
    started, go_on = threading.Event(), threading.Event()

    def full(tree: Tree, files: object) -> int:
        started.set()
        go_on.wait()
        raise StorageError("no space left on device")

    async with driving(site) as driver:
        backend = driver.backend
        assert isinstance(backend, FileBackend)
        await driver.to(http())
        slot = driver.state.layout.slots[http().key]
        await backend._mirror.flush()
        monkeypatch.setattr(Tree, "put", full)
        await driver.to()
        await until(started.is_set, "a flush")
        assert not backend._mirror.is_behind

        looking = asyncio.create_task(backend.idle([slot]))
        await asyncio.sleep(0)
        go_on.set()
        assert await looking == frozenset()

        monkeypatch.undo()
        assert await backend.idle([slot]) == {slot}
