"""Configuration text, line by line, as HAProxy splits it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

import msgspec

_SECTIONS = frozenset(
    {
        *("acme", "backend", "cache", "crt-store", "defaults", "fcgi-app", "frontend", "global"),
        *("http-errors", "listen", "log-forward", "log-profile", "mailers", "peers", "program"),
        *("resolvers", "ring", "traces", "userlist"),
    }
)


class Line(msgspec.Struct, frozen=True):
    """A line of a configuration: its words, and those of the line that opened its section."""

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


def split(texts: Mapping[str, str]) -> Iterator[Line]:
    """Every line with words, under its section; a section's first line has none."""
    for file, text in sorted(texts.items()):
        section: tuple[str, ...] = ()
        for number, line in enumerate(text.split("\n"), start=1):
            found = words(line)
            if found and found[0] in _SECTIONS:
                section, found = found, ()
            yield Line(file, number, section, found)
