"""Frontends of the operator's own that lead to routes, in a file that is shared.

What is ours in them are lines at their end, each of which names a variable of ours: by that they
are known again, also after the Data Plane API has put lines in an order of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import NamedTuple

from frontserver.backends.dataplane.keywords import SECTIONS
from frontserver.errors import ConfigRejectedError

_OURS = re.compile(r"\b(?:txn|sess)\.fs_")
_LEADING = frozenset({"frontend", "listen"})

# Until a client's hello has come, nobody knows which name it asks for.
_INSPECT = "    tcp-request inspect-delay 5s\n"

# For messages: the setting that names frontends of a mode.
_SETTINGS = {
    "http": "FRONTSERVER_DATAPLANE_HTTP_FRONTENDS",
    "tcp": "FRONTSERVER_DATAPLANE_MONGODB_FRONTENDS",
}


class _Section(NamedTuple):
    """Its words, such as `("frontend", "www", "from", "site")`, and the lines, the first included.

    What is before all sections has no words.
    """

    words: tuple[str, ...]
    lines: list[str]

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def name(self) -> str:
        return self.words[1] if len(self.words) > 1 else ""

    @property
    def parent(self) -> str:
        return self.words[3] if self.words[2:3] == ("from",) and len(self.words) > 3 else ""

    def setting(self, keyword: str) -> str | None:
        """The value of a keyword that stands in this section, the last one's."""
        values = (line.partition("#")[0].split() for line in self.lines[1:])
        return next((w[1] for w in reversed(list(values)) if len(w) > 1 and w[0] == keyword), None)


def adopt(theirs: str, adopted: Mapping[str, tuple[str, str]]) -> str:
    """The operator's sections, where these frontends have our lines and no other has any.

    `adopted` maps names to modes (`http`, `tcp`) and lines. Every section of `theirs` must say
    which `defaults` it has. Raises `ConfigRejectedError` for a frontend that isn't there or has
    another mode.
    """
    sections = list(_sections(theirs))
    leading = {section.name: section for section in sections if section.kind in _LEADING}
    parents = {section.name: section for section in sections if section.kind == "defaults"}
    for section in leading.values():
        section.lines[:] = [line for line in section.lines if not _OURS.search(line)]
    for name, (mode, lines) in adopted.items():
        if name not in leading:
            raise ConfigRejectedError(
                f"{_SETTINGS[mode]}: the Data Plane API's file has no frontend {name}; "
                f"it has: {', '.join(sorted(leading)) or 'none'}"
            )
        found = _mode(leading[name], parents)
        if found != mode:
            other = _SETTINGS.get(found)
            advice = f"; give it `mode {mode}`, or name it in {other}" if other else ""
            raise ConfigRejectedError(
                f"{_SETTINGS[mode]}: the frontend {name} is in mode {found}, not {mode}{advice}"
            )
        _append(leading[name], mode, lines)
    return "".join(line for section in sections for line in section.lines)


def _sections(text: str) -> Iterator[_Section]:
    current = _Section((), [])
    # HAProxy's lines end at "\n" alone.
    for line in StringIO(text, newline="\n"):
        words = tuple(line.partition("#")[0].split())
        if words and words[0] in SECTIONS:
            yield current
            current = _Section(words, [])
        current.lines.append(line)
    yield current


def _mode(section: _Section, parents: Mapping[str, _Section]) -> str:
    seen: set[str] = set()
    at: _Section | None = section
    while at is not None and at.name not in seen:
        mode = at.setting("mode")
        if mode is not None:
            return mode
        if at.kind == "defaults":
            seen.add(at.name)
        at = parents.get(at.parent)
    return "tcp"


def _append(section: _Section, mode: str, lines: str) -> None:
    """Put lines at a section's end, before the blank lines and comments that lead to the next."""
    end = len(section.lines)
    while end > 1 and not section.lines[end - 1].partition("#")[0].strip():
        end -= 1
    # Comments of ours would be taken for the operator's the next time.
    ours = [line for line in StringIO(lines) if line.partition("#")[0].strip()]
    if mode == "tcp" and not any("inspect-delay" in line.split() for line in section.lines):
        ours.insert(0, _INSPECT)
    if not section.lines[end - 1].endswith("\n"):
        section.lines[end - 1] += "\n"
    section.lines[end:end] = ours
