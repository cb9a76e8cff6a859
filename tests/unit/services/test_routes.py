"""Publishing, removing and listing routes: ownership, policy, revisions and what is shown."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from frontserver.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)
from frontserver.model.names import AgentId
from frontserver.model.routes import HttpRoute, MongoRoute, RouteKey, RouteKind
from frontserver.model.status import RouteState, RouteStatus
from frontserver.model.targets import HostPort, TargetPolicy
from frontserver.pki.authority import CertificateAuthority
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import Extension, Profile
from frontserver.security.principals import OPERATOR
from frontserver.services.admission import special_options
from frontserver.services.routes import Published, RouteService
from frontserver.services.views import connection_string
from frontserver.storage.engine import Database
from frontserver.storage.revisions import RevisionRepository
from frontserver.storage.routes import RouteRepository
from frontserver.wire.routes.options import HttpOptions, MongoOptions
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest, RemoveRequest
from tests.unit.services.fakes import START, FakePublisher
from tests.unit.services.house import AGENT, OTHER, PEER, SELF, House

SHOP = RouteKey(RouteKind.HTTP, "shop")
MONGO = RouteKey(RouteKind.MONGODB, "host-7")
URL = "http://203.0.113.7:3000"


@pytest.fixture
async def joined(house: House) -> House:
    await house.join()
    return house


def options(**values: Any) -> HttpOptions:
    return msgspec.convert(values, HttpOptions)


async def publish(
    house: House, request: HttpRouteRequest | None = None, wait: float = 2.5
) -> Published:
    request = request or HttpRouteRequest(AGENT, "shop", URL)
    return await house.routes.publish_http(request, SELF, peer=PEER, wait=wait)


async def publish_mongodb(house: House, **values: Any) -> Published:
    request = MongoRouteRequest(AGENT, **values)
    return await house.routes.publish_mongodb(request, SELF, peer=PEER, wait=0)


async def remove(house: House, **values: Any) -> RouteState:
    request = RemoveRequest(values.pop("agent_id", AGENT), **values)
    return (await house.routes.remove(request, OPERATOR, peer=PEER, wait=0)).state


async def test_a_new_route_is_stored_published_and_shown(joined: House) -> None:
    given = options(check={"path": "/up", "interval": "5s"}, useTls=True, balance="leastconn")
    done = await publish(joined, HttpRouteRequest("HOST-7", "Shop", URL, given))
    assert done.created
    assert msgspec.json.decode(msgspec.json.encode(done.view)) == {
        "type": "http",
        "agentId": "host-7",
        "domain": "shop.apps.example.com",
        "subdomain": "shop",
        "targetUrl": URL,
        "status": "active",
        "health": "unknown",
        "options": {
            "check": {"path": "/up", "interval": "5s"},
            "useTls": True,
            "balance": "leastconn",
        },
        "createdAt": "2030-01-02T03:04:05Z",
        "updatedAt": "2030-01-02T03:04:05Z",
    }
    assert joined.publisher.woken == 1
    assert joined.publisher.waits == [(SHOP, 3, 2.5)]
    revision, routes = await joined.store.snapshot()
    route = routes[SHOP].route
    assert (revision, routes[SHOP].revision) == (3, 3)
    assert isinstance(route, HttpRoute)
    assert route.agent_id == AGENT


async def test_what_haproxy_has_not_taken_yet_is_pending(joined: House) -> None:
    joined.publisher.outcome = RouteState.PENDING
    done = await publish(joined)
    assert (done.status.state, done.view.status) == (RouteState.PENDING, "pending")


async def test_the_same_route_again_makes_no_revision(joined: House) -> None:
    headers = {"request": {"set": {"X-A": "1", "X-B": "2"}}}
    await publish(joined, HttpRouteRequest(AGENT, "shop", URL, options(headers=headers)))
    before, _ = await joined.store.snapshot()
    joined.clock.pass_by(hours=1)
    turned = {"request": {"set": {"X-B": "2", "X-A": "1"}}}
    again = await publish(joined, HttpRouteRequest(AGENT, "SHOP", URL, options(headers=turned)))
    assert not again.created
    assert again.status.revision == before
    assert again.view.updated_at == again.view.created_at
    assert (await joined.store.snapshot())[0] == before


async def test_a_changed_route_is_an_update(joined: House) -> None:
    await publish(joined)
    joined.clock.pass_by(hours=1)
    done = await publish(joined, HttpRouteRequest(AGENT, "shop", "http://203.0.113.9"))
    assert not done.created
    assert done.view.target_url == "http://203.0.113.9"
    assert done.view.created_at < done.view.updated_at
    assert (await joined.actions())[-2:] == ["route.create", "route.update"]


async def test_a_name_is_taken_with_its_first_route_and_anew_after_a_removal(
    joined: House,
) -> None:
    async def stored() -> tuple[int, int]:
        _, routes = await joined.store.snapshot()
        (route,) = routes.values()
        return route.created, route.revision

    await publish(joined)
    taken, _ = first = await stored()
    assert first == (taken, taken)
    await publish(joined, HttpRouteRequest(AGENT, "shop", "http://203.0.113.9"))
    assert await stored() == (taken, taken + 1)
    await remove(joined, subdomain="shop")
    await publish(joined)
    assert await stored() == (taken + 3, taken + 3)


async def test_another_agents_name_is_a_conflict_that_doesnt_say_whose(joined: House) -> None:
    await publish(joined)
    other = await joined.join(OTHER)
    with pytest.raises(ConflictError) as caught:
        await joined.publish("shop", other)
    assert "host-7" not in str(caught.value)
    assert (await joined.routes.show(SHOP)).agent_id == "host-7"


async def test_of_two_agents_for_one_name_one_gets_it(joined: House) -> None:
    other = await joined.join(OTHER)
    results = await asyncio.gather(
        joined.publish("shop"), joined.publish("shop", other), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "bool"]


async def test_an_agent_publishes_for_itself_only_and_an_operator_for_all(joined: House) -> None:
    other = await joined.join(OTHER)
    request = HttpRouteRequest(AGENT, "shop", URL)
    with pytest.raises(PermissionDeniedError):
        await joined.routes.publish_http(request, other, peer=PEER, wait=0)
    with pytest.raises(PermissionDeniedError):
        await joined.routes.publish_mongodb(MongoRouteRequest(AGENT), other, peer=PEER, wait=0)
    with pytest.raises(PermissionDeniedError):
        await joined.routes.remove(RemoveRequest(AGENT, "shop"), other, peer=PEER, wait=0)
    done = await joined.routes.publish_http(request, OPERATOR, peer=PEER, wait=0)
    assert done.view.agent_id == "host-7"
    assert (await joined.audit())[-1].change.actor == "operator"


async def test_an_agent_that_is_gone_publishes_nothing(house: House) -> None:
    with pytest.raises(NotFoundError):
        await publish(house)
    with pytest.raises(NotFoundError):
        await publish_mongodb(house)


async def test_routes_of_an_agent_are_limited(database: Database, joined: House) -> None:
    small = House(database, most_routes=2)
    await small.publish("a")
    await small.publish("b")
    with pytest.raises(ConflictError, match="limit"):
        await small.publish("c")
    assert await small.publish("a", url="http://203.0.113.9") is False


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (HttpRouteRequest(AGENT, "www", URL), "subdomain"),
        (HttpRouteRequest(AGENT, "intern", URL), "subdomain"),
        (HttpRouteRequest(AGENT, "shop", "ftp://203.0.113.7"), "targetUrl"),
        (HttpRouteRequest(AGENT, "shop"), "targetUrl"),
        (HttpRouteRequest(AGENT, "shop", "http://127.0.0.1:80"), "targetUrl"),
        (HttpRouteRequest(AGENT, "shop", "http://[::ffff:169.254.169.254]"), "targetUrl"),
        (
            HttpRouteRequest(AGENT, "shop", URL, options(targets=[{"url": "127.1.2.3"}])),
            "options.targets[0].url",
        ),
        (
            HttpRouteRequest(AGENT, "shop", URL, options(originTls={"ca": "no pem"})),
            "options.originTls.ca",
        ),
        (HttpRouteRequest("a.b", "shop", URL), "agentId"),
        (HttpRouteRequest(AGENT, "shop", URL, path="/a b"), "path"),
    ],
)
async def test_what_may_not_be_is_refused_by_field(
    joined: House, request_: HttpRouteRequest, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        await joined.routes.publish_http(request_, OPERATOR, peer=PEER, wait=0)
    assert caught.value.field == field
    assert await joined.routes.list_agent(AGENT) == []


async def test_the_operators_policy_decides_on_addresses(database: Database, joined: House) -> None:
    lenient = House(database, policy=TargetPolicy(loopback=True))
    await lenient.publish("local", url="http://127.0.0.1:8000")
    strict = House(database, policy=TargetPolicy(networks=("198.51.100.0/24",)))
    with pytest.raises(InputError, match="outside the networks"):
        await strict.publish("shop")


# --- paths ---


async def test_a_path_is_a_route_of_its_own(joined: House) -> None:
    assert await joined.publish("shop")
    assert await joined.publish("shop", path="/api/")
    assert not await joined.publish("SHOP", path="/api")
    assert await joined.publish("shop", path="/API")
    views = await joined.routes.list_agent(AGENT)
    assert [(view.domain, view.subdomain, view.path) for view in views] == [
        ("shop.apps.example.com", "shop", None),
        ("shop.apps.example.com", "shop", "/API"),
        ("shop.apps.example.com", "shop", "/api"),
    ]
    assert (await joined.audit())[-1].change.subject == "http:shop/API"
    route = (await joined.store.snapshot())[1][RouteKey(RouteKind.HTTP, "shop/api")].route
    assert isinstance(route, HttpRoute)
    assert route.path == "/api"


async def test_a_route_of_the_root_is_stored_as_it_always_was(joined: House) -> None:
    """So that the same request makes no revision after an upgrade."""
    await joined.publish("shop", path="/")
    record = await joined.database.read(lambda session: RouteRepository(session).find(SHOP))
    assert record is not None
    assert "path" not in record.request
    assert not (
        await joined.routes.publish_http(
            HttpRouteRequest(AGENT, "shop", URL), SELF, peer=PEER, wait=0
        )
    ).created
    assert (await joined.actions())[-1] == "route.create"


@pytest.mark.parametrize("taken", ["/", "/api", "/zz"])
@pytest.mark.parametrize("wanted", ["/", "/api", "/api/v2", "/0"])
async def test_a_subdomain_is_one_agents_whatever_the_paths(
    joined: House, taken: str, wanted: str
) -> None:
    other = await joined.join(OTHER)
    await joined.publish("shop", path=taken)
    with pytest.raises(ConflictError, match="shop is taken"):
        await joined.publish("shop", other, path=wanted)
    for name in ("sho", "shop0", "shop-x", "shopx"):
        assert await joined.publish(name, other, path=wanted)


async def test_a_subdomain_is_free_when_its_last_path_is_gone(joined: House) -> None:
    other = await joined.join(OTHER)
    await joined.publish("shop")
    await joined.publish("shop", path="/api")
    await remove(joined, subdomain="shop")
    with pytest.raises(ConflictError):
        await joined.publish("shop", other)
    await remove(joined, subdomain="shop", path="/api/")
    assert await joined.publish("shop", other)


async def test_one_path_is_removed_and_no_other(joined: House) -> None:
    await joined.publish("shop")
    await joined.publish("shop", path="/api")
    with pytest.raises(NotFoundError):
        await remove(joined, subdomain="shop", path="/ap")
    with pytest.raises(InputError):
        await remove(joined, subdomain="shop", path="api")
    await remove(joined, subdomain="shop", path="/api")
    assert [view.path for view in await joined.routes.list_agent(AGENT)] == [None]


async def test_pages_go_on_after_a_path(joined: House) -> None:
    await joined.publish("shop")
    await joined.publish("shop", path="/api")
    page, _, after = await joined.routes.list_all(after=None, limit=1)
    assert (page[0].path, after) == (None, "http:shop")
    page, _, after = await joined.routes.list_all(after=after, limit=1)
    assert (page[0].path, after) == ("/api", None)


# --- profiles ---


def editing(*names: str, value: str = "1") -> HttpOptions:
    return options(headers={"request": {"set": dict.fromkeys(names, value)}})


async def test_kinds_of_special_routes_are_limited(database: Database, joined: House) -> None:
    """Not how many routes are of a kind, nor the values of their options."""
    small = House(database, most_profiles=2)
    await small.publish("one", options=editing("x-a"))
    await small.publish("two", options=options(sticky=True))
    await small.publish("three", options=editing("x-a", value="2"))
    await small.publish("four", options=options(sticky=True, timeouts={"server": 5}))
    for ordinary in ({}, {"check": True}, {"check": {"path": "/"}}, {"maintenance": True}):
        await small.publish("five", options=options(**ordinary))
    with pytest.raises(InputError) as caught:
        await small.publish("six", options=options(balance="leastconn", hostHeader="target"))
    assert caught.value.field == "options"
    assert "balance, hostHeader" in str(caught.value)
    assert "2 kinds" in str(caught.value)
    assert "FRONTSERVER_PROFILES_PER_AGENT" in str(caught.value.hint)
    other = await joined.join(OTHER)
    await small.publish("seven", other, options=options(balance="leastconn"))


async def test_a_route_may_change_its_kind_at_the_limit(database: Database, joined: House) -> None:
    small = House(database, most_profiles=1)
    await small.publish("one", options=editing("x-a"))
    await small.publish("one", options=editing("x-b"))
    await small.publish("two", options=editing("x-b"))
    with pytest.raises(InputError):
        await small.publish("two", options=editing("x-c"))
    await remove(small, subdomain="one")
    await small.publish("two", options=editing("x-c"))


async def test_routes_above_a_lowered_limit_keep_their_kind(
    database: Database, joined: House
) -> None:
    await joined.publish("one", options=editing("x-a"))
    await joined.publish("two", options=editing("x-b"))
    strict = House(database, most_profiles=0)
    await strict.publish("one", url="http://203.0.113.9", options=editing("x-a", value="2"))
    with pytest.raises(InputError):
        await strict.publish("one", options=editing("x-c"))


async def test_a_stored_route_that_doesnt_decode_counts_as_no_kind(
    database: Database, joined: House
) -> None:
    await joined.publish("odd", options=editing("x-a"))
    damage = text("UPDATE routes SET request = '{' WHERE name = 'odd'")
    await database.write(lambda session: session.execute(damage))
    small = House(database, most_profiles=1)
    assert await small.publish("one", options=editing("x-b"))


def test_every_field_of_a_profile_has_the_option_it_comes_from() -> None:
    """So that a refusal can name what makes a route special."""
    ordinary = {"mode", "check"}
    edits = ("a",), ("b",), ("c",), ("d",)
    gold = Extension("gold", version="1")
    made = Profile("http", "uri", "C", 1, 2, "http", "200", 3, True, *edits, extension=gold)
    assert len(special_options(made)) == len(Profile.__struct_fields__) - len(ordinary)
    for standard in STANDARD_PROFILES:
        assert special_options(standard) == ()


async def test_a_name_is_left_to_be_judged_when_it_is_resolved(joined: House) -> None:
    assert await joined.publish("shop", url="http://localhost:3000")


async def test_the_cas_of_an_origin_are_kept_as_certificates_only(joined: House) -> None:
    ca = CertificateAuthority.create("Origin", key_type="ec", now=START).certificate_pem
    given = options(originTls={"ca": f"a comment\n{ca}"})
    await publish(joined, HttpRouteRequest(AGENT, "shop", "https://origin.example.com", given))
    route = (await joined.store.snapshot())[1][SHOP].route
    assert isinstance(route, HttpRoute)
    assert route.origin_tls.ca_pem == ca


async def test_a_private_key_among_the_cas_is_refused(joined: House) -> None:
    key = CertificateAuthority.create("Origin", key_type="ec", now=START).key_pem().decode()
    with pytest.raises(InputError, match="private key"):
        await joined.publish("shop", options=options(originTls={"ca": key}))


async def test_a_route_by_targets_alone_shows_its_first(joined: House) -> None:
    given = options(targets=[{"url": "http://203.0.113.8"}, {"url": "http://203.0.113.9"}])
    done = await publish(joined, HttpRouteRequest(AGENT, "shop", None, given))
    assert done.view.target_url == "http://203.0.113.8"


async def test_a_mongodb_route_points_to_the_agent_by_default(joined: House) -> None:
    done = await publish_mongodb(joined)
    assert done.created
    assert (done.view.target_host, done.view.target_port) == (PEER, 27017)
    assert done.view.domain == "host-7.mongodb.example.com"
    expected = "mongodb://host-7.mongodb.example.com:27018/?tls=true&directConnection=true"
    assert done.connection_string == expected
    assert not (await publish_mongodb(joined, target_host=PEER)).created
    route = (await joined.store.snapshot())[1][MONGO].route
    assert isinstance(route, MongoRoute)
    assert route.target == HostPort(PEER, 27017)
    msgspec.json.encode(done.view)


async def test_a_mongodb_route_has_a_target_and_options_of_its_own(joined: House) -> None:
    done = await publish_mongodb(
        joined, target_host="DB.example.com", target_port=27020, options=MongoOptions(check=True)
    )
    assert (done.view.target_host, done.view.target_port) == ("db.example.com", 27020)
    assert done.view.options == {"check": True}
    msgspec.json.encode(done.view)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"target_host": "127.0.0.1"}, "targetHost"),
        ({"target_host": "a b"}, "targetHost"),
        ({"target_port": 0}, "targetPort"),
        ({"options": MongoOptions(use_tls=False)}, "options.useTls"),
    ],
)
async def test_bad_mongodb_targets_are_refused_by_field(
    joined: House, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        await publish_mongodb(joined, **values)
    assert caught.value.field == field


def test_a_connection_string_names_domain_and_port() -> None:
    uri = connection_string("a.mongodb.example.com", 27017)
    assert uri == "mongodb://a.mongodb.example.com:27017/?tls=true&directConnection=true"


async def test_a_removed_route_is_gone_and_haproxy_is_told(joined: House) -> None:
    await publish(joined)
    await publish_mongodb(joined)
    woken = joined.publisher.woken
    assert await remove(joined, subdomain="SHOP") is RouteState.ACTIVE
    assert await remove(joined, type="mongodb") is RouteState.ACTIVE
    assert joined.publisher.woken == woken + 2
    assert joined.publisher.waits[-2:] == [(SHOP, 5, 0), (MONGO, 6, 0)]
    assert await joined.routes.list_agent(AGENT) == []
    with pytest.raises(NotFoundError):
        await joined.routes.show(SHOP)


async def test_a_removed_name_is_free_for_others(joined: House) -> None:
    await publish(joined)
    await remove(joined, subdomain="shop")
    assert await joined.publish("shop", await joined.join(OTHER))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"subdomain": "never"}, NotFoundError),
        ({"subdomain": "shop", "agent_id": OTHER}, NotFoundError),
        ({"subdomain": "shop", "type": "mongodb"}, NotFoundError),
        ({}, InputError),
        ({"subdomain": "shop", "type": "tcp"}, InputError),
        ({"subdomain": "a b"}, InputError),
    ],
)
async def test_what_isnt_there_isnt_removed(
    joined: House, values: dict[str, Any], error: type[Exception]
) -> None:
    await publish(joined)
    with pytest.raises(error):
        await remove(joined, **values)
    assert (await joined.routes.show(SHOP)).subdomain == "shop"


async def test_an_agents_list_holds_its_routes_and_no_others(joined: House) -> None:
    other = await joined.join(OTHER)
    await joined.publish("b")
    await joined.publish("a")
    await joined.publish("c", other)
    await publish_mongodb(joined)
    views = await joined.routes.list_agent(AGENT)
    assert [view.domain for view in views] == [
        "a.apps.example.com",
        "b.apps.example.com",
        "host-7.mongodb.example.com",
    ]
    with pytest.raises(NotFoundError):
        await joined.routes.list_agent(AgentId("nobody"))


async def test_pages_hold_every_route_once(joined: House) -> None:
    for name in "abcde":
        await joined.publish(name)
    await publish_mongodb(joined)
    seen: list[str] = []
    after: str | None = None
    for expected in (4, 2):
        page, total, after = await joined.routes.list_all(after=after, limit=4)
        assert (len(page), total) == (expected, 6)
        seen += [view.domain.split(".")[0] for view in page]
    assert after is None
    assert seen == ["a", "b", "c", "d", "e", "host-7"]


async def test_a_last_page_that_is_full_has_no_next(joined: House) -> None:
    await joined.publish("a")
    page, total, after = await joined.routes.list_all(after=None, limit=1)
    assert (len(page), total, after) == (1, 1, None)


@pytest.mark.parametrize(
    ("after", "limit", "field"),
    [("x", 1, "after"), ("tcp:x", 1, "after"), (None, 0, "limit"), (None, 1001, "limit")],
)
async def test_bad_pages_are_refused(
    house: House, after: str | None, limit: int, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        await house.routes.list_all(after=after, limit=limit)
    assert caught.value.field == field


async def test_a_stored_route_that_cant_be_served_any_more_is_shown_as_failed(
    database: Database, joined: House
) -> None:
    await joined.publish("safe", options=options(redirectHttps=True))
    await joined.publish("odd")
    damage = text("UPDATE routes SET request = '{' WHERE name = 'odd'")
    await database.write(lambda session: session.execute(damage))
    without_tls = House(database, tls_available=False)
    odd, safe = await without_tls.routes.list_agent(AGENT)
    assert (odd.status, odd.subdomain, odd.options) == ("failed", "odd", {})
    assert (safe.status, safe.options) == ("failed", {"redirectHttps": True})
    assert "HTTPS" in str(safe.reason)
    assert set((await without_tls.store.snapshot())[1]) == set()


async def test_revisions_have_no_gaps_and_an_audit_each(joined: House) -> None:
    other = await joined.join(OTHER)
    await asyncio.gather(
        *(joined.publish(f"a{number}") for number in range(5)),
        *(joined.publish(f"b{number}", other) for number in range(5)),
    )
    await asyncio.gather(*(remove(joined, subdomain=f"a{number}") for number in range(5)))
    entries = await joined.audit()
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert len(entries) == 4 + 10 + 5
    assert {entry.change.peer for entry in entries[4:]} == {PEER}


async def test_a_failure_midway_stores_nothing_at_all(database: Database, joined: House) -> None:
    before, routes = await joined.store.snapshot()
    fire = text(
        "CREATE TRIGGER broken BEFORE INSERT ON routes "
        "BEGIN SELECT RAISE(ABORT, 'disk on fire'); END"
    )
    await database.write(lambda session: session.execute(fire))
    woken = joined.publisher.woken
    with pytest.raises(StorageError, match="disk on fire"):
        await publish(joined)
    assert await joined.store.snapshot() == (before, routes)
    assert len(await joined.audit()) == before
    assert joined.publisher.woken == woken
    await database.write(lambda session: session.execute(text("DROP TRIGGER broken")))
    await publish(joined)
    assert (await joined.audit())[-1].number == before + 1


async def test_the_audit_names_options_and_not_their_values(joined: House) -> None:
    secret = {"request": {"set": {"Authorization": "Bearer hunter2-hunter2"}}}
    await joined.publish("shop", options=options(headers=secret, redirectHttps=True))
    change = (await joined.audit())[-1].change
    assert change.details == {
        "agent": "host-7",
        "target": URL,
        "options": ["headers", "redirectHttps"],
    }
    assert (change.actor, change.subject) == ("agent:host-7", "http:shop")


async def test_a_publish_is_on_disk_before_haproxy_is_woken(
    database: Database, joined: House
) -> None:
    class Looking(FakePublisher):
        found = (False, False)

        async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:
            found, latest = await database.read(
                lambda session: (
                    RouteRepository(session).find(key),
                    RevisionRepository(session).latest(),
                )
            )
            self.found = (found is not None, latest == revision)
            return await super().settle(key, revision, seconds)

    publisher = Looking()
    service = RouteService(
        database,
        publisher,
        app_domain="apps.example.com",
        mongo_domain="mongodb.example.com",
        tls_available=False,
        clock=lambda: START + timedelta(hours=1),
    )
    request = HttpRouteRequest(AGENT, "shop", URL)
    await service.publish_http(request, SELF, peer=PEER, wait=0)
    assert publisher.found == (True, True)


# --- the operator's profiles ---


async def test_a_profile_that_the_operator_offers_may_be_asked_for(joined: House) -> None:
    request = HttpRouteRequest(AGENT, "shop", URL, HttpOptions(profile="gold"))

    done = await publish(joined, request)

    assert done.view.options == {"profile": "gold"}


async def test_another_profile_is_refused_with_those_that_may(joined: House) -> None:
    request = HttpRouteRequest(AGENT, "shop", URL, HttpOptions(profile="silver"))

    with pytest.raises(InputError, match="no profile 'silver'") as refused:
        await publish(joined, request)

    assert refused.value.field == "options.profile"
    assert refused.value.hint == "choose one of: gold, internal"


async def test_a_reload_that_is_needed_is_named_in_what_is_shown(joined: House) -> None:
    joined.publisher.reload = "new-profile"

    done = await publish(joined)

    assert done.status.reload == done.view.reload == "new-profile"
    assert (await joined.routes.show(SHOP)).reload == "new-profile"
