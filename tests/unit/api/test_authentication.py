"""Credentials in the `Authorization` header, and whose address counts."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from litestar import get

from frontserver.api.dependencies import Caller
from frontserver.errors import StorageError, TooManyRequestsError
from tests.unit.api.fakes import OPERATOR_TOKEN, World, assert_problem

PATH = "/api/agents/server-id"


def basic(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return "Basic " + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "header",
    [
        "Bearer token-server-id",
        "bearer token-server-id",
        "BEARER   token-server-id ",
        f"Bearer {OPERATOR_TOKEN}",
        basic("server-id:AGENT_TOKEN"),
        basic("SERVER-ID:AGENT_TOKEN").replace("Basic", "basic"),
    ],
)
async def test_either_scheme_is_accepted(world: World, header: str) -> None:
    answer = await world.call("GET", PATH, token=None, headers={"authorization": header})

    assert answer.status_code == 200


async def test_a_key_may_hold_colons(world: World) -> None:
    world.agents.keys["server-id"] = "a:b:c"

    answer = await world.call(
        "GET", PATH, token=None, headers={"authorization": basic("server-id:a:b:c")}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer token-not a label",
        "Bearer token-server-id extra",
        "Digest token-server-id",
        "token-server-id",
        "Basic",
        "Basic !!!",
        "Basic =",
        basic("server-id"),
        basic("server-id:wrong"),
        basic("nobody:AGENT_TOKEN"),
        basic("no label:AGENT_TOKEN"),
        basic(b"\xff\xfe:\x00"),
        basic(":"),
        "Bearer " + "x" * 10_000,
    ],
)
async def test_anything_else_is_one_and_the_same_401(world: World, header: str) -> None:
    answer = await world.call("GET", PATH, token=None, headers={"authorization": header})

    problem = assert_problem(answer, 401)
    assert problem["message"] == "these credentials are not valid, or not any more"
    assert problem["type"] == "/problems/unauthenticated"
    expected = 'Bearer, Basic realm="frontserver", charset="UTF-8"'
    assert answer.headers["www-authenticate"] == expected


async def test_bytes_that_arent_text_are_401(world: World) -> None:
    headers: Any = [(b"authorization", b"Bearer \xff\xfe")]

    assert_problem(await world.call("GET", PATH, token=None, headers=dict(headers)), 401)


async def test_credentials_come_before_the_body(world: World) -> None:
    answer = await world.call("POST", "/api/proxy/http", token=None, content=b"{broken")

    assert_problem(answer, 401)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(TooManyRequestsError("too many", retry_after=3), 429), (StorageError("locked"), 503)],
)
async def test_trouble_while_checking_isnt_called_wrong_credentials(
    world: World, failure: Exception, status: int
) -> None:
    world.agents.failure = failure

    answer = await world.call(
        "GET", PATH, token=None, headers={"authorization": basic("server-id:AGENT_TOKEN")}
    )

    assert_problem(answer, status)


async def test_further_handlers_need_credentials_unless_they_say_otherwise() -> None:
    @get("/api/admin/who")
    async def who(principal: Caller) -> dict[str, str]:
        return {"name": principal.name}

    world = World(route_handlers=[who])

    assert_problem(await world.call("GET", "/api/admin/who", token=None), 401)
    answer = await world.call("GET", "/api/admin/who", token=OPERATOR_TOKEN)
    assert answer.json() == {"name": "operator"}


PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("direct", "forwarded", "seen"),
    [
        ("198.51.100.1", None, "198.51.100.1"),
        # A stranger may claim anything.
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        # The rightmost that isn't a proxy: what stands left of it is a claim again.
        ("10.0.0.1", "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.66, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "192.0.2.66, unknown", "10.0.0.1"),
        ("10.0.0.1", ", ,", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("2001:db8:ffff::1", "203.0.113.9", "203.0.113.9"),
        # A socket for both families shows IPv4 peers mapped into IPv6.
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:198.51.100.1", None, "198.51.100.1"),
        ("a-socket", "203.0.113.9", "a-socket"),
    ],
)
async def test_forwarded_addresses_count_only_from_known_proxies(
    direct: str, forwarded: str | None, seen: str
) -> None:
    world = World(trusted_proxies=PROXIES)
    headers = {"x-forwarded-for": forwarded} if forwarded is not None else {}

    answer = await world.call(
        "POST",
        "/api/agents/register",
        token=None,
        address=direct,
        headers=headers,
        json={"agentId": "a", "agentKey": "k"},
    )

    assert world.agents.peers == [seen]
    assert answer.status_code == (422 if seen == "a-socket" else 201)


async def test_the_address_reaches_the_check_of_a_key_too() -> None:
    world = World(trusted_proxies=PROXIES)

    await world.call(
        "GET",
        PATH,
        token=None,
        address="10.0.0.1",
        headers={"authorization": basic("server-id:x"), "x-forwarded-for": "203.0.113.9"},
    )

    assert world.agents.peers == ["203.0.113.9"]
