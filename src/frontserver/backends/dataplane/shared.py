"""One configuration file for the operator's sections and ours.

Ours are known by their names: `fs_…`, and profiles and slots. Whatever else is in the file is the
operator's and is handed back as it was read, but that `one_file` says which defaults its sections
have; the Data Plane API puts all sections in an order of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO

from frontserver.backends.dataplane.adoption import adopt
from frontserver.backends.dataplane.document import Text
from frontserver.backends.dataplane.keywords import SECTIONS
from frontserver.backends.dataplane.parents import with_parents
from frontserver.errors import ConfigRejectedError

_SECTION = re.compile(rf"(?P<kind>{'|'.join(sorted(SECTIONS))})(?:[ \t]+(?P<name>\S+))?")
_OURS = re.compile(r"fs_[a-z0-9_-]+|p[0-9a-f]{12}(?:\.[0-9]+)?")
_KINDS = frozenset({"defaults", "frontend", "backend"})

_CONDITION = re.compile(r"^[ \t]*\.(?:if|elif|else|endif)\b.*$", re.MULTILINE)

# Written by the Data Plane API at the top, and anew each time.
_HEADER = re.compile(r"# _(?:md5hash|version)=.*\n")


def one_file(theirs: str, ours: Text) -> str:
    """As `merged`, where each section of `theirs` says which defaults it has.

    Frontends of theirs that are adopted have our lines. Raises `ConfigRejectedError` too if one
    can't be.
    """
    kept = with_parents(merged(theirs, ours.sections).removesuffix(ours.sections))
    return adopt(kept, ours.adopted) + ours.sections


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
    kept = "".join(_theirs(theirs, _comments(ours)))
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return f"{_HEADER.sub('', kept)}{ours}"


def _theirs(text: str, our_comments: frozenset[str]) -> Iterator[str]:
    """The pieces of a file that aren't ours.

    Blank lines belong to what they follow. A comment is the operator's, wherever it stands, but for
    those that our sections have: it may be about what came before, or have been moved.
    """
    ours = False
    lead: list[str] = []
    # HAProxy's lines end at "\n" alone.
    for line in StringIO(text, newline="\n"):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            lead.append(line)
            continue
        begins = _begins(line)
        if ours:
            lead = [some for some in lead if some.strip()]
        if ours or begins:
            lead = [some for some in lead if some.strip() not in our_comments]
        yield from lead
        lead = []
        ours = ours if begins is None else begins
        if not ours:
            yield line
    yield from (some for some in lead if not ours or some.strip() not in {"", *our_comments})


def _comments(text: str) -> frozenset[str]:
    lines = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if line.startswith("#"))


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
