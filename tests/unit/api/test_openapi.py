"""The OpenAPI document: complete, in step with the code, and kept in git."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from frontserver.api import examples as _examples
from frontserver.api.decoding import decode
from frontserver.api.examples import agents, certificates, routes
from frontserver.api.openapi import document
from frontserver.wire.agents import AuthenticateRequest, RegisterRequest, RotateKeyRequest
from frontserver.wire.certificates import SigningRequest
from frontserver.wire.routes.requests import (
    HttpRouteRequest,
    LegacyMongoRequest,
    MongoRouteRequest,
    RemoveRequest,
)
from tests.unit.api.fakes import World

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi.json"
METHODS = {"get", "post", "delete", "put", "patch"}

# Every endpoint of the API's description, with the statuses that it can answer with.
WRITE = {"400", "401", "403", "413", "415", "422", "503"}
READ = {"200", "401", "403", "404", "422", "503"}
SIGN_IN = {"200", "400", "401", "413", "415", "422", "429", "503"}
PUBLISH = WRITE | {"200", "201", "202", "404", "409", "429"}
ENDPOINTS = {
    ("post", "/api/agents/register"): SIGN_IN | {"201", "409"},
    ("post", "/api/agent/register"): SIGN_IN | {"201", "409"},
    ("post", "/api/agents/authenticate"): SIGN_IN,
    ("post", "/api/agent/authenticate"): SIGN_IN,
    ("get", "/api/agents/{agentId}"): READ,
    ("delete", "/api/agents/{agentId}"): READ,
    ("post", "/api/agents/{agentId}/key"): WRITE | {"200", "404"},
    ("post", "/api/proxy/http"): PUBLISH,
    ("post", "/api/proxy/mongodb"): PUBLISH,
    ("post", "/api/mongodb/register"): PUBLISH,
    ("get", "/api/proxy/agents/{agentId}"): READ,
    ("post", "/api/proxy/routes"): PUBLISH - {"201"},
    ("get", "/api/proxy/routes"): READ - {"404"},
    ("get", "/api/proxy/routes/{type}/{name}"): READ - {"422"},
    ("delete", "/api/proxy"): WRITE | {"200", "202", "404"},
    ("get", "/api/config/{agentId}"): READ,
    ("get", "/api/certificates/mongodb-ca"): {"200", "503"},
    ("get", "/api/certificates/agent/{agentId}"): READ,
    ("post", "/api/certificates/agent/{agentId}/csr"): WRITE | {"200", "404"},
    ("get", "/health"): {"200"},
    ("get", "/health/ready"): {"200", "503"},
    ("get", "/metrics"): {"200"},
}
PUBLIC = {
    "/api/agents/register", "/api/agent/register", "/api/agents/authenticate",
    "/api/agent/authenticate", "/api/certificates/mongodb-ca", "/health", "/health/ready",
    "/metrics",
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(document())


def operations(schema: Any) -> dict[tuple[str, str], Any]:
    return {
        (method, path): operation
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_the_document_in_git_is_the_one_of_the_code() -> None:
    assert SNAPSHOT.read_text() == document(), (
        "the API has changed; if it was meant to, run: "
        "python -m frontserver.api.openapi > docs/openapi.json"
    )


def test_every_endpoint_and_status_is_documented(schema: Any) -> None:
    documented = {key: set(value["responses"]) for key, value in operations(schema).items()}

    assert documented == ENDPOINTS


def test_operation_ids_are_unique_and_every_operation_has_tag_and_summary(schema: Any) -> None:
    found = list(operations(schema).values())
    tags = {tag["name"] for tag in schema["tags"]}

    assert len({operation["operationId"] for operation in found}) == len(found)
    assert all(set(operation["tags"]) <= tags for operation in found)
    assert all(operation["summary"] for operation in found)


def test_older_paths_are_marked(schema: Any) -> None:
    marked = {path for (_, path), value in operations(schema).items() if value["deprecated"]}

    assert marked == {
        "/api/agent/register",
        "/api/agent/authenticate",
        "/api/mongodb/register",
        "/api/certificates/agent/{agentId}",
    }


def test_public_endpoints_ask_for_nothing_and_all_others_for_either_scheme(schema: Any) -> None:
    public = {path for (_, path), value in operations(schema).items() if "security" in value}

    assert public == PUBLIC
    assert schema["security"] == [{"bearer": []}, {"basic": []}]
    assert schema["components"]["securitySchemes"].keys() == {"bearer", "basic"}


def test_every_request_and_every_answer_has_an_example(schema: Any) -> None:
    for key, operation in operations(schema).items():
        contents = [operation["requestBody"]["content"]] if "requestBody" in operation else []
        for response in operation["responses"].values():
            found = _resolved(schema, response)
            contents.append(found["content"])
        for content in contents:
            assert all(media["examples"] for media in content.values()), key


def test_every_reference_leads_somewhere(schema: Any) -> None:
    for reference in _references(schema):
        _resolved(schema, {"$ref": reference})


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _resolved(schema: Any, node: Any) -> Any:
    if "$ref" not in node:
        return node
    found = schema
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


REQUESTS = [
    (RegisterRequest, agents.REGISTER),
    (AuthenticateRequest, agents.AUTHENTICATE),
    (RotateKeyRequest, agents.ROTATE),
    (SigningRequest, certificates.SIGN),
    (HttpRouteRequest, routes.PUBLISH_HTTP),
    (MongoRouteRequest, routes.PUBLISH_MONGODB),
    (LegacyMongoRequest, routes.REGISTER_MONGODB),
    (RemoveRequest, routes.REMOVE_ROUTE),
]


@pytest.mark.parametrize(("kind", "bodies"), REQUESTS)
def test_example_requests_are_valid(kind: type, bodies: dict[str, Any]) -> None:
    assert _examples.__doc__
    for body in bodies.values():
        assert isinstance(decode(msgspec.json.encode(body), kind), kind)


@pytest.mark.parametrize("body", routes.PUBLISH_HTTP.values(), ids=routes.PUBLISH_HTTP.keys())
async def test_example_routes_can_be_published(world: World, body: Any) -> None:
    answer = await world.call("POST", "/api/proxy/http", content=msgspec.json.encode(body))

    assert answer.status_code == 201


@pytest.mark.parametrize(
    "name", ["HttpOptions", "CheckOptions", "TargetOptions", "MongoOptions", "HeaderOptions"]
)
def test_options_say_that_unknown_names_are_refused(schema: Any, name: str) -> None:
    assert schema["components"]["schemas"][name]["additionalProperties"] is False


def test_a_field_that_may_be_left_out_has_only_its_own_type(schema: Any) -> None:
    options = schema["components"]["schemas"]["HttpOptions"]

    assert options["properties"]["useTls"] == {"type": "boolean"}
    assert options["required"] == []


async def test_the_document_is_served_to_anyone(world: World) -> None:
    served = await world.call("GET", "/schema/openapi.json", token=None)
    page = await world.call("GET", "/schema", token=None)

    assert served.status_code == 200
    body = served.json()
    assert body["info"]["version"] == "1.2.3"
    assert body["paths"] == json.loads(document())["paths"]
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


async def test_the_schema_isnt_a_way_around_the_limits(world: World) -> None:
    answer: httpx.Response = await world.call("GET", "/schema/nowhere", token=None)

    assert answer.status_code == 404
