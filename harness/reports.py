"""What pytest's JUnit files say: how many tests came to what, and why some were skipped.

Nothing but the standard library: a summary is told where nothing is installed, too.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Characters of a message that are shown.
_WIDTH = 160


@dataclass(frozen=True)
class Report:
    """What one run, or several, came to; `reasons` are those of skips, `complaints` of failures."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    complaints: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """How many tests were skipped."""
        return self.reasons.total()

    @property
    def is_good(self) -> bool:
        """Whether something passed and nothing failed: what only skips shows nothing."""
        return bool(self.passed) and not self.failed + self.errors


def read(file: Path) -> Report:
    """The report of one file."""
    root = ET.parse(file).getroot()  # noqa: S314 - our own pytest's
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    complaints = []
    for case in root.iter("testcase"):
        outcome, message = _outcome(case)
        totals[outcome] += 1
        if outcome == "skipped":
            reasons[message] += 1
        elif outcome != "passed":
            name = f"{case.get('classname', '')}::{case.get('name', '')}"
            complaints.append(f"{outcome.upper()} {name} - {message}")
    seconds = sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
    return Report(
        totals["passed"], totals["failed"], totals["error"], seconds, reasons, tuple(complaints)
    )


def skips(reports: Iterable[Report]) -> Iterator[tuple[int, str]]:
    """How often there was each reason to skip, the most frequent one first."""
    total: Counter[str] = Counter()
    for report in reports:
        total += report.reasons
    for reason, count in sorted(total.items(), key=lambda each: (-each[1], each[0])):
        yield count, reason


def _outcome(case: ET.Element) -> tuple[str, str]:
    """What a test came to, and what it said about that."""
    for tag, outcome in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return outcome, _shortened(found.get("message", ""))
    return "passed", ""


def _shortened(message: str) -> str:
    """The first line, and of that what fits."""
    line = next(iter(message.strip().splitlines()), "") or "no reason given"
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
