"""What must hold of a configuration before HAProxy is asked to load it.

HAProxy itself doesn't refuse all of these: some take every worker down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from frontserver.errors import ConfigRejectedError
from frontserver.rendering.lines import split, words
from frontserver.rendering.redlist import check_red_list

# HAProxy's MAX_LINE_ARGS: a longer line is refused.
_MOST_WORDS = 64
_RESTART_ONLY = ("chroot", "user", "group", "uid", "gid")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Relative names only: an operator may keep maps of their own elsewhere.
_MAP_FILE = re.compile(r"(?<![\w./-])maps/[a-z_]+\.map\b")


def check_invariants(files: Mapping[str, str], *, listens: bool = True) -> None:
    """Refuse a configuration that could stop HAProxy; `files` maps names to texts.

    Raises `ConfigRejectedError` with file and line. Guards: a file cut short or with control
    characters (3.4's master crashes on it), no listener at all (HAProxy reports success), too
    many words in a line, a map that isn't written, what crashes workers (`redlist`). Without
    `listens` others may have the listeners.
    """
    texts = {name: text for name, text in files.items() if name.endswith(".cfg")}
    if not texts:
        raise ConfigRejectedError("there is no configuration file")
    for name, text in texts.items():
        _check_text(name, text)
    check_red_list(texts)
    if listens and not any(re.search(r"^\s*bind\s", text, re.MULTILINE) for text in texts.values()):
        raise ConfigRejectedError("no frontend listens anywhere: at least one bind is needed")
    named = {match for text in texts.values() for match in _MAP_FILE.findall(text)}
    for missing in sorted(named - set(files)):
        raise ConfigRejectedError(f"{missing} is referred to, but isn't written")


def check_reloadable(running: Mapping[str, str], candidate: Mapping[str, str]) -> None:
    """Refuse what a reload can't change; both map names to texts, those of `global` at least.

    Raises `ConfigRejectedError`. A changed chroot or user passes HAProxy's check, and may then end
    the master (2.8, 3.0) or leave a worker that can't reload again.
    """
    before, after = _identity(running), _identity(candidate)
    for keyword in _RESTART_ONLY:
        if before[keyword] != after[keyword]:
            raise ConfigRejectedError(
                f"'{keyword}' is {_shown(after[keyword])} now, and was {_shown(before[keyword])}: "
                "no reload can change it, so stop HAProxy and start it again"
            )


def _shown(values: list[str]) -> str:
    return " ".join(values) or "not set"


def _identity(files: Mapping[str, str]) -> dict[str, list[str]]:
    """Who the process is and what it sees of the disk, by keyword of `global`."""
    found: dict[str, list[str]] = {keyword: [] for keyword in _RESTART_ONLY}
    for line in split({name: text for name, text in files.items() if name.endswith(".cfg")}):
        if line.section[:1] == ("global",) and line.words and line.words[0] in found:
            found[line.words[0]].append(" ".join(line.words[1:]))
    return found


def _check_text(name: str, text: str) -> None:
    if text and not text.endswith("\n"):
        raise ConfigRejectedError("the last line has no end", file=name, line=text.count("\n") + 1)
    for number, line in enumerate(text.split("\n"), start=1):
        if _CONTROL.search(line):
            raise ConfigRejectedError("a control character", file=name, line=number)
        if len(words(line)) > _MOST_WORDS:
            raise ConfigRejectedError(
                f"more than {_MOST_WORDS} words in a line", file=name, line=number
            )
