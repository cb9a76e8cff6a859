"""What a reconciler reads: a snapshot, then changes that lead to the next snapshot."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text

from frontserver.model.routes import HttpRoute
from frontserver.model.status import RouteState, RouteStatus
from frontserver.model.targets import TargetUrl
from frontserver.storage import feed
from frontserver.storage.engine import Database
from frontserver.storage.feed import RouteStore
from frontserver.storage.routes import StoredRoute
from frontserver.storage.session import Session
from tests.unit.storage.rows import add_agent, key, publish, remove


@pytest.fixture
async def store(database: Database) -> RouteStore:
    await add_agent(database)
    return RouteStore(database, "apps.example.com", "mongodb.example.com", True)


async def publish_all(database: Database, *names: str) -> None:
    def work(session: Session) -> None:
        for name in names:
            publish(session, name)

    await database.write(work)


async def test_an_empty_database_is_at_revision_nought(store: RouteStore) -> None:
    assert await store.snapshot() == (0, {})
    assert await store.changes_since(0) == (0, {})


async def test_a_snapshot_holds_routes_of_the_model(store: RouteStore, database: Database) -> None:
    await database.write(lambda session: publish(session, "shop"))
    revision, routes = await store.snapshot()
    stored = routes[key("shop")]
    assert (revision, stored.revision) == (1, 1)
    assert isinstance(stored.route, HttpRoute)
    assert stored.route.domain == "shop.apps.example.com"
    assert stored.route.targets[0].url == TargetUrl.parse("http://203.0.113.7:3000")
    assert stored.route.use_tls


async def test_changes_name_what_changed_and_what_is_gone(
    store: RouteStore, database: Database
) -> None:
    await publish_all(database, "a", "b", "c")
    await database.write(lambda session: publish(session, "b", url="http://203.0.113.8"))
    await database.write(lambda session: remove(session, "c"))
    revision, changes = await store.changes_since(3)
    assert revision == 5
    assert set(changes) == {key("b"), key("c")}
    assert changes[key("b")].revision == 4
    assert changes[key("c")] == StoredRoute(None, 5)


async def test_a_route_that_comes_back_is_not_reported_as_removed(
    store: RouteStore, database: Database
) -> None:
    await publish_all(database, "a")
    await database.write(lambda session: remove(session, "a"))
    await publish_all(database, "a")
    _, changes = await store.changes_since(1)
    assert changes[key("a")].route is not None
    assert changes[key("a")].revision == 3


async def test_a_route_removed_twice_is_at_its_last_removal(
    store: RouteStore, database: Database
) -> None:
    for _ in range(2):
        await publish_all(database, "a")
        await database.write(lambda session: remove(session, "a"))
    assert await store.changes_since(2) == (4, {key("a"): StoredRoute(None, 4)})


@pytest.mark.parametrize("seed", range(3))
async def test_a_snapshot_and_the_changes_since_make_the_next_snapshot(
    store: RouteStore, database: Database, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - a repeatable sequence, not a secret
    names = [f"n{number}" for number in range(6)]
    revision, state = await store.snapshot()
    present: set[str] = set()

    def change_some(session: Session) -> None:
        for _ in range(dice.randint(1, 3)):
            name = dice.choice(names)
            if name in present and dice.random() < 0.5:
                remove(session, name)
                present.discard(name)
            else:
                publish(session, name, url=f"http://203.0.113.{dice.randint(1, 9)}")
                present.add(name)

    for _ in range(25):
        await database.write(change_some)
        if dice.random() < 0.5:
            revision, changes = await store.changes_since(revision)
            state |= changes
            state = {k: stored for k, stored in state.items() if stored.route}
            assert (revision, state) == await store.snapshot()


async def test_changes_are_found_by_index(database: Database) -> None:
    def plan(session: Session) -> str:
        steps: list[object] = []
        for statement in (feed._CHANGED, feed._GONE):
            explained = f"EXPLAIN QUERY PLAN {statement._statement.compile(session.get_bind())}"
            steps += session.connection().exec_driver_sql(explained, {"revision": 7}).all()
        return str(steps)

    steps = await database.read(plan)
    assert "USING INDEX ix_routes_revision" in steps
    assert "USING INDEX ix_removed_routes_revision" in steps
    assert "SCAN" not in steps


@pytest.mark.parametrize(
    "request_text",
    ["{", '{"agentId": "host-7", "subdomain": "bad", "targetUrl": "gopher://x"}', "[]"],
)
async def test_a_row_that_cant_be_served_is_logged_and_keeps_nobody_out(
    store: RouteStore,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    request_text: str,
) -> None:
    await publish_all(database, "good", "bad")
    damage = text("UPDATE routes SET request = :request WHERE name = 'bad'")
    await database.write(lambda session: session.execute(damage, {"request": request_text}))
    revision, routes = await store.snapshot()
    assert (revision, set(routes)) == (2, {key("good")})
    assert "http:bad can't be served" in caplog.text
    assert (await store.changes_since(1))[1] == {key("bad"): StoredRoute(None, 2, 2)}


async def test_statuses_are_remembered_for_each_node(store: RouteStore, database: Database) -> None:
    await publish_all(database, "a", "b")
    active = RouteStatus(RouteState.ACTIVE, 1)
    failed = RouteStatus(RouteState.FAILED, 2, "no")
    await store.save_statuses("one", {key("a"): failed, key("b"): failed})
    await store.save_statuses("one", {key("a"): active})
    await store.save_statuses("two", {key("b"): active})
    assert await store.load_statuses("one") == {key("a"): active, key("b"): failed}
    assert await store.load_statuses("two") == {key("b"): active}
    assert await store.load_statuses("three") == {}


async def test_a_status_doesnt_outlive_its_route(store: RouteStore, database: Database) -> None:
    active = RouteStatus(RouteState.ACTIVE, 1)
    await publish_all(database, "a")
    await store.save_statuses("one", {key("a"): active, key("never"): active})
    assert set(await store.load_statuses("one")) == {key("a")}
    await database.write(lambda session: remove(session, "a"))
    assert await store.load_statuses("one") == {}
    await store.save_statuses("one", {key("a"): active})
    assert await store.load_statuses("one") == {}


async def test_thousands_of_statuses_are_saved(store: RouteStore, database: Database) -> None:
    names = [f"n{number}" for number in range(1200)]
    await publish_all(database, *names)
    active = RouteStatus(RouteState.ACTIVE, 1)
    await store.save_statuses("one", {key(name): active for name in names})
    assert len(await store.load_statuses("one")) == 1200
    assert len((await store.snapshot())[1]) == 1200
