"""Long connections survive what happens to other routes, and reloads."""

from __future__ import annotations

from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from harness.origin import Origin
from harness.polling import until
from harness.stack import Stack, StackAgent
from harness.traffic import Download, Load
from tests.e2e.clients import mongo_client, owned_mongod, owner

ROUTE_CHANGES = 20
RELOADS = 5


@pytest.fixture(scope="module")
def steady(stack: Stack) -> Origin:
    """The origin of the connections that must survive."""
    origin = stack.origin("steady")
    assert stack.registered("steady").api.http("steady", origin.url).status_code == 201
    wait_for_disk(stack, "steady.apps.example.com")
    return origin


@pytest.fixture(scope="module")
def busy(stack: Stack) -> StackAgent:
    """An agent that keeps changing its routes."""
    return stack.registered("busy")


def wait_for_disk(stack: Stack, domain: str) -> None:
    """Wait until a reload by somebody else finds the route: it reads the disk, moments later."""
    maps = stack.front.maps_dir
    until(
        f"{domain} is on disk",
        lambda: any(domain in path.read_text() for path in maps.glob("*.map")),
        quiet=(OSError,),
    )


def disturb(stack: Stack, busy: StackAgent, target: str) -> None:
    """20 changes of routes and 5 reloads; each reload must have made a new worker.

    Some reloads are the operator's own, some are what a header name never seen before needs.
    """
    workers = [stack.front.sockets.worker_pid()]
    for number in range(RELOADS):
        names = [f"busy-{number}-{turn}" for turn in range(ROUTE_CHANGES // RELOADS // 2)]
        for name in names:
            assert busy.api.http(name, target).json()["status"] == "active"
            assert stack.get(name).status_code == 200, "the worker that serves now has it"
        if number % 2:
            workers.append(stack.front.reload_haproxy())
        else:
            unseen = {"set": {f"X-Unseen-{workers[-1]}-{number}": "1"}}
            answer = busy.api.http("busy-unseen", target, headers={"request": unseen})
            assert answer.json()["status"] == "active"
            workers.append(stack.front.sockets.worker_pid())
        for name in names:
            assert busy.api.remove(name).status_code == 200
    assert len(set(workers)) == RELOADS + 1, workers


def test_a_mongodb_connection_survives(
    stack: Stack, busy: StackAgent, steady: Origin, mongod_binary: Path
) -> None:
    """The same connection all along, and every write on it acknowledged."""
    agent = stack.registered("survivor")
    mongod = owned_mongod(stack, agent)
    assert agent.api.mongodb(mongod.port).json()["status"] == "active"
    wait_for_disk(stack, agent.domain)
    with mongo_client(stack, agent, maxPoolSize=1, retryReads=False, retryWrites=False) as client:
        connection = client.admin.command("hello")["connectionId"]
        client.fleet.log.insert_one({"_id": "before"})
        disturb(stack, busy, steady.url)
        client.fleet.log.insert_one({"_id": "after"})
        assert owner(client) == "survivor"
        assert client.admin.command("hello")["connectionId"] == connection
        assert client.fleet.log.count_documents({}) == 2


def test_a_long_download_survives(stack: Stack, busy: StackAgent, steady: Origin) -> None:
    """Every line in order, and a regular end."""
    with Download(stack.url("steady", "/download")) as download:
        download.wait_for(5)
        disturb(stack, busy, steady.url)
        download.wait_for(5)
        steady.finish()
        assert download.end() > 10


def test_a_websocket_survives(stack: Stack, busy: StackAgent, steady: Origin) -> None:
    with connect(stack.url("steady", "/ws", scheme="ws"), proxy=None) as socket:
        socket.send("before")
        assert socket.recv(10) == "before"
        disturb(stack, busy, steady.url)
        socket.send("after")
        assert socket.recv(10) == "after"


def test_an_idle_connection_is_still_answered_after_a_reload(stack: Stack, steady: Origin) -> None:
    """Visitors reuse a connection without asking first: the worker that leaves still answers."""
    host = "steady.apps.example.com"
    visitors = [HTTPConnection(host, stack.front.http_port, timeout=10) for _ in range(10)]
    try:
        for visitor in visitors:
            assert _visit(visitor) == 200
            visitor.auto_open = 0  # From here on the same connection, or an error.
        leaving = stack.front.sockets.worker_pid()
        assert stack.front.reload_haproxy() != leaving
        assert [_visit(visitor) for visitor in visitors] == [200] * len(visitors)
    finally:
        for visitor in visitors:
            visitor.close()


def test_a_leaving_worker_sends_visitors_of_a_newer_route_to_the_next(
    stack: Stack, steady: Origin, busy: StackAgent
) -> None:
    """It doesn't know the route: "ask again on a new connection" (421), never "not found"."""
    host = "steady.apps.example.com"
    visitor = HTTPConnection(host, stack.front.http_port, timeout=10)
    try:
        assert _visit(visitor) == 200
        leaving = stack.front.sockets.worker_pid()
        assert stack.front.reload_haproxy() != leaving
        assert busy.api.http("newer", steady.url).json()["status"] == "active"
        assert _visit(visitor, "newer.apps.example.com") == 421
        assert _visit(visitor, "newer.apps.example.com") == 200
    finally:
        visitor.close()


def test_a_route_outlives_a_reload_by_somebody_else_right_after_its_answer(
    stack: Stack, steady: Origin, busy: StackAgent
) -> None:
    """The new worker may have read the disk a moment too early: that is noticed and mended."""
    for number in range(3):
        assert busy.api.http(f"early-{number}", steady.url).json()["status"] == "active"
        stack.front.reload_haproxy()
        until(
            "the route is back",
            lambda name=f"early-{number}": stack.get(name).status_code == 200,
            seconds=4,
        )


def _visit(visitor: HTTPConnection, host: str | None = None) -> int:
    visitor.request("GET", "/", headers={"Host": host} if host else {})
    answer = visitor.getresponse()
    answer.read()
    return answer.status


def test_visitors_lose_no_request_in_reloads(stack: Stack, steady: Origin) -> None:
    """With connections kept and with new ones, all through five reloads."""

    def visit(client: httpx.Client) -> str | None:
        answer = client.get(stack.url("steady"))
        return None if answer.status_code == 200 else f"status {answer.status_code}"

    with Load(visit) as load:
        for _ in range(RELOADS):
            load.wait_for(50)
            stack.front.reload_haproxy()
        load.wait_for(50)
    assert load.complaints == []
