"""Which `defaults` an operator's sections have, said in each of them.

A section that names none has the last ones before it in the file (HAProxy configuration manual, 4),
and the Data Plane API moves sections.
"""

from __future__ import annotations

from io import StringIO
from itertools import count, filterfalse

_HAVE_DEFAULTS = frozenset({"frontend", "backend", "listen"})


def with_parents(text: str) -> str:
    """The same configuration, with a name for each `defaults`, and in each section that of its own.

    Sections before all `defaults` get empty ones.
    """
    # HAProxy's lines end at "\n" alone.
    lines = list(StringIO(text, newline="\n"))
    begun = [line.partition("#")[0].split() for line in lines]
    taken = {words[1] for words in begun if words[:1] == ["defaults"] and len(words) > 1}
    free = filterfalse(taken.__contains__, map("unnamed_defaults_{}".format, count(1)))
    current: str | None = None
    first = ""
    for number, (line, words) in enumerate(zip(lines, begun, strict=True)):
        kind, name = (*words, "", "")[:2]
        if kind == "defaults" and name in {"", "from"}:
            current = next(free)
            lines[number] = _begun([kind, current, *words[1:]], line)
        elif kind == "defaults":
            current = name
        elif kind in _HAVE_DEFAULTS and name and words[2:3] != ["from"]:
            if current is None:
                current = next(free)
                first = f"defaults {current}\n"
            lines[number] = _begun([kind, name, "from", current, *words[2:]], line)
    return first + "".join(lines)


def _begun(words: list[str], line: str) -> str:
    """A section's first line of these words, with the comment that the line had."""
    comment = line.rstrip("\n").partition("#")[2]
    return " ".join(words) + (f" #{comment}" if comment else "") + "\n"
