"""Visitors complain about whatever goes wrong: else rows where they saw nothing prove nothing."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from harness import visitors
from harness.listener import Listener
from harness.origin import Origin
from harness.polling import until
from harness.rude import RudeOrigin
from harness.visitors import Visit, Visitors
from harness.wires import Torn, Wire

VISIT = Visit("shop.example.com", "shop")


class OneAnswer(Listener):
    """Gives each connection the same answer, and ends it."""

    def __init__(self, head: str, body: str) -> None:
        super().__init__()
        lines = f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        self._answer = lines.encode()

    def accept(self, connection: socket.socket) -> None:
        threading.Thread(target=self._answer_once, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Nothing: each connection has ended."""

    def _answer_once(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(self._answer)


def complaint(port: int) -> str:
    """The first of a visitor at this port."""
    with Visitors(port, [VISIT]) as visiting:
        until("they complain", lambda: visiting.complaints)
    return visiting.complaints[0]


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        ("503 Service Unavailable", "no server", "status 503: b'no server'"),
        ("404 Not Found", "no such site", "status 404: b'no such site'"),
        ("200 OK", '{"origin": "blog"}', "answered by 'blog'"),
        ("200 OK", "{}", "answered by None"),
        ("200 OK", "<html>", "JSONDecodeError"),
        # The first answer is well, and the next request finds an end that nobody had announced.
        ("200 OK", '{"origin": "shop"}', "Error"),
    ],
)
def test_an_answer_that_is_wrong(head: str, body: str, said: str) -> None:
    with OneAnswer(head, body) as server:
        found = complaint(server.port)
    assert found.startswith(f"{VISIT.host}: ")
    assert said in found


def test_an_end_that_was_announced_is_well() -> None:
    announced = "200 OK\r\nConnection: close"
    with (
        OneAnswer(announced, '{"origin": "shop"}') as server,
        Visitors(server.port, [VISIT]) as visiting,
    ):
        visiting.wait_for(5)
    assert visiting.complaints == []


def test_a_connection_that_is_cut() -> None:
    """There was an answer before, and there is one again later."""
    with (
        Origin("shop") as origin,
        Wire(origin.port) as wire,
        Visitors(wire.port, [VISIT]) as visiting,
    ):
        visiting.wait_for(5)
        assert visiting.complaints == []
        wire.have(Torn())
        until("they complain", lambda: visiting.complaints)
        wire.mend()
        before = visiting.done
        until("they are served again", lambda: visiting.done > before)
    assert "Error" in visiting.complaints[0]


def test_an_answer_that_ends_half_way() -> None:
    with RudeOrigin("half") as origin:
        assert "IncompleteReadError" in complaint(origin.port)


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "_PATIENCE", 0.1)
    with RudeOrigin("silent") as origin:
        assert "TimeoutError" in complaint(origin.port)


def test_nobody_there() -> None:
    with RudeOrigin("reset") as origin:
        port = origin.port
    assert "ConnectionRefusedError" in complaint(port)


def test_only_visits_that_went_well_are_done() -> None:
    """One of two is refused, which doesn't keep the other."""
    with Origin("shop") as origin:
        visits = [VISIT, Visit("blog.example.com", "blog")]
        with Visitors(origin.port, visits) as visiting:
            until("one is served", lambda: visiting.done >= 3)
            until("the other complains", lambda: len(visiting.complaints) >= 3)
    assert all("answered by 'shop'" in said for said in visiting.complaints)
    assert origin.hits("/") == visiting.done + len(visiting.complaints)
