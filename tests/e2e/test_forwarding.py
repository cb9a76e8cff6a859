"""What origins learn of the visitor comes from us, and from nobody else."""

from __future__ import annotations

import pytest
from websockets.sync.client import connect

from harness.origin import Origin
from harness.stack import Stack

FORGED = {
    "X-Forwarded-For": "203.0.113.66",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Server": "evil.example",
    "X_Forwarded_For": "203.0.113.66",
    "X-Real-IP": "203.0.113.66",
    "Forwarded": "for=203.0.113.66",
}


@pytest.fixture(scope="module")
def site(stack: Stack) -> str:
    agent = stack.registered("forwarding")
    assert agent.api.http("forwarding", stack.origin("seen").url).status_code == 201
    return "forwarding"


def reached(stack: Stack, site: str, scheme: str, headers: dict[str, str]) -> dict[str, str]:
    """The header fields at the origin; each must have come once."""
    answer = stack.client.get(stack.url(site, scheme=scheme), headers=headers)
    pairs = [(name.lower(), value) for name, value in answer.json()["headers"]]
    assert len(pairs) == len(dict(pairs)), pairs
    return dict(pairs)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_forwarding_fields_tell_the_truth(stack: Stack, site: str, scheme: str) -> None:
    seen = reached(stack, site, scheme, {})
    port = stack.front.https_port if scheme == "https" else stack.front.http_port
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == scheme
    assert seen["x-forwarded-host"].partition(":")[0] == "forwarding.apps.example.com"
    assert seen["x-forwarded-port"] == str(port)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_forged_fields_never_pass(stack: Stack, site: str, scheme: str) -> None:
    """Not even in the spelling with underscores that many origins read the same way."""
    seen = reached(stack, site, scheme, FORGED)
    assert seen == {**seen, "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": scheme}
    leaked = {name for name, value in seen.items() if "203.0.113.66" in value or "evil" in value}
    assert not leaked


def test_repeated_forged_fields_never_pass(stack: Stack, site: str) -> None:
    pairs = [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "203.0.113.2")]
    answer = stack.client.get(stack.url(site), headers=pairs)
    values = [v for name, v in answer.json()["headers"] if name.lower() == "x-forwarded-for"]
    assert values == ["127.0.0.1"]


def test_a_websocket_learns_the_same(stack: Stack, site: str) -> None:
    """The fields are set for upgrades too; the echo proves the connection works."""
    with connect(stack.url(site, "/ws", scheme="ws"), proxy=None) as socket:
        socket.send("through")
        assert socket.recv(10) == "through"


def test_server_sent_events_arrive_as_they_are_sent(stack: Stack) -> None:
    """Nothing is held back until the stream ends."""
    agent = stack.registered("events")
    with Origin("events") as origin:
        assert agent.api.http("events", origin.url).status_code == 201
        with stack.client.stream("GET", stack.url("events", "/sse")) as answer:
            lines = (line for line in answer.iter_lines() if line)
            assert [next(lines) for _ in range(3)] == ["data: 0", "data: 1", "data: 2"]
            origin.finish()
