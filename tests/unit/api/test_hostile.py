"""Hostile values in every field of every request body: refused, and never a fault of ours."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.api.fakes import Calls, World, assert_problem
from tests.unit.api.real import RealWorld, real_world

STRICT = settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# What no field of any kind may hold.
CONTROL = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "shop", "http://203.0.113.7", "203.0.113.7"]),
    st.sampled_from(["\n", "\r\n", "\r", "\0", "\x1b[2J", "\x7f", "\u2028", "\u202e", "\t"]),
    st.sampled_from(["", "shop", "server evil 192.0.2.66:80", "\n  bind :1"]),
)
LONG = st.builds(lambda text: text * 10_000, st.sampled_from(["x", "9", "a.", "é", "%", "a "]))
# What no name, address, URL or enumeration may hold; a key or a header's value may.
NAMES = st.sampled_from(
    [
        "a b",
        " a",
        "a ",
        '"a"',
        "'a'",
        "a%b",
        "%[env(PATH)]",
        "%0a",
        "a#b",
        "a\\b",
        "a;b",
        "a{b}",
        "{{ a }}",
        "$(a)",
        "`a`",
        "<a>",
        "a,b",
        "../a",
        "a/b/c",
        "\u0430pple",  # A Cyrillic letter among Latin ones.
        "\uff53hop",  # Full width.
        "a\u200bb",
        "a\u00adb",
        "\u0661",
        "😀",
        "127.1",
        "0x7f.1",
        "[::1",
        "fe80::1%eth0",
        "-",
        "",
    ]
)

TEXT, FLAG, NUMBER, OBJECT, ARRAY = "text", "flag", "number", "object", "array"
WRONG: dict[str, list[Any]] = {
    TEXT: ["shop\nshop"],
    FLAG: [True, False],
    NUMBER: [0, -1, 1.5, 1e300, 10**30, 10**400],
    OBJECT: [{"x": 1}, {"": {}}, {"a\nb": "c"}],
    ARRAY: [[], [[]], ["a", 1], [None]],
}

# Each field: its path, the JSON kinds that it takes, and whether any printable text will do.
Field = tuple[tuple[str | int, ...], frozenset[str], bool]


def field(path: str, *kinds: str, free: bool = False) -> Field:
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("."))
    return steps, frozenset(kinds), free


FULL_OPTIONS: dict[str, Any] = {
    "useTls": True,
    "redirectHttps": False,
    "check": {
        "path": "/",
        "interval": 2,
        "timeout": 1,
        "rise": 2,
        "fall": 3,
        "expectStatus": 200,
        "host": "shop.example.com",
    },
    "targets": [{"url": "http://203.0.113.8", "weight": 1, "backup": False}],
    "balance": "random",
    "sticky": {"cookie": "c"},
    "timeouts": {"connect": 1, "server": 1, "queue": 1, "tunnel": 1},
    "headers": {
        "request": {"set": {"x-a": "b"}, "remove": ["x-b"]},
        "response": {"set": {}, "remove": []},
    },
    "maxConnections": 1,
    "hostHeader": "target.example.com",
    "originTls": {"verify": False, "serverName": "a.example.com", "ca": None},
}

HTTP: tuple[str, dict[str, Any], list[Field]] = (
    "/api/proxy/http",
    {
        "agentId": "server-id",
        "subdomain": "shop",
        "targetUrl": "http://203.0.113.7:3000",
        "options": FULL_OPTIONS,
    },
    [
        field("agentId", TEXT),
        field("subdomain", TEXT),
        field("targetUrl", TEXT),
        field("options", OBJECT),
        field("options.useTls", FLAG),
        field("options.redirectHttps", FLAG),
        field("options.check", FLAG, OBJECT),
        field("options.check.path", TEXT),
        field("options.check.interval", NUMBER, TEXT),
        field("options.check.timeout", NUMBER, TEXT),
        field("options.check.rise", NUMBER),
        field("options.check.fall", NUMBER),
        field("options.check.expectStatus", NUMBER, TEXT),
        field("options.check.host", TEXT),
        field("options.targets", ARRAY),
        field("options.targets.0", OBJECT),
        field("options.targets.0.url", TEXT),
        field("options.targets.0.weight", NUMBER),
        field("options.targets.0.backup", FLAG),
        field("options.balance", TEXT),
        field("options.sticky", FLAG, OBJECT),
        field("options.sticky.cookie", TEXT),
        field("options.timeouts", OBJECT),
        field("options.timeouts.connect", NUMBER, TEXT),
        field("options.timeouts.server", NUMBER, TEXT),
        field("options.timeouts.queue", NUMBER, TEXT),
        field("options.timeouts.tunnel", NUMBER, TEXT),
        field("options.headers", OBJECT),
        field("options.headers.request", OBJECT),
        field("options.headers.request.set", OBJECT),
        field("options.headers.request.set.x-a", TEXT, free=True),
        field("options.headers.request.remove", ARRAY),
        field("options.headers.request.remove.0", TEXT),
        field("options.headers.response.set", OBJECT),
        field("options.headers.response.remove", ARRAY),
        field("options.maxConnections", NUMBER),
        field("options.hostHeader", TEXT),
        field("options.originTls", OBJECT),
        field("options.originTls.verify", FLAG),
        field("options.originTls.serverName", TEXT),
        field("options.originTls.ca", TEXT),
    ],
)
MONGODB: tuple[str, dict[str, Any], list[Field]] = (
    "/api/proxy/mongodb",
    {
        "agentId": "server-id",
        "targetHost": "203.0.113.7",
        "targetPort": 27017,
        "options": {"useTls": True, "check": False},
    },
    [
        field("agentId", TEXT),
        field("targetHost", TEXT),
        field("targetPort", NUMBER),
        field("options", OBJECT),
        field("options.useTls", FLAG),
        field("options.check", FLAG),
    ],
)
LEGACY: tuple[str, dict[str, Any], list[Field]] = (
    "/api/mongodb/register",
    {"agentId": "server-id", "targetIp": "203.0.113.7", "targetPort": 27017, "useTls": True},
    [
        field("agentId", TEXT),
        field("targetIp", TEXT),
        field("targetPort", NUMBER),
        field("useTls", FLAG),
    ],
)
REGISTER: tuple[str, dict[str, Any], list[Field]] = (
    "/api/agents/register",
    {"agentId": "new", "agentKey": "AGENT_TOKEN", "agentName": "n", "targetIp": "203.0.113.7"},
    [
        field("agentId", TEXT),
        field("agentKey", TEXT, free=True),
        field("agentName", TEXT, free=True),
        field("targetIp", TEXT),
    ],
)
AUTHENTICATE: tuple[str, dict[str, Any], list[Field]] = (
    "/api/agents/authenticate",
    {"agentId": "server-id", "agentKey": "AGENT_TOKEN"},
    [field("agentId", TEXT), field("agentKey", TEXT)],
)
ROTATE: tuple[str, dict[str, Any], list[Field]] = (
    "/api/agents/server-id/key",
    {"agentKey": "AGENT_TOKEN"},
    [field("agentKey", TEXT, free=True)],
)
SIGN: tuple[str, dict[str, Any], list[Field]] = (
    "/api/certificates/agent/server-id/csr",
    {"csr": ""},
    [field("csr", TEXT)],
)
REMOVE: tuple[str, dict[str, Any], list[Field]] = (
    "/api/proxy",
    {"agentId": "server-id", "subdomain": "shop", "type": "http"},
    [field("agentId", TEXT), field("subdomain", TEXT), field("type", TEXT)],
)
REQUESTS = [HTTP, MONGODB, LEGACY, REGISTER, AUTHENTICATE, ROTATE, SIGN, REMOVE]


@st.composite
def hostile_requests(
    draw: st.DrawFn, requests: Sequence[tuple[str, dict[str, Any], list[Field]]] = REQUESTS
) -> tuple[str, str, bytes]:
    """Method, path and body of a request that is valid but for one field."""
    path, body, fields = draw(st.sampled_from(requests))
    steps, kinds, free = draw(st.sampled_from(fields))
    wrong = [value for kind, values in WRONG.items() if kind not in kinds for value in values]
    choices = [CONTROL, LONG, st.sampled_from(wrong)]
    if not free:
        choices.append(NAMES.filter(lambda text: not _is_fine(steps, kinds, text)))
    value = draw(st.one_of(choices))
    method = "DELETE" if path == "/api/proxy" else "POST"
    return method, path, msgspec.json.encode(_with(body, steps, value))


def _is_fine(steps: tuple[str | int, ...], kinds: frozenset[str], text: str) -> bool:
    """Whether a name that is hostile to most fields isn't to this one."""
    if text == "":
        # "Not given" for these, as older agents send it.
        return steps[-1] in {"targetUrl", "targetIp", "targetHost"}
    if NUMBER in kinds:
        # Times may be given as numbers in a text.
        return text == "127.1"
    # Tokens (RFC 6265 section 4.1.1).
    return steps[-1] == "cookie" and text in {"-", "127.1", "0x7f.1"}


def _with(body: dict[str, Any], steps: tuple[str | int, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    place: Any = changed
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    return changed


async def send(world: Calls, request: tuple[str, str, bytes], token: str) -> httpx.Response:
    method, path, body = request
    return await world.call(
        method, path, token=token, content=body, headers={"content-type": "application/json"}
    )


def assert_refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    problem = assert_problem(answer, answer.status_code)
    # Nothing hostile comes back raw, to a terminal or a log.
    assert problem["message"].isprintable()
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("request_", [HTTP, MONGODB, LEGACY, REGISTER], ids=lambda r: r[0])
async def test_each_request_is_accepted_as_it_stands(
    world: World, request_: tuple[str, dict[str, Any], list[Field]]
) -> None:
    path, body, _ = request_

    answer = await world.call("POST", path, json=body)

    assert answer.status_code == 201, answer.text


@STRICT
@given(request=hostile_requests())
async def test_hostile_values_are_refused(shared: World, request: tuple[str, str, bytes]) -> None:
    shared.reset()

    assert_refused(await send(shared, request, "token-server-id"))

    assert shared.routes.views == {}
    assert shared.agents.keys == {"server-id": "AGENT_TOKEN", "other": "OTHER_KEY"}


class _Enrolled:
    """The real services, and the token of an agent `server-id`."""

    def __init__(self, world: RealWorld, token: str, revision: int) -> None:
        self.world = world
        self.token = token
        self.revision = revision


@pytest.fixture
async def enrolled(tmp_path: Path) -> AsyncIterator[_Enrolled]:
    # Anyone may register, so that a registration isn't refused for its key alone.
    async with real_world(tmp_path, enrolment="open", burst=10_000) as world:
        token = await world.enrol("server-id")
        yield _Enrolled(world, token, await world.revision())


@STRICT
@given(request=hostile_requests())
async def test_hostile_values_are_refused_by_the_real_services(
    enrolled: _Enrolled, request: tuple[str, str, bytes]
) -> None:
    assert_refused(await send(enrolled.world, request, enrolled.token))

    # Nothing of it is stored.
    assert await enrolled.world.revision() == enrolled.revision


@STRICT
@given(request=hostile_requests([HTTP, MONGODB]))
async def test_a_hostile_value_is_refused_in_a_batch_too(
    enrolled: _Enrolled, request: tuple[str, str, bytes]
) -> None:
    """The same routes as alone, and none beside them is stored."""
    _, path, body = request
    good = {"agentId": "server-id", "subdomain": "good", "targetUrl": "http://203.0.113.7"}
    hostile = {**msgspec.json.decode(body), "type": path.rpartition("/")[2]}
    batch = msgspec.json.encode({"routes": [good, hostile]})

    answer = await send(enrolled.world, ("POST", "/api/proxy/routes", batch), enrolled.token)

    assert_refused(answer)
    assert all(error["field"].startswith("routes[1]") for error in answer.json()["errors"])
    assert await enrolled.world.revision() == enrolled.revision


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4)
    ),
    max_leaves=20,
)


@STRICT
@given(path=st.sampled_from([request[0] for request in REQUESTS]), value=JSON_VALUES)
async def test_any_json_is_answered(shared: World, path: str, value: object) -> None:
    method = "DELETE" if path == "/api/proxy" else "POST"
    try:
        content = msgspec.json.encode(value)
    except UnicodeEncodeError:
        return  # A lone surrogate can't be sent as UTF-8.

    answer = await send(shared, (method, path, content), "token-server-id")

    assert answer.status_code < 500, answer.text


@STRICT
@given(path=st.sampled_from([request[0] for request in REQUESTS]), body=st.binary(max_size=200))
async def test_any_bytes_are_answered(shared: World, path: str, body: bytes) -> None:
    method = "DELETE" if path == "/api/proxy" else "POST"

    answer = await send(shared, (method, path, body), "token-server-id")

    assert answer.status_code < 500, answer.text
