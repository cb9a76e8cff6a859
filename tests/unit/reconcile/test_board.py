"""Statuses, and those who wait for them."""

from __future__ import annotations

import asyncio

from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import Health, RouteState, RouteStatus
from frontserver.reconcile.board import StatusBoard

SHOP = RouteKey(RouteKind.HTTP, "shop")
ACTIVE, PENDING, FAILED = RouteState.ACTIVE, RouteState.PENDING, RouteState.FAILED


async def test_who_waits_is_told_at_once_and_only_of_that_revision() -> None:
    board = StatusBoard()
    board.set(SHOP, RouteStatus(ACTIVE, 1))
    waiting = asyncio.create_task(board.settle(SHOP, 2, 60))
    await asyncio.sleep(0)
    board.set(SHOP, RouteStatus(PENDING, 2, "soon"))
    await asyncio.sleep(0)
    board.set(SHOP, RouteStatus(FAILED, 2, "no"))

    assert await waiting == RouteStatus(FAILED, 2, "no")
    assert board._waiters == {}


async def test_an_older_revisions_state_is_not_this_ones() -> None:
    board = StatusBoard()
    board.set(SHOP, RouteStatus(FAILED, 1, "no"))

    assert await board.settle(SHOP, 2, 0) == RouteStatus(PENDING, 2, "no")


async def test_what_is_known_of_this_revision_is_told_in_the_end() -> None:
    board = StatusBoard()
    board.set(SHOP, RouteStatus(PENDING, 2, "soon"))

    assert await board.settle(SHOP, 2, 0.001) == RouteStatus(PENDING, 2, "soon")


async def test_several_wait_and_one_gives_up() -> None:
    board = StatusBoard()
    first = asyncio.create_task(board.settle(SHOP, 1, 60))
    second = asyncio.create_task(board.settle(SHOP, 1, 60))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    board.set(SHOP, RouteStatus(ACTIVE, 1))

    assert (await second).state == ACTIVE


async def test_who_waits_is_told_only_once_though_much_happens() -> None:
    board = StatusBoard()
    waiting = asyncio.create_task(board.settle(SHOP, 1, 60))
    await asyncio.sleep(0)
    board.set(SHOP, RouteStatus(PENDING, 1, "a"))
    board.set(SHOP, RouteStatus(ACTIVE, 1))

    assert (await waiting).state == ACTIVE


async def test_a_removal_is_settled_and_forgotten_when_the_route_comes_back() -> None:
    board = StatusBoard()
    board.set(SHOP, RouteStatus(ACTIVE, 1))
    board.remove(SHOP, 2)
    assert await board.settle(SHOP, 2, 0) == RouteStatus(ACTIVE, 2)

    board.set(SHOP, RouteStatus(PENDING, 3))
    assert (await board.settle(SHOP, 3, 0)).state == PENDING


async def test_a_removal_that_is_told_again_by_somebody_who_forgot_when_stays_settled() -> None:
    """A reload that was to bring the route in ends after its removal."""
    board = StatusBoard()
    board.remove(SHOP, 7)

    board.remove(SHOP, 0)

    assert (await board.settle(SHOP, 7, 0)).state == RouteState.ACTIVE


def test_only_so_many_removals_are_remembered() -> None:
    board = StatusBoard()
    for number in range(10_050):
        board.remove(RouteKey(RouteKind.HTTP, f"s{number}"), number)

    assert len(board._removed) == 10_000


async def test_nothing_is_active_while_haproxy_is_away_and_health_may_change() -> None:
    board = StatusBoard()
    board.set(SHOP, RouteStatus(ACTIVE, 1))
    board.suspend("it is away")

    assert board.get(SHOP) == RouteStatus(PENDING, 1, "it is away")
    assert board.counts() == {"active": 0, "pending": 1, "failed": 0}
    board.set_health(SHOP, Health.DOWN)
    waiting = asyncio.create_task(board.settle(SHOP, 1, 60))
    await asyncio.sleep(0)
    board.resume()

    assert await waiting == RouteStatus(ACTIVE, 1, health=Health.DOWN)
    board.resume()
    assert board.get(SHOP).state == ACTIVE
