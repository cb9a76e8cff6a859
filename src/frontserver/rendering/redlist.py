"""What HAProxy accepts where routes live, and then crashes on, drops, or hides.

Measured on 2.8, 3.0, 3.2 and 3.4: cache rules in a `defaults` section end the worker at the first
request, `errorfiles` at `add backend`, an external check at `add server … check`. Captures,
compression and filters are refused or silently not applied there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from frontserver.errors import ConfigRejectedError

_SECTIONS = frozenset(
    {
        *("acme", "backend", "cache", "crt-store", "defaults", "fcgi-app", "frontend", "global"),
        *("http-errors", "listen", "log-forward", "log-profile", "mailers", "peers", "program"),
        *("resolvers", "ring", "traces", "userlist"),
    }
)
_PROFILE = re.compile(r"p[0-9a-f]{12}")
_SLOT = re.compile(r"p[0-9a-f]{12}\.[0-9]+")
_SUSPECT = re.compile(
    r"\b(errorfiles|cache-use|cache-store|external-check|capture|compression|filter)\b"
)
_DIRECTIVES = frozenset({"errorfiles", "capture", "compression", "filter", "external-check"})
_RULES = frozenset({"http-request", "http-response", "http-after-response", "tcp-request"})


class _Line(msgspec.Struct, frozen=True):
    file: str
    number: int
    section: tuple[str, ...]
    words: tuple[str, ...]


def words(line: str) -> tuple[str, ...]:
    """A line's words as HAProxy counts them (configuration manual, section 2.2).

    Quoted and escaped blanks don't separate, and a comment doesn't count.
    """
    if not any(character in line for character in "\"'\\"):
        return tuple(line.partition("#")[0].split())
    try:
        return tuple(shlex.split(line, comments=True))
    except ValueError:  # A quote that isn't closed: HAProxy will refuse it.
        return tuple(line.split())


def check_red_list(texts: Mapping[str, str]) -> None:
    """Refuse what must not stand in profiles, in what they derive from, and in slots.

    Raises `ConfigRejectedError` with file and line; the reason says where to put it instead.
    """
    if not any(_SUSPECT.search(text) for text in texts.values()):
        return
    lines = list(_lines(texts))
    defaults = _profiles_and_their_parents({line.section for line in lines})
    for line in lines:
        kind, name = (*line.section, "", "")[:2]
        if kind == "defaults" and name in defaults:
            found = _forbidden_in_defaults(line.words)
        elif kind == "backend" and _SLOT.fullmatch(name):
            found = _external_check(line.words)
        else:
            continue
        if found is not None:
            raise ConfigRejectedError(
                f"{found!r} must not stand in '{kind} {name}', where it can end HAProxy's workers:"
                " put it into a frontend",
                file=line.file,
                line=line.number,
            )


def _lines(texts: Mapping[str, str]) -> Iterator[_Line]:
    """Every line with words, under its section; a section's first line has none."""
    for file, text in sorted(texts.items()):
        section: tuple[str, ...] = ()
        for number, line in enumerate(text.split("\n"), start=1):
            found = words(line)
            if found and found[0] in _SECTIONS:
                section, found = found, ()
            yield _Line(file, number, section, found)


def _profiles_and_their_parents(sections: Iterable[tuple[str, ...]]) -> frozenset[str]:
    """The `defaults` sections that slots load: profiles, and whatever those are `from`."""
    parents = {
        section[1]: section[3] if section[2:3] == ("from",) and len(section) > 3 else None
        for section in sections
        if section[:1] == ("defaults",) and len(section) > 1
    }
    loaded: set[str] = set()
    for name in parents:
        current: str | None = name if _PROFILE.fullmatch(name) else None
        while current is not None and current not in loaded:
            loaded.add(current)
            current = parents.get(current)
    return frozenset(loaded)


def _forbidden_in_defaults(found: tuple[str, ...]) -> str | None:
    first, *rest = found or ("",)
    if first in _DIRECTIVES:
        return first
    if first in _RULES:
        # `tcp-request content capture …` has its action one word later.
        return next((w for w in rest[:2] if w in {"cache-use", "cache-store", "capture"}), None)
    if first == "http-error" and "errorfiles" in rest:
        return "http-error … errorfiles"
    return _external_check(found)


def _external_check(found: tuple[str, ...]) -> str | None:
    if found[:2] == ("option", "external-check"):
        return "option external-check"
    return None
