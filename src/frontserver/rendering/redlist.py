"""What HAProxy accepts where routes live, and then crashes on, drops, or hides.

Measured on 2.8, 3.0, 3.2 and 3.4: cache rules in a `defaults` section end the worker at the first
request, `errorfiles` at `add backend`, an external check at `add server … check`. Captures,
compression and filters are refused or silently not applied there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from frontserver.errors import ConfigRejectedError
from frontserver.rendering.lines import split

_PROFILE = re.compile(r"p[0-9a-f]{12}")
_SLOT = re.compile(r"p[0-9a-f]{12}\.[0-9]+")
_SUSPECT = re.compile(
    r"\b(errorfiles|cache-use|cache-store|external-check|capture|compression|filter)\b"
)
_DIRECTIVES = frozenset({"errorfiles", "capture", "compression", "filter", "external-check"})
_RULES = frozenset(
    {"http-request", "http-response", "http-after-response", "tcp-request", "declare"}
)


def check_red_list(texts: Mapping[str, str]) -> None:
    """Refuse what must not stand in profiles, in what they derive from, and in slots.

    Raises `ConfigRejectedError` with file and line; the reason says where to put it instead.
    """
    if not any(_SUSPECT.search(text) for text in texts.values()):
        return
    lines = list(split(texts))
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
