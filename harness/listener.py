"""A port that accepts TCP connections, for whoever treats them in a way of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from harness.ports import free_port


class Listener:
    """Accepts on `port` of 127.0.0.1 and gives each connection to `accepted`, in one thread.

    A context manager; connections are their receiver's to close.
    """

    def __init__(self, accepted: Callable[[socket.socket], None]) -> None:
        self.port = free_port()
        self._accepted = accepted
        self._socket = socket.socket()

    def __enter__(self) -> Self:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.port))
        self._socket.listen(128)
        threading.Thread(target=self._accept, name=f"listener-{self.port}", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Wakes who waits for a connection.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._accepted(connection)
