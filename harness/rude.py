"""Origins that behave badly at the level of TCP: they reset, stay silent, or end half-way."""

from __future__ import annotations

import contextlib
import socket
from typing import Literal

from harness.listener import Listener
from harness.resets import reset

Manner = Literal["reset", "silent", "half"]

_HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"


class RudeOrigin(Listener):
    """Accepts every connection on `port` of 127.0.0.1, and treats it in one manner.

    `reset` resets it at once, `silent` reads and never answers, `half` answers less than it said
    and closes. A context manager.
    """

    def __init__(self, manner: Manner) -> None:
        super().__init__()
        self._manner = manner
        self._kept: list[socket.socket] = []

    def accept(self, connection: socket.socket) -> None:
        if self._manner == "silent":
            self._kept.append(connection)
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.recv(65_536)
            if self._manner == "half":
                connection.sendall(_HALF)
            else:
                reset(connection)

    def close(self) -> None:
        for connection in self._kept:
            connection.close()
