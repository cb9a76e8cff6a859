"""Streams outlive changes, unless their route is removed; a slot is used again only when clean."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

import msgspec
import pytest

from frontserver.backends.port import State
from frontserver.planning.compiled import HOSTS, SNI, CompiledConfig, Server
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, slot_of
from frontserver.planning.plan import lay_out, plan
from frontserver.planning.running import adopt
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    abandon,
    ask,
    database,
    driving,
    echo,
    origin,
    self_signed,
    shop,
    stream,
    text_of,
    until,
    unwritable,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import POLICY, compiled

NAME = "a1.mongodb.example.com"


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[Driver]:
    async with driving(site) as made:
        yield made


@pytest.fixture(scope="module")
def servers() -> list[ssl.SSLContext]:
    return [self_signed(NAME)[1], self_signed(NAME)[1]]


@contextlib.asynccontextmanager
async def two_databases(servers: list[ssl.SSLContext]) -> AsyncIterator[tuple[int, int]]:
    async with echo(servers[0]) as one, echo(servers[1]) as two:
        yield one, two


async def test_a_stream_survives_another_target_and_its_server_goes_after_it(
    site: Site, driver: Driver, servers: list[ssl.SSLContext]
) -> None:
    async with two_databases(servers) as (one, two):
        await driver.to(database(one))
        slot = driver.state.layout.slots[database(one).key]
        async with stream(site.mongo_port, NAME) as talk:
            assert await talk.says("before")

            await driver.to(database(two))

            assert await talk.says("after")
            # The one that leaves doesn't count as running: nothing is left to be mended.
            await driver.assert_in_step()
            assert len(await raw_servers(driver, slot)) == 2
            await driver.backend.idle([slot])
            assert len(await raw_servers(driver, slot)) == 2

        assert driver.backend.anything_leaves

        async def swept() -> bool:
            await driver.backend.idle([])
            return len(await raw_servers(driver, slot)) == 1

        await until(swept, "the old server is deleted when its stream has ended")
        assert not driver.backend.anything_leaves
        await driver.assert_in_step()


async def test_a_removal_ends_the_stream_at_once(
    site: Site, driver: Driver, servers: list[ssl.SSLContext]
) -> None:
    async with two_databases(servers) as (one, two):
        await driver.to(database(one), database(two, "a2"))
        slot = driver.state.layout.slots[database(one).key]
        async with (
            stream(site.mongo_port, NAME) as talk,
            stream(site.mongo_port, "a2.mongodb.example.com") as other,
        ):
            assert await talk.says("before")
            assert await other.says("before")

            await driver.to(database(two, "a2"))

            assert not await talk.says("after")
            assert await other.says("after")

            async def emptied() -> bool:
                return await driver.backend.idle([slot]) == {slot}

            await until(emptied, "the slot is idle")


@pytest.mark.parametrize("change", [False, True], ids=["another-target", "another-slot"])
async def test_a_removal_ends_the_streams_that_a_change_has_left(
    site: Site, driver: Driver, servers: list[ssl.SSLContext], *, change: bool
) -> None:
    async with two_databases(servers) as (one, two):
        other = database(two, "a2")
        await driver.to(database(one), other)
        async with (
            stream(site.mongo_port, NAME) as talk,
            stream(site.mongo_port, "a2.mongodb.example.com") as untouched,
        ):
            assert await talk.says("before")
            assert await untouched.says("before")
            # A check takes another profile.
            changed = database(one) if change else database(two)
            await driver.to(msgspec.structs.replace(changed, check=change), other)
            assert await talk.says("after the change")

            await driver.to(other)

            assert not await talk.says("after the removal")
            assert await untouched.says("after the removal")
            resting = driver.state.layout.resting()

            async def emptied() -> bool:
                return await driver.backend.idle(tuple(resting)) == resting

            await until(emptied, "the slots are idle")


async def test_streams_survive_reloads(
    site: Site, driver: Driver, servers: list[ssl.SSLContext]
) -> None:
    async with two_databases(servers) as (one, _):
        await driver.to(database(one))
        async with stream(site.mongo_port, NAME) as talk:
            for _ in range(3):
                await driver.backend.reload(driver.state, REFILL)
                assert await talk.says("still here")


async def test_a_slot_is_used_again_only_when_disk_knows_that_it_was_left(
    site: Site, driver: Driver
) -> None:
    async with origin("a") as a, origin("b") as b:
        await driver.to(shop(a, "first"))
        slot = driver.state.layout.slots[shop(a, "first").key]
        await driver.to()

        # No time has passed for the flush in the background.
        assert await driver.backend.idle([slot]) == {slot}
        assert slot not in text_of(site, HOSTS)

        driver.state = State(driver.state.config, only_free(driver.state.layout, slot))
        await driver.to(shop(b, "second"))
        assert driver.state.layout.slots[shop(b, "second").key] == slot
        assert await ask(site.http_port, "second.apps.example.com") == (200, "b")
        assert (await ask(site.http_port, "first.apps.example.com"))[0] == 404


async def test_a_slot_isnt_given_away_while_its_files_cant_be_written(
    site: Site, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    await driver.to(database(1))
    slot = driver.state.layout.slots[database(1).key]
    await until(lambda: slot in text_of(site, SNI), "the route is on disk")
    with unwritable(site):
        await driver.to()
        assert await driver.backend.idle([slot]) == frozenset()
        assert "can't be written" in caplog.text
    assert await driver.backend.idle([slot]) == {slot}
    assert slot not in text_of(site, SNI)


async def test_a_control_plane_that_takes_over_gives_no_slot_away_that_disk_still_leads_to(
    site: Site, driver: Driver
) -> None:
    """A cold start would lead the removed name to whoever got the slot."""
    await driver.to(database(1))
    slot = driver.state.layout.slots[database(1).key]
    await until(lambda: slot in text_of(site, SNI), "the route is on disk")
    with unwritable(site):
        await driver.to()
        abandon(driver)
        await driver.backend._runtime.close()  # type: ignore[attr-defined]
        driver.backend = site.backend()
        await driver.start()
        found = adopt(CompiledConfig(site.frontends), await driver.seen())
        await driver.backend.persist(State(found.config, found.layout), None)

        assert found.layout.resting() == {slot}
        assert await driver.backend.idle([slot]) == frozenset()
    assert await driver.backend.idle([slot]) == {slot}
    assert slot not in text_of(site, SNI)


async def test_a_resting_slot_becomes_free_with_a_reload(
    site: Site, driver: Driver, servers: list[ssl.SSLContext]
) -> None:
    async with two_databases(servers) as (one, _):
        await driver.to(database(one))
        slot = driver.state.layout.slots[database(one).key]
        await driver.to()
        assert slot in driver.state.layout.resting()

        layout = lay_out(driver.state.layout, (), POLICY)
        driver.state = State(driver.state.config, layout)
        await driver.backend.reload(driver.state, REFILL)

        assert layout.resting() == frozenset()
        assert await driver.backend.idle([slot]) == {slot}
        await driver.assert_in_step()


async def raw_servers(driver: Driver, slot: str) -> set[str]:
    """All servers that HAProxy has on a slot, those that leave included."""
    return set((await driver.backend._runtime.server_states(slot)).get(slot, {}))  # type: ignore[attr-defined]


def only_free(layout: Layout, slot: str) -> Layout:
    """The layout in which this slot, given back, is the next to be taken."""
    profile_id, _ = slot_of(slot)
    layout = layout.give_back(slot)
    pool = layout.pools[profile_id]
    full = msgspec.structs.replace(pool, size=pool.fresh)
    return msgspec.structs.replace(layout, pools=layout.pools.set(profile_id, full))


async def test_a_change_that_doesnt_take_effect_leaves_the_old_server_in_service(
    site: Site, driver: Driver
) -> None:
    async with origin("old") as old, origin("new") as new:
        await driver.to(shop(old))
        before = await driver.seen()
        target = driver.state.config.with_routes(compiled(shop(new)))
        (step,) = plan(diff(driver.state.config, target), driver.state.layout).steps
        assert step.new is not None
        # HAProxy accepts every command, and yet one of the servers isn't there.
        lost = msgspec.structs.replace(step.new, servers=(*step.new.servers, Server("::1", 1)))

        failed = await driver.backend.apply([msgspec.structs.replace(step, new=lost)])

        assert "isn't there" in failed[shop(old).key]
        assert await driver.seen() == before
        assert await ask(site.http_port, "shop.apps.example.com") == (200, "old")
