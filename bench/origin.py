"""The origin behind all systems: a HAProxy that answers by itself, on sixteen ports.

It says on which port it was asked, and for which name: that is how a wrong route shows.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from bench.wire import Connection, request
from harness.polling import until
from harness.ports import free_port
from harness.processes import Child

_PORTS = 16
_CONFIG = """\
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout client 120s
    timeout http-keep-alive 120s
frontend origin
{binds}
    http-request return status 200 content-type text/plain lf-string "%[dst_port] %[req.hdr(host),field(1,:),lower]"
"""  # noqa: E501 - lines of HAProxy


class EchoOrigin:
    """A context manager; `ports` are where it listens."""

    def __init__(self, program: Path, directory: Path) -> None:
        self.ports = tuple(free_port() for _ in range(_PORTS))
        self._program = program
        self._directory = directory
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "origin.cfg"
        binds = "\n".join(f"    bind 127.0.0.1:{port}" for port in self.ports)
        config.write_text(_CONFIG.format(binds=binds))
        self._child = Child(
            "origin", [self._program, "-db", "-f", config], log=self._directory / "origin.log"
        )
        until("the origin answers", self._answers, quiet=(OSError,), detail=self._child.tail)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.kill()

    def _answers(self) -> bool:
        connection = Connection(self.ports[-1])
        try:
            return connection.ask(request("GET", "/", "origin")).status == 200
        finally:
            connection.close()
