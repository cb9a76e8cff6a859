"""A HAProxy of dictionaries: for unit tests and for seeing what would be done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from frontserver.backends.port import Leftovers, Look, Prepared, State
from frontserver.errors import CommandRefusedError, ConfigRejectedError, ProxyUnavailableError
from frontserver.model.routes import RouteKey
from frontserver.planning.actions import (
    Action,
    CutServer,
    DropBackend,
    DropEntry,
    PutBackend,
    PutCaFile,
    PutCertificate,
    PutEntry,
    PutServer,
    RetireServer,
    SetServer,
)
from frontserver.planning.compiled import Server
from frontserver.planning.limits import RuntimeLimits
from frontserver.planning.plan import ReloadReason, RouteSteps
from frontserver.planning.running import Running, RunningServer, materialise


class MemoryBackend:
    """Obeys the port. Tests may set `down`, and `refuses` to what it should refuse.

    `reloads` lists the reasons of every reload, `performed` every action, in order. While
    `preparing` is an event that isn't set, reloads are being prepared.
    """

    def __init__(
        self, *, refuses: Callable[[object], str | None] = lambda _: None, version: str = "memory"
    ) -> None:
        self.refuses = refuses
        self.down = False
        self.preparing: asyncio.Event | None = None
        self.old_workers = Leftovers()
        # Profiles of which backends can be made at run time.
        self.growing: frozenset[str] = frozenset()
        self.limits = RuntimeLimits()
        self.most_checks: int | None = None
        self.disk_problem: str | None = None
        self.reloads: list[tuple[ReloadReason, ...]] = []
        self.performed: list[Action] = []
        self.persisted: State | None = None
        self.running: Running | None = None
        self._version = version
        self._listeners: list[Callable[[], None]] = []

    @property
    def version(self) -> str | None:
        return self._version

    @property
    def anything_leaves(self) -> bool:
        return False

    @property
    def disk_behind(self) -> float:
        return 0.0

    async def leftovers(self) -> Leftovers:
        return self.old_workers

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def crash(self) -> None:
        """Lose everything that was done at run time, as a restarted HAProxy does."""
        state = self.persisted
        self.running = materialise(state.config, state.layout) if state else None
        for listener in self._listeners:
            listener()

    async def start(self, empty: State) -> None:
        if self.down:
            raise ProxyUnavailableError("HAProxy doesn't answer")
        if self.running is None:
            state = self.persisted or empty
            await self.check(state)
            self._load(state)

    async def observe(self) -> Running:
        return self._reach()

    async def look(self, backends: Mapping[str, Sequence[tuple[str, str]]]) -> Look:
        running = self._reach()
        return Look(
            worker=1,
            servers={backend: running.servers.get(backend, {}) for backend in backends},
            entries={
                (name, key): running.maps.get(name, {}).get(key)
                for pairs in backends.values()
                for name, key in pairs
            },
            counts={name: len(content) for name, content in running.maps.items()},
        )

    async def apply(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        running = self._reach()
        failed: dict[RouteKey, str] = {}
        for step in steps:
            try:
                for action in step.actions:
                    running = self._do(running, action)
                self.running = running
            except CommandRefusedError as error:
                running = self._reach()
                failed[step.key] = error.message
        return failed

    async def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self.running = self._do(self._reach(), action)

    async def persist(self, state: State, steps: Sequence[RouteSteps] | None) -> None:
        del steps  # A dictionary is persisted whole.
        self.persisted = state

    async def check(self, state: State, changed: Collection[RouteKey] | None = None) -> None:
        del changed
        for route in state.config.routes.values():
            reason = self.refuses(route)
            if reason is not None and route.key in state.layout.slots:
                raise ConfigRejectedError(reason)

    async def prepare(self, state: State, changed: Collection[RouteKey] | None = None) -> Prepared:
        await self.check(state, changed)
        if self.preparing is not None:
            await self.preparing.wait()
        return Prepared(state, "")

    async def discard(self, prepared: Prepared) -> None:
        del prepared  # Nothing was written.

    async def reload(
        self,
        state: State,
        reasons: Sequence[ReloadReason],
        prepared: Prepared | None = None,
        changed: Collection[RouteKey] | None = None,
    ) -> None:
        self._reach()
        if prepared is None:
            await self.check(state, changed)
        self._load(state)
        self.reloads.append(tuple(reasons))

    async def idle(self, backends: Sequence[str]) -> frozenset[str]:
        servers = self._reach().servers
        return frozenset(backend for backend in backends if not servers.get(backend))

    async def close(self) -> None:
        self._listeners.clear()

    def _reach(self) -> Running:
        if self.down:
            raise ProxyUnavailableError("HAProxy doesn't answer")
        if self.running is None:
            raise ProxyUnavailableError("HAProxy wasn't started")
        return self.running

    def _load(self, state: State) -> None:
        self.running = materialise(state.config, state.layout)
        self.persisted = state

    def _do(self, running: Running, action: Action) -> Running:
        reason = self.refuses(action)
        if reason is not None:
            raise CommandRefusedError(type(action).__name__, reason)
        self.performed.append(action)
        match action:
            case PutBackend(backend, _) | DropBackend(backend):
                return _with_backend(running, backend, isinstance(action, PutBackend))
            case PutServer(backend, server):
                return _with_server(running, backend, server.name, _as_running(server))
            case SetServer(backend, server):
                if server.name not in running.servers.get(backend, {}):
                    raise CommandRefusedError("set server", "No such server.")
                return _with_server(running, backend, server.name, _as_running(server))
            case RetireServer(backend, name) | CutServer(backend, name):
                return _with_server(running, backend, name, None)
            case PutEntry(name, key, value):
                return _with_entry(running, name, key, value)
            case DropEntry(name, key):
                return _with_entry(running, name, key, None)
            case PutCaFile() | PutCertificate():
                return running


def _as_running(server: Server) -> RunningServer:
    return RunningServer(server.address, server.port, weight=server.weight)


def _with_backend(running: Running, backend: str, there: bool) -> Running:
    servers = {b: some for b, some in running.servers.items() if b != backend}
    if there:
        servers[backend] = {}
    extra = running.extra | {backend} if there else running.extra - {backend}
    return msgspec.structs.replace(running, servers=servers, extra=extra)


def _with_server(
    running: Running, backend: str, name: str, server: RunningServer | None
) -> Running:
    if backend not in running.servers:
        raise CommandRefusedError("add server", "No such backend.")
    servers = {k: v for k, v in running.servers[backend].items() if k != name}
    if server is not None:
        servers[name] = server
    return msgspec.structs.replace(running, servers={**running.servers, backend: servers})


def _with_entry(running: Running, name: str, key: str, value: str | None) -> Running:
    content = {k: v for k, v in running.maps.get(name, {}).items() if k != key}
    if value is not None:
        content[key] = value
    return msgspec.structs.replace(running, maps={**running.maps, name: content})
