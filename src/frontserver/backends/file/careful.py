"""Actions → runtime commands, one at a time, whatever was there before.

HAProxy management guide, section 9.3 (Unix Socket commands).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from frontserver.backends.file.leaving import Leaving
from frontserver.backends.file.mirror import Mirror
from frontserver.backends.file.phrases import differs, phrases, questions, strangers
from frontserver.errors import CommandRefusedError, ProxyUnavailableError
from frontserver.haproxy.answers import check, is_absent
from frontserver.haproxy.commands import Command, word
from frontserver.haproxy.runtime import RuntimeClient
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
from frontserver.planning.compiled import Server
from frontserver.planning.plan import RouteSteps
from frontserver.planning.serverline import arguments

logger = logging.getLogger(__name__)

_MOST_DUPLICATES = 8
_OPEN_TRANSACTION = re.compile(r"ongoing transaction is about '([^']+)'")


class Careful:
    """Carries out actions, and finds out what HAProxy holds where it answers unexpectedly."""

    def __init__(self, runtime: RuntimeClient, mirror: Mirror, leaving: Leaving) -> None:
        self._runtime = runtime
        self._mirror = mirror
        self._leaving = leaving

    async def take(self, step: RouteSteps) -> None:
        """A step's actions but its removals, some of which may have been carried out already.

        Raises `CommandRefusedError` if they don't take effect; by then they are undone.
        """
        actions = [action for action in step.actions if not isinstance(action, Removal)]
        try:
            await self._clear(step)
            for action in actions:
                await self.perform(action)
            answers = await self._runtime.run(questions(step))
            if (difference := differs(step, answers)) is not None:
                raise difference
        except CommandRefusedError:
            await self._undo(actions)
            raise

    async def _clear(self, step: RouteSteps) -> None:
        """Nobody else's server may serve on the slot, however it came there."""
        if step.slot is None:
            return
        states = (await self._runtime.server_states(step.slot)).get(step.slot, {})
        for name in strangers(step, states):
            logger.warning("%s/%s belongs to no route; it is removed", step.slot, name)
            await self._retire(step.slot, name, cut=True)

    async def perform(self, action: Action) -> None:
        """One action; raises `CommandRefusedError` or `ProxyUnavailableError`."""
        match action:
            case PutEntry(name, key, value):
                await self._put_entry(name, key, value)
            case DropEntry(name, key):
                await self._drop_entry(name, key)
            case PutServer(backend, server):
                await self._put_server(backend, server)
            case RetireServer(backend, name):
                await self._retire(backend, name, cut=False)
            case CutServer(backend, name):
                await self._retire(backend, name, cut=True)
            case PutCaFile(file):
                await self._put_ca_file(file.name, file.pem)
            case PutCertificate(certificate):
                await self._put_certificate(certificate.name, certificate.pem)
            case _:
                await self._say(action)

    async def _ask(self, command: Command, *, absent_is_fine: bool = False) -> str:
        (answer,) = await self._runtime.run([command])
        if not (absent_is_fine and is_absent(answer)):
            check(command if isinstance(command, str) else command[0], answer)
        return answer

    async def _put_entry(self, name: str, key: str, value: str) -> None:
        if " " in key:
            raise CommandRefusedError(f"add map {name} {key}", "not sent: its key holds a space")
        if self._mirror.value(name, key) in (None, value):
            # Not known to be there, or put once more: `add map` would keep duplicates.
            await self._drop_entry(name, key)
            await self._ask((f"add map {name}", f"{key} {value}"))
            return
        (answer,) = await self._runtime.run([f"set map {name} {word(key)} {word(value)}"])
        if is_absent(answer):
            await self._ask((f"add map {name}", f"{key} {value}"))
        else:
            check("set map", answer)

    async def _drop_entry(self, name: str, key: str) -> None:
        """Whatever the key has: 3.4 takes out one of several entries at a time."""
        for _ in range(_MOST_DUPLICATES):
            answer = await self._ask(f"del map {name} {word(key)}", absent_is_fine=True)
            if is_absent(answer):
                return

    async def _say(self, action: Action) -> None:
        for phrase in phrases(action, None) or ():
            (answer,) = await self._runtime.run([phrase.command])
            # A backend that is there by that name is ours: nobody else's has such names.
            if not phrase.worked(answer) and "is already used" not in answer:
                raise CommandRefusedError(str(phrase.command), answer)

    async def _put_server(self, backend: str, server: Server) -> None:
        path = f"{backend}/{server.name}"
        command = f"add server {path} {arguments(server)}"
        (answer,) = await self._runtime.run([command])
        if "Already exists" in answer or "already exists" in answer:
            await self._correct_server(path, server)
        else:
            check(command, answer)
        self._leaving.gone((backend, server.name))
        await self._ask(f"enable server {path}")
        if server.check is not None:
            await self._ask(f"enable health {path}")

    async def _correct_server(self, path: str, server: Server) -> None:
        """It is there already, by that name: see to it that it is where it should be."""
        command = f"set server {path} addr {server.address} port {server.port}"
        (answer,) = await self._runtime.run([command])
        if "changed" not in answer and "no need to change" not in answer:
            raise CommandRefusedError(command, answer)
        await self._ask(f"set server {path} weight {server.weight}")
        await self._ask(f"set server {path} state ready")

    async def _retire(self, backend: str, name: str, *, cut: bool) -> None:
        path = f"{backend}/{name}"
        (answer,) = await self._runtime.run([f"set server {path} state maint"])
        if is_absent(answer):
            return
        check("set server", answer)
        if not await self._delete(backend, name, cut=cut):
            self._leaving.add((backend, name), cut=cut)

    async def _delete(self, backend: str, name: str, *, cut: bool) -> bool:
        """Whether the server is gone; it can't go while it has streams."""
        path = f"{backend}/{name}"
        if cut:
            await self._ask(f"shutdown sessions server {path}", absent_is_fine=True)
        try:
            await self._ask(f"del server {path}", absent_is_fine=True)
        except CommandRefusedError:
            return False
        return True

    async def _put_ca_file(self, name: str, pem: str) -> None:
        (answer,) = await self._runtime.run([f"new ssl ca-file {name}"])
        if "already exists" not in answer:
            check("new ssl ca-file", answer)
        # Also if it exists: a control plane that was killed may have left it empty.
        await self._transaction(f"ssl ca-file {name}", pem)

    async def _put_certificate(self, name: str, pem: str) -> None:
        await self._transaction(f"ssl cert {name}", pem)

    async def _transaction(self, what: str, pem: str) -> None:
        """`set` and `commit`; one at a time in a process, so an error aborts it."""
        kind, name = what.rsplit(" ", 1)
        (answer,) = await self._runtime.run([(f"set {what}", pem)])
        if (open_one := _OPEN_TRANSACTION.search(answer)) and open_one[1] != name:
            # Nobody else makes any: a control plane that was killed has left it.
            await self._runtime.run([f"abort {kind} {open_one[1]}"])
            (answer,) = await self._runtime.run([(f"set {what}", pem)])
        try:
            check(f"set {what}", answer)
            await self._ask(f"commit {what}")
        except CommandRefusedError:
            await self._runtime.run([f"abort {what}"])
            raise

    async def _undo(self, done: Sequence[Action]) -> None:
        """Put back what was there before, newest first, as far as HAProxy lets us."""
        for action in reversed(done):
            match action:
                case PutEntry(name, key, _) | DropEntry(name, key):
                    before = self._mirror.value(name, key)
                    back: Action = (
                        DropEntry(name, key) if before is None else PutEntry(name, key, before)
                    )
                case PutBackend(backend, _):
                    back = DropBackend(backend)
                case PutServer(backend, server):
                    back = CutServer(backend, server.name)
                case SetServer(backend, server):
                    had = self._mirror.server(backend, server.name)
                    if had is None:
                        continue
                    back = SetServer(backend, had)
                case _:
                    continue
            try:
                await self.perform(back)
            except CommandRefusedError as error:
                if error.answer.startswith("Unknown map identifier"):
                    continue  # The templates have no use for that map, so it holds nothing.
                # Not to be had: the next look at HAProxy will show it as drift.
                raise ProxyUnavailableError(f"a change couldn't be undone: {error}") from error
