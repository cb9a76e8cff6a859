"""The SDK against a front server in memory; both clients share these expectations."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from frontserver.agent import (
    AgentError,
    AsyncClient,
    Client,
    LocalError,
    NotActiveError,
    RefusedError,
    RetryPolicy,
    UnexpectedAnswerError,
    UnreachableError,
)
from frontserver.errors import InputError
from frontserver.wire.routes.options import HttpOptions
from tests.unit.agent.fakes import (
    AGENT,
    DOMAIN,
    KEY,
    URL,
    Authority,
    FrontServer,
    listening,
    problem,
)

# Calls one method of a client and gives what it returns, whichever client it is.
Caller = Callable[..., Any]


class Time:
    """A clock that moves by what is slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def server() -> FrontServer:
    return FrontServer()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, server: FrontServer, time: Time) -> Caller:
    """`call(method, *args, **kwargs)`; `using={...}` changes how the client is made."""

    def invoke(method: str, *args: Any, using: dict[str, Any] | None = None, **more: Any) -> Any:
        made: dict[str, Any] = {"key": KEY, "transport": server.transport, "clock": time.clock}
        made |= using or {}
        if request.param == "sync":
            with Client(URL, AGENT, sleep=time.sleep, **made) as client:
                return getattr(client, method)(*args, **more)

        async def run() -> Any:
            async with AsyncClient(URL, AGENT, sleep=time.sleep_async, **made) as client:
                return await getattr(client, method)(*args, **more)

        return asyncio.run(run())

    return invoke


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(cls: type) -> dict[str, list[str]]:
        return {
            name: [str(p) for p in inspect.signature(method).parameters.values()]
            for name, method in vars(cls).items()
            if not name.startswith("_") and name not in {"close", "aclose"}
        }

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) == 13


def test_register_sends_what_the_api_names_and_takes_the_token(
    call: Caller, server: FrontServer
) -> None:
    seen: list[tuple[str, str]] = []
    answer = call(
        "register", "host-7", "203.0.113.9", using={"on_token": lambda *t: seen.append(t)}
    )
    assert server.bodies() == [
        {"agentId": AGENT, "agentKey": KEY, "agentName": "host-7", "targetIp": "203.0.113.9"}
    ]
    assert answer.target_ip == "203.0.113.9"
    assert seen == [(server.tokens[0], answer.expires_at)]
    assert "authorization" not in server.requests[0].headers


def test_register_leaves_out_what_is_not_given(call: Caller, server: FrontServer) -> None:
    call("register")
    assert server.bodies() == [{"agentId": AGENT, "agentKey": KEY}]


def test_a_call_without_a_token_authenticates_first(call: Caller, server: FrontServer) -> None:
    assert call("routes").routes == []
    assert server.calls == ["POST /api/agents/authenticate", "GET /api/proxy/agents/a1"]
    assert server.requests[1].headers["authorization"] == f"Bearer {server.tokens[0]}"


def test_an_expired_token_is_replaced_once(call: Caller, server: FrontServer) -> None:
    call("routes", using={"token": "expired"})
    assert server.calls == [
        "GET /api/proxy/agents/a1",
        "POST /api/agents/authenticate",
        "GET /api/proxy/agents/a1",
    ]


def test_a_token_that_is_refused_though_new_is_an_error(call: Caller, server: FrontServer) -> None:
    server.script = [problem(401, "no"), server_token(server), problem(401, "still no")]
    with pytest.raises(RefusedError, match="still no") as caught:
        call("routes", using={"token": "expired"})
    assert caught.value.status == 401
    assert len(server.requests) == 3


def server_token(server: FrontServer) -> httpx.Response:
    body = {"agentId": AGENT, "token": "t", "expiresAt": "2031-01-01T00:00:00Z"}
    return httpx.Response(200, json=body)


def test_a_token_alone_is_not_renewed(call: Caller, server: FrontServer) -> None:
    with pytest.raises(RefusedError, match="the token isn't valid"):
        call("routes", using={"key": None, "token": "expired"})
    assert len(server.requests) == 1


def test_without_key_and_token_nothing_is_sent(call: Caller, server: FrontServer) -> None:
    with pytest.raises(LocalError, match="key is needed"):
        call("routes", using={"key": None})
    assert server.requests == []


def test_a_wrong_key_is_refused_with_a_hint(call: Caller) -> None:
    with pytest.raises(RefusedError, match="check the agent id and key"):
        call("authenticate", using={"key": "wrong"})


def test_add_http_sends_structs_and_plain_options_alike(call: Caller, server: FrontServer) -> None:
    call("add_http", "shop", "http://10.0.0.5:3000", HttpOptions(sticky=True))
    call("add_http", "shop", "http://10.0.0.5:3000", {"sticky": True, "newOption": 1})
    call("add_http", "shop", None)
    bodies = [b for b in server.bodies() if "subdomain" in b]
    assert [b.get("options") for b in bodies] == [
        {"sticky": True},
        {"sticky": True, "newOption": 1},
        None,
    ]
    assert "targetUrl" not in bodies[2]


def test_add_mongodb_returns_the_connection_string(call: Caller, server: FrontServer) -> None:
    answer = call("add_mongodb", "10.0.0.5", 27018)
    assert (answer.domain, answer.target_port) == (DOMAIN, 27018)
    assert answer.connection_string.startswith("mongodb://")


def test_add_routes_sends_them_together(call: Caller, server: FrontServer) -> None:
    server.script = [server_token(server), outcomes("one", "two")]
    done = call(
        "add_routes",
        iter(
            [
                {"subdomain": "one", "targetUrl": "10.0.0.5", "path": None},
                {"subdomain": "two", "agentId": "another", "options": {"newOption": 1}},
            ]
        ),
        wait=3.5,
        using={"timeout": 10},
    )
    assert [(route.subdomain, route.change, route.status) for route in done] == [
        ("one", "created", "active"),
        ("two", "created", "active"),
    ]
    assert server.calls[-1] == "POST /api/proxy/routes"
    assert list(server.bodies())[-1] == {
        "routes": [
            {"agentId": AGENT, "subdomain": "one", "targetUrl": "10.0.0.5"},
            {"agentId": "another", "subdomain": "two", "options": {"newOption": 1}},
        ]
    }
    assert server.requests[-1].headers["prefer"] == "wait=3"
    assert server.requests[-1].extensions["timeout"]["read"] == 13


def test_long_lists_of_routes_are_several_requests(call: Caller, server: FrontServer) -> None:
    names = [f"r{number}" for number in range(1001)]
    server.script = [server_token(server), outcomes(*names[:1000]), outcomes(names[1000])]
    done = call("add_routes", [{"subdomain": name} for name in names])
    assert [route.subdomain for route in done] == names
    assert [len(body["routes"]) for body in list(server.bodies())[1:]] == [1000, 1]

    server.script = [server_token(server), outcomes("a"), outcomes("b")]
    call("add_routes", [{"subdomain": "a" * 130_000}, {"subdomain": "b" * 130_000}])
    assert [len(body["routes"]) for body in list(server.bodies())[-2:]] == [1, 1]
    assert all(len(request.content) < 256 * 1024 for request in server.requests)


def test_no_routes_are_no_request(call: Caller, server: FrontServer) -> None:
    assert call("add_routes", []) == []
    assert server.calls == []


def test_wait_is_asked_of_the_server_within_bounds_and_allowed_for(
    call: Caller, server: FrontServer
) -> None:
    call("add_http", "shop", "10.0.0.5", wait=3.5, using={"timeout": 10})
    call("add_mongodb", wait=900)
    posts = [r for r in server.requests if r.url.path.startswith("/api/proxy")]
    assert [r.headers["prefer"] for r in posts] == ["wait=3", "wait=30"]
    assert posts[0].extensions["timeout"]["read"] == 13


def test_routes_follows_pages(call: Caller, server: FrontServer) -> None:
    call("add_http", "one", "10.0.0.5")
    call("add_http", "two", "10.0.0.5")
    one, two = server.routes.values()
    server.script = [
        server_token(server),
        httpx.Response(200, json={"routes": [one], "next": "a b"}),
        httpx.Response(200, json={"routes": [two]}),
    ]
    found = call("routes").routes
    assert [route.subdomain for route in found] == ["one", "two"]
    assert server.requests[-1].url.params["after"] == "a b"


def test_remove_names_the_route_in_the_query(call: Caller, server: FrontServer) -> None:
    call("add_http", "shop", "10.0.0.5")
    call("add_mongodb")
    assert call("remove", "shop").status == "removed"
    assert dict(server.requests[-1].url.params) == {
        "agentId": AGENT,
        "type": "http",
        "subdomain": "shop",
    }
    assert call("remove", type="mongodb").status == "removed"
    assert server.routes == {}


def test_an_unknown_route_cannot_be_removed(call: Caller) -> None:
    with pytest.raises(RefusedError, match="no such route") as caught:
        call("remove", "shop")
    assert caught.value.status == 404


def test_a_removal_whose_answer_was_lost_counts_as_done(call: Caller, server: FrontServer) -> None:
    server.script = [server_token(server), httpx.ReadTimeout(""), problem(404, "none")]
    assert call("remove", "shop").status == "removed"


def test_rotate_key_uses_the_new_key_from_then_on(call: Caller, server: FrontServer) -> None:
    answer = call("rotate_key", "another-key-0002")
    assert server.agent_key == "another-key-0002"
    assert answer.token == server.tokens[-1]


def test_a_key_rotation_whose_answer_was_lost_counts_as_done(
    call: Caller, server: FrontServer
) -> None:
    server.agent_key = "another-key-0002"  # The first attempt arrived; its answer didn't.
    assert call("rotate_key", "another-key-0002", using={"token": "revoked"}).token


def test_a_key_rotation_that_is_refused_tells_why(call: Caller, server: FrontServer) -> None:
    with pytest.raises(RefusedError, match="wrong agent id or key"):
        call("rotate_key", "another-key-0002", using={"key": "wrong"})
    server.script = [server_token(server), problem(422, "too short")]
    with pytest.raises(RefusedError, match="too short"):
        call("rotate_key", "x")


def test_certificates_and_ca_come_as_text(call: Caller, server: FrontServer) -> None:
    assert call("certificates").cert == server.cert
    assert call("config").domains.mongodb == DOMAIN
    assert call("ca", using={"key": None}) == server.ca


def test_a_ca_that_is_not_text_is_unexpected(call: Caller, server: FrontServer) -> None:
    server.script = [httpx.Response(200, content=b"\xff\xfe")]
    with pytest.raises(UnexpectedAnswerError, match="PEM"):
        call("ca")


# -- waiting for a route ----------------------------------------------------------------------


def pending(call: Caller, server: FrontServer) -> Any:
    server.status = "pending"
    return call("add_http", "shop", "10.0.0.5")


def test_wait_active_polls_until_it_is(call: Caller, server: FrontServer, time: Time) -> None:
    answer = pending(call, server)
    view = server.routes["http/shop"]
    server.script = [
        server_token(server),
        httpx.Response(200, json={"routes": [view]}),
        httpx.Response(200, json={"routes": [view | {"status": "active"}]}),
    ]
    assert call("wait_active", answer, 60).status == "active"
    assert time.slept == [0.25, 0.5]


def test_wait_active_gives_up_after_its_seconds(
    call: Caller, server: FrontServer, time: Time
) -> None:
    answer = pending(call, server)
    with pytest.raises(NotActiveError, match="still pending after 2 s") as caught:
        call("wait_active", answer, 2)
    assert caught.value.status == "pending"
    assert sum(time.slept) == pytest.approx(2)


def test_wait_active_ends_when_the_route_fails(call: Caller, server: FrontServer) -> None:
    server.status = "failed"
    answer = call("add_http", "shop", "10.0.0.5")
    with pytest.raises(NotActiveError, match="HAProxy refuses it"):
        call("wait_active", answer)


def test_wait_active_ends_when_the_route_is_removed(call: Caller, server: FrontServer) -> None:
    answer = pending(call, server)
    server.routes.clear()
    with pytest.raises(NotActiveError, match="removed meanwhile"):
        call("wait_active", answer)


def test_two_paths_of_a_domain_are_waited_for_apart(server: FrontServer, time: Time) -> None:
    """Whether by their locations or, in another process, by the list."""
    server.status = "pending"
    with Client(URL, AGENT, key=KEY, transport=server.transport, sleep=time.sleep) as client:
        client.add_http("shop", "10.0.0.5")
        answer = client.add_http("shop", "10.0.0.6", path="/api")
        server.status = "active"
        assert client.wait_active(answer).path == "/api"
        assert str(server.requests[-1].url) == f"{URL}/api/proxy/routes/http/shop?path=/api"
    server.routes["http/shop/api"] |= {"status": "failed", "reason": "no slot"}
    server.routes["http/shop"] |= {"status": "active"}
    with (
        Client(URL, AGENT, key=KEY, transport=server.transport, sleep=time.sleep) as client,
        pytest.raises(NotActiveError, match=r"shop\.apps\.example\.com/api failed: no slot"),
    ):
        client.wait_active(answer)


def test_the_location_of_a_202_is_polled_at_our_own_server(server: FrontServer, time: Time) -> None:
    server.status = "pending"
    with Client(URL, AGENT, key=KEY, transport=server.transport, sleep=time.sleep) as client:
        answer = client.add_http("shop", "10.0.0.5")
        server.status = "active"
        assert client.wait_active(answer).status == "active"
        assert server.calls[-1] == "GET /api/proxy/routes/http/shop"

        server.status = "pending"
        stored = server.answer(server.requests[1])
        stored.headers["Location"] = "http://evil.test/api/proxy/routes/http/shop?x=1"
        server.script = [stored]
        answer = client.add_http("shop", "10.0.0.5")
        server.status = "active"
        client.wait_active(answer)
    assert str(server.requests[-1].url) == f"{URL}/api/proxy/routes/http/shop?x=1"


# -- retries ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(502, text="<html>"),
        httpx.Response(504),
        problem(503, "busy"),
        problem(429, "slower"),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(
    call: Caller, server: FrontServer, time: Time, outcome: Any
) -> None:
    server.script = [outcome, outcome]
    call("authenticate", using={"policy": RetryPolicy(first=1)})
    assert len(server.requests) == 3
    first, second = time.slept
    assert 0.5 <= first <= 1 <= second <= 2


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422, 500])
def test_a_refusal_is_not_tried_again(call: Caller, server: FrontServer, status: int) -> None:
    server.script = [problem(status, "no such luck")]
    with pytest.raises(RefusedError, match="no such luck") as caught:
        call("authenticate")
    assert caught.value.status == status
    assert len(server.requests) == 1


def test_retry_after_is_honoured(call: Caller, server: FrontServer, time: Time) -> None:
    server.script = [problem(503, "busy", headers={"Retry-After": "7"})]
    call("authenticate")
    assert time.slept == [7]


def test_a_retry_after_beyond_patience_is_an_error_at_once(
    call: Caller, server: FrontServer, time: Time
) -> None:
    server.script = [problem(429, "too many requests", headers={"Retry-After": "600"})]
    with pytest.raises(RefusedError, match="too many requests"):
        call("authenticate")
    assert time.slept == []


def test_a_server_that_stays_down_is_unreachable(
    call: Caller, server: FrontServer, time: Time
) -> None:
    server.script = [httpx.ConnectError("Connection refused")] * 4
    with pytest.raises(UnreachableError, match=r"http://front.test: Connection refused \(4 att"):
        call("authenticate", using={"policy": RetryPolicy(attempts=4)})
    assert len(time.slept) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [(problem(503, "the state can't be stored"), "can't be stored"), (httpx.Response(502), "gate")],
)
def test_a_server_that_stays_unavailable_is_unreachable(
    call: Caller, server: FrontServer, answer: httpx.Response, said: str
) -> None:
    server.script = [answer] * 2
    with pytest.raises(UnreachableError, match=said):
        call("authenticate", using={"policy": RetryPolicy(attempts=2)})


def test_a_time_limit_is_named(call: Caller, server: FrontServer) -> None:
    server.script = [httpx.ConnectTimeout(""), httpx.ReadTimeout("")]
    once = {"policy": RetryPolicy(attempts=1), "timeout": 4}
    with pytest.raises(UnreachableError, match="no connection within 4 s"):
        call("authenticate", using=once)
    with pytest.raises(UnreachableError, match="no answer within 4 s"):
        call("authenticate", using=once)


def test_an_untrusted_server_certificate_is_not_tried_again(
    call: Caller, server: FrontServer
) -> None:
    reason = ssl.SSLCertVerificationError("bad")
    reason.verify_message = "self-signed certificate"
    error = httpx.ConnectError("tls")
    error.__cause__ = reason
    server.script = [error]
    with pytest.raises(UnreachableError, match=r"self-signed.*--ca-file"):
        call("authenticate")
    assert len(server.requests) == 1


# -- answers that make no sense ---------------------------------------------------------------


def test_a_refusal_names_each_field(call: Caller, server: FrontServer) -> None:
    fields = [{"field": "options.check.path", "message": "must start with /"}]
    server.script = [problem(422, "1 value is refused", errors=fields, hint="mend it")]
    with pytest.raises(RefusedError) as caught:
        call("authenticate")
    assert str(caught.value) == (
        "1 value is refused [options.check.path: must start with /] (mend it)"
    )
    assert caught.value.problem.errors


@pytest.mark.parametrize(
    ("body", "said"),
    [({"message": "older words"}, "older words"), ({"detail": "x", "errors": [1]}, "x")],
)
def test_error_bodies_of_other_shapes_are_understood(
    call: Caller, server: FrontServer, body: dict[str, Any], said: str
) -> None:
    server.script = [httpx.Response(409, json=body)]
    with pytest.raises(RefusedError, match=said):
        call("authenticate")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>nothing here</html>"),
        httpx.Response(418, json=["tea"]),
        httpx.Response(400, json={"detail": 5}),
        httpx.Response(200, text="<html>welcome</html>"),
        httpx.Response(200, json={"hello": "world"}),
    ],
)
def test_an_answer_of_something_else_is_unexpected(
    call: Caller, server: FrontServer, answer: httpx.Response
) -> None:
    server.script = [answer]
    with pytest.raises(UnexpectedAnswerError, match="check the URL"):
        call("authenticate")


def test_a_redirect_is_not_followed(call: Caller, server: FrontServer) -> None:
    server.script = [httpx.Response(301, headers={"Location": "https://front.test/"})]
    with pytest.raises(UnexpectedAnswerError, match=r"redirects to https://front\.test/"):
        call("authenticate")


@pytest.mark.parametrize("url", ["ftp://x", "front.test", "http://", "http://[::1"])
def test_a_bad_base_url_is_refused(url: str) -> None:
    with pytest.raises(LocalError, match="is not a URL"):
        Client(url, AGENT)


def test_a_bad_agent_id_is_refused() -> None:
    with pytest.raises(InputError):
        Client(URL, "no spaces")


def test_a_missing_ca_file_is_refused() -> None:
    with pytest.raises(LocalError, match="CA file /nonexistent"):
        Client("https://front.test", AGENT, ca_file="/nonexistent")


def test_every_error_of_the_sdk_is_an_agent_error() -> None:
    kinds = (RefusedError, UnreachableError, UnexpectedAnswerError, NotActiveError, LocalError)
    assert all(issubclass(kind, AgentError) for kind in kinds)


def test_a_base_url_with_a_path_keeps_it(server: FrontServer) -> None:
    server.script = [server_token(server)]
    with Client(f"{URL}/front/", AGENT, key=KEY, transport=server.transport) as client:
        client.authenticate()
    assert server.calls == ["POST /front/api/agents/authenticate"]


async def test_the_apis_own_tls_is_verified_against_the_ca_file(tmp_path: Path) -> None:
    authority = Authority(datetime.now(UTC))
    cert, key = authority.issue()
    (tmp_path / "server.pem").write_text(cert + key)
    (tmp_path / "ca.pem").write_text(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with listening(FrontServer(authority), context) as url:
        with Client(url, AGENT, key=KEY, ca_file=tmp_path / "ca.pem") as client:
            assert client.routes().routes == []
        async with AsyncClient(url, AGENT, key=KEY, ca_file=tmp_path / "ca.pem") as trusting:
            assert (await trusting.routes()).routes == []
        with (
            Client(url, AGENT, key=KEY) as client,
            pytest.raises(UnreachableError, match=r"isn't trusted.*ca_file"),
        ):
            client.routes()
        async with AsyncClient(url, AGENT, key=KEY) as wary:
            with pytest.raises(UnreachableError, match=r"isn't trusted.*ca_file"):
                await wary.routes()


def outcomes(*names: str) -> httpx.Response:
    """What the server says of routes that are published together."""
    routes = [
        {
            "type": "http",
            "agentId": AGENT,
            "domain": f"{name}.apps.example.com",
            "subdomain": name,
            "change": "created",
            "status": "active",
        }
        for name in names
    ]
    counts = {"active": len(names), "pending": 0, "failed": 0}
    body = {"success": True, "message": "done", "counts": counts, "routes": routes}
    return httpx.Response(200, json=body)
