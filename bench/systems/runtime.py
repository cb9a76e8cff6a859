"""HAProxy's Runtime API alone: a pool of empty backends and three commands a route.

The floor under what a control plane in front of HAProxy can reach: nothing is stored, checked,
read back, or written to disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.haproxies import version_of
from bench.mix import Route
from bench.processes import children
from bench.systems.base import Addition, Done, Place, Without, wait_served
from harness.errors import HarnessError
from harness.haproxy import Sockets, ask
from harness.polling import until
from harness.ports import free_port
from harness.processes import Child

_SPARE = 4000
_CONFIG = """\
global
    stats socket {directory}/cli.sock level admin
    stats timeout 1h
defaults
    mode http
    balance roundrobin
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend entrance
    bind 127.0.0.1:{port}
    use_backend %[req.hdr(host),field(1,:),lower,map({directory}/hosts.map)] if {{ req.hdr(host),field(1,:),lower,map({directory}/hosts.map) -m found }}
    default_backend none
backend none
    http-request return status 404
"""  # noqa: E501 - lines of HAProxy


class RuntimeApi(Without):
    """`add server`, `enable server`, `add map`, in one line; a connection for each route."""

    def __init__(self, place: Place, label: str, program: Path) -> None:
        self.name = f"runtime:{label}"
        self.port = free_port()
        self._program = program
        self._directory = place.directory
        self._sockets = Sockets(place.directory / "cli.sock", place.directory / "master.sock")
        self._child: Child | None = None
        self._slots: Iterator[str] = iter(())
        self._slot_of: dict[str, str] = {}

    @property
    def version(self) -> str:
        return f"HAProxy {version_of(self._program)}"

    def load(self, routes: Sequence[Route]) -> None:
        self.stop()
        blocks = [
            f"backend b{number}\n    server s 127.0.0.1:{route.port}\n"
            for number, route in enumerate(routes)
        ]
        blocks += [f"backend p{number}\n" for number in range(_SPARE)]
        config = self._directory / "haproxy.cfg"
        text = _CONFIG.format(directory=self._directory, port=self.port)
        config.write_text(text + "".join(blocks))
        lines = (f"{route.host} b{number}\n" for number, route in enumerate(routes))
        (self._directory / "hosts.map").write_text("".join(lines))
        self._slots = itertools.cycle(f"p{number}" for number in range(_SPARE))
        self._child = Child(
            "haproxy",
            [self._program, "-W", "-S", self._sockets.master, "-f", config],
            log=self._directory / "haproxy.log",
        )
        until("HAProxy answers", self._sockets.worker_pid, quiet=(OSError,), seconds=60)
        wait_served(self.port, routes, seconds=60)

    def begin(self, route: Route) -> Addition:
        slot = next(self._slots)
        self._slot_of[route.name] = slot
        answer = self._say(
            f"add server {slot}/s 127.0.0.1:{route.port}",
            f"enable server {slot}/s",
            f"add map {self._directory}/hosts.map {route.host} {slot}",
        )
        if "New server registered." not in answer:
            raise HarnessError(f"HAProxy refused: {answer}")
        return Done()

    def remove(self, routes: Sequence[Route]) -> None:
        for route in routes:
            slot = self._slot_of.pop(route.name)
            self._say(
                f"del map {self._directory}/hosts.map {route.host}",
                f"disable server {slot}/s",
                f"shutdown sessions server {slot}/s",
            )
            until("the server is deleted", partial(self._delete, slot))

    def _delete(self, slot: str) -> bool:
        answer = self._say(f"del server {slot}/s")
        return "deleted" in answer or "No such" in answer

    def processes(self) -> dict[str, tuple[int, ...]]:
        if self._child is None:
            return {}
        return {"HAProxy": (self._child.pid, *children(self._child.pid))}

    def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
        self._child = None

    def _say(self, *commands: str) -> str:
        return ask(self._sockets.runtime, ";".join(commands))
