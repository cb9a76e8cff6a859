"""A checked server takes over from the one that it stands for, and from no other."""

from __future__ import annotations

import pytest

from frontserver.backends.dataplane.servers import PREPARED
from frontserver.errors import ProxyUnavailableError
from frontserver.model.routes import HealthCheck, Route
from tests.unit.backends.dataplane.fake import FakeServer
from tests.unit.backends.dataplane.world import World, addresses
from tests.unit.planning.routes import http


def checked(name: str = "shop", host: int = 1) -> Route:
    return http(name, f"http://10.0.0.{host}:80", check=HealthCheck())


def servers(world: World, slot: str) -> dict[str, FakeServer]:
    return world.api.process.servers[slot]


async def test_a_route_is_live_before_it_is_checked(world: World) -> None:
    await world.begin(checked())

    assert world.api.led() == addresses(checked())
    assert servers(world, world.slot(checked()))[PREPARED].state == "maint"


async def test_with_the_next_write_the_checked_server_takes_over(world: World) -> None:
    await world.begin(checked())
    await world.flush()

    found = servers(world, world.slot(checked()))
    assert world.api.led() == addresses(checked())
    assert found.pop(PREPARED).state == "ready"
    assert {server.state for server in found.values()} == {"drain"}
    assert not world.backend._writer.is_behind


async def test_the_checked_server_has_its_address_before_it_is_in_service(world: World) -> None:
    await world.begin(checked())
    slot = world.slot(checked())

    async def look() -> None:
        assert servers(world, slot)[PREPARED] == FakeServer("10.0.0.1", 80, "maint")

    world.api.meanwhile("replace_raw", look)
    await world.flush()


async def test_a_route_that_is_removed_meanwhile_stays_removed(world: World) -> None:
    await world.begin(checked())
    slot = world.slot(checked())
    world.api.meanwhile("replace_raw", world.bring)

    await world.flush()

    assert not any(server.state == "ready" for server in servers(world, slot).values())
    assert world.backend._book.waiting == {}


async def test_a_target_that_is_changed_meanwhile_is_the_only_one(world: World) -> None:
    await world.begin(checked())
    world.api.meanwhile("replace_raw", lambda: world.bring(checked(host=2)))

    await world.flush()
    assert world.api.led() == addresses(checked(host=2))
    await world.flush()

    slot = world.slot(checked())
    assert world.api.led() == addresses(checked(host=2))
    assert servers(world, slot)[PREPARED] == FakeServer("10.0.0.2", 80)


async def test_a_slot_given_to_another_in_the_midst_of_a_takeover_serves_that_one(
    world: World,
) -> None:
    """The call that puts the checked server in service is lost; then the route goes."""
    await world.begin(checked())
    slot = world.slot(checked())

    async def lost() -> None:
        raise ProxyUnavailableError("no answer")

    world.api.meanwhile("set_state", lost)
    with pytest.raises(ProxyUnavailableError):
        await world.flush()
    assert servers(world, slot)[PREPARED].state == "ready"

    await world.bring()

    assert not any(server.state == "ready" for server in servers(world, slot).values())


async def test_another_control_plane_ends_a_takeover_that_was_begun(world: World) -> None:
    await world.begin(checked())
    slot = world.slot(checked())
    servers(world, slot)[PREPARED] = FakeServer("10.0.0.1", 80)

    await world.kill()
    await world.begin(checked())
    await world.flush()

    found = servers(world, slot)
    assert found.pop(PREPARED).state == "ready"
    assert {server.state for server in found.values()} == {"drain"}


async def test_both_go_if_the_route_goes_before_that(world: World) -> None:
    await world.begin(checked())
    slot = world.slot(checked())
    servers(world, slot)[PREPARED] = FakeServer("10.0.0.1", 80)

    await world.kill()
    await world.begin(checked())
    await world.bring()

    assert not any(server.state == "ready" for server in servers(world, slot).values())


async def test_one_that_cannot_be_given_an_address_holds_up_nobody_else(world: World) -> None:
    bad, good, plain = checked("bad"), checked("good", 2), http("plain", "http://10.0.0.3:80")
    await world.begin(bad, good, plain)
    slot = world.slot(bad)
    del servers(world, slot)[PREPARED]

    for _ in range(2):
        await world.flush()

    assert servers(world, world.slot(good))[PREPARED] == FakeServer("10.0.0.2", 80)
    assert world.api.led() == addresses(bad, good, plain)
    assert world.api.led(world.api.on_disk()) == addresses(bad, good, plain)
    assert not world.backend._writer.is_behind


async def test_a_reload_ends_what_could_not_be_done(world: World) -> None:
    await world.begin(checked())
    slot = world.slot(checked())
    del servers(world, slot)[PREPARED]
    await world.flush()

    await world.refill()

    assert servers(world, slot) == {PREPARED: FakeServer("10.0.0.1", 80)}
    assert not world.backend._writer.is_behind
