"""Runtime commands on their way out: nothing a caller passes can become a second command.

Source: HAProxy management guide, section 9.3 "Unix Socket commands".
"""

from __future__ import annotations

import re

import msgspec

from frontserver.errors import CommandRefusedError

# A command, or a command and its payload (lines without a blank one between them).
Command = str | tuple[str, str]

# The characters of Unicode's category Cc.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SPECIAL = re.compile(r"[ ;#\\\"']")

# These change the conversation itself, and with it how answers are told apart.
_CONVERSATION = frozenset({"prompt", "quit", "exit", "user", "operator"})


class Encoded(msgspec.Struct, frozen=True):
    """A checked command: `text` without payload, `data` as sent, the number of payload lines."""

    text: str
    data: bytes
    payload_lines: int = 0


def encode(command: Command) -> Encoded:
    """Check and encode one command; raises `CommandRefusedError`, before anything is sent."""
    text, payload = (command, None) if isinstance(command, str) else command
    _check_text(text)
    if payload is None:
        return Encoded(text, _bytes(text, text) + b"\n")
    lines = _payload_lines(text, payload)
    body = "\n".join([f"{text} <<", *lines])
    return Encoded(text, _bytes(text, body) + b"\n\n", len(lines))


def word(text: str) -> str:
    """`text` as one argument of a command: spaces, `;`, `#`, quotes and `\\` are escaped."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _check_text(text: str) -> None:
    words = text.split(" ")
    first, last = words[0], words[-1]
    if not first or text != text.strip():
        raise _refused(text, "it is empty or starts or ends with a space")
    if first in _CONVERSATION or first[0] in "@#":
        raise _refused(text, f"{first!r} is not for callers")
    if control := _CONTROL.search(text):
        raise _refused(text, f"it holds the control character {control[0]!r}")
    if _unescaped_semicolon(text):
        raise _refused(text, "it holds an unescaped ';'")
    if last.startswith("<<") or last.endswith("<<"):
        raise _refused(text, "its last word would start a payload")


def _unescaped_semicolon(text: str) -> bool:
    if ";" not in text and not text.endswith("\\"):
        return False
    escaped = False
    for character in text:
        if character == ";" and not escaped:
            return True
        escaped = character == "\\" and not escaped
    # A trailing backslash would escape the line's end.
    return escaped


def _payload_lines(text: str, payload: str) -> list[str]:
    lines = payload.removesuffix("\n").split("\n")
    for line in lines:
        if not line.strip():
            raise _refused(text, "its payload holds a blank line, which would end it")
        if _CONTROL.search(line.replace("\t", "")):
            raise _refused(text, "its payload holds a control character")
    return lines


def _bytes(text: str, body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError as error:
        raise _refused(text, "it can't be written as UTF-8") from error


def _refused(text: str, reason: str) -> CommandRefusedError:
    return CommandRefusedError(text[:200], f"not sent: {reason}")
