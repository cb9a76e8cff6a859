"""Registration, authentication, and an agent's record over HTTP."""

from __future__ import annotations

import pytest

from frontserver.errors import AuthenticationError, StorageError, TooManyRequestsError
from tests.unit.api.fakes import OPERATOR_TOKEN, World, assert_problem

NEW = {"agentId": "New-Agent", "agentKey": "k", "agentName": "host-7", "targetIp": "203.0.113.7"}
REGISTER_PATHS = ["/api/agents/register", "/api/agent/register"]
AUTHENTICATE_PATHS = ["/api/agents/authenticate", "/api/agent/authenticate"]


@pytest.mark.parametrize("path", REGISTER_PATHS)
async def test_registering_answers_with_token_and_certificates(world: World, path: str) -> None:
    answer = await world.call("POST", path, token=None, json=NEW)

    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {
        "success", "message", "agentId", "agentName", "targetIp", "token", "expiresAt",
        "tlsEnabled", "certificates",
    }  # fmt: skip
    assert body["success"] is True
    assert body["agentId"] == "new-agent"
    assert body["agentName"] == "host-7"
    assert body["targetIp"] == "203.0.113.7"
    assert body["token"] == "token-new-agent"
    assert body["expiresAt"] == "2030-01-02T03:04:05Z"
    assert body["tlsEnabled"] is True
    assert body["certificates"]["caCert"] == body["certificates"]["ca"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", REGISTER_PATHS)
async def test_registering_again_with_the_same_key_is_200(world: World, path: str) -> None:
    await world.call("POST", path, token=None, json=NEW)

    answer = await world.call("POST", path, token=None, json=NEW)

    assert answer.status_code == 200
    assert answer.json()["token"] == "token-new-agent"


async def test_registering_with_another_key_is_a_conflict(world: World) -> None:
    await world.call("POST", "/api/agents/register", token=None, json=NEW)

    answer = await world.call(
        "POST", "/api/agents/register", token=None, json=NEW | {"agentKey": "other"}
    )

    assert assert_problem(answer, 409)["type"] == "/problems/conflict"


async def test_a_policy_that_refuses_strangers_answers_401(world: World) -> None:
    world.agents.failure = AuthenticationError("this agent has no invitation")

    answer = await world.call("POST", "/api/agents/register", token=None, json=NEW)

    assert assert_problem(answer, 401)["message"] == "this agent has no invitation"
    assert answer.headers["www-authenticate"].startswith("Bearer, Basic realm=")


async def test_the_peers_address_is_the_default_target(world: World) -> None:
    answer = await world.call(
        "POST",
        "/api/agents/register",
        token=None,
        address="198.51.100.4",
        json={"agentId": "a", "agentKey": "k"},
    )

    assert answer.json()["targetIp"] == "198.51.100.4"


@pytest.mark.parametrize("missing", ["agentId", "agentKey"])
async def test_a_missing_field_is_named(world: World, missing: str) -> None:
    body = {name: value for name, value in NEW.items() if name != missing}

    answer = await world.call("POST", "/api/agents/register", token=None, json=body)

    problem = assert_problem(answer, 422)
    assert problem["errors"] == [{"field": missing, "message": "this field is required"}]
    assert missing in problem["message"]


@pytest.mark.parametrize("path", AUTHENTICATE_PATHS)
async def test_authenticating_answers_with_a_token(world: World, path: str) -> None:
    answer = await world.call(
        "POST", path, token=None, json={"agentId": "SERVER-ID", "agentKey": "AGENT_TOKEN"}
    )

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "agentId": "server-id",
        "token": "token-server-id",
        "expiresAt": "2030-01-02T03:04:05Z",
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_a_wrong_key_is_401_with_the_schemes(world: World) -> None:
    answer = await world.call(
        "POST",
        "/api/agents/authenticate",
        token=None,
        json={"agentId": "server-id", "agentKey": "wrong"},
    )

    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer, Basic realm=")


async def test_too_many_attempts_are_429_with_the_time_to_wait(world: World) -> None:
    world.agents.failure = TooManyRequestsError("too many attempts", retry_after=17)

    answer = await world.call(
        "POST",
        "/api/agents/authenticate",
        token=None,
        json={"agentId": "server-id", "agentKey": "wrong"},
    )

    assert_problem(answer, 429)
    assert answer.headers["retry-after"] == "17"


async def test_state_that_cant_be_stored_is_503_and_tells_nothing_inside(world: World) -> None:
    world.agents.failure = StorageError("sqlite:////var/lib/secret-path is read-only")

    answer = await world.call("POST", "/api/agents/register", token=None, json=NEW)

    problem = assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert "secret-path" not in answer.text
    assert problem["message"] == "the state can't be read or stored now"


@pytest.mark.parametrize("token", ["token-server-id", OPERATOR_TOKEN])
async def test_an_agent_and_an_operator_see_the_agent(world: World, token: str) -> None:
    answer = await world.call("GET", "/api/agents/Server-Id", token=token)

    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["agentId"] == "server-id"
    assert body["routes"] == []


async def test_an_operator_rotates_a_key(world: World) -> None:
    answer = await world.call(
        "POST", "/api/agents/server-id/key", token=OPERATOR_TOKEN, json={"agentKey": "fresh"}
    )

    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert world.agents.keys["server-id"] == "fresh"


async def test_removing_an_agent(world: World) -> None:
    answer = await world.call("DELETE", "/api/agents/server-id")

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "message": "the agent server-id and its routes are removed",
    }
    assert "server-id" not in world.agents.keys
    assert_problem(await world.call("GET", "/api/agents/server-id", token=OPERATOR_TOKEN), 404)


OWN = [
    ("GET", "/api/agents/other", None),
    ("DELETE", "/api/agents/other", None),
    ("POST", "/api/agents/other/key", {"agentKey": "k"}),
    ("GET", "/api/proxy/agents/other", None),
    ("GET", "/api/config/other", None),
    ("GET", "/api/certificates/agent/other", None),
    ("POST", "/api/certificates/agent/other/csr", {"csr": "-----BEGIN CERTIFICATE REQUEST-----"}),
    ("POST", "/api/proxy/http", {"agentId": "other", "subdomain": "x", "targetUrl": "192.0.2.1"}),
    ("POST", "/api/proxy/mongodb", {"agentId": "other"}),
    ("POST", "/api/mongodb/register", {"agentId": "other", "targetIp": "192.0.2.1"}),
    ("DELETE", "/api/proxy", {"agentId": "other", "subdomain": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), OWN)
async def test_another_agents_resource_is_403(
    world: World, method: str, path: str, body: dict[str, str] | None
) -> None:
    answer = await world.call(method, path, json=body)

    assert assert_problem(answer, 403)["type"] == "/problems/forbidden"
    assert world.agents.keys["other"] == "OTHER_KEY"


@pytest.mark.parametrize(("method", "path", "body"), [*OWN, ("GET", "/api/proxy/routes", None)])
async def test_without_credentials_it_is_401(
    world: World, method: str, path: str, body: dict[str, str] | None
) -> None:
    answer = await world.call(method, path, token=None, json=body)

    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer, Basic realm=")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/agents/not%20a%20label"),
        ("DELETE", "/api/agents/a.b"),
        ("GET", "/api/config/-x"),
        ("GET", "/api/proxy/agents/%00"),
    ],
)
async def test_an_id_that_is_no_label_is_422(world: World, method: str, path: str) -> None:
    problem = assert_problem(await world.call(method, path, token=OPERATOR_TOKEN), 422)

    assert problem["errors"][0]["field"] == "agentId"
