"""What the API's refusals mean: from a status and a message to the error of ours. Pure."""

from __future__ import annotations

import re

import msgspec

from frontserver.dataplane.errors import (
    AbsentError,
    BusyError,
    DataPlaneError,
    ReloadFailedError,
    RuntimeActionError,
    TooManyTransactionsError,
    TroubleError,
    VersionConflictError,
)
from frontserver.errors import ConfigRejectedError, ProxyError, ProxyUnavailableError

# HAProxy, or its socket, isn't there; the API says so with 200, 400, 404 or 500.
_DOWN = re.compile(
    r"\bdial (?:unix|tcp) |unable to configure runtime client|cannot connect to runtime API",
    re.IGNORECASE,
)
_MISMATCH = "version mismatch"
_VALIDATION = "validation error"
_RELOAD = "reload failed"
_NO_RELOAD = "reload failed: cannot reload"
_ACTION = "cannot execute "
_NO_TRANSACTION = "transaction does not exist"
_NO_PATH = re.compile(r"path /\S* was not found")
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
_NO_REASON = "no reason given"


class Refusal(msgspec.Struct, frozen=True):
    """The body of a refusal: `{"code": 404, "message": "…"}`; of some calls `{"error": "…"}`."""

    message: str = ""
    code: int | None = None
    error: str = ""


_decoder = msgspec.json.Decoder(Refusal)


def refusal(status: int, body: bytes) -> ProxyError:
    """The error for an answer that isn't the one asked for, from its own words."""
    if status < 300:
        return DataPlaneError(
            f"the Data Plane API answers with an unexpected {status}", status=status
        )
    said = _read(body)
    if said is None or status < 400:
        return ProxyUnavailableError(
            f"no Data Plane API answers there: status {status}, {body[:80]!r}",
            hint="see that FRONTSERVER_DATAPLANE_URL is where it listens",
        )
    lower = said.message.lower()
    if status == 400 and lower.startswith(_VALIDATION):
        return _rejected(ConfigRejectedError, said.message)
    if status == 400 and lower.startswith(_RELOAD) and not lower.startswith(_NO_RELOAD):
        return _rejected(ReloadFailedError, said.message)
    if lower.startswith(_ACTION):
        return RuntimeActionError(tidy(said.message), status=status, code=said.code)
    if _DOWN.search(said.message):
        return out_of_reach(said.message)
    if _NO_PATH.fullmatch(said.message):
        return ProxyUnavailableError(
            f"the Data Plane API has no such call: {said.message}",
            hint="it is too old or too new; version 3.2 is known to work",
        )
    by_haproxy = _BY_HAPROXY.match(said.message) is not None
    kind = _kind(status, lower, by_haproxy=by_haproxy)
    return kind(tidy(said.message), status=status, code=said.code)


def out_of_reach(reason: str) -> ProxyUnavailableError:
    """The error for what the API says if HAProxy isn't there."""
    return ProxyUnavailableError(
        f"the Data Plane API doesn't reach HAProxy: {tidy(reason)}",
        hint="see that HAProxy runs; if it does, restart the Data Plane API",
    )


def tidy(message: str) -> str:
    """A message without the socket it came from, and without the command that it answers."""
    return _COMMAND.sub("", _BY_HAPROXY.sub("", message, count=1)).strip() or _NO_REASON


def answered_by_haproxy(body: bytes) -> bool:
    """Whether HAProxy itself has said that, so that it is certainly there."""
    said = _read(body)
    return said is not None and _BY_HAPROXY.match(said.message) is not None


def _kind(status: int, lower: str, *, by_haproxy: bool) -> type[DataPlaneError]:
    if status == 404 or lower.startswith(_NO_TRANSACTION):
        return AbsentError
    if status == 406 or (status == 409 and _MISMATCH in lower):
        return VersionConflictError
    if status == 429:
        return TooManyTransactionsError
    if any(word in lower for word in _BUSY):
        return BusyError
    if status >= 500 and not by_haproxy:
        return TroubleError
    return DataPlaneError


def _read(body: bytes) -> Refusal | None:
    """`None` if the API doesn't speak like that; it may leave out the body."""
    try:
        said = _decoder.decode(body or b"{}")
    except msgspec.DecodeError:
        return None
    return Refusal(said.message or said.error or _NO_REASON, said.code)


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
