"""Malformed requests and errors of every kind, as problem details."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import get
from litestar.exceptions import HTTPException

from frontserver import errors
from frontserver.api.authentication import PUBLIC
from frontserver.api.decoding import MAX_BODY_BYTES
from frontserver.api.problems import BY_ERROR, kind_of
from tests.unit.api.fakes import World, assert_problem

HTTP = {"agentId": "server-id", "subdomain": "shop", "targetUrl": "http://203.0.113.7:3000"}
JSON = {"content-type": "application/json"}


def tree(root: type[errors.FrontServerError]) -> Iterator[type[errors.FrontServerError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_error_of_the_tree_has_its_row() -> None:
    declared = {
        kind for kind in tree(errors.FrontServerError) if kind.__module__ == "frontserver.errors"
    }

    assert set(BY_ERROR) == declared


def test_an_error_without_a_row_falls_under_its_parent() -> None:
    class SlowDiskError(errors.StorageError):
        pass

    assert kind_of(SlowDiskError("x")) is BY_ERROR[errors.StorageError]


async def test_an_unexpected_error_is_500_and_only_the_log_knows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @get("/boom", **PUBLIC)
    async def boom() -> None:
        raise RuntimeError("secret inside")

    world = World(route_handlers=[boom])
    with caplog.at_level(logging.ERROR, "frontserver.api"):
        answer = await world.call("GET", "/boom", token=None)

    problem = assert_problem(answer, 500)
    assert "secret" not in answer.text
    (record,) = caplog.records
    assert problem["instance"] in record.getMessage()
    assert record.exc_info is not None


async def test_a_caller_that_hangs_up_is_no_error_of_ours(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/api/agents/register",
        "raw_path": b"/api/agents/register",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("203.0.113.7", 1),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """Nobody reads it."""

    with caplog.at_level(logging.INFO, "frontserver.api"):
        await world.api(scope, receive, send)

    assert [record.levelname for record in caplog.records] == ["INFO"]


async def test_a_status_of_the_framework_without_a_row_is_kept() -> None:
    @get("/teapot", **PUBLIC)
    async def teapot() -> None:
        raise HTTPException("short and stout", status_code=418)

    answer = await World(route_handlers=[teapot]).call("GET", "/teapot", token=None)

    assert answer.status_code == 418
    assert answer.json()["message"] == "short and stout"


async def test_two_problems_have_different_instances(world: World) -> None:
    first = await world.call("GET", "/nowhere")
    second = await world.call("GET", "/nowhere")

    assert first.json()["instance"] != second.json()["instance"]


@pytest.mark.parametrize("path", ["/", "/api", "/api/nowhere", "/api/agents/a/b/c", "/problems/x"])
async def test_an_unknown_path_is_404(world: World, path: str) -> None:
    assert_problem(await world.call("GET", path, token=None), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/proxy/http", {"OPTIONS", "POST"}),
        ("PATCH", "/health", {"GET", "OPTIONS"}),
        ("PUT", "/api/agents/server-id", {"DELETE", "GET", "OPTIONS"}),
        ("GET", "/api/agents/server-id/key", {"OPTIONS", "POST"}),
    ],
)
async def test_another_method_is_405_with_the_allowed_ones(
    world: World, method: str, path: str, allowed: set[str]
) -> None:
    answer = await world.call(method, path)

    assert_problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed


MALFORMED = {
    "nothing": b"",
    "a cut object": b'{"agentId": "server-id"',
    "no JSON": b"agentId=server-id",
    "two documents": b"{}{}",
    "NaN": b'{"agentId": NaN}',
    "Infinity": b'{"agentId": -Infinity}',
    "invalid UTF-8": b'{"agentId": "\xff"}',
    "UTF-16": '{"agentId": "a"}'.encode("utf-16"),
    "a lone surrogate": b'{"agentId": "\\ud800"}',
    "a raw newline in a string": b'{"agentId": "a\nb"}',
    "a member twice": b'{"agentId": "server-id", "agentId": "other"}',
    "a member twice, deeper": b'{"agentId": "a", "x": {"y": 1, "y": 2}}',
    "deep nesting": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"x":' * 20_000 + b"1" + b"}" * 20_000,
    "an endless number": b'{"x": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize(
    "path", ["/api/agents/register", "/api/proxy/http", "/api/agents/server-id/key"]
)
async def test_a_body_that_isnt_json_is_400(world: World, path: str, body: bytes) -> None:
    answer = await world.call("POST", path, content=body, headers=JSON)

    assert assert_problem(answer, 400)["type"] == "/problems/malformed-request"


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null", "true"])
async def test_json_of_another_shape_is_422(world: World, body: str) -> None:
    answer = await world.call("POST", "/api/proxy/http", content=body, headers=JSON)

    problem = assert_problem(answer, 422)
    assert "expected object" in problem["message"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/jsonp",
        "nonsense",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/proxy/http"), ("DELETE", "/api/proxy")]
)
async def test_another_content_type_is_415(
    world: World, method: str, path: str, content_type: str
) -> None:
    answer = await world.call(
        method, path, content=json.dumps(HTTP), headers={"content-type": content_type}
    )

    assert_problem(answer, 415)


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json", "text/json"],
)
async def test_json_under_any_of_its_names_is_accepted(world: World, content_type: str) -> None:
    answer = await world.call(
        "POST", "/api/proxy/http", content=json.dumps(HTTP), headers={"content-type": content_type}
    )

    assert answer.status_code == 201


async def test_json_without_a_content_type_is_accepted(world: World) -> None:
    answer = await world.call("POST", "/api/proxy/http", content=json.dumps(HTTP))

    assert answer.status_code == 201


async def test_a_body_above_the_limit_is_413(world: World) -> None:
    padding = "x" * (MAX_BODY_BYTES - len(json.dumps({**HTTP, "pad": ""})))
    fits = json.dumps({**HTTP, "pad": padding})
    assert len(fits) == MAX_BODY_BYTES

    just = await world.call("POST", "/api/proxy/http", content=fits, headers=JSON)
    above = await world.call("POST", "/api/proxy/http", content=fits + " ", headers=JSON)

    assert just.status_code == 201
    assert_problem(above, 413)


async def test_a_body_in_chunks_above_the_limit_is_413(world: World) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 4096

    assert_problem(await world.call("POST", "/api/proxy/http", content=chunks(), headers=JSON), 413)


OPTIONS = (
    "balance, check, headers, hostHeader, maintenance, maxConnections, originTls, redirectHttps, "
    "sticky, targets, timeouts, useTls"
)
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"foo": 1}, "options.foo", f"there is no such field; allowed: {OPTIONS}"),
    (
        {"check": {"foo": 1}},
        "options.check.foo",
        "there is no such field; allowed: expectStatus, fall, host, interval, path, rise, timeout",
    ),
    (
        {"targets": [{"url": "http://192.0.2.1", "wheight": 1}]},
        "options.targets[0].wheight",
        "there is no such field; allowed: backup, drain, url, weight",
    ),
    (
        {"headers": {"request": {"add": {}}}},
        "options.headers.request.add",
        "there is no such field; allowed: remove, set",
    ),
    ({"a\nb`c": 1}, "options.'a\\nb`c'", f"there is no such field; allowed: {OPTIONS}"),
    ({"x` - at `$.y": 1}, "options.'x` - at `$.y'", f"there is no such field; allowed: {OPTIONS}"),
    ({"useTls": "true"}, "options.useTls", "expected bool, got str"),
    ({"useTls": 1}, "options.useTls", "expected bool, got int"),
    ({"check": "yes"}, "options.check", "expected bool | object, got str"),
    ({"targets": [{}]}, "options.targets[0].url", "this field is required"),
    (
        {"balance": "best"},
        "options.balance",
        "not one of the allowed values: roundrobin, leastconn, first, random, source, uri",
    ),
    (
        {"headers": {"request": {"set": {"a": 1}}}},
        "options.headers.request.set[...]",
        "expected str, got int",
    ),
    (
        {"check": {"path": "no-slash"}},
        "options.check.path",
        "a path starts with / and holds URL characters only",
    ),
    ({"maxConnections": 0}, "options.maxConnections", "0 is out of range: 1 to 1000000"),
    (
        {"timeouts": {"server": "soon"}},
        "options.timeouts.server",
        'a duration is seconds as a number, or text such as "30s", "500ms"',
    ),
]


@pytest.mark.parametrize(("options", "field", "message"), REFUSED)
async def test_a_refused_option_is_named_by_its_path(
    world: World, options: dict[str, Any], field: str, message: str
) -> None:
    answer = await world.call("POST", "/api/proxy/http", json=HTTP | {"options": options})

    problem = assert_problem(answer, 422)
    assert problem["errors"] == [{"field": field, "message": message}]
    assert problem["message"] == f"{field}: {message}"


async def test_a_hint_says_what_to_do(world: World) -> None:
    answer = await world.call("POST", "/api/proxy/http", json=HTTP | {"subdomain": "www"})

    assert assert_problem(answer, 422)["hint"] == "choose another subdomain"


async def test_unknown_top_level_fields_are_ignored(world: World) -> None:
    answer = await world.call("POST", "/api/proxy/http", json=HTTP | {"expectedDomain": [1, {}]})

    assert answer.status_code == 201


async def test_text_isnt_taken_for_a_number(world: World) -> None:
    body = {"agentId": "server-id", "targetHost": "203.0.113.7", "targetPort": "27017"}

    problem = assert_problem(await world.call("POST", "/api/proxy/mongodb", json=body), 422)

    assert problem["errors"] == [{"field": "targetPort", "message": "expected int, got str"}]
