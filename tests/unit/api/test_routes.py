"""Routes over HTTP: statuses, waiting, lists, removal."""

from __future__ import annotations

from typing import Any

import pytest

from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.model.status import RouteState, RouteStatus
from tests.unit.api.fakes import OPERATOR_TOKEN, World, assert_problem

HTTP = {"agentId": "server-id", "subdomain": "shop", "targetUrl": "http://203.0.113.7:3000"}
MONGO = {"agentId": "server-id", "targetHost": "203.0.113.7"}
LEGACY = {"agentId": "server-id", "targetIp": "203.0.113.7"}
PUBLISH = [
    ("/api/proxy/http", HTTP, "/api/proxy/routes/http/shop"),
    ("/api/proxy/mongodb", MONGO, "/api/proxy/routes/mongodb/server-id"),
    ("/api/mongodb/register", LEGACY, "/api/proxy/routes/mongodb/server-id"),
]
PENDING = RouteStatus(RouteState.PENDING, reason="HAProxy can't be reached")
FAILED = RouteStatus(RouteState.FAILED, reason="server name already exists")


async def test_a_new_http_route_is_201_with_every_member(world: World) -> None:
    answer = await world.call("POST", "/api/proxy/http", json=HTTP)

    assert answer.status_code == 201
    body = answer.json()
    route = body.pop("route")
    assert body == {
        "success": True,
        "message": "the route shop.apps.example.com is created and live",
        "agentId": "server-id",
        "subdomain": "shop",
        "domain": "shop.apps.example.com",
        "targetUrl": "http://203.0.113.7:3000",
        "type": "http",
        "status": "active",
    }
    assert route["domain"] == "shop.apps.example.com"
    assert route["status"] == "active"
    assert route["health"] == "unknown"
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("path", ["/api/proxy/mongodb", "/api/mongodb/register"])
async def test_a_new_mongodb_route_is_201_with_every_member(world: World, path: str) -> None:
    answer = await world.call("POST", path, json=MONGO | LEGACY)

    assert answer.status_code == 201
    body = answer.json()
    assert body.pop("route")["targetPort"] == 27017
    assert body == {
        "success": True,
        "message": "the route server-id.mongodb.example.com is created and live",
        "agentId": "server-id",
        "domain": "server-id.mongodb.example.com",
        "connectionString": "mongodb://server-id.mongodb.example.com:27017/?tls=true",
        "targetHost": "203.0.113.7",
        "targetIp": "203.0.113.7",
        "targetPort": 27017,
        "useTls": True,
        "tlsEnabled": True,
        "type": "mongodb",
        "status": "active",
    }


@pytest.mark.parametrize(("path", "body", "_location"), PUBLISH)
async def test_the_same_request_again_is_200(
    world: World, path: str, body: dict[str, Any], _location: str
) -> None:
    await world.call("POST", path, json=body)

    answer = await world.call("POST", path, json=body)

    assert answer.status_code == 200
    assert answer.json()["status"] == "active"


@pytest.mark.parametrize(("path", "body", "location"), PUBLISH)
async def test_a_pending_route_is_202_with_a_place_to_poll(
    world: World, path: str, body: dict[str, Any], location: str
) -> None:
    world.routes.outcome = PENDING

    answer = await world.call("POST", path, json=body)

    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    assert answer.json()["success"] is True
    assert answer.headers["location"] == location
    polled = await world.call("GET", location)
    assert polled.status_code == 200
    assert polled.json()["status"] == "pending"
    assert polled.json()["reason"] == "HAProxy can't be reached"
    assert polled.json()["route"]["domain"] == answer.json()["domain"]


@pytest.mark.parametrize(("path", "body", "_location"), PUBLISH)
async def test_a_failed_route_is_stored_and_says_why(
    world: World, path: str, body: dict[str, Any], _location: str
) -> None:
    world.routes.outcome = FAILED

    answer = await world.call("POST", path, json=body)

    assert answer.status_code == 201
    assert answer.json()["status"] == "failed"
    assert answer.json()["reason"] == "server name already exists"
    assert "server name already exists" in answer.json()["message"]
    assert "location" not in answer.headers


async def test_somebody_elses_subdomain_is_409(world: World) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)

    answer = await world.call(
        "POST", "/api/proxy/http", token="token-other", json=HTTP | {"agentId": "other"}
    )

    assert_problem(answer, 409)


async def test_a_route_that_haproxy_refuses_at_the_door_is_422(world: World) -> None:
    world.routes.failure = ConfigRejectedError("unknown keyword 'x'", file="a.cfg", line=3)

    answer = await world.call("POST", "/api/proxy/http", json=HTTP)

    assert "unknown keyword 'x'" in assert_problem(answer, 422)["message"]


async def test_haproxy_out_of_reach_is_503_with_a_time_to_wait(world: World) -> None:
    world.routes.failure = ProxyUnavailableError("/run/secret.sock: refused")

    answer = await world.call("POST", "/api/proxy/http", json=HTTP)

    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert "secret.sock" not in answer.text


@pytest.mark.parametrize(
    ("prefer", "waited", "applied"),
    [
        (None, 5, None),
        ("wait=10", 10, "wait=10"),
        ("respond-async, wait=0", 0, "wait=0"),
        ("WAIT = 3 ; x=y", 3, "wait=3"),
        ("wait=9999", 30, "wait=30"),
        ("wait=-1", 5, None),
        ("wait=2.5", 5, None),
        ("wait=99999999999999999999999", 5, None),
        ("return=minimal", 5, None),
        ("wait=1, wait=2", 1, "wait=1"),
    ],
)
async def test_prefer_says_how_long_to_wait(
    world: World, prefer: str | None, waited: int, applied: str | None
) -> None:
    headers = {"prefer": prefer} if prefer else {}

    posted = await world.call("POST", "/api/proxy/http", json=HTTP, headers=headers)
    removed = await world.call("DELETE", "/api/proxy", json=HTTP, headers=headers)

    assert world.routes.waits == [waited, waited]
    assert posted.headers.get("preference-applied") == applied
    assert removed.headers.get("preference-applied") == applied


async def test_an_agents_routes_are_listed_with_their_agent(world: World) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)
    await world.call("POST", "/api/proxy/mongodb", json=MONGO)

    answer = await world.call("GET", "/api/proxy/agents/server-id")

    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["agentId"] == "server-id"
    http, mongodb = body["routes"]
    assert (
        http.items()
        >= {
            "type": "http",
            "domain": "shop.apps.example.com",
            "subdomain": "shop",
            "targetUrl": "http://203.0.113.7:3000",
            "status": "active",
            "options": {},
        }.items()
    )
    assert mongodb.items() >= {"targetHost": "203.0.113.7", "targetPort": 27017}.items()
    assert "subdomain" not in mongodb
    assert http.keys() >= {"createdAt", "updatedAt"}


async def test_the_old_list_holds_the_callers_own_routes_and_their_number(world: World) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)
    foreign = HTTP | {"agentId": "other", "subdomain": "theirs"}
    await world.call("POST", "/api/proxy/http", token="token-other", json=foreign)

    answer = await world.call("GET", "/api/proxy/routes")

    body = answer.json()
    assert body["success"] is True
    assert [route["subdomain"] for route in body["routes"]] == ["shop"]
    assert body["routeCount"] == 1
    assert "next" not in body


async def test_an_operator_pages_through_all_routes(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.call("POST", "/api/proxy/http", json=HTTP | {"subdomain": name})

    first = (await world.call("GET", "/api/proxy/routes?limit=2", token=OPERATOR_TOKEN)).json()
    second = (
        await world.call(
            "GET",
            "/api/proxy/routes",
            params={"limit": 2, "after": first["next"]},
            token=OPERATOR_TOKEN,
        )
    ).json()

    assert [route["subdomain"] for route in first["routes"]] == ["a", "b"]
    assert first["routeCount"] == second["routeCount"] == 3
    assert [route["subdomain"] for route in second["routes"]] == ["c"]
    assert "next" not in second


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "2.5", "9" * 5000])
async def test_a_bad_limit_is_422_with_its_name(world: World, limit: str) -> None:
    answer = await world.call("GET", f"/api/proxy/routes?limit={limit}", token=OPERATOR_TOKEN)

    assert assert_problem(answer, 422)["errors"][0]["field"] == "limit"


async def test_an_empty_list_is_still_a_success(world: World) -> None:
    answer = await world.call("GET", "/api/proxy/routes")

    assert answer.json() == {"success": True, "routes": [], "routeCount": 0}


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"agentId": "server-id", "subdomain": "shop", "type": "http"}},
        {"json": {"agentId": "server-id", "subdomain": "shop"}},
        {"content": b'{"agentId":"server-id","subdomain":"shop","type":"http"}'},
        {"params": {"agentId": "server-id", "subdomain": "shop"}},
        {
            "params": {"agentId": "server-id", "subdomain": "shop", "type": "http"},
            "headers": {"content-type": "application/json"},
        },
        {
            "json": {"agentId": "server-id", "subdomain": "shop"},
            "params": {"agentId": "server-id", "subdomain": "another"},
        },
    ],
    ids=["body", "no type", "no content type", "query", "query and content type", "body wins"],
)
async def test_a_route_is_removed_by_body_or_by_query(world: World, sent: dict[str, Any]) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)

    answer = await world.call("DELETE", "/api/proxy", **sent)

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "message": "the route is removed",
        "status": "removed",
    }
    assert world.routes.views == {}


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"agentId": "server-id", "subdomain": "shop", "path": "/api/"}},
        {"params": {"agentId": "server-id", "subdomain": "shop", "path": "/api"}},
    ],
    ids=["body", "query"],
)
async def test_a_path_is_removed_by_body_or_by_query(world: World, sent: dict[str, Any]) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)
    await world.call("POST", "/api/proxy/http", json=HTTP | {"path": "/api"})

    assert (await world.call("DELETE", "/api/proxy", **sent)).status_code == 200
    assert [key.name for key in world.routes.views] == ["shop"]


async def test_only_a_path_below_the_root_is_shown(world: World) -> None:
    """So that older agents see what they always saw."""
    for path, created in ({}, 201), ({"path": "/"}, 200):
        answer = await world.call("POST", "/api/proxy/http", json=HTTP | path)
        assert answer.status_code == created
        assert "path" not in answer.json()
        assert "path" not in answer.json()["route"]
    answer = await world.call("POST", "/api/proxy/http", json=HTTP | {"path": "/api/v2/"})
    assert answer.status_code == 201
    assert answer.json()["path"] == answer.json()["route"]["path"] == "/api/v2"
    assert answer.json()["message"] == "the route shop.apps.example.com/api/v2 is created and live"


async def test_a_pending_path_is_polled_by_its_path(world: World) -> None:
    world.routes.outcome = PENDING
    answer = await world.call("POST", "/api/proxy/http", json=HTTP | {"path": "/api/v2/"})
    assert answer.headers["location"] == "/api/proxy/routes/http/shop?path=/api/v2"
    polled = await world.call("GET", answer.headers["location"])
    assert polled.json()["route"]["path"] == "/api/v2"
    for elsewhere in ("", "?path=/", "?path=/api", "?path=nonsense"):
        assert_problem(await world.call("GET", f"/api/proxy/routes/http/shop{elsewhere}"), 404)

    gone = await world.call("DELETE", "/api/proxy", json=HTTP | {"path": "/api/v2"})
    assert gone.headers["location"] == "/api/proxy/routes/http/shop?path=/api/v2"


@pytest.mark.parametrize("path", ["api", "", "/a//b", "/..", "/a%2fb", 7, None])
async def test_a_bad_path_is_422_by_its_name(world: World, path: Any) -> None:
    answer = await world.call("POST", "/api/proxy/http", json=HTTP | {"path": path})
    assert assert_problem(answer, 422)["errors"][0]["field"] == "path"


async def test_the_mongodb_route_is_removed_by_its_agent(world: World) -> None:
    await world.call("POST", "/api/proxy/mongodb", json=MONGO)

    answer = await world.call("DELETE", "/api/proxy?agentId=server-id&type=mongodb")

    assert answer.status_code == 200
    assert world.routes.views == {}


async def test_a_removal_that_haproxy_doesnt_know_yet_is_202(world: World) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)
    world.routes.outcome = PENDING

    answer = await world.call("DELETE", "/api/proxy", json=HTTP | {"subdomain": "shop"})

    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    assert answer.headers["location"] == "/api/proxy/routes/http/shop"
    assert_problem(await world.call("GET", answer.headers["location"]), 404)


async def test_a_removal_that_fails_says_why(world: World) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)
    world.routes.outcome = FAILED

    answer = await world.call("DELETE", "/api/proxy", json=HTTP)

    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["reason"] == "server name already exists"


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "agentId"), ("?subdomain=x", "agentId"), ("?agentId=server-id", "subdomain")],
)
async def test_a_removal_without_a_name_is_422(world: World, query: str, field: str) -> None:
    answer = await world.call("DELETE", f"/api/proxy{query}")

    assert assert_problem(answer, 422)["errors"][0]["field"] == field


async def test_removing_an_unknown_route_is_404(world: World) -> None:
    assert_problem(await world.call("DELETE", "/api/proxy", json=HTTP), 404)


@pytest.mark.parametrize(
    "path", ["http/none", "mongodb/other", "tcp/shop", "http/%00", "mongodb/a.b", "http/a%2Fb"]
)
async def test_polling_a_route_that_isnt_there_is_404(world: World, path: str) -> None:
    assert_problem(await world.call("GET", f"/api/proxy/routes/{path}"), 404)


async def test_only_owner_and_operator_may_poll(world: World) -> None:
    await world.call("POST", "/api/proxy/http", json=HTTP)
    path = "/api/proxy/routes/http/SHOP"

    assert (await world.call("GET", path)).json()["route"]["subdomain"] == "shop"
    assert (await world.call("GET", path, token=OPERATOR_TOKEN)).status_code == 200
    assert_problem(await world.call("GET", path, token="token-other"), 403)


async def test_a_name_in_another_script_is_polled_under_either_form(world: World) -> None:
    world.routes.outcome = PENDING
    posted = await world.call("POST", "/api/proxy/http", json=HTTP | {"subdomain": "bücher"})

    assert posted.headers["location"] == "/api/proxy/routes/http/xn--bcher-kva"
    for path in (posted.headers["location"], "/api/proxy/routes/http/bücher"):
        assert (await world.call("GET", path)).status_code == 200


async def test_older_words_are_named_in_refusals(world: World) -> None:
    no_tls = await world.call("POST", "/api/mongodb/register", json=LEGACY | {"useTls": False})
    bad_ip = await world.call("POST", "/api/mongodb/register", json=LEGACY | {"targetIp": "a b"})

    assert assert_problem(no_tls, 422)["errors"][0]["field"] == "useTls"
    assert assert_problem(bad_ip, 422)["errors"][0]["field"] == "targetIp"
