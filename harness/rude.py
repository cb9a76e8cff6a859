"""Origins that behave badly at the level of TCP: they reset, stay silent, or end half-way."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Literal, Self

from harness.ports import free_port
from harness.resets import reset

Manner = Literal["reset", "silent", "half"]

_HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"


class RudeOrigin:
    """Accepts every connection on `port` of 127.0.0.1, and treats it in one manner.

    `reset` resets it at once, `silent` reads and never answers, `half` answers less than it said
    and closes. A context manager.
    """

    def __init__(self, manner: Manner) -> None:
        self.port = free_port()
        self._manner = manner
        self._kept: list[socket.socket] = []
        self._listener = socket.socket()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(64)
        threading.Thread(target=self._serve, name=f"rude-{self._manner}", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Wakes who waits for a connection.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._kept:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._manner == "silent":
                self._kept.append(connection)
                continue
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                connection.recv(65_536)
                if self._manner == "half":
                    connection.sendall(_HALF)
                else:
                    reset(connection)
