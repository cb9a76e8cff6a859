"""HTTP/1.1 on one kept connection, as cheaply as Python can: what is timed is the server."""

from __future__ import annotations

import json
import select
import socket
from typing import Any

import msgspec

_CHUNK = 1 << 16
_TIMEOUT = 30.0


class ClosedError(Exception):
    """The other side closed the connection before it answered: ask again on a new one."""


class Reply(msgspec.Struct, frozen=True):
    """An answer's status and body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request(
    method: str,
    path: str,
    host: str,
    *,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a request; `body` becomes JSON."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    data = b""
    if body is not None:
        data = msgspec.json.encode(body)
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "\r\n"]).encode() + data


class Connection:
    """A connection to 127.0.0.1 that is opened when it is needed, and again if it was closed."""

    def __init__(self, port: int, timeout: float = _TIMEOUT) -> None:
        self._port = port
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._buffer = bytearray()

    def fileno(self) -> int:
        """For `select`. There must have been a `send`."""
        if self._socket is None:
            raise ClosedError
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send a request."""
        if self._socket is not None and self._was_closed(self._socket):
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(data)
        except ConnectionError as error:
            self.close()
            raise ClosedError from error

    def receive(self) -> Reply:
        """Read the answer to the end. Raises `ClosedError`, or `TimeoutError`."""
        try:
            while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                self._more()
            head = bytes(self._buffer[:end]).decode("latin-1").lower().split("\r\n")
            del self._buffer[: end + 4]
            fields = dict(line.split(":", 1) for line in head[1:])
            body = self._body({name: value.strip() for name, value in fields.items()})
        except ConnectionError as error:
            self.close()
            raise ClosedError from error
        except ClosedError:
            self.close()
            raise
        if "close" in fields.get("connection", ""):
            self.close()
        return Reply(int(head[0].split(" ", 2)[1]), body)

    def ask(self, data: bytes) -> Reply:
        """Send a request and read the answer; once more if the connection had just been closed."""
        try:
            self.send(data)
            return self.receive()
        except ClosedError:
            self.send(data)
            return self.receive()

    def close(self) -> None:
        """Close it; the next `send` opens another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer.clear()

    def _body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding") == "chunked":
            return self._chunks()
        return self._take(int(fields.get("content-length", "0")))

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while (end := self._buffer.find(b"\r\n")) < 0:
                self._more()
            size = int(self._take(end + 2), 16)
            chunk = self._take(size + 2)
            if size == 0:
                return body
            body += chunk[:-2]

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self) -> None:
        if self._socket is None:
            raise ClosedError
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ClosedError
        self._buffer += data

    @staticmethod
    def _was_closed(connection: socket.socket) -> bool:
        # Readable without a question means the end, or bytes that nobody asked for.
        return bool(select.select([connection], [], [], 0)[0])
