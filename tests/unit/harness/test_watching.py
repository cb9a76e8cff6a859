"""Whoever sees traffic of a Data Plane API enters what breaks the contract; tests fail of it."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest
from litestar.types import Receive, Scope, Send

from frontserver.dataplane.client import DataPlaneClient
from frontserver.errors import ProxyError
from harness import plugin
from harness.contract.checks import Answer, Request
from harness.contract.journal import Journal
from harness.dataplane_double.watched import watched
from harness.errors import ContractError
from harness.interference import Interference

SERVERS = "/v3/services/haproxy/runtime/backends/shop/servers"
LISTED = Request("GET", SERVERS, {}, b"")
OTHERWISE = Answer(203, {}, b"")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "contract.log")


def complaints(journal: Journal) -> list[str]:
    with pytest.raises(ContractError) as caught:
        journal.complain()
    return str(caught.value).splitlines()[1:]


def test_a_journal_complains_once_of_each(journal: Journal) -> None:
    journal.complain()
    journal.enter(LISTED, OTHERWISE)
    journal.enter(Request("GET", f"{SERVERS}?all=1", {}, b""), None)
    journal.enter(LISTED, OTHERWISE)

    assert [line.partition(": ")[0] for line in complaints(journal)] == [
        f"GET {SERVERS}",
        f"GET {SERVERS}?all=1",
    ]
    journal.complain()
    journal.enter(LISTED, OTHERWISE)
    assert len(complaints(journal)) == 1


def test_a_test_fails_of_a_stack_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, journal: Journal
) -> None:
    stack = SimpleNamespace(dataplane=SimpleNamespace(journal=journal))
    monkeypatch.setattr(plugin, "live", lambda: (SimpleNamespace(dataplane=None), stack))
    plugin.hold_to_contract()
    journal.enter(LISTED, OTHERWISE)

    with pytest.raises(ContractError, match="203"):
        plugin.hold_to_contract()


# --- the double ---


class Api:
    """Adds whatever server it is told to, as APIs do that pass over what they don't know."""

    def __init__(self, status: int = 201) -> None:
        self.status = status
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.status == 401:
            self.body = b'{"code":401,"message":"who?"}'
        else:
            self.body = (await receive())["body"]
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        half = len(self.body) // 2
        await send({"type": "http.response.body", "body": self.body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[half:], "more_body": False})


def client(api: Api, journal: Journal) -> DataPlaneClient:
    """The product's own, of the API that is watched."""
    transport = httpx.ASGITransport(watched(api, journal))
    return DataPlaneClient("http://dp.test", user="u", password="p", transport=transport)


async def test_a_misspelt_field_of_ours_is_found(journal: Journal) -> None:
    server = {"name": "s1", "adress": "10.0.0.1", "port": 80}

    assert await client(Api(), journal).runtime.add_server("shop", server)

    (line,) = complaints(journal)
    assert line == f"POST {SERVERS}: the body: Object contains unknown field `adress`"


async def test_what_is_right_is_handed_on_and_not_entered(journal: Journal) -> None:
    api = Api()

    assert await client(api, journal).runtime.add_server("shop", {"name": "s1", "port": 80})

    assert api.body == b'{"name":"s1","port":80}'
    journal.complain()


async def test_an_answer_that_was_not_to_be_is_found(journal: Journal) -> None:
    with pytest.raises(ProxyError):
        await client(Api(status=206), journal).runtime.add_server("shop", {"name": "s1"})

    (line,) = complaints(journal)
    assert line.startswith(f"POST {SERVERS}: answer 206: the document doesn't know this status")


async def test_a_request_that_is_refused_unread_has_its_body_all_the_same(
    journal: Journal,
) -> None:
    with pytest.raises(ProxyError):
        await client(Api(status=401), journal).runtime.add_server("shop", {"nmae": "s1"})

    assert "unknown field `nmae`" in complaints(journal)[0]


async def test_a_request_that_is_never_answered_is_entered(journal: Journal) -> None:
    async def dies(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionError

    async with httpx.AsyncClient(transport=httpx.ASGITransport(watched(dies, journal))) as sender:
        with pytest.raises(ConnectionError):
            await sender.get(f"http://dp.test{SERVERS}?all=1")

    assert complaints(journal) == [f"GET {SERVERS}?all=1: no parameter `all` is known"]


# --- what stands between ---


class _Listing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def between() -> Iterator[Interference]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Listing) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with Interference(server.server_port) as between:
            yield between
        server.shutdown()


def test_what_is_handed_on_is_entered_where_it_is_wanted(
    between: Interference, journal: Journal
) -> None:
    url = f"{between.url}{SERVERS}"
    assert httpx.get(f"{url}?all=1", trust_env=False).text == "[]"
    between.journal = journal
    assert httpx.get(url, trust_env=False).text == "[]"
    journal.complain()

    assert httpx.get(f"{url}?all=1", trust_env=False).text == "[]"

    assert complaints(journal) == [f"GET {SERVERS}?all=1: no parameter `all` is known"]
