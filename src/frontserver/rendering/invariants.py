"""What must hold of a configuration before HAProxy is asked to load it.

HAProxy itself doesn't refuse all of these: some take every worker down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from frontserver.errors import ConfigRejectedError
from frontserver.rendering.redlist import check_red_list, words

# HAProxy's MAX_LINE_ARGS: a longer line is refused.
_MOST_WORDS = 64
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Relative names only: an operator may keep maps of their own elsewhere.
_MAP_FILE = re.compile(r"(?<![\w./-])maps/[a-z_]+\.map\b")


def check_invariants(files: Mapping[str, str]) -> None:
    """Refuse a configuration that could stop HAProxy; `files` maps names to texts.

    Raises `ConfigRejectedError` with file and line. Guards: a file cut short or with control
    characters (3.4's master crashes on it), no listener at all (HAProxy reports success), too
    many words in a line, a map that isn't written, what crashes workers (`redlist`).
    """
    texts = {name: text for name, text in files.items() if name.endswith(".cfg")}
    if not texts:
        raise ConfigRejectedError("there is no configuration file")
    for name, text in texts.items():
        _check_text(name, text)
    check_red_list(texts)
    if not any(re.search(r"^\s*bind\s", text, re.MULTILINE) for text in texts.values()):
        raise ConfigRejectedError("no frontend listens anywhere: at least one bind is needed")
    named = {match for text in texts.values() for match in _MAP_FILE.findall(text)}
    for missing in sorted(named - set(files)):
        raise ConfigRejectedError(f"{missing} is referred to, but isn't written")


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
