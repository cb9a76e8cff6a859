"""A slot is free only if it was seen without streams after it was left, by anybody."""

from __future__ import annotations

import asyncio

import msgspec

from frontserver.backends.dataplane.servers import PREPARED
from frontserver.model.routes import HealthCheck, Route
from tests.unit.backends.dataplane.fake import FakeServer
from tests.unit.backends.dataplane.world import World, addresses
from tests.unit.planning.routes import compiled, http


def shop(host: int = 1, **options: object) -> Route:
    return http("shop", f"http://10.0.0.{host}:80", **options)


def server(world: World, route: Route) -> FakeServer:
    """The server that a plain route is on."""
    found = compiled(route)[route.key]
    assert found is not None
    return world.api.process.servers[world.slot(route)][found.servers[0].name]


async def looked(world: World) -> None:
    """Wait for the look that goes on."""
    looking = world.backend._idleness._looking
    assert looking is not None
    await asyncio.wait({looking})
    world.backend._idleness._due = 0.0


async def test_a_slot_that_was_left_is_free_once_it_was_looked_at(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())
    await world.bring()
    await world.flush()

    assert await world.backend.idle([slot]) == frozenset()
    await looked(world)
    assert await world.backend.idle([slot]) == {slot}


async def test_a_slot_that_serves_is_never_free(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())

    await world.backend.idle([slot])
    await looked(world)

    assert await world.backend.idle([slot]) == frozenset()


async def test_a_slot_is_not_free_while_a_stream_lasts(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())
    left = server(world, shop())
    left.sessions = 1
    await world.bring()
    await world.flush()

    await world.sweep()
    assert not world.free(slot)
    left.sessions = 0
    await world.sweep()

    assert world.free(slot)
    assert world.api.process.servers[slot] == {}


async def test_a_slot_is_not_free_while_disk_gives_it_to_a_route(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())
    await world.flush()
    await world.bring()

    await world.sweep()
    assert not world.free(slot)
    await world.flush()
    await world.sweep()

    assert world.free(slot)


async def test_a_checked_slot_is_not_free_while_its_checked_server_has_a_stream(
    world: World,
) -> None:
    await world.begin(shop(check=HealthCheck()))
    slot = world.slot(shop())
    await world.flush()
    ready = world.api.process.servers[slot][PREPARED]
    ready.sessions = 1
    await world.bring()
    await world.flush()

    await world.sweep()
    assert not world.free(slot)
    ready.sessions = 0
    await world.sweep()

    assert world.free(slot)


async def test_a_look_that_began_before_a_slot_was_left_does_not_count(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())
    idleness = world.backend._idleness
    idleness.idle([slot])

    async def left_and_asked_for_anew() -> None:
        world.api.process.servers[slot].clear()
        idleness.forget([slot])
        idleness.idle([slot])

    world.api.process.servers[slot].clear()
    world.api.meanwhile("stats", left_and_asked_for_anew)
    await looked(world)

    assert idleness.idle([slot]) == frozenset()


async def test_a_server_that_serves_again_is_not_taken_away(world: World) -> None:
    """Its former target leaves; while that is looked at, it becomes the target again."""
    await world.begin(shop())
    await world.bring(shop(2))
    world.api.meanwhile("stats", lambda: world.bring(shop()))

    world.backend._idleness.idle(["nothing.0"])
    await looked(world)

    assert world.api.led() == addresses(shop())


async def test_a_server_that_left_since_the_look_keeps_its_streams(world: World) -> None:
    await world.begin(shop(), http("other"))
    slot, was = world.slot(shop()), server(world, shop())
    await world.bring(shop(2), http("other"))

    async def used_again_and_left() -> None:
        await world.bring(shop(), http("other"))
        server(world, shop()).sessions = 1
        await world.bring(shop(2), http("other"))

    world.api.meanwhile("stats", used_again_and_left)
    world.backend._idleness.idle(["nothing.0"])
    await looked(world)

    found = [s for s in world.api.process.servers[slot].values() if s.sessions]
    assert found == [msgspec.structs.replace(was, state="drain", sessions=1)]


async def test_after_a_reload_nothing_seen_before_it_counts(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())
    await world.bring()
    await world.flush()
    await world.backend.idle([slot])
    await looked(world)

    await world.refill()

    assert await world.backend.idle([slot]) == frozenset()


async def test_servers_of_a_worker_that_is_replaced_are_left_alone(world: World) -> None:
    """Who leaves is known for one worker; the next one has loaded what is to serve."""
    await world.begin(shop())
    await world.bring(shop(2))
    await world.bring(shop())
    world.api.meanwhile("stats", world.refill)

    world.backend._idleness.idle(["nothing.0"])
    await looked(world)

    assert world.api.led() == addresses(shop())


async def test_looks_are_rare(world: World) -> None:
    await world.begin()
    before = len(world.api.named("stats"))
    for _ in range(5):
        world.backend._idleness.idle(["nothing.0"])
        looking = world.backend._idleness._looking
        assert looking is not None
        await asyncio.wait({looking})

    assert len(world.api.named("stats")) == before + 1


async def test_haproxy_away_is_no_idle_slot(world: World) -> None:
    await world.begin(shop())
    slot = world.slot(shop())
    await world.bring()
    await world.flush()
    world.api.die()

    await world.backend.idle([slot])
    await looked(world)

    assert await world.backend.idle([slot]) == frozenset()
