"""Whatever call is the last one: HAProxy started from disk leads nobody to others' servers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from frontserver.backends.dataplane.places import file_name
from frontserver.errors import FrontServerError
from frontserver.model.routes import (
    HeaderEdits,
    HeaderName,
    HeaderValue,
    HealthCheck,
    Route,
    Timeouts,
)
from frontserver.planning.compiled import HOSTS, TIMEOUT_SERVER
from tests.unit.backends.dataplane.fake import Died
from tests.unit.backends.dataplane.world import World, addresses
from tests.unit.planning.routes import compiled, http


def route(name: str, host: int, **options: object) -> Route:
    """A route that is told by its server's address, and by its server's timeout."""
    timeouts = Timeouts(server_ms=host * 100)
    return http(name, f"http://10.0.0.{host}:80", timeouts=timeouts, **options)


A, B, C, D = (route(name, n) for n, name in enumerate("abcd", start=1))
CHECKED_A, CHECKED_B = (route(name, n, check=HealthCheck()) for n, name in ((1, "a"), (2, "b")))
HEADERS = HeaderEdits(set=((HeaderName("x-tenant"), HeaderValue("a")),))
NEW_PROFILE_A = route("a", 1, request_headers=HEADERS)

# Whom each domain may ever reach.
OWNED = {key: found for some in (A, B, C, D) for key, found in addresses(some).items()}
TIMEOUTS = {
    key: value.value
    for compiled_route in compiled(A, B, C, D).values()
    if compiled_route is not None
    for _, key in compiled_route.routing
    for value in compiled_route.values
}


def assert_nobody_crosses(world: World) -> None:
    api = world.api
    for process in (api.process, api.on_disk()):
        for key, reached in api.led(process).items():
            assert reached <= OWNED[key], f"{key} leads to {reached}"
    for process in (api.process, api.on_disk()):
        timeouts = process.maps.get(file_name(TIMEOUT_SERVER), {})
        for key, backend in process.maps.get(file_name(HOSTS), {}).items():
            assert timeouts.get(backend) == TIMEOUTS[key], f"{key} has somebody else's values"


async def slots_change_hands(world: World) -> None:
    await world.begin(A, B)
    await world.flush()
    await world.bring(B)
    await world.flush()
    await world.sweep()
    await world.bring(B, C)
    await world.bring(B, C, D)
    await world.flush()
    await world.bring(B)
    await world.refill()
    await world.bring(B, A, D)
    await world.flush()


async def slots_change_hands_by_a_reload(world: World) -> None:
    await world.begin(A, B)
    await world.flush()
    await world.bring(NEW_PROFILE_A, B)
    await world.refill()
    await world.bring(NEW_PROFILE_A, C, D)
    await world.bring(A, C, D, B)


async def one_reload_gives_a_slot_to_another(world: World) -> None:
    await world.begin(A, B, C, D)
    await world.refill()
    await world.bring(A)
    for other in (B, C, D, B):
        # Each takes a slot that was never used, until there is none.
        await world.bring(A, other)
        await world.bring(A)
    await world.flush()
    slot = world.slot(A)
    await world.bring(NEW_PROFILE_A, B)
    assert world.slot(B) == slot


async def checked_routes_take_over(world: World) -> None:
    await world.begin(CHECKED_A)
    await world.flush()
    await world.bring()
    await world.flush()
    await world.sweep()
    for slot_is_reused in range(5):
        await world.bring(CHECKED_B if slot_is_reused % 2 else CHECKED_A)
        await world.flush()


async def another_control_plane_comes(world: World) -> None:
    await world.begin(A, B)
    await world.flush()
    await world.bring(B)
    await world.kill()
    await world.begin(B)
    await world.bring(B, C)
    await world.bring(B, C, D)
    await world.flush()


Story = Callable[[World], Awaitable[None]]
STORIES: list[Story] = [
    slots_change_hands,
    slots_change_hands_by_a_reload,
    one_reload_gives_a_slot_to_another,
    checked_routes_take_over,
    another_control_plane_comes,
]


async def ends(world: World, story: Story, after: int) -> bool:
    """Tell a story up to so many calls; returns whether it came to its end."""
    world.api.stop_at = after
    try:
        await story(world)
    except Died:
        return False
    return True


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Callable[[], World]]:
    made: list[World] = []

    def make() -> World:
        made.append(World(tmp_path / str(len(made))))
        return made[-1]

    yield make
    for world in made:
        await world.abandon()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nobody_crosses_wherever_a_story_ends(
    story: Story, worlds: Callable[[], World]
) -> None:
    for after in itertools.count():
        world = worlds()
        done = await ends(world, story, after)
        assert_nobody_crosses(world)
        await world.abandon()
        if done:
            assert after > 50
            break


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_after_a_cold_start_another_control_plane_brings_everything_in(
    story: Story, worlds: Callable[[], World]
) -> None:
    wanted = (A, C, CHECKED_B)
    for after in itertools.count(step=7):
        world = worlds()
        done = await ends(world, story, after)
        world.api.stop_at = None
        world.api.restart()
        await world.kill()
        await world.begin(*wanted)
        await world.heal(*wanted)
        assert world.api.led() == addresses(*wanted)
        assert world.api.led(world.api.on_disk()) == addresses(*wanted)
        await world.abandon()
        if done:
            break


@pytest.mark.parametrize("ends_with", ["a failed reload", "HAProxy down"])
async def test_nobody_crosses_when_the_api_puts_an_old_file_back(
    world: World, ends_with: str
) -> None:
    """It puts back the configuration that was loaded last, under maps of today."""
    await world.begin(A, B)
    await world.refill()
    slot = world.slot(A)
    await world.bring(B)
    await world.flush()
    await world.sweep()
    while C.key not in world.applied.layout.slots or world.slot(C) != slot:
        await world.bring(B)
        await world.bring(B, C)
    await world.flush()
    if ends_with == "HAProxy down":
        world.api.meanwhile("replace_raw", world.api.dies)
    else:
        world.api.reload_fails = "cannot bind"

    with pytest.raises(FrontServerError):
        await world.refill()

    assert_nobody_crosses(world)
    world.api.reload_fails = None
    world.api.restart()
    assert_nobody_crosses(world)
    await world.heal(A, B, C, D)
    assert world.api.led() == addresses(A, B, C, D)
    assert world.api.led(world.api.on_disk()) == addresses(A, B, C, D)
