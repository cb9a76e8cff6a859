"""A Data Plane API and its HAProxy in memory, in which faults and meetings can be arranged exactly.

What it does and doesn't is as the real one was seen to behave; the contract suite holds the backend
against that.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from frontserver.backends.dataplane.places import file_name
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.configuration import RawConfiguration, Transaction
from frontserver.dataplane.errors import (
    AbsentError,
    BusyError,
    DataPlaneError,
    ReloadFailedError,
    RuntimeActionError,
    VersionConflictError,
)
from frontserver.dataplane.runtime import HaproxyInfo, RuntimeServer, ServerStats
from frontserver.dataplane.storage import StoredFile
from frontserver.errors import ConfigRejectedError, ProxyUnavailableError
from frontserver.planning.compiled import HTTPS_CERTIFICATE, MAPS, ROUTING

Hook = Callable[[], Awaitable[None]]

_SECTION = re.compile(r"^(?:backend (\S+)|\S)")
_SERVER = re.compile(r"^    server (\S+) (\S+):(\d+)(.*)$")
_WEIGHT = re.compile(r"\bweight (\d+)")


class FakeServer(msgspec.Struct):
    """`state` is ready, drain or maint; `sessions` are streams that last."""

    address: str
    port: int
    state: str = "ready"
    weight: int = 100
    sessions: int = 0


class Process(msgspec.Struct):
    """What a worker has in memory: backends and their servers, maps by file."""

    servers: dict[str, dict[str, FakeServer]] = {}
    maps: dict[str, dict[str, str]] = {}


class Died(Exception):  # noqa: N818
    """The control plane ends here."""


class FakeApi:
    """All three parts of a client at once; `client` passes as one.

    `calls` are the names of all calls and their first argument. `stop_at` ends the control plane
    before the call of that number. `down` is whether HAProxy is; `refused` the reason for which its
    check refuses whatever it is asked, `reload_fails` that for which it doesn't come up.
    `read_after` is the stored file that HAProxy reads last, `checked_after` that of its check.
    """

    def __init__(self) -> None:
        self.process = Process()
        self.text = ""
        self.last_loaded = ""
        self.version_in_memory = 1
        self.files: dict[str, str] = {}
        self.read_after: str | None = None
        self.checked_after: str | None = None
        self.pid = 100
        self.reloads = 0
        self.calls: list[tuple[str, Any]] = []
        self.stop_at: int | None = None
        self.down = False
        self.refused: str | None = None
        self.reload_fails: str | None = None
        self._faults: dict[str, list[Exception]] = {}
        self._hooks: dict[str, list[Hook]] = {}

    @property
    def client(self) -> DataPlaneClient:
        return cast("DataPlaneClient", self)

    @property
    def configuration(self) -> FakeApi:
        return self

    @property
    def runtime(self) -> FakeApi:
        return self

    @property
    def storage(self) -> FakeApi:
        return self

    # --- arrangements ---

    def fail(self, call: str, *errors: Exception) -> None:
        """The next calls of this name raise these, and do nothing."""
        self._faults.setdefault(call, []).extend(errors)

    def meanwhile(self, call: str, *hooks: Hook) -> None:
        """Once the next calls of this name are done, and before they answer, this happens."""
        self._hooks.setdefault(call, []).extend(hooks)

    async def _called(self, name: str, argument: object = None) -> None:
        if self.stop_at is not None and len(self.calls) >= self.stop_at:
            raise Died
        self.calls.append((name, argument))
        if faults := self._faults.get(name):
            raise faults.pop(0)

    async def _answer(self, name: str) -> None:
        if hooks := self._hooks.get(name):
            await hooks.pop(0)()

    def named(self, *names: str) -> list[tuple[str, Any]]:
        """The calls of these names."""
        return [call for call in self.calls if call[0] in names]

    # --- HAProxy ---

    def on_disk(self) -> Process:
        """What HAProxy would be, were it started now."""
        maps = {
            file_name(name): dict(_entries(self.files.get(file_name(name), ""))) for name in MAPS
        }
        text = self.text + self._chosen(self.read_after, self.text)
        found = [*_backends(text)]
        servers = dict(found)
        assert len(servers) == len(found), "HAProxy refuses two backends of one name"
        return Process(servers, maps)

    def _chosen(self, file: str | None, text: str) -> str:
        """What a stored file says to a process that reads it after this text."""
        lines, chosen = [], True
        for line in self.files[file].splitlines(keepends=True) if file else ():
            if line.startswith(".if "):
                value = re.search(r"^    setenv FS_POOLS (.*)$", text, re.MULTILINE)
                chosen = line == f'.if streq("$FS_POOLS",{value[1] if value else ""})\n'
            elif line == ".endif\n":
                chosen = True
            elif chosen:
                lines.append(line)
        return "".join(lines)

    def restart(self) -> None:
        """HAProxy is started, or reloaded by somebody else."""
        self.process = self.on_disk()
        self.pid += 1
        self.down = False

    def die(self) -> None:
        """HAProxy ends."""
        self.down = True

    async def dies(self) -> None:
        """Likewise, as something that happens meanwhile."""
        self.die()

    def led(self, process: Process | None = None) -> dict[str, set[tuple[str, int]]]:
        """By routing key, the addresses that a request for it may reach."""
        seen = process or self.process
        return {
            key: {
                (server.address, server.port)
                for server in seen.servers.get(backend, {}).values()
                if server.state == "ready" and server.weight
            }
            for name in ROUTING
            for key, backend in seen.maps.get(file_name(name), {}).items()
        }

    def _reload(self) -> None:
        if self.down:
            self.text = self.last_loaded
            raise ProxyUnavailableError("cannot reload: dial unix")
        if self.reload_fails is not None:
            self.text = self.last_loaded
            raise ReloadFailedError(self.reload_fails)
        self.restart()
        self.reloads += 1
        self.last_loaded = self.text

    def _up(self) -> None:
        if self.down:
            raise ProxyUnavailableError("the Data Plane API doesn't reach HAProxy")

    def _backend(self, backend: str) -> dict[str, FakeServer]:
        self._up()
        if backend not in self.process.servers:
            raise AbsentError("No such backend.", status=404)
        return self.process.servers[backend]

    def _server(self, backend: str, name: str) -> FakeServer:
        try:
            return self._backend(backend)[name]
        except KeyError:
            raise AbsentError("No such server.", status=404) from None

    # --- configuration ---

    async def transactions(self) -> tuple[Transaction, ...]:
        return ()

    async def version(self) -> int:
        await self._called("version")
        return self.version_in_memory

    async def raw(self) -> RawConfiguration:
        await self._called("raw")
        return RawConfiguration(self.text, self.version_in_memory, "")

    async def replace_raw(
        self, text: str, *, version: int, reload: bool, actions: Sequence[str] = ()
    ) -> int:
        await self._called("replace_raw", tuple(actions))
        if version != self.version_in_memory:
            raise VersionConflictError("version mismatch", status=409)
        if self.refused is not None:
            raise ConfigRejectedError(self.refused)
        self.version_in_memory += 1
        self.text = f"# _version={self.version_in_memory}\n{text}"
        if reload:
            self._reload()
        for action in actions:
            self._act(action)
        await self._answer("replace_raw")
        return self.version_in_memory

    def _act(self, action: str) -> None:
        kind, backend, name, *words = action.split()
        try:
            server = self._server(backend, name)
        except (AbsentError, ProxyUnavailableError) as error:
            raise RuntimeActionError(f"cannot execute {action}", status=500) from error
        if kind == "SetServerAddr":
            server.address, server.port = words[0], int(words[1])
        elif kind == "SetServerWeight":
            server.weight = int(words[0])
        elif kind == "SetServerState":
            server.state = words[0]

    async def validate_raw(self, text: str) -> None:
        await self._called("validate_raw", text)
        if self.refused is not None:
            raise ConfigRejectedError(self.refused)
        for line in self._chosen(self.checked_after, text).splitlines():
            if line.startswith("fs-"):
                raise ConfigRejectedError(f"unknown keyword '{line}' out of section")
        await self._answer("validate_raw")

    # --- runtime ---

    async def info(self) -> HaproxyInfo:
        await self._called("info")
        self._up()
        return HaproxyInfo("3.2.26", self.pid, 1)

    async def servers(self, backend: str) -> tuple[RuntimeServer, ...]:
        await self._called("servers", backend)
        return tuple(_seen(name, server) for name, server in self._backend(backend).items())

    async def has_backend(self, backend: str) -> bool:
        try:
            await self.servers(backend)
        except AbsentError:
            return False
        return True

    async def add_server(self, backend: str, server: Mapping[str, Any]) -> bool:
        await self._called("add_server", backend)
        servers = self._backend(backend)
        if server["name"] in servers:
            return False
        if not server["address"][:1].isdigit() and server["address"][0] != "[":
            raise DataPlaneError("could not resolve address", status=400)
        servers[server["name"]] = FakeServer(
            server["address"].strip("[]"), server["port"], "maint", server.get("weight", 1)
        )
        await self._answer("add_server")
        return True

    async def set_state(self, backend: str, name: str, state: str) -> RuntimeServer:
        await self._called("set_state", (backend, name, state))
        server = self._server(backend, name)
        server.state = state
        await self._answer("set_state")
        return _seen(name, server)

    async def delete_server(self, backend: str, name: str) -> bool:
        await self._called("delete_server", (backend, name))
        servers = self._backend(backend)
        if name not in servers:
            return False
        servers[name].state = "maint"
        if servers[name].sessions:
            raise BusyError("Server still has connections attached to it", status=500)
        del servers[name]
        await self._answer("delete_server")
        return True

    async def stats(self) -> tuple[ServerStats, ...]:
        await self._called("stats")
        self._up()
        rows = tuple(
            _row(backend, name, server)
            for backend, servers in self.process.servers.items()
            for name, server in servers.items()
        )
        await self._answer("stats")
        return rows

    async def map_sizes(self) -> dict[str, int]:
        await self._called("map_sizes")
        self._up()
        return {name: len(content) for name, content in self.process.maps.items()}

    async def entries(self, map: str) -> list[tuple[str, str]]:  # noqa: A002
        await self._called("entries", map)
        self._up()
        return [
            (key, value.partition(" ")[0]) for key, value in self.process.maps.get(map, {}).items()
        ]

    async def entry(self, map: str, key: str) -> str | None:  # noqa: A002
        await self._called("entry", (map, key))
        self._up()
        value = self.process.maps.get(map, {}).get(key)
        return re.split("[ ,=]", value)[0] if value is not None else None

    async def add_entry(self, map: str, key: str, value: str) -> bool:  # noqa: A002
        await self._called("add_entry", (map, key, value))
        self._up()
        content = self.process.maps.setdefault(map, {})
        if key in content:
            return False
        content[key] = value
        return True

    async def set_entry(self, map: str, key: str, value: str) -> bool:  # noqa: A002
        await self._called("set_entry", (map, key, value))
        self._up()
        content = self.process.maps.setdefault(map, {})
        if key not in content:
            return False
        content[key] = value
        return True

    async def delete_entry(self, map: str, key: str) -> bool:  # noqa: A002
        await self._called("delete_entry", (map, key))
        self._up()
        return self.process.maps.get(map, {}).pop(key, None) is not None

    async def put_ca_file(self, name: str, pem: str) -> None:
        await self._called("put_ca_file", name)
        self._up()

    # --- storage ---

    async def maps(self) -> tuple[StoredFile, ...]:
        await self._called("maps")
        return tuple(_stored(name, "maps") for name in self.files if name.endswith(".map"))

    async def map_text(self, name: str) -> str:
        await self._called("map_text", name)
        if name not in self.files:
            raise AbsentError("not found", status=404)
        return self.files[name]

    async def create_map(self, name: str, text: str) -> StoredFile:
        await self._called("create_map", name)
        self.files[name] = text
        return _stored(name, "maps")

    async def replace_map(self, name: str, text: str) -> None:
        await self._called("replace_map", name)
        self.files[name] = text

    async def load_map(self, name: str, text: str) -> None:
        await self._called("load_map", name)
        self.files[name] = text
        self._reload()
        await self._answer("load_map")

    async def create_certificate(self, name: str, pem: str) -> StoredFile:
        await self._called("create_certificate", name)
        self.files[name] = pem
        return _stored(name, "ssl")

    async def replace_certificate(self, name: str, pem: str) -> None:
        await self._called("replace_certificate", name)
        self.files[name] = pem
        await self._answer("replace_certificate")

    async def put_general(self, name: str, content: bytes) -> StoredFile:
        await self._called("put_general", name)
        self.files[name] = content.decode()
        return _stored(name, "general")

    async def general(self) -> tuple[StoredFile, ...]:
        await self._called("general")
        others = {file_name(HTTPS_CERTIFICATE), *map(file_name, MAPS)}
        return tuple(_stored(name, "general") for name in self.files if name not in others)

    async def general_content(self, name: str) -> bytes:
        await self._called("general_content", name)
        return self.files[name].encode()

    async def replace_general(self, name: str, content: bytes) -> None:
        await self._called("replace_general", name)
        self.files[name] = content.decode()
        await self._answer("replace_general")

    async def delete_general(self, name: str) -> bool:
        await self._called("delete_general", name)
        return self.files.pop(name, None) is not None

    async def close(self) -> None:
        await self._called("close")


def _stored(name: str, directory: str) -> StoredFile:
    return StoredFile(name=name, path=f"/etc/haproxy/{directory}/{name}")


def _seen(name: str, server: FakeServer) -> RuntimeServer:
    return RuntimeServer(name, server.address, server.port, server.state, "up")


def _row(backend: str, name: str, server: FakeServer) -> ServerStats:
    status = {"maint": "MAINT", "drain": "DRAIN"}.get(server.state) or (
        "UP" if server.weight else "DRAIN"
    )
    return ServerStats(
        backend, name, server.address, server.port, server.weight, status, server.sessions, ""
    )


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition(" ")
            yield key, value


def _backends(text: str) -> Iterator[tuple[str, dict[str, FakeServer]]]:
    """The backends of a configuration, and their servers, as a worker would load them."""
    servers: dict[str, FakeServer] | None = None
    for line in text.splitlines():
        if (section := _SECTION.match(line)) is not None:
            servers = {} if section[1] else None
            if servers is not None:
                yield section[1], servers
        elif servers is not None and (match := _SERVER.match(line)) is not None:
            name, address, port, words = match.groups()
            weight = _WEIGHT.search(words)
            servers[name] = FakeServer(
                address.strip("[]"),
                int(port),
                "maint" if words.endswith(" disabled") else "ready",
                int(weight[1]) if weight else 100,
            )
