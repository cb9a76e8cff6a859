"""Frontends and templates that change while the reconciler runs."""

from __future__ import annotations

import asyncio

import msgspec

from frontserver.model.routes import ProfileName
from frontserver.model.status import RouteState
from frontserver.planning.compiled import Extension, Frontends
from frontserver.planning.plan import ReloadReason
from tests.unit.planning.routes import FRONTENDS, http
from tests.unit.reconcile.world import World, until

GOLD = http("gold", profile=ProfileName("gold"))
GOLD_DOMAIN = "gold.apps.example.com"


def with_gold(version: str) -> Frontends:
    return msgspec.structs.replace(
        FRONTENDS, templates=version, extensions=(Extension("gold", version),)
    )


async def test_changed_frontends_are_one_reload_and_disturb_no_route() -> None:
    world = World()
    await world.publish(http())
    changed = msgspec.structs.replace(FRONTENDS, templates="changed")

    world.reconciler.reframe(changed)
    await world.reconciler.step()
    await world.reconciler.step()

    assert world.backend.reloads == [(ReloadReason.FRONTENDS,)]
    assert world.backend.running is not None
    assert world.backend.running.frontends == changed.fingerprint
    assert world.servers_of("shop.apps.example.com") == ["10.0.0.1:3000"]


async def test_it_is_done_without_being_asked_twice() -> None:
    world = World()
    async with world.running() as reconciler:
        await until(lambda: reconciler.proxy_status().in_step)
        reconciler.reframe(msgspec.structs.replace(FRONTENDS, templates="changed"))
        await until(lambda: world.backend.reloads == [(ReloadReason.FRONTENDS,)])


async def test_another_text_of_a_profile_moves_its_routes_with_the_same_reload() -> None:
    world = World()
    world.again(with_gold("1"))
    (status,) = await world.publish(GOLD)
    assert status.state == RouteState.ACTIVE
    before = world.maps("maps/hosts.map")[GOLD_DOMAIN]

    world.reconciler.reframe(with_gold("2"))
    await world.reconciler.step()

    assert len(world.backend.reloads) == 2, "the first for the new profile"
    assert world.maps("maps/hosts.map")[GOLD_DOMAIN].partition(".")[0] != before.partition(".")[0]
    assert world.reconciler.status(GOLD.key).state == RouteState.ACTIVE


async def test_a_profile_that_goes_takes_its_routes_out_and_says_so() -> None:
    """What it said may have been there to protect them."""
    world = World()
    world.again(with_gold("1"))
    await world.publish(GOLD, http())

    world.reconciler.reframe(FRONTENDS)
    await world.reconciler.step()

    status = world.reconciler.status(GOLD.key)
    assert (status.state, status.reason) == (
        RouteState.FAILED,
        "the operator has no profile 'gold' any more",
    )
    assert world.servers_of(GOLD_DOMAIN) == []
    assert world.servers_of("shop.apps.example.com") == ["10.0.0.1:3000"]


def test_warnings_are_shown_until_they_are_taken_back() -> None:
    reconciler = World().reconciler
    reconciler.warn("templates", "mend line 3")
    reconciler.warn("templates", "mend line 4")
    assert reconciler.proxy_status().warnings == ("mend line 4",)

    reconciler.warn("templates", None)
    assert reconciler.proxy_status().warnings == ()


async def test_it_is_not_in_step_before_the_wanted_listeners_are_loaded() -> None:
    """Whoever waits for that may stop another HAProxy next."""
    world = World()
    await world.reconciler.step()
    world.reconciler = world.again(msgspec.structs.replace(FRONTENDS, hard_stop_after="9m"))
    world.backend.preparing = asyncio.Event()

    async with world.running() as reconciler:
        await until(lambda: reconciler._reloads.preparing)
        assert "it is reloaded" in (reconciler.proxy_status().reason or "")
        assert not reconciler.proxy_status().in_step

        world.backend.preparing.set()
        await until(lambda: reconciler.proxy_status().in_step)
