"""The client that measures: it reads what servers send, and asks again on a new connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from bench.wire import Connection, Reply, request


@contextmanager
def serving(*connections: list[bytes]) -> Iterator[int]:
    """A server that gives each connection its answers, one a request, and closes it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            for answers in connections:
                connection, _ = listener.accept()
                with closing(connection):
                    for answer in answers:
                        connection.recv(65_536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello",
        (
            b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
        ),
    ],
)
def test_an_answer_is_read_to_its_end(answer: bytes) -> None:
    with serving([answer, answer]) as port, closing(Connection(port)) as connection:
        first = connection.ask(request("GET", "/", "a.example"))
        second = connection.ask(request("GET", "/", "a.example"))

    assert Reply(201, b"hello") == first == second


def test_a_connection_that_was_closed_is_opened_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    with serving([answer], [answer]) as port, closing(Connection(port)) as connection:
        replies = [connection.ask(request("GET", "/", "a.example")) for _ in range(2)]

    assert [Reply(200, b"x")] * 2 == replies


def test_a_request_has_its_body_as_json() -> None:
    data = request("POST", "/p", "h", body={"a": 1}, headers={"X-Y": "z"})

    assert data == (
        b"POST /p HTTP/1.1\r\nHost: h\r\nX-Y: z\r\nContent-Type: application/json\r\n"
        b'Content-Length: 7\r\n\r\n{"a":1}'
    )
