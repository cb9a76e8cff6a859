"""Loading has an end only once what it began is on disk; until then it would be measured too."""

from __future__ import annotations

import time
from collections.abc import Iterable

from bench.processes import Usage, usage
from bench.systems.base import System

# Statuses are stored, and disk follows, a moment after the answers.
_SECONDS = 2.0
# Bytes in that time that don't come from loading, and how often to look for them.
_QUIET = 100_000
_MOST = 30


def settle(systems: Iterable[System]) -> None:
    """Wait until none of them writes what loading left for later; a minute at most."""
    systems = list(systems)
    for _ in range(_MOST):
        before = [look(system) for system in systems]
        time.sleep(_SECONDS)
        if all(_is_quiet(system, then) for system, then in zip(systems, before, strict=True)):
            return


def look(system: System) -> dict[str, Usage]:
    """What each part of a system has used so far."""
    return {part: usage(pids) for part, pids in system.processes().items()}


def since(system: System, before: dict[str, Usage]) -> dict[str, Usage]:
    """What each part has used since a look."""
    return {part: now.since(before.get(part, Usage())) for part, now in look(system).items()}


def _is_quiet(system: System, before: dict[str, Usage]) -> bool:
    return all(part.written_bytes < _QUIET for part in since(system, before).values())
