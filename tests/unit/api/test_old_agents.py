"""The requests of agents in the field, byte for byte, and every member that they read.

`SERVER_ID` stands for an agent's id, `AGENT_TOKEN` for its key, as in the API's description.
"""

from __future__ import annotations

import pytest

from tests.unit.api.fakes import World, assert_problem

SERVER_ID = "host-7"
REGISTER = (
    b'{"agentId":"SERVER_ID","agentKey":"AGENT_TOKEN","agentName":"host-7",'
    b'"targetIp":"203.0.113.7"}'
)
AUTHENTICATE = b'{"agentId":"SERVER_ID","agentKey":"AGENT_TOKEN"}'
HTTP = (
    b'{"agentId":"SERVER_ID","subdomain":"shop","targetUrl":"http://203.0.113.7:3000",'
    b'"expectedDomain":"shop.apps.example.com","options":{"useTls":true,"check":true}}'
)
MONGODB_REGISTER = (
    b'{"agentId":"SERVER_ID","targetIp":"203.0.113.7","targetPort":27017,"useTls":true}'
)
MONGODB = (
    b'{"agentId":"SERVER_ID","targetHost":"203.0.113.7","targetPort":27017,'
    b'"options":{"useTls":true}}'
)
REMOVE = b'{"agentId":"SERVER_ID","subdomain":"shop","type":"http"}'
JSON = {"content-type": "application/json"}


def named(body: bytes) -> bytes:
    return body.replace(b"SERVER_ID", SERVER_ID.encode())


@pytest.fixture
async def token(world: World) -> str:
    answer = await world.call(
        "POST", "/api/agent/register", token=None, content=named(REGISTER), headers=JSON
    )
    assert answer.status_code == 201
    assert answer.json()["success"] is True
    return str(answer.json()["token"])


async def test_registering_gives_the_token_they_stop_without(token: str) -> None:
    assert token


async def test_a_token_is_renewed(world: World, token: str) -> None:
    answer = await world.call(
        "POST", "/api/agents/authenticate", token=None, content=named(AUTHENTICATE), headers=JSON
    )

    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert answer.json()["token"]


async def test_an_http_route_is_published_listed_and_removed(world: World, token: str) -> None:
    posted = await world.call(
        "POST", "/api/proxy/http", token=token, content=named(HTTP), headers=JSON
    )
    listed = await world.call("GET", "/api/proxy/routes", token=token)
    removed = await world.call(
        "DELETE", "/api/proxy", token=token, content=named(REMOVE), headers=JSON
    )
    after = await world.call("GET", "/api/proxy/routes", token=token)

    assert posted.status_code == 201
    assert posted.json()["success"] is True
    assert posted.json()["domain"] == "shop.apps.example.com"
    assert [route["subdomain"] for route in listed.json()["routes"]] == ["shop"]
    assert removed.status_code == 200
    assert removed.json()["success"] is True
    assert after.json()["routes"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/mongodb/register", MONGODB_REGISTER), ("/api/proxy/mongodb", MONGODB)],
)
async def test_a_mongodb_route_is_published(
    world: World, token: str, path: str, body: bytes
) -> None:
    answer = await world.call("POST", path, token=token, content=named(body), headers=JSON)

    assert answer.status_code == 201
    read = answer.json()
    assert read["success"] is True
    assert read["domain"] == "host-7.mongodb.example.com"
    assert read["targetIp"] == read["targetHost"] == "203.0.113.7"
    assert read["targetPort"] == 27017
    assert read["tlsEnabled"] is True


async def test_certificates_come_under_both_generations_of_names(world: World, token: str) -> None:
    answer = await world.call("GET", f"/api/config/{SERVER_ID}", token=token)

    certificates = answer.json()["certificates"]
    assert certificates["caCert"] == certificates["ca"]
    assert certificates["serverCert"] == certificates["cert"]
    assert certificates["serverKey"] == certificates["key"]
    assert "BEGIN CERTIFICATE" in certificates["caCert"]
    assert "BEGIN CERTIFICATE" in certificates["serverCert"]
    assert "BEGIN PRIVATE KEY" in certificates["serverKey"]


async def test_errors_hold_the_message_they_read(world: World, token: str) -> None:
    refused = named(HTTP).replace(b'"shop"', b'"not a label"')

    answer = await world.call("POST", "/api/proxy/http", token=token, content=refused, headers=JSON)

    assert "not a label" in assert_problem(answer, 422)["message"]
