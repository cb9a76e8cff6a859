"""What is said to HAProxy for a route's steps when all is as expected, and what is asked after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from frontserver.errors import CommandRefusedError
from frontserver.haproxy.answers import check, is_absent
from frontserver.haproxy.commands import Command, word
from frontserver.haproxy.reads import ServerState, parse_map_value, parse_server_states
from frontserver.planning.actions import (
    Action,
    DropBackend,
    DropEntry,
    PutBackend,
    PutEntry,
    PutServer,
    SetServer,
)
from frontserver.planning.plan import RouteSteps
from frontserver.planning.serverline import arguments


class Phrase(msgspec.Struct, frozen=True):
    """A command, and whether it has worked if HAProxy says that there is no such thing."""

    command: Command
    absent_is_fine: bool = False

    def worked(self, answer: str) -> bool:
        """Whether the answer is how HAProxy says so."""
        if self.absent_is_fine and is_absent(answer):
            return True
        text = self.command if isinstance(self.command, str) else self.command[0]
        try:
            check(text, answer)
        except CommandRefusedError:
            return False
        return True


def phrases(action: Action, known: str | None) -> tuple[Phrase, ...] | None:
    """How an action is said; `None` if that depends on what HAProxy answers.

    `known` is the value that the action's map entry has, as far as is known.
    """
    match action:
        case PutEntry(_, key, _) if " " in key:
            # No map can hold it: a line's key ends there.
            return None
        case PutEntry(name, key, value) if known is None:
            return (Phrase((f"add map {name}", f"{key} {value}")),)
        case PutEntry(name, key, value) if known != value:
            return (Phrase(f"set map {name} {word(key)} {word(value)}"),)
        case DropEntry(name, key):
            return (Phrase(f"del map {name} {word(key)}", absent_is_fine=True),)
        case PutBackend(backend, profile):
            return (
                Phrase(f"add backend {backend} from {profile}"),
                Phrase(f"publish backend {backend}"),
            )
        case DropBackend(backend):
            return (
                Phrase(f"unpublish backend {backend}", absent_is_fine=True),
                Phrase(f"del backend {backend}", absent_is_fine=True),
            )
        case PutServer(backend, server):
            path = f"{backend}/{server.name}"
            said = (
                Phrase(f"add server {path} {arguments(server)}"),
                Phrase(f"enable server {path}"),
            )
            return (*said, Phrase(f"enable health {path}")) if server.check else said
        case SetServer(backend, server):
            return (Phrase(f"set server {backend}/{server.name} weight {server.weight}"),)
        case _:
            return None


def farewell(backend: str, name: str, *, cut: bool) -> tuple[Phrase, ...]:
    """How a server is taken out of service, and deleted if it has no stream left."""
    path = f"{backend}/{name}"
    return (Phrase(f"set server {path} state maint", absent_is_fine=True), *deletion(path, cut=cut))


def deletion(path: str, *, cut: bool) -> tuple[Phrase, ...]:
    """How a server in maintenance is deleted; the last phrase tells whether it is gone."""
    gone = Phrase(f"del server {path}", absent_is_fine=True)
    if not cut:
        return (gone,)
    return (Phrase(f"shutdown sessions server {path}", absent_is_fine=True), gone)


def questions(step: RouteSteps) -> list[Command]:
    """What to ask to see whether a step took effect: whatever decides if it carries traffic."""
    asked: list[Command] = [
        f"get map {action.map} {word(action.key)}"
        for action in step.actions
        if isinstance(action, PutEntry | DropEntry)
    ]
    if step.new is not None and step.slot is not None:
        asked.append(f"show servers state {step.slot}")
    return asked


def strangers(step: RouteSteps, states: Mapping[str, ServerState]) -> list[str]:
    """Servers in service on a step's slot that its route won't have; `states` are the slot's.

    There should be none: whoever had the slot before has left it.
    """
    if step.new is None:
        return []
    known = {server.name for server in step.new.servers}
    known |= {removal.name for removal in step.removals}
    return sorted(name for name, state in states.items() if state.ready and name not in known)


def differs(step: RouteSteps, answers: Sequence[str]) -> CommandRefusedError | None:
    """What isn't as the step should have made it, by the answers to its `questions`."""
    replies = iter(answers)
    for action in step.actions:
        if isinstance(action, PutEntry | DropEntry):
            wanted = action.value if isinstance(action, PutEntry) else None
            if parse_map_value(next(replies), action.key) != wanted:
                command = f"set map {action.map} {action.key}"
                return CommandRefusedError(command, "it reads back differently")
    if step.new is None or step.slot is None:
        return None
    states = parse_server_states(next(replies)).get(step.slot, {})
    if unwanted := strangers(step, states):
        return CommandRefusedError(f"add server {step.slot}", f"{', '.join(unwanted)} serve there")
    for server in step.new.servers:
        state = states.get(server.name)
        if state is None or (state.address, state.port) != (server.address, server.port):
            return CommandRefusedError(f"add server {step.slot}/{server.name}", "it isn't there")
        if not state.ready:
            return CommandRefusedError(f"enable server {step.slot}/{server.name}", "it isn't")
        if state.weight != server.weight:
            command = f"set server {step.slot}/{server.name} weight {server.weight}"
            return CommandRefusedError(command, f"it is {state.weight}")
    return None
