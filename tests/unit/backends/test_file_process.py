"""One HAProxy a port; one that dies is brought back, with everything."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.port import State
from frontserver.errors import ProcessConflictError, ProxyUnavailableError
from frontserver.model.targets import HostPort
from frontserver.planning.compiled import HOSTS, Extension, Frontends
from frontserver.planning.plan import ReloadReason
from tests.unit.backends.conftest import Site, free_port
from tests.unit.backends.fileworld import (
    abandon,
    ask,
    current,
    driving,
    origin,
    shop,
    text_of,
    until,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import http

SHOP = "shop.apps.example.com"


@pytest.fixture
async def app() -> AsyncIterator[int]:
    async with origin("shop") as port:
        yield port


async def workers(driver: Driver) -> dict[str, int]:
    """PID by kind: master, current."""
    assert isinstance(driver.backend, FileBackend)
    master = driver.backend._handover._master
    return {worker.kind: worker.pid for worker in await master.processes()}


async def test_a_second_haproxy_on_the_same_port_is_refused_and_told_whose_it_is(
    site: Site, app: int
) -> None:
    """HAProxy itself would start, and both would answer (SO_REUSEPORT)."""
    async with driving(site) as driver:
        await driver.to(shop(app))
        pids = await workers(driver)
        with tempfile.TemporaryDirectory(prefix="fs-") as elsewhere:
            other = Site(Path(elsewhere), site.program)
            other.frontends = msgspec.structs.replace(
                other.frontends, http_binds=site.frontends.http_binds
            )
            backend = other.backend()

            with pytest.raises(ProcessConflictError) as refused:
                await Driver(backend, other.frontends).start()

            await backend.close()
        assert f"127.0.0.1:{site.http_port} is taken by haproxy" in str(refused.value)
        assert str(pids["current"]) in str(refused.value) or str(pids["master"]) in str(
            refused.value
        )
        for _ in range(5):
            assert await ask(site.http_port, SHOP) == (200, "shop")


async def test_a_start_that_fails_for_its_port_works_once_that_is_free(site: Site) -> None:
    with socket.socket() as occupier:
        occupier.bind(("127.0.0.1", site.http_port))
        occupier.listen()
        backend = site.backend()
        driver = Driver(backend, site.frontends)
        with pytest.raises(ProcessConflictError):
            await driver.start()
    await driver.start()
    await driver.assert_in_step()
    await backend.close()


@pytest.mark.parametrize("victim", ["master", "current"])
async def test_whichever_process_is_killed_everything_comes_back(
    site: Site, app: int, victim: str
) -> None:
    async with driving(site) as driver:
        changes: list[bool] = []
        driver.backend.on_change(lambda: changes.append(True))
        await driver.to(shop(app), http("other"))
        before = await workers(driver)

        os.kill(before[victim], signal.SIGKILL)

        await until(lambda: bool(changes), "HAProxy was brought back")
        assert await ask(site.http_port, SHOP) == (200, "shop")
        await driver.assert_in_step()
        assert set((await workers(driver)).values()).isdisjoint(before.values())


async def test_it_comes_back_twice(site: Site, app: int) -> None:
    async with driving(site) as driver:
        changes: list[bool] = []
        driver.backend.on_change(lambda: changes.append(True))
        for round_number in (1, 2):
            await driver.to(shop(app, f"r{round_number}"))
            os.kill((await workers(driver))["current"], signal.SIGKILL)
            await until(lambda n=round_number: len(changes) == n, "brought back")  # type: ignore[misc]
            assert (await ask(site.http_port, f"r{round_number}.apps.example.com"))[0] == 200
            await driver.assert_in_step()


async def test_while_it_is_away_it_is_told_so(site: Site, app: int) -> None:
    async with driving(site) as driver:
        await driver.to(shop(app))
        await driver.backend.close()
        await site.process().stop()

        with pytest.raises(ProxyUnavailableError):
            await driver.seen()
        with pytest.raises(ProxyUnavailableError):
            await driver.to(shop(app), shop(app, "second"))
        with pytest.raises(ProxyUnavailableError):
            await driver.backend.idle([driver.state.layout.slots[shop(app).key]])


async def test_a_killed_control_plane_in_the_middle_of_a_reload_loses_nothing(
    site: Site, app: int
) -> None:
    """HAProxy has loaded the new configuration; nobody was left to hear of it."""
    async with driving(site) as driver:
        await driver.to(shop(app))
        backend = driver.backend
        assert isinstance(backend, FileBackend)
        await backend._mirror.flush()
        state = State(driver.state.config, driver.state.layout)
        generation = (await backend._drafts.make_whole(state)).path
        site.generations.promote(generation)
        assert (await backend._handover._master.reload()).success
        abandon(driver)

        async with driving(site) as again:
            again.state = state
            await again.assert_in_step()
            assert current(site) == generation
            await again.backend.persist(state, None)
            await again.to(shop(app), shop(app, "second"))
            await until(lambda: "second" in text_of(site, HOSTS), "disk follows")
            assert await ask(site.http_port, "second.apps.example.com") == (200, "shop")


async def test_a_reload_that_loads_something_else_is_noticed(
    site: Site, app: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody swaps the link while we reload: what answers isn't what was asked for."""
    monkeypatch.setattr("frontserver.backends.file.handover._NEW_WORKER_SECONDS", 0.1)
    async with driving(site) as driver:
        await driver.to(shop(app))
        backend = driver.backend
        assert isinstance(backend, FileBackend)
        first, promote = current(site), site.generations.promote

        def meddle(_: Path) -> None:
            promote(first)

        monkeypatch.setattr(site.generations, "promote", meddle)
        with pytest.raises(ProxyUnavailableError, match="another configuration"):
            await backend.reload(driver.state, (ReloadReason.FRONTENDS,))
        monkeypatch.setattr(site.generations, "promote", promote)

        await driver.assert_in_step()
        assert await ask(site.http_port, SHOP) == (200, "shop")


def test_frontends_are_told_apart_by_everything_that_needs_a_reload(site: Site) -> None:
    base = site.frontends
    others = [
        msgspec.structs.replace(base, **{name: value})
        for name, value in {
            "http_binds": (),
            "https_binds": base.http_binds,
            "mongo_binds": (),
            "runtime_socket": "/other",
            "hard_stop_after": "1h",
            "connect_ms": 1,
            "client_ms": 1,
            "server_ms": 1,
            "tunnel_ms": 1,
            "queue_ms": 1,
            "mongo_tunnel_ms": 1,
            "templates": "x",
            "extensions": (Extension("gold", "x"),),
            "system_ca": "x",
            "http_adopted": ("www",),
            "mongodb_adopted": ("www",),
        }.items()
    ]
    assert len(others) == len(Frontends.__struct_fields__)
    assert len({f.fingerprint for f in [base, *others]}) == len(others) + 1


async def test_beside_another_haproxy_it_listens_once_it_has_all_routes(
    site: Site, app: int
) -> None:
    """Until then whoever comes is answered by the other one, not by what was left on disk."""
    async with driving(site) as driver:
        await driver.to(shop(app))
        with tempfile.TemporaryDirectory(prefix="fs-") as elsewhere:
            other = Site(Path(elsewhere), site.program)
            other.frontends = msgspec.structs.replace(
                other.frontends, http_binds=site.frontends.http_binds
            )
            process = other.process(binds=())
            backend = other.backend(process, first_bind=HostPort("127.0.0.1", free_port()))
            try:
                newcomer = Driver(backend, other.frontends)
                await newcomer.start()
                assert (await backend.observe()).frontends != other.frontends.fingerprint
                for _ in range(20):
                    assert await ask(site.http_port, SHOP) == (200, "shop")

                await newcomer.to(shop(app))
                await backend.reload(newcomer.state, [ReloadReason.FRONTENDS])

                assert (await backend.observe()).frontends == other.frontends.fingerprint
                for _ in range(20):
                    assert await ask(site.http_port, SHOP) == (200, "shop")
            finally:
                await backend.close()
                await process.stop()
