"""A port that accepts TCP connections, for whoever treats them in a way of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from harness.ports import free_port


class Listener(ABC):
    """Accepts on `port` of 127.0.0.1, one connection after the other. A context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        self._listening = socket.socket()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def accept(self, connection: socket.socket) -> None:
        """Treat a connection, from now on this one's to close; the next one waits meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """End what is open; no further connection comes."""

    def __enter__(self) -> Self:
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", self.port))
        self._listening.listen(128)
        threading.Thread(target=self._serve, name=f"listener-{self.port}", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Wakes who waits for a connection.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accept(connection)
