"""What a review found: each test states what should hold, and fails where it doesn't yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from frontserver.backends.port import Look, Prepared, State
from frontserver.errors import ConfigRejectedError, ProxyError, StorageError
from frontserver.model.routes import CookieName, RouteKey
from frontserver.model.status import RouteState
from frontserver.planning.actions import PutBackend, PutCertificate, PutServer
from frontserver.planning.compiled import HTTPS_CERTIFICATE, Certificate
from frontserver.planning.layout import PoolPolicy
from frontserver.planning.running import Running
from tests.unit.planning.routes import FRONTENDS, POLICY, http
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

    backend.observe = unknown  # type: ignore[method-assign]
    backend.look = foreign  # type: ignore[method-assign]
    backend.reload = loaded  # type: ignore[method-assign]
    prepare = backend.prepare

    async def slow(*args: Any, **named: Any) -> Any:
        await asyncio.sleep(0.2)  # Ten rounds of looks.
        return await prepare(*args, **named)

    backend.prepare = slow  # type: ignore[method-assign]
    async with world.running() as reconciler:
        reconciler._process_changed()
        await until(lambda: known, 2)


async def test_an_extra_slot_that_came_to_nothing_does_not_hold_up_everything() -> None:
    """HAProxy has no such backend any more, and says so whenever it is asked about it (3.4)."""
    refused = True
    world = World(
        refuses=lambda x: (
            "no" if refused and isinstance(x, PutServer) and ".1" in x.backend else None
        )
    )
    first, second = http("first", sticky=STICKY), http("second", sticky=STICKY)
    await world.publish(first)
    (slot,) = set(world.maps("maps/hosts.map").values())
    world.backend.growing = frozenset({slot.partition(".")[0]})
    idle = world.backend.idle

    async def idle_as_haproxy(backends: Sequence[str]) -> frozenset[str]:
        assert world.backend.running is not None
        if not world.backend.running.servers.keys() >= set(backends):
            raise ProxyError("the answer to 'show stat' can't be read: 'No such proxy.'")
        return await idle(backends)

    world.backend.idle = idle_as_haproxy  # type: ignore[method-assign]
    async with world.running() as reconciler:
        await reconciler.settle(second.key, world.source.put(second), 0.1)
        refused = False
        third = http("third", sticky=CookieName("D"))
        reconciler.wake()
        status = await reconciler.settle(third.key, world.source.put(third), 1)
        assert status.state == ACTIVE
        await until(lambda: reconciler.proxy_status().in_step, 1)


async def test_a_certificate_is_served_though_other_frontends_are_refused() -> None:
    """It may be about to expire, and what is wrong with the frontends may last."""
    world = World()
    await world.publish(http("plain"))
    prepare = world.backend.prepare

    async def particular(state: State, changed: Collection[RouteKey] | None = None) -> Prepared:
        if state.config.frontends.templates == "bad":
            raise ConfigRejectedError("unknown keyword")
        return await prepare(state, changed)

    world.backend.prepare = particular  # type: ignore[method-assign]
    certificate = Certificate(HTTPS_CERTIFICATE, "old")
    world.certificates = (certificate,)
    await world.reconciler.step()
    world.reconciler.reframe(msgspec.structs.replace(FRONTENDS, templates="bad"))
    with pytest.raises(ConfigRejectedError):
        await world.reconciler.step()
    renewed = msgspec.structs.replace(certificate, pem="new")
    world.certificates = (renewed,)
    with contextlib.suppress(ConfigRejectedError):
        await world.reconciler.step()

    assert PutCertificate(renewed) in world.backend.performed


async def test_a_removal_keeps_its_revision() -> None:
    """A reload that was to bring the route in ends later, and looks at it once more."""
    world = World()
    await world.publish(http("plain"))
    route = http("rare", sticky=STICKY)
    world.backend.preparing = asyncio.Event()
    world.source.put(route)
    await world.reconciler._round()
    revision = world.source.remove(route)
    await world.reconciler._round()
    assert (await world.reconciler.settle(route.key, revision, 0)).state == ACTIVE
    world.backend.preparing.set()
    await world.reconciler.step()

    assert (await world.reconciler.settle(route.key, revision, 0)).state == ACTIVE


async def test_a_removal_is_not_done_while_nobody_knows_what_runs() -> None:
    """A HAProxy whose configuration isn't here may well serve the route still."""
    world = World()
    route = http("plain")
    await world.publish(route, http("other"))
    world.backend.preparing = asyncio.Event()
    observe = world.backend.observe

    async def unknown() -> Running:
        return Running(frontends=None, pools={}, servers={}, maps={})

    world.backend.observe = unknown  # type: ignore[method-assign]
    world.reconciler._process_changed()
    await world.reconciler._round()
    assert world.reconciler.status(http("other").key).state == PENDING
    revision = world.source.remove(route)
    await world.reconciler._round()
    assert route.domain in world.maps("maps/hosts.map"), "it is served"
    status = await world.reconciler.settle(route.key, revision, 0)
    world.backend.observe = observe  # type: ignore[method-assign]
    await world.reconciler._reloads.abandon()
    assert status.state == PENDING
