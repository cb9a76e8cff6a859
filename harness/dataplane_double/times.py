"""Times in configurations: milliseconds in JSON, the largest unit that fits in files."""

from __future__ import annotations

import re

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}


def written(time: int) -> str:
    """5000 as `5s`, 1500 as `1500ms`, 0 as `0`."""
    for unit, length in _UNITS.items():
        if time and time % length == 0:
            return f"{time // length}{unit}"
    return f"{time}ms" if time else "0"


def milliseconds(text: str) -> int:
    """`5s` as 5000; a number alone is milliseconds already. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+)(ms|[smhd])?", text)
    if match is None:
        raise ValueError(f"{text!r} isn't a time")
    return int(match[1]) * _UNITS.get(match[2] or "", 1)
