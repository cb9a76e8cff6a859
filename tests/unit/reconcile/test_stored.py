"""What was stored is heard of once and whole; what became of it is stored in turn."""

from __future__ import annotations

from frontserver.model.status import RouteState, RouteStatus
from frontserver.reconcile.board import StatusBoard
from frontserver.reconcile.stored import StoredState
from frontserver.storage.routes import StoredRoute
from tests.unit.planning.routes import http
from tests.unit.reconcile.world import ListSource

ONE, TWO, THREE = http("one"), http("two"), http("three")


async def test_what_was_told_without_a_gap_is_not_asked_of_the_database() -> None:
    source = ListSource()
    source.broken = True
    state = StoredState(source, "default")
    state.tell(TWO.key, StoredRoute(TWO, 2))
    state.tell(ONE.key, StoredRoute(ONE, 1))

    revision, changed = await state.changes()

    assert (revision, list(changed)) == (2, [ONE.key, TWO.key])


async def test_where_a_revision_is_missing_everything_is_asked_for() -> None:
    source = ListSource()
    source.put(ONE, TWO, THREE)
    state = StoredState(source, "default")
    state.tell(THREE.key, StoredRoute(THREE, 3))

    revision, changed = await state.changes()

    assert (revision, set(changed)) == (3, {ONE.key, TWO.key, THREE.key})


async def test_what_was_dealt_with_is_not_heard_of_again() -> None:
    state = StoredState(ListSource(), "default")
    state.tell(ONE.key, StoredRoute(ONE, 1))
    state.revision, _ = await state.changes()
    state.tell(ONE.key, StoredRoute(ONE, 1))
    state.tell(TWO.key, StoredRoute(TWO, 2))

    revision, changed = await state.changes()

    assert (revision, list(changed)) == (2, [TWO.key])


async def test_statuses_that_cant_be_stored_are_stored_the_next_time() -> None:
    source, board = ListSource(), StatusBoard()
    source.put(ONE)
    state = StoredState(source, "default")
    status = RouteStatus(RouteState.ACTIVE, 1)
    board.set(ONE.key, status)

    source.broken = True
    await state.remember(board)
    source.broken = False
    await state.remember(board)

    _, _, remembered = await state.everything()
    assert remembered == {ONE.key: status}
