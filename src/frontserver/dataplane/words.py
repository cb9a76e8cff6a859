"""How keys, values and names are said to the API, and to HAProxy's command line behind it. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from frontserver.dataplane.errors import UnsayableError

# What the API refuses in paths (422), and what HAProxy's command line would split or unescape.
_BAD_IN_KEY = re.compile(r'[\x00-\x20\x7f\\<>*;$#&{}"]')
_BAD_IN_VALUE = re.compile(r"[\x00-\x1f\x7f;]")
_BAD_IN_NAME = re.compile(r'[\x00-\x20\x7f\\<>*;$#&{}"/]')
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?")
# It begins a payload of many lines.
_PAYLOAD = "<<"
_ESCAPED = str.maketrans({"\\": "\\\\", " ": "\\ "})
# The API finds these in the midst of an entry when it looks for the entry's end.
_UNREADABLE = frozenset(",=")


def segment(text: str) -> str:
    """One segment of a URL's path, percent-encoded, its slashes too."""
    return quote(text, safe="")


def key(text: str) -> str:
    """A map key; raises `UnsayableError` if it can't be both written and removed."""
    if not text:
        raise UnsayableError("a map key can't be empty")
    _refuse(_BAD_IN_KEY, text, "map key")
    # What is more than a string, such as a validated name, is sent as one.
    return str(text)


def value(text: str) -> str:
    """A map value as `add map` takes it: spaces and backslashes escaped.

    Raises `UnsayableError` for an empty one, control characters, `;` and `<<`.
    """
    if not text:
        raise UnsayableError("the Data Plane API can't carry an empty map value")
    _refuse(_BAD_IN_VALUE, text, "map value")
    if _PAYLOAD in text:
        raise UnsayableError(
            f"the Data Plane API can't carry {_PAYLOAD!r} in the map value {text!r}"
        )
    return text.translate(_ESCAPED)


def name(text: str) -> str:
    """The name of a backend, server, map or file; raises `UnsayableError`."""
    if not text or text in {".", ".."}:
        raise UnsayableError(f"{text!r} is no name")
    _refuse(_BAD_IN_NAME, text, "name")
    return str(text)


def file_name(text: str, suffix: str = "") -> str:
    """The base name of a stored file; raises `UnsayableError` if the API would change it."""
    if not _FILE_NAME.fullmatch(text) or not text.endswith(suffix):
        raise UnsayableError(
            f"the Data Plane API would store the file {text!r} under another name",
            hint=f"use letters, digits, '_', '-', and one ending{suffix and ': ' + suffix}",
        )
    return text


def readable(key: str) -> bool:
    """Whether the API can find an entry by this key: it splits HAProxy's answer at `,` and `=`."""
    return _UNREADABLE.isdisjoint(key)


def _refuse(bad: re.Pattern[str], text: str, what: str) -> None:
    found = bad.search(text)
    if found:
        raise UnsayableError(f"the Data Plane API can't carry {found[0]!r} in the {what} {text!r}")
