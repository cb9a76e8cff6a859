"""Judging answers of the runtime socket, which has no status codes: only texts.

The texts were recorded from 2.8, 3.0, 3.2 and 3.4; tests hold them against the real thing.
"""

from __future__ import annotations

import re

from frontserver.errors import CommandRefusedError

# From 3.4, messages about a server's or backend's state come along with any command's answer.
_EVENT = re.compile(r"(\[\w+\]\s*)?(Server \S+/\S+ is |(Backend|backend) \S+ has no server)")

# What 3.4 may also repeat from a command before this one.
_REPEATABLE = frozenset(
    {
        "New server registered.",
        "Server deleted.",
        "New backend registered.",
        "Backend published.",
        "Backend unpublished.",
        "Backend deleted.",
    }
)

# A command's first words → what the last line of a success holds. Longest prefix first.
_SUCCESS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("add ssl crt-list", ("Success!",)),
    ("add ssl ca-file", ("transaction created for CA", "transaction updated for CA")),
    ("add backend", ("New backend registered.",)),
    ("add server", ("New server registered.",)),
    ("abort ssl", ("Transaction aborted",)),
    ("commit ssl", ("Success!",)),
    ("del backend", ("Backend deleted.",)),
    ("del server", ("Server deleted.",)),
    ("del ssl", ("' deleted",)),
    ("new ssl cert", ("New empty certificate store",)),
    ("new ssl ca-file", ("New CA file created",)),
    ("new ssl crl-file", ("New CRL file created",)),
    ("prepare map", ("New version created:",)),
    ("publish backend", ("Backend published.",)),
    ("unpublish backend", ("Backend unpublished.",)),
    ("set ssl", ("transaction created", "transaction updated")),
    ("wait", ("Done.",)),
)

_READS = ("show ", "get ", "dump ", "help")
_READ_REFUSALS = (
    "Unknown command",
    "Permission denied",
    "Unknown map identifier",
    "No such ",
    "Can't ",
    "Require ",
    "Missing ",
    "Usage:",
    "usage:",
)

_ABSENT = (
    "No such server.",
    "No such backend.",
    "No such proxy.",
    "entry not found.",
    "Key not found.",
    "Can't find backend.",
    "Can't find server.",
    "Failed. No such server.",
    "Failed. No such backend.",
)
# Of `del ssl …`, whose answers begin with what couldn't be done.
_ABSENT_ENDINGS = re.compile(r"Can't (remove|delete) .*(doesn't exist!|can't be found in .*)$")

_SERVER_MOVED = re.compile(r"(IP|port) changed from |no need to change ")
_NO_CHECK = "Health check was not configured on this server, cannot enable."


def check(command: str, answer: str) -> None:
    """Raise `CommandRefusedError` unless `answer` is how HAProxy says that `command` worked.

    `command` may be just its first words, as long as they tell it from others.
    """
    if not _succeeded(command, _meaningful(answer)):
        raise CommandRefusedError(command, answer)


def is_absent(answer: str) -> bool:
    """Whether HAProxy says that the server, backend, map entry or file isn't there."""
    lines = _meaningful(answer)
    if not lines:
        return False
    return lines[-1].startswith(_ABSENT) or _ABSENT_ENDINGS.match(lines[-1]) is not None


def _meaningful(answer: str) -> list[str]:
    lines = (line.strip() for line in answer.splitlines())
    return [line for line in lines if line and not _EVENT.match(line)]


def _succeeded(command: str, lines: list[str]) -> bool:
    if command.startswith(_READS):
        return not (lines and lines[-1].startswith(_READ_REFUSALS))
    for prefix, phrases in _SUCCESS:
        if command == prefix or command.startswith(prefix + " "):
            return bool(lines) and any(phrase.lower() in lines[-1].lower() for phrase in phrases)
    silent = [line for line in lines if line not in _REPEATABLE]
    if not silent:
        return True
    if command.startswith("set server"):
        return len(silent) == 1 and _SERVER_MOVED.match(silent[0]) is not None
    # Asked for a server without a check: nothing to enable, and nothing lost.
    return command.startswith("enable health") and silent == [_NO_CHECK]
