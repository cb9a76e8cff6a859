"""One configuration file for the operator's sections and ours.

Ours are known by their names: `fs_…`, and profiles and slots. Whatever else is in the file is the
operator's and is handed back as it was read; the Data Plane API puts all sections in an order of
its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from frontserver.errors import ConfigRejectedError

# Keywords that begin a section of a configuration (HAProxy configuration manual, 2.1 and 4).
_SECTION = re.compile(
    r"(?P<kind>acme|backend|cache|crt-store|defaults|fcgi-app|frontend|global|http-errors|listen"
    r"|log-forward|log-profile|mailers|peers|program|resolvers|ring|traces|userlist)"
    r"(?:[ \t]+(?P<name>\S+))?"
)
_OURS = re.compile(r"fs_[a-z0-9_-]+|p[0-9a-f]{12}(?:\.[0-9]+)?")
_KINDS = frozenset({"defaults", "frontend", "backend"})

_CONDITION = re.compile(r"^[ \t]*\.(?:if|elif|else|endif)\b.*$", re.MULTILINE)

# Written by the Data Plane API at the top, and anew each time.
_HEADER = re.compile(r"# _(?:md5hash|version)=.*\n")


def merged(theirs: str, ours: str) -> str:
    """A file with all of `theirs` but what is ours in it, and `ours` at its end.

    Raises `ConfigRejectedError` for a file with `.if`: the API would put sections inside.
    """
    condition = _CONDITION.search(theirs)
    if condition is not None:
        raise ConfigRejectedError(
            f"{condition[0].strip()} in the file that is shared: the Data Plane API moves sections "
            "into such blocks and out of them; give it a file of its own "
            "(FRONTSERVER_DATAPLANE_FILE=own)"
        )
    kept = "".join(text for text, is_ours in _sections(theirs) if not is_ours)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return f"{_HEADER.sub('', kept)}{ours}"


def _sections(text: str) -> Iterator[tuple[str, bool]]:
    """The file in pieces, each with whether it is ours.

    Comments and empty lines right before a section belong to it.
    """
    piece: list[str] = []
    lead: list[str] = []
    ours = False
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        begins = _begins(line)
        if begins is not None:
            yield "".join(piece), ours
            ours = begins
            # A comment of ours goes with ours; all before an operator's section is his.
            piece, lead = [*lead, line], []
        elif not stripped or stripped.startswith("#"):
            lead.append(line)
        else:
            piece += [*lead, line]
            lead = []
    yield "".join(piece), ours
    yield "".join(lead), ours


def _begins(line: str) -> bool | None:
    """Whether a line begins a section of ours; `None` if it begins none."""
    # HAProxy takes a section's keyword for that wherever it is the first word.
    line = line.lstrip()
    match = _SECTION.match(line)
    if match is None:
        return None
    rest = line[match.end("kind") :]
    if rest and not rest[0].isspace():
        return None
    name = match["name"]
    return match["kind"] in _KINDS and name is not None and _OURS.fullmatch(name) is not None
