"""HAProxy isn't there, or doesn't answer: routes are stored, pending, and live by themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.haproxy import ExternalHaproxy
from harness.polling import until
from harness.stack import Stack

MakeStack = Callable[..., Stack]


class ByUnits:
    """A HAProxy and its Data Plane that start in this order, as units of systemd do."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def start(self) -> None:
        self._stack.front.revive_haproxy()

    def stop(self) -> None:
        self._stack.front.end_haproxy()


@pytest.fixture
def external(
    make_stack: MakeStack, haproxy: Path
) -> Iterator[tuple[Stack, ExternalHaproxy | ByUnits]]:
    """A front server that drives somebody else's HAProxy, which isn't started yet."""
    stack = make_stack(environ={"FRONTSERVER_HAPROXY": "external"}, start=False)
    front = stack.front
    if stack.dataplane is not None:
        stack.dataplane.haproxy.stop()
        yield stack, ByUnits(stack)
        return
    front.sockets.runtime.parent.mkdir(parents=True, exist_ok=True)
    proxy = ExternalHaproxy(
        haproxy,
        [front.config_dir / "current"],
        front.sockets,
        log=stack.directory / "haproxy.log",
        machine=front.machine,
    )
    yield stack, proxy
    proxy.stop()


def test_routes_wait_for_haproxy_and_then_go_live(
    external: tuple[Stack, ExternalHaproxy | ByUnits],
) -> None:
    """202, `pending` and a place to ask; no further request is needed."""
    stack, proxy = external
    stack.front.start(ready=False, revive=False)
    agent = stack.registered("early")
    origin = stack.origin("early")

    answer = agent.api.http("early", origin.url, wait=1)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    place = answer.headers["Location"]
    assert agent.api.client.get(place).json()["status"] == "pending"
    special = agent.api.http(
        "special", origin.url, wait=0, headers={"request": {"set": {"X-Early": "bird"}}}
    )
    assert special.status_code == 202
    ready = agent.api.client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["reasons"]

    proxy.start()
    stack.front.wait_ready()
    assert agent.api.client.get(place).json()["status"] == "active"
    assert stack.get("early").json()["origin"] == "early"
    # This one needs a reload, which nobody else waits for.
    until("it has come too", lambda: stack.get("special").status_code == 200)
    assert ["x-early", "bird"] in [
        [name.lower(), value] for name, value in stack.get("special").json()["headers"]
    ]


def test_an_external_haproxy_may_restart_whenever_it_likes(
    external: tuple[Stack, ExternalHaproxy | ByUnits],
) -> None:
    """With the control plane there, and on its own from disk without it."""
    stack, proxy = external
    stack.front.start(ready=False, revive=False)
    until("there is a configuration to start with", stack.front.maps_dir.exists)
    proxy.start()
    stack.front.wait_ready()
    agent = stack.registered("steady")
    origin = stack.origin("steady")
    assert agent.api.http("steady", origin.url).json()["status"] == "active"

    proxy.stop()
    pending = agent.api.http("meanwhile", origin.url, wait=0)
    assert pending.status_code == 202
    proxy.start()
    until("it is served", lambda: stack.get("meanwhile").status_code == 200)
    stack.front.wait_ready()

    stack.front.stop(haproxy=False)
    proxy.stop()
    proxy.start()
    assert stack.get("steady").status_code == 200
    assert stack.get("meanwhile").status_code == 200


def test_a_haproxy_that_does_not_answer_delays_nobody_for_long(make_stack: MakeStack) -> None:
    """Stopped in its tracks (SIGSTOP): `pending` within the bounded time, then live."""
    stack = make_stack()
    agent = stack.registered("frozen")
    origin = stack.origin("frozen")
    frozen = stack.front.haproxy_pids()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        answer = agent.api.http("frozen", origin.url, wait=1)
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    until("it is served", lambda: stack.get("frozen").status_code == 200, seconds=40)
    until(
        "it is active",
        lambda: agent.api.routes()["frozen.apps.example.com"]["status"] == "active",
        seconds=40,
    )
