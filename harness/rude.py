"""Origins that behave badly at the level of TCP: they reset, stay silent, or end half-way."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Literal, Self

from harness.listener import Listener
from harness.resets import reset

Manner = Literal["reset", "silent", "half"]

_HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"


class RudeOrigin:
    """Accepts every connection on `port` of 127.0.0.1, and treats it in one manner.

    `reset` resets it at once, `silent` reads and never answers, `half` answers less than it said
    and closes. A context manager.
    """

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._kept: list[socket.socket] = []
        self._listener = Listener(self._accept)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.__exit__(kind, error, trace)
        for connection in self._kept:
            connection.close()

    def _accept(self, connection: socket.socket) -> None:
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
