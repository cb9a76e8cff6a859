"""Frontends of the operator's own lead to routes; his sites on them answer as before."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from harness.polling import until
from harness.ports import free_port
from harness.stack import Stack
from tests.e2e.clients import mongo_client, owned_mongod

pytestmark = pytest.mark.dataplane_backend

MakeStack = Callable[..., Stack]

OPERATOR = """\
global
    stats socket {runtime} mode 600 level admin

defaults web
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s

# Whoever asks for what isn't a route.
frontend www from web
    bind 127.0.0.1:@http
    http-request deny deny_status 429 if { path /teapot }
    use_backend shop if { hdr(host) -m beg shop. }
    default_backend home

# The database's.
frontend databases from web
    mode tcp
    bind 127.0.0.1:@mongo
    default_backend legacy

backend home from web
    http-request return status 200 content-type text/plain string "home"

backend shop from web
    http-request set-header x-for %[req.hdr(x-forwarded-for)]
    http-request return status 200 content-type text/plain lf-string "%[req.hdr(x-for)]shop"

backend legacy from web
    mode tcp
    tcp-request content reject
"""


class Adopted:
    """A stack whose routes are reached by two frontends of the operator's."""

    def __init__(self, make_stack: MakeStack, **environ: str) -> None:
        self.http, self.mongo = free_port(), free_port()
        text = OPERATOR.replace("@http", str(self.http)).replace("@mongo", str(self.mongo))
        self.stack = make_stack(
            backend="dataplane",
            dataplane={"operator": text, "single_file": True},
            environ={
                "FRONTSERVER_DATAPLANE_FILE": "shared",
                "FRONTSERVER_DATAPLANE_HTTP_FRONTENDS": "www",
                "FRONTSERVER_DATAPLANE_MONGODB_FRONTENDS": "databases",
                **environ,
            },
            start=False,
        )
        self.stack.front.bind(http=self.http, mongo=self.mongo)

    @property
    def text(self) -> str:
        assert self.stack.dataplane is not None
        return self.stack.dataplane.files.config.read_text()

    def home(self, path: str = "/", host: str = "anything.example.net") -> tuple[int, str]:
        """What the operator's own site says."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.http}{path}",
            headers={"host": host, "x-forwarded-for": "203.0.113.9"},
            trust_env=False,
        )
        return answer.status_code, answer.text


@pytest.fixture
def adopted(make_stack: MakeStack) -> Adopted:
    return Adopted(make_stack)


def test_routes_are_reached_by_the_operators_frontends(
    adopted: Adopted, mongod_binary: Path
) -> None:
    stack = adopted.stack
    before = adopted.home()
    assert before == (200, "home")
    stack.front.start()
    agent = stack.registered("adopted")
    origin = stack.origin("adopted")
    agent.http("site", origin.url)
    assert stack.get("site").headers["x-origin"] == "adopted"
    # His rules stand before ours, and what isn't a route's is his alone.
    assert adopted.home() == before
    assert adopted.home("/teapot")[0] == 429
    assert adopted.home(host="shop.example.net") == (200, "203.0.113.9shop")
    assert "fs_in_" not in adopted.text

    mongod = owned_mongod(stack, agent)
    agent.mongodb(mongod)
    with mongo_client(stack, agent) as client:
        assert client.admin.command("ping")["ok"] == 1

    ours = [line for line in adopted.text.splitlines() if re.search(r"(txn|sess)\.fs_", line)]
    agent.http("second", origin.url)
    stack.dataplane.restart()
    stack.front.wait_ready()
    until("it is written", lambda: "second" in _maps(stack))
    again = [line for line in adopted.text.splitlines() if re.search(r"(txn|sess)\.fs_", line)]
    assert again == ours, "written again and again, it is there once"
    assert stack.get("site").headers["x-origin"] == "adopted"


def test_frontends_that_are_named_no_more_are_left(adopted: Adopted) -> None:
    stack = adopted.stack
    stack.front.start()
    agent, origin = stack.registered("leaves"), stack.origin("leaves")
    agent.http("site", origin.url)
    stack.front.terminate()
    for name in ("HTTP", "MONGODB"):
        del stack.front.environ[f"FRONTSERVER_DATAPLANE_{name}_FRONTENDS"]
    stack.front.bind(http=free_port(), mongo=free_port())
    stack.front.start()
    until("ours lead to it", lambda: stack.get("site").status_code == 200, quiet=(httpx.HTTPError,))
    assert adopted.home(host="site.apps.example.com") == (200, "home")
    sections = adopted.text.partition("frontend fs_in_http")
    assert "fs_backend" not in sections[0].partition("frontend www")[2].partition("frontend ")[0]


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("HTTP", "wwww", "has no frontend wwww; it has: databases, www"),
        ("HTTP", "databases", "the frontend databases is in mode tcp, not http"),
    ],
)
def test_a_frontend_that_cannot_be_adopted_is_named(
    make_stack: MakeStack, setting: str, value: str, says: str
) -> None:
    environ = {f"FRONTSERVER_DATAPLANE_{setting}_FRONTENDS": value}
    if value == "databases":
        environ["FRONTSERVER_DATAPLANE_MONGODB_FRONTENDS"] = ""
    adopted = Adopted(make_stack, **environ)
    before = adopted.text
    adopted.stack.front.start(ready=False)
    url = f"{adopted.stack.front.api_url}/health/ready"

    def explains() -> bool:
        return says in httpx.get(url, trust_env=False).text

    until("it says so", explains, quiet=(httpx.HTTPError,))
    assert adopted.text == before
    assert adopted.home() == (200, "home")


def _maps(stack: Stack) -> str:
    return "".join(path.read_text() for path in stack.front.maps_dir.glob("*.map"))
