"""What a review found: each test states what should hold, and fails where it doesn't yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from frontserver.backends.port import Look
from frontserver.errors import StorageError
from frontserver.model.routes import CookieName
from frontserver.model.status import RouteState
from frontserver.planning.actions import PutBackend
from frontserver.planning.layout import PoolPolicy
from frontserver.planning.running import Running
from tests.unit.planning.routes import POLICY, http
from tests.unit.reconcile.world import QUICK, World, until

ACTIVE, PENDING, FAILED = RouteState.ACTIVE, RouteState.PENDING, RouteState.FAILED
STICKY = CookieName("C")


async def test_a_route_that_came_to_need_a_reload_is_not_active_meanwhile() -> None:
    """HAProxy came back with an older configuration, without the route's profile."""
    world = World()
    await world.publish(http("plain"))
    older = world.backend.persisted
    route = http("rare", sticky=STICKY)
    (status,) = await world.publish(route)
    assert status.state == ACTIVE

    world.backend.persisted = older
    world.backend.preparing = asyncio.Event()
    world.backend.crash()
    await world.reconciler._round()

    assert route.domain not in world.maps("maps/hosts.map"), "it doesn't run"
    assert world.reconciler.status(route.key).state == PENDING
    await world.reconciler._reloads.abandon()


async def test_a_look_that_fails_for_the_disk_is_taken_again() -> None:
    """HAProxy was replaced, and nobody knows yet what it runs."""
    world = World()
    await world.publish(http("plain"))
    older = world.backend.persisted
    route = http("late")
    await world.publish(route)
    world.backend.persisted = older
    observe = world.backend.observe
    failures = 1

    async def short_of_space() -> Running:
        nonlocal failures
        if failures:
            failures -= 1
            raise StorageError("no space left on device")
        return await observe()

    world.backend.observe = short_of_space  # type: ignore[method-assign]
    async with world.running():
        world.backend.crash()
        await until(lambda: failures == 0)
        await until(lambda: route.domain in world.maps("maps/hosts.map"), 1)


async def test_a_backend_that_cannot_be_made_at_run_time_comes_with_a_reload() -> None:
    """HAProxy refuses `add backend` (short of something, or another word than the canary's)."""
    world = World(
        refuses=lambda x: "no room" if isinstance(x, PutBackend) else None,
        policy=PoolPolicy(POLICY.standard, spare=4),
    )
    first, second = http("first", sticky=STICKY), http("second", sticky=STICKY)
    await world.publish(first)
    (slot,) = set(world.maps("maps/hosts.map").values())
    world.backend.growing = frozenset({slot.partition(".")[0]})

    (status,) = await world.publish(second)

    assert (status.state, status.reason) == (ACTIVE, None)


async def test_a_reload_of_what_is_not_recognised_gets_time_to_be_prepared() -> None:
    """A HAProxy whose configuration isn't here: its maps hold what nobody counts on."""
    timing = msgspec.structs.replace(QUICK, drift=0.02)
    world = World(timing=timing)
    route = http("plain")
    await world.publish(route)
    backend = world.backend
    observe, look, reload = backend.observe, backend.look, backend.reload
    known = False

    async def unknown() -> Running:
        if known:
            return await observe()
        return Running(frontends=None, pools={}, servers={}, maps={})

    async def foreign(backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        seen = await look(backends)
        return seen if known else msgspec.structs.replace(seen, counts={"maps/hosts.map": 1})

    async def loaded(*args: Any, **named: Any) -> None:
        nonlocal known
        await reload(*args, **named)
        known = True

    backend.observe, backend.look, backend.reload = unknown, foreign, loaded  # type: ignore
    prepare = backend.prepare

    async def slow(*args: Any, **named: Any) -> Any:
        await asyncio.sleep(0.2)  # Ten rounds of looks.
        return await prepare(*args, **named)

    backend.prepare = slow  # type: ignore[method-assign]
    async with world.running() as reconciler:
        reconciler._process_changed()
        await until(lambda: known, 2)
