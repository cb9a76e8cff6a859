"""Actions → calls of the Data Plane API, some routes at a time, each read back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from frontserver.backends.dataplane.blame import Blame
from frontserver.backends.dataplane.book import Book
from frontserver.backends.dataplane.places import Places, file_name
from frontserver.backends.dataplane.servers import PREPARED, body
from frontserver.dataplane.client import DataPlaneClient
from frontserver.dataplane.errors import AbsentError, BusyError, DataPlaneError, TroubleError
from frontserver.errors import CommandRefusedError
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
    Removal,
    RetireServer,
    SetServer,
)
from frontserver.planning.compiled import ROUTING, CaFile, Server
from frontserver.planning.plan import RouteSteps

Undo = Callable[[], Awaitable[None]]

# Routes at a time: the API asks HAProxy one thing after the other.
_AT_ONCE = 8


class Performer:
    """Carries out actions. One caller at a time; raises `ProxyUnavailableError`."""

    def __init__(self, client: DataPlaneClient, book: Book) -> None:
        self.places = Places()
        self._runtime = client.runtime
        self._storage = client.storage
        self._book = book
        self._blame = Blame()

    async def take(self, steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        """Take steps; returns the routes that failed, with HAProxy's reason.

        Whatever was begun for such a route is undone. What goes is gone before anything comes:
        a name may change hands. Raises `TroubleError` if the API couldn't do anything that was
        asked, for a reason of its own: no route is to blame then, unless that goes on while the
        API answers otherwise.
        """
        failed: dict[RouteKey, str] = {}
        troubles: list[TroubleError] = []
        for some in (
            [step for step in steps if step.new is None],
            [step for step in steps if step.new is not None],
        ):
            waiting = iter(some)
            workers = [
                self._work(waiting, failed, troubles) for _ in range(min(_AT_ONCE, len(some)))
            ]
            # All end before the first of their errors counts: nothing goes on behind our back.
            for result in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
        if troubles and len(troubles) == len(steps):
            if not self._blame.falls_on(failed):
                raise troubles[0]
            await self._runtime.info()
        return failed

    async def _work(
        self,
        steps: Iterator[RouteSteps],
        failed: dict[RouteKey, str],
        troubles: list[TroubleError],
    ) -> None:
        # Shared with other workers: each takes the next.
        for step in steps:
            try:
                await self._take(step)
            except CommandRefusedError as error:
                failed[step.key] = error.message
            except TroubleError as error:
                failed[step.key] = error.message
                troubles.append(error)

    async def _take(self, step: RouteSteps) -> None:
        async with self._book.turn(_backends(step.actions)):
            try:
                await self._take_in_turn(step.actions)
            except TroubleError:
                raise
            except DataPlaneError as error:
                raise CommandRefusedError(f"the change of {step.key}", error.message) from error

    async def _take_in_turn(self, actions: Sequence[Action]) -> None:
        undo: list[Undo] = []
        try:
            for action in actions:
                # They wait until the rest was seen to work.
                if not isinstance(action, Removal):
                    undo.append(await self._opposite(action))
                    await self._say(action)
        except (CommandRefusedError, DataPlaneError):
            for put_back in reversed(undo):
                with suppress(CommandRefusedError, DataPlaneError):
                    await put_back()  # If it can't, the next look finds what is left over.
            raise
        for action in actions:
            if isinstance(action, Removal):
                await self._say(action)

    async def perform(self, actions: Sequence[Action]) -> None:
        """Actions of no route; raises `CommandRefusedError`."""
        for action in actions:
            try:
                async with self._book.turn(_backends([action])):
                    await self._say(action)
            except DataPlaneError as error:
                raise CommandRefusedError(type(action).__name__, error.message) from error

    async def _opposite(self, action: Action) -> Undo:
        """What undoes an action, as things are before it."""
        match action:
            case PutEntry(name, key, _) | DropEntry(name, key):
                had = self._book.maps[name].get(key)
                entry = DropEntry(name, key) if had is None else PutEntry(name, key, had)
                return partial(self._say, entry)
            case PutServer(backend, server):
                waited = self._book.waiting.get(backend)
                return partial(self._take_out_again, backend, server.name, waited)
            case SetServer(backend, server):
                return await self._weight_put_back(backend, server.name)
            case _:
                return _nothing

    async def _take_out_again(self, backend: str, name: str, waited: Server | None) -> None:
        await self._say(CutServer(backend, name))
        if waited is not None:
            self._book.waiting[backend] = waited

    async def _weight_put_back(self, backend: str, name: str) -> Undo:
        found = {server.name: server for server in await self._runtime.servers(backend)}
        had = [
            (real, found[real].admin_state, self._book.weights.get((backend, real)))
            for real in self._book.names(backend, name)
            if real in found
        ]
        waited = self._book.waiting.get(backend)

        async def put_back() -> None:
            if waited is not None:
                self._book.waiting[backend] = waited
            for real, state, weight in had:
                self._book.weigh(backend, real, weight)
                await self._runtime.set_state(
                    backend, real, "drain" if state == "drain" else "ready"
                )

        return put_back

    async def _say(self, action: Action) -> None:
        match action:
            case PutEntry(name, key, value):
                await self._put_entry(name, key, value)
            case DropEntry(name, key):
                await self._runtime.delete_entry(file_name(name), key)
            case PutServer(backend, server):
                await self._put_server(backend, server)
            case SetServer(backend, server):
                await self._set_server(backend, server)
            case RetireServer(backend, name):
                await self._retire(backend, name)
            case CutServer(backend, name):
                await self._cut(backend, name)
            case PutCaFile(file):
                await self._put_ca_file(file)
            case PutCertificate(certificate):
                pem = certificate.pem
                await self._storage.replace_certificate(file_name(certificate.name), pem)
            case PutBackend() | DropBackend():
                raise CommandRefusedError(type(action).__name__, "the API makes no backends")
        self._book.act([action])

    # --- entries ---

    async def _put_entry(self, name: str, key: str, value: str) -> None:
        file = file_name(name)
        known = key in self._book.maps[name]
        # In whatever order: of a key that is there already there must not be a second entry.
        if known or name not in ROUTING:
            done = await self._runtime.set_entry(file, key, value)
            done = done or await self._runtime.add_entry(file, key, value)
        else:
            done = await self._runtime.add_entry(file, key, value)
            done = done or await self._runtime.set_entry(file, key, value)
        if not done:
            raise CommandRefusedError(f"add map {file} {key}", "it is neither there nor added")
        if name in ROUTING and (found := await self._runtime.entry(file, key)) != value:
            raise CommandRefusedError(f"add map {file} {key}", f"it reads back as {found!a}")

    # --- servers ---

    async def _put_server(self, backend: str, server: Server) -> None:
        if self._book.prepared.get(backend) == server.name and backend not in self._book.waiting:
            await self._ready(backend, PREPARED, server)
            return
        wanted = body(server, self.places.at_run_time)
        there = not await self._runtime.add_server(backend, wanted)
        if there and not await self._is_same(backend, server):
            await self._runtime.delete_server(backend, server.name)
            there = not await self._runtime.add_server(backend, wanted)
        await self._ready(backend, server.name, server)
        if there:
            # It may have been given another one.
            self._book.weigh(backend, server.name, server.weight)
        if server.check is not None:
            self._book.waiting[backend] = server

    async def _is_same(self, backend: str, server: Server) -> bool:
        """Whether the server of this name has the address that the name stands for."""
        found = {s.name: s for s in await self._runtime.servers(backend)}.get(server.name)
        return found is not None and (found.address, found.port) == (server.address, server.port)

    async def _ready(self, backend: str, name: str, server: Server) -> None:
        found = await self._runtime.set_state(backend, name, "ready")
        if found.admin_state != "ready" or (found.address, found.port) != (
            server.address,
            server.port,
        ):
            raise CommandRefusedError(
                f"add server {backend}/{name}",
                f"it reads back as {found.address}:{found.port}, {found.admin_state}",
            )
        self._book.serves(backend, name)

    async def _set_server(self, backend: str, server: Server) -> None:
        for name in self._book.names(backend, server.name):
            await self._runtime.set_state(backend, name, "ready" if server.weight else "drain")
            self._book.weigh(backend, name, server.weight or None)
        waits = self._book.waiting.get(backend)
        if waits is not None and waits.name == server.name:
            self._book.waiting[backend] = server

    async def _retire(self, backend: str, name: str) -> None:
        for real in self._leave(backend, name):
            try:
                await self._runtime.set_state(backend, real, "drain")
            except AbsentError:
                continue
            self._book.left(backend, real)

    async def _cut(self, backend: str, name: str) -> None:
        for real in self._leave(backend, name):
            try:
                await self._runtime.set_state(backend, real, "maint")
            except AbsentError:
                continue
            self._book.left(backend, real)
            await self._remove(backend, real)

    def _leave(self, backend: str, name: str) -> tuple[str, ...]:
        names = self._book.names(backend, name)
        waits = self._book.waiting.get(backend)
        if waits is not None and waits.name == name:
            del self._book.waiting[backend]
        if self._book.prepared.get(backend) == name:
            del self._book.prepared[backend]
        return names

    async def remove(self, backend: str, name: str, left: float) -> bool:
        """Take away a server that left at that second, if no stream holds it.

        Returns whether it is gone. The prepared one stays, out of service.
        """
        async with self._book.turn([backend]):
            if self._book.leaving.get((backend, name)) != left:
                return False  # It serves again, or has left anew.
            return await self._remove(backend, name)

    async def _remove(self, backend: str, name: str) -> bool:
        try:
            if name == PREPARED:
                await self._runtime.set_state(backend, name, "maint")
            else:
                await self._runtime.delete_server(backend, name)
        except BusyError:
            return False
        except AbsentError:
            pass
        self._book.serves(backend, name)
        return True

    async def _put_ca_file(self, file: CaFile) -> None:
        await self._storage.put_general(file_name(file.name), file.pem.encode())
        await self._runtime.put_ca_file(file_name(file.name), file.pem)


def _backends(actions: Iterable[Action]) -> set[str]:
    """The backends whose servers these change."""
    return {
        action.backend for action in actions if isinstance(action, PutServer | SetServer | Removal)
    }


async def _nothing() -> None:
    """Nothing is to be put back."""
