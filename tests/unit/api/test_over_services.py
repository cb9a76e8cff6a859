"""The flow of an agent through the real services and SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from frontserver.model.names import AgentId
from frontserver.model.status import PENDING
from tests.unit.api.fakes import ACTIVE, OPERATOR_TOKEN, assert_problem
from tests.unit.api.real import RealWorld, real_world

HTTP = {"agentId": "host-7", "subdomain": "shop", "targetUrl": "http://203.0.113.7:3000"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(tmp_path) as made:
        yield made


async def test_the_whole_flow_of_an_agent(world: RealWorld) -> None:
    token = await world.enrol("host-7")

    http = await world.call("POST", "/api/proxy/http", token=token, json=HTTP)
    mongodb = await world.call(
        "POST", "/api/proxy/mongodb", token=token, json={"agentId": "host-7"}
    )
    config = await world.call("GET", "/api/config/host-7", token=token)
    again = await world.call("GET", "/api/config/host-7", token=token)
    listed = await world.call("GET", "/api/proxy/agents/host-7", token=token)
    agent = await world.call("GET", "/api/agents/host-7", token=token)
    removed = await world.call("DELETE", "/api/proxy", token=token, json=HTTP)

    assert (http.status_code, mongodb.status_code) == (201, 201)
    assert http.json()["status"] == "active"
    assert mongodb.json()["connectionString"].startswith("mongodb://host-7.mongodb.example.com:")
    assert mongodb.json()["targetIp"] == "203.0.113.7"
    assert "BEGIN PRIVATE KEY" in config.json()["certificates"]["serverKey"]
    assert config.json()["certificates"] == again.json()["certificates"]
    assert len(listed.json()["routes"]) == len(agent.json()["routes"]) == 2
    assert removed.json() == {
        "success": True,
        "message": "the route is removed",
        "status": "removed",
    }


async def test_the_same_twice_is_the_same_result(world: RealWorld) -> None:
    token = await world.enrol("host-7")

    first = await world.call("POST", "/api/proxy/http", token=token, json=HTTP)
    second = await world.call("POST", "/api/proxy/http", token=token, json=HTTP)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["route"] == second.json()["route"]


async def test_a_repeated_registration_is_200_and_a_foreign_key_is_401(world: RealWorld) -> None:
    key = await world.agents.invite(AgentId("host-7"))
    body = {"agentId": "host-7", "agentKey": key}
    calls = [
        await world.call("POST", "/api/agents/register", token=None, json=sent)
        for sent in (body, body, body | {"agentKey": "another key"})
    ]

    assert [answer.status_code for answer in calls] == [201, 200, 401]
    assert_problem(calls[2], 401)


async def test_an_id_with_another_key_is_a_conflict_where_anyone_may_come(tmp_path: Path) -> None:
    async with real_world(tmp_path, enrolment="open") as world:
        body = {"agentId": "host-7", "agentKey": "the first key"}
        first = await world.call("POST", "/api/agents/register", token=None, json=body)
        second = await world.call(
            "POST", "/api/agents/register", token=None, json=body | {"agentKey": "the second key"}
        )

    assert first.status_code == 201
    assert_problem(second, 409)


async def test_wrong_keys_look_alike_whether_the_agent_exists(world: RealWorld) -> None:
    await world.enrol("host-7")

    answers = [
        await world.call(
            "POST",
            "/api/agents/authenticate",
            token=None,
            json={"agentId": agent_id, "agentKey": "a wrong key"},
        )
        for agent_id in ("host-7", "nobody")
    ]

    problems = [assert_problem(answer, 401) for answer in answers]
    for problem in problems:
        del problem["instance"]
    assert problems[0] == problems[1]


async def test_guessing_ends_in_429(tmp_path: Path) -> None:
    async with real_world(tmp_path, burst=3) as world:
        statuses = [
            (
                await world.call(
                    "POST",
                    "/api/agents/authenticate",
                    token=None,
                    json={"agentId": "host-7", "agentKey": f"guess number {number}"},
                )
            ).status_code
            for number in range(5)
        ]

    assert statuses[:3] == [401, 401, 401]
    assert statuses[-1] == 429


async def test_a_rotated_key_revokes_older_tokens(world: RealWorld) -> None:
    token = await world.enrol("host-7")

    await world.call(
        "POST", "/api/agents/host-7/key", token=token, json={"agentKey": "the new key"}
    )
    old = await world.call("GET", "/api/agents/host-7", token=token)
    fresh = await world.call(
        "POST",
        "/api/agents/authenticate",
        token=None,
        json={"agentId": "host-7", "agentKey": "the new key"},
    )
    new = await world.call("GET", "/api/agents/host-7", token=fresh.json()["token"])

    assert_problem(old, 401)
    assert new.status_code == 200


async def test_basic_credentials_work_like_a_token(world: RealWorld) -> None:
    key = await world.agents.invite(AgentId("host-7"))
    await world.call(
        "POST", "/api/agents/register", token=None, json={"agentId": "host-7", "agentKey": key}
    )

    answer = await world.call("GET", "/api/agents/host-7", token=None, auth=("host-7", key))

    assert answer.status_code == 200


async def test_two_agents_keep_to_their_own(world: RealWorld) -> None:
    first, second = await world.enrol("host-7"), await world.enrol("host-8")
    await world.call("POST", "/api/proxy/http", token=first, json=HTTP)
    mine = HTTP | {"agentId": "host-8"}

    taken = await world.call("POST", "/api/proxy/http", token=second, json=mine)
    posing = await world.call("POST", "/api/proxy/http", token=second, json=HTTP)
    removing = await world.call("DELETE", "/api/proxy", token=second, json=mine)
    listed = await world.call("GET", "/api/proxy/routes", token=second)

    assert_problem(taken, 409)
    assert_problem(posing, 403)
    assert_problem(removing, 404)
    assert listed.json()["routes"] == []


async def test_a_forbidden_target_is_422_with_its_field(world: RealWorld) -> None:
    token = await world.enrol("host-7")

    answers = {
        "targetUrl": HTTP | {"targetUrl": "http://169.254.169.254"},
        "options.targets[0].url": HTTP | {"options": {"targets": [{"url": "http://127.0.0.1"}]}},
        "options.originTls.ca": HTTP | {"options": {"originTls": {"ca": "no PEM"}}},
    }

    for field, body in answers.items():
        problem = assert_problem(
            await world.call("POST", "/api/proxy/http", token=token, json=body), 422
        )
        assert [error["field"] for error in problem["errors"]] == [field]


async def test_an_operator_pages_through_the_routes_of_all(world: RealWorld) -> None:
    token = await world.enrol("host-7")
    for name in ("a", "b", "c"):
        await world.call("POST", "/api/proxy/http", token=token, json=HTTP | {"subdomain": name})

    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = (
            await world.call("GET", "/api/proxy/routes", token=OPERATOR_TOKEN, params=params)
        ).json()
        assert page["routeCount"] == 3
        seen += [route["subdomain"] for route in page["routes"]]
        after = page.get("next")
        if after is None:
            break

    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize("after", ["nonsense", "tcp:x", "http:\x00", "http:" + "x" * 10_000])
async def test_a_strange_cursor_never_breaks(world: RealWorld, after: str) -> None:
    answer = await world.call(
        "GET", "/api/proxy/routes", token=OPERATOR_TOKEN, params={"after": after}
    )

    assert answer.status_code in {200, 422}


async def test_a_csr_gives_a_certificate_for_its_key(world: RealWorld) -> None:
    token = await world.enrol("host-7")
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    answer = await world.call(
        "POST", "/api/certificates/agent/host-7/csr", token=token, json={"csr": pem.decode()}
    )
    refused = await world.call(
        "POST", "/api/certificates/agent/host-7/csr", token=token, json={"csr": "nonsense"}
    )

    assert answer.status_code == 200
    certificate = x509.load_pem_x509_certificate(answer.json()["certificates"]["cert"].encode())
    assert certificate.public_key() == key.public_key()
    assert answer.json()["certificates"]["key"] is None
    assert assert_problem(refused, 422)["errors"][0]["field"] == "csr"


async def test_the_public_ca_signed_what_agents_get(world: RealWorld) -> None:
    token = await world.enrol("host-7")
    ca = await world.call("GET", "/api/certificates/mongodb-ca", token=None)
    config = await world.call("GET", "/api/config/host-7", token=token)

    issuer = x509.load_pem_x509_certificate(ca.content)
    leaf = x509.load_pem_x509_certificate(config.json()["certificates"]["cert"].encode())
    leaf.verify_directly_issued_by(issuer)


async def test_a_pending_route_is_stored(world: RealWorld) -> None:
    token = await world.enrol("host-7")
    world.publisher.outcome = PENDING

    answer = await world.call("POST", "/api/proxy/http", token=token, json=HTTP)
    polled = await world.call("GET", answer.headers["location"], token=token)
    world.publisher.outcome = ACTIVE
    later = await world.call("GET", answer.headers["location"], token=token)

    assert answer.status_code == 202
    assert polled.json()["status"] == "pending"
    assert later.json()["status"] == "active"


async def test_what_cant_be_stored_is_503_and_not_there_afterwards(
    world: RealWorld, tmp_path: Path
) -> None:
    token = await world.enrol("host-7")
    state = tmp_path / "state.sqlite3"
    state.rename(tmp_path / "elsewhere")

    answer = await world.call("POST", "/api/proxy/http", token=token, json=HTTP)
    (tmp_path / "elsewhere").rename(state)
    listed = await world.call("GET", "/api/proxy/routes", token=token)

    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert str(tmp_path) not in answer.text
    assert listed.json()["routes"] == []


async def test_a_removed_agent_leaves_nothing_behind(world: RealWorld) -> None:
    token = await world.enrol("host-7")
    await world.call("POST", "/api/proxy/http", token=token, json=HTTP)

    removed = await world.call("DELETE", "/api/agents/host-7", token=token)

    assert removed.status_code == 200
    assert_problem(await world.call("GET", "/api/agents/host-7", token=token), 401)
    assert_problem(await world.call("GET", "/api/agents/host-7", token=OPERATOR_TOKEN), 404)
    everyone = await world.call("GET", "/api/proxy/routes", token=OPERATOR_TOKEN)
    assert everyone.json()["routeCount"] == 0
