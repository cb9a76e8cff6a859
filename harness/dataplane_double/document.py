"""A configuration as the real one keeps it: sections of known kinds, in its own order.

Writing a text that was read isn't writing the same text: sections are sorted by kind and name,
lines by keyword, and spaces are gone.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_KINDS = (
    *("global", "defaults", "userlist", "peers", "mailers", "resolvers", "cache", "ring"),
    *("traces", "log-forward", "log-profile", "http-errors", "acme", "crt-store"),
    *("frontend", "backend", "listen", "program", "fcgi-app"),
)
_SORTED = ("defaults", "frontend", "backend")
_DERIVED = ("frontend", "backend", "listen")
# Lines with these words come in this order; those with others stay as they are, after them.
_WORDS = (
    *("id", "description", "enabled", "disabled", "mode", "maxconn", "backlog", "hash-type"),
    *("balance", "bind", "acl", "monitor-uri", "monitor", "log-tag", "log-format", "option"),
    *("tcp-check", "http-check", "log", "timeout", "default-server", "stick", "filter"),
    *("compression", "tcp-request", "stats", "http-reuse", "http-request", "redirect", "cookie"),
    *("unique-id-format", "unique-id-header", "use-server", "errorfile", "use_backend"),
    *("default_backend", "stick-table", "server", "retries", "tcp-response", "http-response"),
    *("http-after-response", "http-error", "server-template", "fullconn", "guid"),
)
_RANKS = {word: rank for rank, word in enumerate(_WORDS)}
_HASH, _VERSION = "# _md5hash=", "# _version="
_TOKEN = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+""")
_SPECIAL = re.compile(r"""["'#\\]""")

DISCLAIMER = (
    "# Dataplaneapi managed File",
    "# changing file directly can cause a conflict if dataplaneapi is running",
)


@dataclass
class Section:
    """One section: `lines` without their indentation, `comments` above its head."""

    kind: str
    name: str
    origin: str = ""
    comments: list[str] = field(default_factory=list)
    remark: str = ""
    lines: list[str] = field(default_factory=list)

    def words(self, keyword: str) -> list[list[str]]:
        """The tokens after `keyword` (one word or more) of each line that begins with it."""
        head = keyword.split()
        split = (tokens(line) for line in self.lines)
        return [words[len(head) :] for words in split if words[: len(head)] == head]

    def render(self) -> str:
        origin = f" from {self.origin}" if self.origin else ""
        remark = f" {self.remark}" if self.remark else ""
        head = f"{self.kind} {self.name}".rstrip() + origin + remark
        body = (f"  {line}" for line in self._sorted())
        return "\n".join(["", *self.comments, head, *body, ""])

    def _sorted(self) -> Iterable[str]:
        if self.kind not in _SORTED:
            return self.lines
        groups: list[list[str]] = [[]]
        for line in self.lines:
            groups[-1].append(line)
            if not line.startswith("#"):
                groups.append([])
        # A comment moves with the line below it; the last ones stay at the end.
        tail = groups.pop()
        groups.sort(key=lambda group: _rank(group[-1]))
        return [*(line for group in groups for line in group), *tail]


def _rank(line: str) -> int:
    return _RANKS.get(line.split(maxsplit=1)[0], len(_RANKS))


@dataclass
class Document:
    """A whole configuration; `heading` is what stands before the first section."""

    version: int = 1
    heading: list[str] = field(default_factory=list)
    sections: dict[tuple[str, str], Section] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """The names of all sections of a kind, in the order of the text they were read from."""
        return [name for known, name in self.sections if known == kind]

    def copy(self) -> Document:
        return copy.deepcopy(self)

    def disclaim(self) -> None:
        """Put the notice at the top that the file is managed, if it isn't there."""
        if not self.heading or self.heading[0] != DISCLAIMER[0]:
            self.heading = [*DISCLAIMER, *self.heading]

    def render(self) -> str:
        """The text without its checksum."""
        heading = "".join(f"{line}\n" for line in self.heading)
        body = "".join(section.render() for section in self._sorted())
        return f"{_VERSION}{self.version}\n{heading}{body}"

    def render_with_hash(self) -> str:
        """The text as it is written to files."""
        text = self.render()
        return f"{_HASH}{checksum(text)}\n{text}"

    def _sorted(self) -> list[Section]:
        def order(section: Section) -> tuple[int, int, str]:
            return _KINDS.index(section.kind), self._depth(section), section.name

        return sorted(self.sections.values(), key=order)

    def _depth(self, section: Section) -> int:
        """How many `defaults` a `defaults` section rests on."""
        depth, seen = 0, {section.name}
        while section.kind == "defaults" and section.origin not in {"", *seen}:
            parent = self.sections.get(("defaults", section.origin))
            if parent is None:
                break
            seen.add(section.origin)
            section, depth = parent, depth + 1
        return depth


def checksum(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def is_ours(text: str) -> bool:
    """Whether the checksum in the first line is that of the rest: nobody else has written."""
    first, _, rest = text.partition("\n")
    return first == f"{_HASH}{checksum(rest)}"


def noted(text: str) -> tuple[int, str]:
    """Version and checksum as the text's own lines say; 0 and "" without them."""
    version, known = 0, ""
    for line in text.splitlines():
        if line.startswith(_VERSION):
            version = int(line.removeprefix(_VERSION)) if line[len(_VERSION) :].isdigit() else 0
        elif line.startswith(_HASH):
            known = line.removeprefix(_HASH).strip()
    return version, known


def without_version(text: str) -> str:
    lines = (line for line in text.splitlines() if not line.startswith(_VERSION))
    return "".join(f"{line}\n" for line in lines)


def tokens(line: str) -> list[str]:
    """The words of a line, with their quotes; a comment at its end is one of them."""
    if not _SPECIAL.search(line):
        return line.split()
    words: list[str] = []
    for match in _TOKEN.finditer(line):
        if match[0].startswith("#"):
            return [*words, line[match.start() :].strip()]
        words.append(match[0])
    return words


def parse(text: str, *, derive: bool = False) -> Document:
    """Read a configuration; nothing is refused, since HAProxy judges it.

    With `derive` a section without `from` gets the last `defaults` before it, by name.
    """
    document = Document(version=noted(text)[0] or 1)
    current: Section | None = None
    waiting: list[str] = []
    begun = False
    for line in text.splitlines():
        if line.startswith((_HASH, _VERSION)):
            continue
        words = tokens(line)
        if not words:
            begun = True
            continue
        if words[0].startswith("#"):
            if current is None and not begun:
                document.heading.append(words[0])
            elif current is not None and line[0].isspace():
                current.lines.append(words[0])
            else:
                waiting.append(words[0])
            continue
        begun = True
        if words[0] in _KINDS and not line[0].isspace():
            current = _head(words, document, derive=derive)
            current.comments, waiting = waiting, []
        elif current is None:
            document.heading.append(" ".join(words))
        else:
            current.lines += waiting
            current.lines.append(" ".join(words))
            waiting = []
    (current.lines if current else document.heading).extend(waiting)
    return document


def _head(words: list[str], document: Document, *, derive: bool) -> Section:
    remark = words.pop() if words[-1].startswith("#") else ""
    kind, rest = words[0], words[1:]
    name = rest[0] if rest and rest[0] != "from" else ""
    origin = rest[rest.index("from") + 1] if "from" in rest[:-1] else ""
    if kind == "defaults" and not name:
        number = 1
        while ("defaults", f"unnamed_defaults_{number}") in document.sections:
            number += 1
        name = f"unnamed_defaults_{number}"
    if derive and kind in _DERIVED and not origin:
        origin = next(reversed(document.names("defaults")), "")
    section = Section(kind, name, origin=origin, remark=remark)
    # The last one of a name is the one that stays.
    document.sections.pop((kind, name), None)
    document.sections[kind, name] = section
    return section
