"""What differs between two configurations, for people and scripts."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping


def differences(present: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """The lines of a unified diff, file by file; none if nothing differs.

    Maps are compared without regard to the order of their lines, nor to lines that are out of use.
    Of certificates it is only said that they differ: they may hold private keys.
    """
    for name in sorted(present.keys() | wanted.keys()):
        before, after = present.get(name), wanted.get(name)
        if before == after:
            continue
        if name.endswith(".pem"):
            yield f"{name} {_fate(before, after)} (its content isn't shown)"
        elif name.endswith(".map"):
            yield from _of_maps(name, before or "", after or "")
        else:
            yield from difflib.unified_diff(
                (before or "").splitlines(),
                (after or "").splitlines(),
                _label("on disk", name, before),
                _label("rendered", name, after),
                lineterm="",
            )


def _fate(before: str | None, after: str | None) -> str:
    if before is None:
        return "is new"
    return "goes" if after is None else "differs"


def _label(side: str, name: str, text: str | None) -> str:
    return "/dev/null" if text is None else f"{side}/{name}"


def _of_maps(name: str, before: str, after: str) -> Iterator[str]:
    """Without context: the neighbours of a line say nothing."""
    present, wanted = Counter(_entries(before)), Counter(_entries(after))
    gone, new = sorted((present - wanted).keys()), sorted((wanted - present).keys())
    if gone or new:
        yield f"--- on disk/{name}"
        yield f"+++ rendered/{name}"
        yield from (f"-{line}" for line in gone)
        yield from (f"+{line}" for line in new)


def _entries(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]
