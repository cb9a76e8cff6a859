"""What the API's refusals mean: from a status and a message to the error of ours. Pure."""

from __future__ import annotations

import re

import msgspec

from frontserver.dataplane.errors import (
    AbsentError,
    BusyError,
    DataPlaneError,
    ReloadFailedError,
    TooManyTransactionsError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError, ProxyError, ProxyUnavailableError

# HAProxy, or its socket, isn't there; the API says so with 200, 400, 404 or 500.
_DOWN = (
    "dial unix",
    "dial tcp",
    "connection refused",
    "unable to configure runtime client",
    "cannot connect to runtime api",
)
_MISMATCH = "version mismatch"
_VALIDATION = "validation error"
_RELOAD = "reload failed"
_BUSY = ("still has connections", "in use", "referenced in haproxy conf")
# Which socket was asked, and how severe HAProxy finds it.
_BY_HAPROXY = re.compile(r"\S+ +\[[0-3]\] +")
# The command, with its payload: it may hold a private key.
_COMMAND = re.compile(
    r"\s*\[(?:abort|add|clear|commit|del|disable|enable|get|new|prepare|set|show) .*\]"
    r"( (?:general error|not found|already exists))?$",
    re.DOTALL,
)
_CHECK_LINE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_RELOAD_LINE = re.compile(r"\[ALERT\] +\(\d+\) : (.*)")
_SUMMARY = re.compile(
    r"(?:config )?(?:Fatal errors|Error\(s\)) found in configuration|\[haproxy\.main\(\)\]"
)
_WHERE = re.compile(r"\b(?:[Pp]arsing|[Bb]inding) \[(?P<file>[^\]]+?):(?P<line>\d+)\]")
# A copy of the file is checked, under a name of its own.
_COPY = re.compile(r"\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_LONGEST_REASON = 2000


class Refusal(msgspec.Struct, frozen=True):
    """The body of every refusal: `{"code": 404, "message": "…"}`."""

    message: str
    code: int | None = None


_decoder = msgspec.json.Decoder(Refusal)


def refusal(status: int, body: bytes) -> ProxyError:
    """The error for an answer outside 2xx, from its own words."""
    said = _read(body)
    lower = said.message.lower()
    if status == 400 and lower.startswith(_VALIDATION):
        return _rejected(ConfigRejectedError, said.message)
    if any(word in lower for word in _DOWN):
        return ProxyUnavailableError(f"the Data Plane API doesn't reach HAProxy: {said.message}")
    if status == 400 and lower.startswith(_RELOAD):
        return _rejected(ReloadFailedError, said.message)
    return _kind(status, lower)(tidy(said.message), status=status, code=said.code)


def tidy(message: str) -> str:
    """A message without the socket it came from, and without the command that it answers."""
    return _COMMAND.sub("", _BY_HAPROXY.sub("", message, count=1)).strip() or "no reason given"


def answered_by_haproxy(body: bytes) -> bool:
    """Whether HAProxy itself has said that, so that it is certainly there."""
    return _BY_HAPROXY.match(_read(body).message) is not None


def _kind(status: int, lower: str) -> type[DataPlaneError]:
    if status == 404:
        return AbsentError
    if status == 406 or (status == 409 and _MISMATCH in lower):
        return VersionConflictError
    if status == 429:
        return TooManyTransactionsError
    if any(word in lower for word in _BUSY):
        return BusyError
    return DataPlaneError


def _read(body: bytes) -> Refusal:
    try:
        said = _decoder.decode(body)
    except msgspec.DecodeError:
        return Refusal(body[:200].decode("utf-8", "replace").strip() or "no reason given")
    return said if said.message else Refusal("no reason given", said.code)


def _rejected(kind: type[ConfigRejectedError], message: str) -> ConfigRejectedError:
    """HAProxy's own reasons, without what the API wraps them in; `file` and `line` of the first."""
    lines = _CHECK_LINE.findall(message) or _RELOAD_LINE.findall(message)
    reasons = [line for line in lines if not _SUMMARY.match(line)] or lines or [message]
    texts = (line.replace('\\"', '"').removeprefix("config ") for line in reasons)
    reason = "\n".join(dict.fromkeys(_COPY.sub("", text).strip() for text in texts))
    where = _WHERE.search(reason)
    return kind(
        reason[:_LONGEST_REASON],
        file=where["file"] if where else None,
        line=int(where["line"]) if where else None,
    )
