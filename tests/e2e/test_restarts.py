"""Whatever dies and comes back: traffic goes on, and routes are there before anybody asks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from harness.mongo import Mongod
from harness.origin import Origin
from harness.polling import until
from harness.processes import alive, kill
from harness.stack import Stack, StackAgent
from harness.traffic import Load
from tests.e2e.clients import owned_mongod, serial

MakeStack = Callable[..., Stack]


class Published(msgspec.Struct):
    """A stack with three routes: one ordinary, one with a profile of its own, one MongoDB."""

    stack: Stack
    agent: StackAgent
    origin: Origin
    mongod: Mongod | None

    def works(self) -> bool:
        """Whether every route carries traffic, the headers of the second one included."""
        plain = self.stack.get("plain")
        special = self.stack.get("special")
        if (plain.status_code, special.status_code) != (200, 200):
            return False
        assert ["x-special", "yes"] in [[n.lower(), v] for n, v in special.json()["headers"]]
        if self.mongod is not None:
            serial(self.stack.front.mongo_port, self.agent.domain, self.agent.ca_file)
        return True

    def wait_until_it_works(self) -> None:
        until("every route works", self.works, quiet=(httpx.HTTPError, OSError))

    def visit(self, client: httpx.Client) -> str | None:
        answer = client.get(self.stack.url("plain"))
        return None if answer.status_code == 200 else f"status {answer.status_code}"


@pytest.fixture
def published(make_stack: MakeStack, request: pytest.FixtureRequest) -> Published:
    """A fresh stack with its routes; MongoDB too where there is a mongod."""
    stack = make_stack()
    agent = stack.registered("restarts")
    origin = stack.origin("restarts")
    mongod = None
    if "mongod_binary" in request.fixturenames:
        mongod = owned_mongod(stack, agent)
        assert agent.api.mongodb(mongod.port).json()["status"] == "active"
    made = Published(stack, agent, origin, mongod)
    assert agent.api.http("plain", origin.url).json()["status"] == "active"
    headers = {"request": {"set": {"X-Special": "yes"}}}
    assert agent.api.http("special", origin.url, headers=headers).json()["status"] == "active"
    assert made.works()
    return made


def closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def test_kill_9_of_the_control_plane_costs_no_request(published: Published) -> None:
    """Neither its death nor its return, which adopts the HAProxy that runs."""
    front = published.stack.front
    master, worker = front.sockets.master_pid(), front.sockets.worker_pid()
    with Load(published.visit) as load:
        load.wait_for(100)
        front.kill()
        load.wait_for(200)
        front.start()
        assert published.agent.api.http("later", published.origin.url).json()["status"] == "active"
        load.wait_for(100)
    assert load.complaints == []
    assert (front.sockets.master_pid(), front.sockets.worker_pid()) == (master, worker)
    assert published.stack.get("later").status_code == 200
    assert published.works()


def test_a_clean_stop_leaves_haproxy_serving(published: Published) -> None:
    """Until somebody says `frontserver haproxy stop`."""
    front = published.stack.front
    with Load(published.visit) as load:
        load.wait_for(50)
        front.stop(haproxy=False)
        load.wait_for(100)
        front.start()
        load.wait_for(50)
        front.stop(haproxy=False)
    assert load.complaints == []
    assert published.works()

    front.end_haproxy()
    until("nobody listens", lambda: closed(front.http_port))
    until("no process is left", lambda: front.haproxy_pids() == ())


@pytest.mark.file_backend("the front server doesn't run HAProxy")
def test_stop_haproxy_stops_both(published: Published) -> None:
    """`serve --stop-haproxy`, as the demo does."""
    front = published.stack.front
    front.stop(haproxy=False)
    front.start("--stop-haproxy")
    assert published.works()
    front.stop(haproxy=False)
    until("nobody listens", lambda: closed(front.http_port))
    until("no process is left", lambda: front.haproxy_pids() == ())


def test_a_killed_haproxy_comes_back_with_every_route(
    published: Published, mongod_binary: Path
) -> None:
    """kill -9 of the master: the supervisor starts another, and nobody calls the API."""
    front = published.stack.front
    first = front.kill_haproxy()
    front.revive_haproxy()
    published.wait_until_it_works()
    assert front.sockets.master_pid() != first
    front.wait_ready()
    assert published.agent.api.http("later", published.origin.url).json()["status"] == "active"
    assert published.stack.get("later").status_code == 200


def test_a_killed_worker_comes_back_with_every_route(published: Published) -> None:
    """kill -9 of the worker takes HAProxy's master along (`exit-on-failure`)."""
    front = published.stack.front
    worker, master = front.sockets.worker_pid(), front.sockets.master_pid()
    kill(worker)
    until("its master has gone too", lambda: not alive(master))
    front.revive_haproxy()
    published.wait_until_it_works()
    assert not alive(worker)


def test_both_killed_and_only_serve_restarted(published: Published, mongod_binary: Path) -> None:
    """Every route works before anybody calls the API, the one of the last moment too."""
    front = published.stack.front
    answer = published.agent.api.http("last-moment", published.origin.url)
    front.kill()
    front.kill_haproxy()
    assert answer.json()["status"] == "active"
    # A worker counts as gone once its first thread is; the last one closes the port.
    until("the port is closed", lambda: closed(front.http_port))

    front.start()
    assert published.works()
    assert published.stack.get("last-moment").status_code == 200


def test_a_removed_route_stays_removed_after_both_died(published: Published) -> None:
    front = published.stack.front
    assert published.agent.api.remove("special").status_code == 200
    front.kill()
    front.kill_haproxy()
    front.start()
    assert published.stack.get("plain").status_code == 200
    assert published.stack.get("special").status_code == 404


def test_routes_stored_while_haproxy_was_dead_are_served(published: Published) -> None:
    """What is posted between its death and its return is live once it is back."""
    front = published.stack.front
    front.kill_haproxy()
    answer = published.agent.api.http("in-between", published.origin.url, wait=0)
    assert answer.status_code in {201, 202}
    front.revive_haproxy()
    published.wait_until_it_works()
    until("it is served", lambda: published.stack.get("in-between").status_code == 200)
