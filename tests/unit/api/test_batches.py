"""POST /api/proxy/routes, through the real services and SQLite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from frontserver.api.batches import decode_entries
from frontserver.api.examples import batches as examples
from frontserver.errors import InputError
from frontserver.model.status import PENDING, RouteState, RouteStatus
from frontserver.wire.batches import BatchRequest
from frontserver.wire.routes.requests import HttpRouteRequest, MongoRouteRequest
from tests.unit.api.fakes import OPERATOR_TOKEN, assert_problem
from tests.unit.api.real import RealWorld, real_world

URL = "http://203.0.113.7:3000"
PATH = "/api/proxy/routes"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(tmp_path) as made:
        yield made


@pytest.fixture
async def token(world: RealWorld) -> str:
    return await world.enrol("host-7")


def http(name: str, agent_id: str = "host-7", **members: Any) -> dict[str, Any]:
    return {"agentId": agent_id, "subdomain": name, "targetUrl": URL, **members}


async def send(
    world: RealWorld, token: str, *routes: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    return await world.call(
        "POST", PATH, token=token, json={"routes": list(routes)}, headers=headers
    )


def fields(answer: httpx.Response, status: int) -> list[str]:
    return [error["field"] for error in assert_problem(answer, status)["errors"]]


async def test_many_routes_are_published_by_one_request(world: RealWorld, token: str) -> None:
    mongodb = {"type": "mongodb", "agentId": "host-7", "targetPort": 27018}
    answer = await send(world, token, http("shop"), http("Shop", path="/api/"), mongodb)

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "message": "3 created; 3 active, 0 pending, 0 failed",
        "counts": {"active": 3, "pending": 0, "failed": 0},
        "routes": [
            {
                "type": "http",
                "agentId": "host-7",
                "domain": "shop.apps.example.com",
                "subdomain": "shop",
                "change": "created",
                "status": "active",
            },
            {
                "type": "http",
                "agentId": "host-7",
                "domain": "shop.apps.example.com",
                "subdomain": "shop",
                "path": "/api",
                "change": "created",
                "status": "active",
            },
            {
                "type": "mongodb",
                "agentId": "host-7",
                "domain": "host-7.mongodb.example.com",
                "connectionString": (
                    "mongodb://host-7.mongodb.example.com:27017/?tls=true&directConnection=true"
                ),
                "change": "created",
                "status": "active",
            },
        ],
    }


async def test_the_same_request_again_changes_nothing(world: RealWorld, token: str) -> None:
    await send(world, token, http("a"), http("b"))
    before = await world.revision()
    again = await send(world, token, http("a"), http("b", options={"sticky": True}))

    assert again.json()["message"] == "1 unchanged, 1 updated; 2 active, 0 pending, 0 failed"
    assert [route["change"] for route in again.json()["routes"]] == ["unchanged", "updated"]
    assert await world.revision() == before + 1


async def test_what_the_lists_show_can_be_sent_as_it_is(world: RealWorld, token: str) -> None:
    """So that routes are saved and brought back, or taken to another installation."""
    options = {"targets": [{"url": URL}, {"url": "http://203.0.113.8", "weight": 10}]}
    mongodb = {"type": "mongodb", "agentId": "host-7"}
    await send(world, token, http("a", options=options), http("b", path="/x"), mongodb)

    saved = await world.call("GET", PATH, token=OPERATOR_TOKEN)
    for route in saved.json()["routes"]:
        await world.call("DELETE", "/api/proxy", token=OPERATOR_TOKEN, json=route)
    back = await world.call("POST", PATH, token=OPERATOR_TOKEN, content=saved.content)
    again = await world.call("GET", PATH, token=OPERATOR_TOKEN)

    assert [route["change"] for route in back.json()["routes"]] == ["created"] * 3
    stamps = {"createdAt": None, "updatedAt": None}
    assert [route | stamps for route in again.json()["routes"]] == [
        route | stamps for route in saved.json()["routes"]
    ]


async def test_while_some_are_pending_the_answer_is_202(world: RealWorld, token: str) -> None:
    await world.enrol("host-8")
    world.publisher.outcome = msgspec.structs.replace(
        PENDING, reason="not yet", reload="pool-empty"
    )
    mine = await send(world, token, http("a"), headers={"prefer": "wait=0"})
    all_ = await send(world, OPERATOR_TOKEN, http("a"), http("b", "host-8"))

    assert (mine.status_code, all_.status_code) == (202, 202)
    assert mine.headers["location"] == "/api/proxy/agents/host-7"
    assert mine.headers["preference-applied"] == "wait=0"
    assert all_.headers["location"] == "/api/proxy/routes"
    assert mine.json()["counts"] == {"active": 0, "pending": 1, "failed": 0}
    (route,) = mine.json()["routes"]
    assert (route["status"], route["reason"], route["reload"]) == (
        "pending",
        "not yet",
        "pool-empty",
    )
    for answer in (mine, all_):
        assert (await world.call("GET", answer.headers["location"], token=OPERATOR_TOKEN)).json()[
            "routes"
        ]


async def test_a_failed_route_is_stored_all_the_same(world: RealWorld, token: str) -> None:
    world.publisher.outcome = RouteStatus(RouteState.FAILED, 99, "HAProxy refuses it")
    answer = await send(world, token, http("a"))

    assert answer.status_code == 200
    assert answer.json()["counts"] == {"active": 0, "pending": 0, "failed": 1}
    assert answer.json()["routes"][0]["reason"] == "HAProxy refuses it"


async def test_all_bad_entries_are_named_and_nothing_is_stored(
    world: RealWorld, token: str
) -> None:
    before = await world.revision()
    answer = await send(
        world,
        token,
        http("good"),
        http("shop", options={"chek": True}),
        http("shop", targetUrl=5),
        {"subdomain": "shop"},
        http("www"),
        "shop",
        None,
        http("shop", type="tcp"),
        http("shop", type=1),
        http("shop", options={"check": {"path": "no-slash"}}),
        {"type": "mongodb", "agentId": "host-7", "targetPort": 0},
    )

    assert fields(answer, 422) == [
        "routes[1].options.chek",
        "routes[2].targetUrl",
        "routes[3].agentId",
        "routes[4].subdomain",
        "routes[5]",
        "routes[6]",
        "routes[7].type",
        "routes[8].type",
        "routes[9].options.check.path",
        "routes[10].targetPort",
    ]
    body = answer.json()
    assert "allowed: balance, check" in body["errors"][0]["message"]
    assert body["detail"].startswith(
        "10 of 11 routes are refused, so none is stored; the first is routes[1].options.chek: "
    )
    assert await world.revision() == before


async def test_the_status_is_that_of_the_gravest_reason(world: RealWorld, token: str) -> None:
    other = await world.enrol("host-8")
    await send(world, other, http("taken", "host-8"))
    bad, foreign = http("www"), http("a", "host-8")
    nobody = {"type": "mongodb", "agentId": "nobody"}

    assert fields(await send(world, token, bad, foreign), 403) == [
        "routes[0].subdomain",
        "routes[1].agentId",
    ]
    assert fields(await send(world, OPERATOR_TOKEN, bad, nobody), 404) == [
        "routes[0].subdomain",
        "routes[1].agentId",
    ]
    assert fields(await send(world, token, http("b"), http("taken")), 409) == ["routes[1]"]
    assert fields(await send(world, token, bad, http("taken")), 422) == ["routes[0].subdomain"]


@pytest.mark.parametrize(
    ("content", "status", "where"),
    [
        ("{", 400, None),
        ('{"routes": [], "routes": []}', 400, None),
        ('{"routes": [{"agentId": "a", "agentId": "b"}]}', 400, None),
        ('{"routes": [NaN]}', 400, None),
        (b'{"routes": ["\xff"]}', 400, None),
        ("", 400, None),
        ("[]", 422, ""),
        ("{}", 422, "routes"),
        ('{"routes": {}}', 422, "routes"),
        ('{"routes": null}', 422, "routes"),
        ('{"routes": []}', 422, "routes"),
    ],
)
async def test_what_is_no_batch_is_refused(
    world: RealWorld, token: str, content: str | bytes, status: int, where: str | None
) -> None:
    answer = await world.call("POST", PATH, token=token, content=content)

    problem = assert_problem(answer, status)
    assert [error["field"] for error in problem.get("errors", [])] == (
        [] if where is None else [where]
    )


async def test_another_type_than_json_is_415(world: RealWorld, token: str) -> None:
    answer = await world.call(
        "POST", PATH, token=token, content="{}", headers={"content-type": "text/plain"}
    )
    assert_problem(answer, 415)


async def test_without_credentials_it_is_401(world: RealWorld) -> None:
    assert_problem(await world.call("POST", PATH, token=None, json={"routes": []}), 401)


async def test_bodies_and_batches_have_a_limit_that_is_told(tmp_path: Path) -> None:
    async with real_world(tmp_path, most_at_once=300) as world:
        token = await world.enrol("host-7")
        many = [http(f"r{number}") for number in range(301)]

        too_many = await send(world, token, *many)
        fits = await send(world, token, *many[:300])
        body = json.dumps({"routes": many[:1]})
        just = await world.call("POST", PATH, token=token, content=body.ljust(300 * 1024))
        large = await world.call("POST", PATH, token=token, content=body.ljust(300 * 1024 + 1))
        alone = await world.call("POST", "/api/proxy/http", token=token, content=body.ljust(262145))

    problem = assert_problem(too_many, 422)
    assert problem["errors"] == [
        {"field": "routes", "message": "301 routes are too many: 1 to 300 at once"}
    ]
    assert (fits.status_code, just.status_code) == (200, 200)
    assert "larger than 300 KiB" in assert_problem(large, 413)["detail"]
    assert "larger than 256 KiB" in assert_problem(alone, 413)["detail"]


def test_entries_are_read_each_for_itself() -> None:
    good, mongodb, bad = decode_entries(
        b'{"routes": [{"agentId": "a", "subdomain": "s", "expectedDomain": "x"},'
        b' {"type": "mongodb", "agentId": "a"}, {"agentId": "a"}], "other": 1}'
    )
    assert good == HttpRouteRequest("a", "s")
    assert mongodb == MongoRouteRequest("a")
    assert isinstance(bad, InputError)
    assert bad.field == "subdomain"


@pytest.mark.parametrize("body", examples.PUBLISH_BATCH.values(), ids=examples.PUBLISH_BATCH)
async def test_examples_can_be_published(world: RealWorld, body: BatchRequest) -> None:
    for agent_id in ("server-id", "other"):
        await world.enrol(agent_id)
    answer = await world.call("POST", PATH, token=OPERATOR_TOKEN, content=msgspec.json.encode(body))
    assert answer.status_code == 200
