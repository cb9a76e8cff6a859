"""Servers of the running worker, through the API, and what their statistics say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from frontserver.dataplane import words
from frontserver.dataplane.calls import BASE, RuntimeCalls
from frontserver.dataplane.connection import decoded
from frontserver.dataplane.errors import AbsentError
from frontserver.dataplane.refusals import out_of_reach

_STATS = "/services/haproxy/stats/native?type=server"

AdminState = Literal["ready", "drain", "maint"]


class RuntimeServer(msgspec.Struct, frozen=True):
    """`admin_state` is ready, drain or maint; `operational_state` is up, down or stopping."""

    name: str
    address: str = ""
    port: int | None = None
    admin_state: str = ""
    operational_state: str = ""


class ServerStats(msgspec.Struct, frozen=True):
    """A server's line of `show stat`; `status` as there, such as `UP`, `DRAIN` or `no check`."""

    backend: str
    server: str
    address: str
    port: int
    weight: int
    status: str
    current_sessions: int
    check_status: str


class _Numbers(msgspec.Struct):
    addr: str = ""
    weight: int | None = None
    status: str = ""
    scur: int | None = None
    check_status: str = ""


class _Line(msgspec.Struct):
    name: str
    backend_name: str = ""
    stats: _Numbers = msgspec.field(default_factory=_Numbers)


class _StatsAnswer(msgspec.Struct):
    stats: list[_Line] = []
    error: str = ""


_server = msgspec.json.Decoder(RuntimeServer)
_servers = msgspec.json.Decoder(tuple[RuntimeServer, ...])
_stats = msgspec.json.Decoder(_StatsAnswer)


class Servers(RuntimeCalls):
    """Adds, switches and deletes servers; lost at the next reload unless the file has them."""

    async def has_backend(self, backend: str) -> bool:
        """Whether HAProxy has loaded a backend of this name."""
        try:
            await self.servers(backend)
        except AbsentError:
            return False
        return True

    async def servers(self, backend: str) -> tuple[RuntimeServer, ...]:
        """A backend's servers, none if it is empty. Raises `AbsentError` for no such backend."""
        answer = await self._expect(await self._send("GET", _all(backend)), 200)
        return decoded(answer, _servers)

    async def add_server(self, backend: str, server: Mapping[str, object]) -> bool:
        """Add a server, as the API's JSON; it is in maintenance then. False if there is one.

        Raises `AbsentError` for no such backend.
        """
        body = msgspec.json.encode(server)
        return await self._added(await self._send("POST", _all(backend), body))

    async def set_state(self, backend: str, name: str, state: AdminState) -> RuntimeServer:
        """Take a server into service or out of it, and see it then. Raises `AbsentError`."""
        body = msgspec.json.encode({"admin_state": state})
        answer = await self._expect(await self._send("PUT", _one(backend, name), body), 200)
        return decoded(answer, _server)

    async def delete_server(self, backend: str, name: str) -> bool:
        """Delete a server; the API puts it into maintenance first. False if absent.

        Raises `BusyError` while connections last; it stays in maintenance then.
        """
        return await self._found(await self._send("DELETE", _one(backend, name)), 204)

    async def stats(self) -> tuple[ServerStats, ...]:
        """All servers of all backends, in one call: costly with thousands of backends."""
        answer = await self._send("GET", _STATS, seconds=self._connection.write_seconds)
        said = decoded(await self._expect(answer, 200), _stats)
        if said.error:
            raise out_of_reach(said.error)
        return tuple(_as_stats(line) for line in said.stats)


def _all(backend: str) -> str:
    return f"{BASE}/backends/{words.segment(words.name(backend))}/servers"


def _one(backend: str, name: str) -> str:
    return f"{_all(backend)}/{words.segment(words.name(name))}"


def _as_stats(line: _Line) -> ServerStats:
    address, _, port = line.stats.addr.rpartition(":")
    return ServerStats(
        backend=line.backend_name,
        server=line.name,
        address=address.strip("[]"),
        port=int(port) if port.isdecimal() else 0,
        weight=line.stats.weight or 0,
        status=line.stats.status,
        current_sessions=line.stats.scur or 0,
        check_status=line.stats.check_status,
    )
