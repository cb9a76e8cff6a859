"""Many routes at once: as if each was published alone, in their order, but all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from frontserver.errors import (
    BatchError,
    ConflictError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import RouteState
from frontserver.model.targets import TargetPolicy
from frontserver.security.principals import OPERATOR, Principal
from frontserver.services.batches import BatchItem, Entry
from frontserver.storage.engine import Database
from frontserver.storage.routes import RouteRepository
from frontserver.wire.routes.options import HttpOptions
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest, RemoveRequest
from tests.unit.services.house import AGENT, OTHER, PEER, SELF, House

URL = "http://203.0.113.7:3000"


@pytest.fixture
async def joined(house: House) -> House:
    await house.join()
    return house


def http(name: str, agent_id: str = AGENT, url: str = URL, **values: Any) -> HttpRouteRequest:
    path = values.pop("path", msgspec.UNSET)
    options = msgspec.convert(values, HttpOptions) if values else None
    return HttpRouteRequest(agent_id, name, url, options, path)


async def publish(
    house: House, *entries: Entry, principal: Principal = SELF, wait: float = 0
) -> list[BatchItem]:
    return await house.routes.batches.publish(entries, principal, peer=PEER, wait=wait)


async def refused(
    house: House, *entries: Entry, principal: Principal = SELF
) -> dict[str, type[Exception]]:
    """What was refused, and that nothing was stored, told or waited for."""
    before = await house.store.snapshot()
    house.publisher.woken = 0
    house.publisher.waits.clear()
    with pytest.raises(BatchError) as caught:
        await publish(house, *entries, principal=principal)
    assert await house.store.snapshot() == before
    assert (house.publisher.woken, house.publisher.waits) == (0, [])
    assert caught.value.total == len(entries)
    return {where: type(error) for where, error in caught.value.refusals.items()}


def changes(done: Sequence[BatchItem]) -> list[tuple[bool, bool]]:
    return [(item.stored.created, item.stored.changed) for item in done]


async def test_each_route_is_stored_with_a_revision_and_an_audit_row(joined: House) -> None:
    done = await publish(
        joined,
        http("shop", check=True),
        http("shop", path="/api"),
        MongoRouteRequest(AGENT, "203.0.113.9", 27018),
    )

    assert changes(done) == [(True, True)] * 3
    assert [item.domain for item in done] == [
        "shop.apps.example.com",
        "shop.apps.example.com",
        "host-7.mongodb.example.com",
    ]
    assert done[0].connection_string is None
    assert done[2].connection_string is not None
    assert done[2].connection_string.startswith("mongodb://host-7.mongodb.example.com:27018/")
    revision, routes = await joined.store.snapshot()
    assert {str(key): stored.revision for key, stored in routes.items()} == {
        "http:shop": revision - 2,
        "http:shop/api": revision - 1,
        "mongodb:host-7": revision,
    }
    audit = (await joined.audit())[-3:]
    assert [(entry.change.action, entry.change.subject) for entry in audit] == [
        ("route.create", "http:shop"),
        ("route.create", "http:shop/api"),
        ("route.create", "mongodb:host-7"),
    ]
    assert audit[0].change.details == {"agent": "host-7", "target": URL, "options": ["check"]}
    assert {entry.change.peer for entry in audit} == {PEER}


async def test_it_is_stored_just_as_if_each_was_published_alone(
    database: Database, joined: House
) -> None:
    requests = [http("SHOP", sticky=True, path="/"), http("shop", "HOST-7", path="/API/")]
    await publish(joined, *requests)

    together = await joined.database.read(lambda s: RouteRepository(s).of_agent(AGENT))
    for request in requests:
        done = await joined.routes.publish_http(request, SELF, peer=PEER, wait=0)
        assert not done.created
    assert await joined.database.read(lambda s: RouteRepository(s).of_agent(AGENT)) == together


async def test_haproxys_side_hears_of_all_and_is_waited_for(joined: House) -> None:
    joined.publisher.outcome = RouteState.PENDING
    joined.publisher.woken = 0
    done = await publish(joined, http("a"), http("b"), wait=2.5)

    assert joined.publisher.woken == 2
    assert [(str(key), at) for key, at, _ in joined.publisher.waits] == [
        ("http:a", done[0].stored.record.revision),
        ("http:b", done[1].stored.record.revision),
    ]
    assert all(0 <= seconds <= 2.5 for _, _, seconds in joined.publisher.waits)
    assert {item.status.state for item in done} == {RouteState.PENDING}


async def test_what_is_stored_just_so_makes_no_revision(joined: House) -> None:
    await publish(joined, http("a"), http("b"))
    before, _ = await joined.store.snapshot()
    joined.clock.pass_by(hours=1)

    again = await publish(joined, http("b"), http("a"))
    assert changes(again) == [(False, False)] * 2
    assert (await joined.store.snapshot())[0] == before

    mixed = await publish(joined, http("a"), http("b", url="http://203.0.113.9"), http("c"))
    assert changes(mixed) == [(False, False), (False, True), (True, True)]
    assert (await joined.store.snapshot())[0] == before + 2
    assert (await joined.actions())[-2:] == ["route.update", "route.create"]
    assert mixed[1].stored.record.created_at < mixed[1].stored.record.updated_at


async def test_all_that_is_wrong_with_the_routes_themselves_is_told(joined: House) -> None:
    assert await refused(
        joined,
        http("good"),
        http("www"),
        http("far", url="http://127.0.0.1:80"),
        InputError("options.check", "expected bool or object"),
        http("checked", check={"path": "no-slash"}),
        MongoRouteRequest(AGENT, target_port=0),
        http("old", profile="unknown"),
    ) == {
        "routes[1].subdomain": InputError,
        "routes[2].targetUrl": InputError,
        "routes[3].options.check": InputError,
        "routes[4].options.check.path": InputError,
        "routes[5].targetPort": InputError,
        "routes[6].options.profile": InputError,
    }


async def test_a_route_that_is_named_twice_is_refused(joined: House) -> None:
    assert await refused(
        joined,
        http("shop"),
        http("shop", path="/api"),
        http("SHOP", url="http://203.0.113.9"),
        http("shop", path="/api/"),
    ) == {"routes[2]": InputError, "routes[3]": InputError}


async def test_an_agent_publishes_for_itself_only_and_an_operator_for_all(joined: House) -> None:
    await joined.join(OTHER)
    entries = [http("a"), http("b", OTHER), MongoRouteRequest(OTHER)]

    assert await refused(joined, *entries) == {
        "routes[1].agentId": PermissionDeniedError,
        "routes[2].agentId": PermissionDeniedError,
    }
    done = await publish(joined, *entries, principal=OPERATOR)
    assert [str(item.stored.record.agent_id) for item in done] == ["host-7", "host-8", "host-8"]
    assert {entry.change.actor for entry in (await joined.audit())[-3:]} == {"operator"}


async def test_without_a_host_a_mongodb_route_leads_to_its_agent(joined: House) -> None:
    await joined.join(OTHER, peer="198.51.100.4")
    entries = [MongoRouteRequest(AGENT), MongoRouteRequest(OTHER, target_port=27018)]
    await publish(joined, *entries, principal=OPERATOR)

    views, _, _ = await joined.routes.list_all(after=None, limit=10)
    assert [(view.target_host, view.target_port) for view in views] == [
        (PEER, 27017),
        ("198.51.100.4", 27018),
    ]


async def test_agents_that_arent_there_are_told(joined: House) -> None:
    assert await refused(
        joined,
        http("a"),
        MongoRouteRequest("nobody"),
        MongoRouteRequest("no.label"),
        principal=OPERATOR,
    ) == {"routes[1].agentId": NotFoundError, "routes[2].agentId": InputError}
    assert await refused(joined, http("a"), http("b", "nobody"), principal=OPERATOR) == {
        "routes[1].agentId": NotFoundError
    }


async def test_names_of_others_are_conflicts_all_of_which_are_told(joined: House) -> None:
    other = await joined.join(OTHER)
    await joined.publish("taken", other)
    await joined.publish("below", other, path="/api")

    assert await refused(joined, http("a"), http("taken"), http("below")) == {
        "routes[1]": ConflictError,
        "routes[2]": ConflictError,
    }


async def test_of_two_agents_in_one_batch_the_first_gets_the_name(joined: House) -> None:
    await joined.join(OTHER)
    assert await refused(
        joined, http("a", path="/x"), http("a", OTHER, path="/y"), principal=OPERATOR
    ) == {"routes[1]": ConflictError}


async def test_routes_of_an_agent_are_limited(database: Database, joined: House) -> None:
    small = House(database, most_routes=3)
    await small.publish("a")
    assert await refused(small, http("a"), http("b"), http("c"), http("d"), http("e")) == {
        "routes[3]": ConflictError,
        "routes[4]": ConflictError,
    }
    await publish(small, http("a"), http("b"), http("c"))


async def test_kinds_of_special_routes_are_limited(database: Database, joined: House) -> None:
    small = House(database, most_profiles=2)
    await publish(small, http("one", sticky=True), http("two"))

    over = [http("three", balance="leastconn"), http("four", hostHeader="target")]
    assert await refused(small, http("two", sticky=True), *over) == {
        "routes[2].options": InputError
    }
    # A kind that nobody has any more doesn't count.
    await publish(small, http("one"), *over)
    # One that is used already does no harm, at the limit neither.
    done = await publish(small, http("two", balance="leastconn"), http("four", hostHeader="target"))
    assert changes(done) == [(False, True), (False, False)]


async def test_kinds_are_found_among_many_routes(database: Database, joined: House) -> None:
    """Few of them are looked at first."""
    small = House(database, most_profiles=2)
    await publish(small, *(http(f"r{number}") for number in range(40)))
    await publish(small, http("one", sticky=True), http("two", balance="leastconn"))
    await publish(small, http("three", sticky=True))
    await publish(small, http("four", balance="leastconn"))
    assert await refused(small, http("five", balance="first")) == {"routes[0].options": InputError}


async def test_another_agents_kinds_dont_count(database: Database, joined: House) -> None:
    await joined.join(OTHER)
    small = House(database, most_profiles=1)
    await publish(
        small,
        http("one", sticky=True),
        http("two", OTHER, balance="leastconn"),
        http("three", sticky=True),
        principal=OPERATOR,
    )


async def test_the_operators_policy_decides_on_addresses(database: Database, joined: House) -> None:
    strict = House(database, policy=TargetPolicy(networks=("198.51.100.0/24",)))
    assert await refused(strict, http("a", url="http://198.51.100.1"), http("b")) == {
        "routes[1].targetUrl": InputError
    }


@pytest.mark.parametrize(("number", "word"), [(0, "too few"), (4, "too many")])
async def test_a_batch_has_so_many_routes(
    database: Database, joined: House, number: int, word: str
) -> None:
    small = House(database, most_at_once=3)
    with pytest.raises(InputError, match=f"{number} routes are {word}: 1 to 3") as caught:
        await publish(small, *(http(f"r{n}") for n in range(number)))
    assert caught.value.field == "routes"


async def test_many_more_than_are_written_at_a_time(joined: House) -> None:
    house = House(joined.database, most_routes=2000)
    done = await publish(house, *(http(f"r{n}") for n in range(1201)))
    revisions = [item.stored.record.revision for item in done]
    assert revisions == list(range(revisions[0], revisions[0] + 1201))
    assert (await house.store.snapshot())[0] == revisions[-1]


async def test_a_route_that_was_removed_is_there_again(joined: House) -> None:
    await joined.publish("shop")
    await joined.routes.remove(RemoveRequest(AGENT, "shop"), SELF, peer=PEER, wait=0)
    before, _ = await joined.store.snapshot()
    await publish(joined, http("shop"))
    _, changed = await joined.store.changes_since(before)
    assert changed[RouteKey(RouteKind.HTTP, "shop")].route is not None


async def test_a_database_that_fails_is_no_refusal_of_a_route(
    joined: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(RouteRepository, "find", fails)
    with pytest.raises(StorageError):
        await publish(joined, http("shop"))


async def test_nothing_is_stored_if_the_rows_cant_be_written(
    joined: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise StorageError("the disk is full")

    before, _ = await joined.store.snapshot()
    monkeypatch.setattr(RouteRepository, "put", fails)
    with pytest.raises(StorageError):
        await publish(joined, http("shop"), http("blog"))
    assert (await joined.store.snapshot())[0] == before
