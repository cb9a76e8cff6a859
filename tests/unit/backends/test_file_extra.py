"""Pools that grow by backends made at run time, where HAProxy can (3.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.port import State
from frontserver.model.routes import CookieName, Route
from frontserver.planning.actions import DropBackend
from frontserver.planning.compile import MONGO_PROFILE
from frontserver.planning.compiled import CompiledConfig
from frontserver.planning.diff import diff
from frontserver.planning.plan import Plan, lay_out, plan
from frontserver.planning.running import adopt
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    ask,
    database,
    echo,
    origin,
    self_signed,
    shop,
    stream,
    until,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import POLICY, compiled


class Growing(Driver):
    """Takes a backend from state to state, with pools that may grow."""

    async def grow(self, *routes: Route) -> Plan:
        target = CompiledConfig(self.state.config.frontends).with_routes(compiled(*routes))
        changes = diff(self.state.config, target)
        planned = plan(changes, self.state.layout, self.backend.growing)
        assert not planned.reasons, "no reload is needed"
        assert await self.backend.apply(planned.steps) == {}
        self.state = State(target, planned.layout)
        await self.backend.persist(self.state, planned.steps)
        return planned

    async def sweep(self, *backends: str) -> None:
        """Take away extra slots that are idle, as the reconciler does."""
        idle: frozenset[str] = frozenset()

        async def all_idle() -> bool:
            nonlocal idle
            idle = await self.backend.idle(backends)
            return idle == set(backends)

        await until(all_idle, "the slots are idle")
        layout = self.state.layout
        for backend in idle:
            if layout.is_extra(backend):
                await self.backend.perform((DropBackend(backend),))
            layout = layout.give_back(backend)
        self.state = State(self.state.config, layout)


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[Growing]:
    made = Growing(site.backend(), site.frontends)
    await made.start()
    await made.seen()
    assert isinstance(made.backend, FileBackend)
    capabilities = made.backend._observer.capabilities
    assert capabilities is not None
    if not capabilities.dynamic_backends:
        await made.backend.close()
        pytest.skip("this HAProxy makes no backends at run time (3.4 does)")
    # The profile of the first one is loaded, and has no spare slot.
    yield made
    await made.backend.close()


async def lone(driver: Growing, route: Route) -> None:
    """Load a route of a rare profile: it gets the only slot there is."""
    await driver.to(route)
    (key,) = driver.state.layout.slots
    profile_id = driver.state.layout.slots[key].partition(".")[0]
    assert driver.state.layout.pools[profile_id].spare == 0


async def test_a_pool_that_is_dry_takes_another_route_without_a_reload(
    site: Site, driver: Growing
) -> None:
    async with origin("one") as one, origin("two") as two:
        first = shop(one, "first", sticky=CookieName("C"))
        second = shop(two, "second", sticky=CookieName("C"))
        await lone(driver, first)
        worker = (await driver.backend._runtime.info()).pid  # type: ignore[attr-defined]

        await driver.grow(first, second)

        await driver.assert_in_step()
        assert await ask(site.http_port, "second.apps.example.com") == (200, "two")
        assert await ask(site.http_port, "first.apps.example.com") == (200, "one")
        assert (await driver.backend._runtime.info()).pid == worker  # type: ignore[attr-defined]


async def test_an_extra_backend_lives_a_whole_life_under_traffic(
    site: Site, driver: Growing
) -> None:
    """Published, changed, left and deleted, again and again, while its neighbour is busy."""
    async with origin("kept") as kept, origin("a") as a, origin("b") as b:
        first = shop(kept, "kept", sticky=CookieName("C"))
        await lone(driver, first)
        wrong: list[tuple[int, str]] = []
        busy = True

        async def visit() -> None:
            while busy:
                answer = await ask(site.http_port, "kept.apps.example.com")
                if answer != (200, "kept"):
                    wrong.append(answer)

        visits = [asyncio.create_task(visit()) for _ in range(4)]
        try:
            for _ in range(20):
                await driver.grow(first, shop(a, "comes", sticky=CookieName("C")))
                assert await ask(site.http_port, "comes.apps.example.com") == (200, "a")
                await driver.grow(first, shop(b, "comes", sticky=CookieName("C")))
                assert await ask(site.http_port, "comes.apps.example.com") == (200, "b")
                (slot,) = set(driver.state.layout.slots.values()) - {
                    driver.state.layout.slots[first.key]
                }
                await driver.grow(first)
                assert (await ask(site.http_port, "comes.apps.example.com"))[0] == 404
                await driver.sweep(slot)
                assert slot not in await driver.backend._runtime.backend_names()  # type: ignore[attr-defined]
        finally:
            busy = False
            await asyncio.wait(visits)
        assert wrong == []
        await driver.assert_in_step()


async def test_a_stream_on_an_extra_backend_keeps_it_until_it_is_cut(
    site: Site, driver: Growing
) -> None:
    _, context = self_signed("a")
    async with echo(context) as port, echo(context) as other:
        dry = msgspec.structs.replace(driver.state.layout.pools[MONGO_PROFILE.id], size=0)
        pools = driver.state.layout.pools.set(MONGO_PROFILE.id, dry)
        driver.state = State(
            driver.state.config, msgspec.structs.replace(driver.state.layout, pools=pools)
        )
        await driver.backend.reload(driver.state, REFILL)
        await driver.grow(database(port, "a1"), database(other, "a2"))
        async with (
            stream(site.mongo_port, "a1.mongodb.example.com") as one,
            stream(site.mongo_port, "a2.mongodb.example.com") as two,
        ):
            assert await one.says("one")
            slot = driver.state.layout.slots[database(1, "a1").key]
            await driver.grow(database(other, "a2"))
            assert not await one.says("gone")
            await driver.sweep(slot)
            assert await two.says("still there")
        await driver.assert_in_step()


async def test_extra_backends_come_back_from_disk_and_become_ordinary_with_a_reload(
    site: Site, driver: Growing
) -> None:
    async with origin("one") as one, origin("two") as two:
        first = shop(one, "first", sticky=CookieName("C"))
        second = shop(two, "second", sticky=CookieName("C"))
        await lone(driver, first)
        await driver.grow(first, second)
        await driver.backend.close()
        await site.process().stop()

        again = Growing(site.backend(), site.frontends)
        await again.start()
        again.state = driver.state
        await again.assert_in_step()
        assert await ask(site.http_port, "second.apps.example.com") == (200, "two")
        running = await again.seen()
        found = adopt(again.state.config, running, None)
        assert found.layout.slots == again.state.layout.slots

        again.state = State(again.state.config, lay_out(again.state.layout, (), POLICY))
        await again.backend.reload(again.state, REFILL)
        await again.assert_in_step()
        assert (await again.seen()).extra == frozenset()
        assert await ask(site.http_port, "second.apps.example.com") == (200, "two")
        await again.backend.close()
