"""The table of fault rows of one run of pytest, beside its JUnit file: `.reports/faults*.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

REPORTS = Path(__file__).parents[2] / ".reports"
_HEADINGS = (
    *("HAProxy", "backend", "MongoDB", "where", "fault"),
    *("others saw", "it said", "healed after s"),
)


class Row(msgspec.Struct, frozen=True):
    """One fault that healed."""

    haproxy: str
    backend: str
    mongodb: str
    where: str
    fault: str
    seen: str
    said: str
    seconds: float

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table has them."""
        texts = msgspec.structs.astuple(self)[:-1]
        shown = (" ".join(text.replace("|", "/").split())[:160] or "-" for text in texts)
        return (*shown, f"{self.seconds:.2f}")


class Report:
    """All rows so far; the file is complete after each."""

    def __init__(self) -> None:
        self._file = REPORTS / "faults.md"
        self._rows: list[Row] = []

    def begin(self, junit: Path | None) -> None:
        """Begin anew: `faults-NAME.md` beside `NAME.xml`, so that runs don't mix."""
        self._file = junit.with_name(f"faults-{junit.stem}.md") if junit else REPORTS / "faults.md"
        self._rows = []
        self._file.unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        """Write it all, with a line more."""
        self._rows.append(row)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        yield f"| {' | '.join(_HEADINGS)} |\n|{'---|' * len(_HEADINGS)}\n"
        for row in self._rows:
            yield f"| {' | '.join(row.cells)} |\n"
        longest = max(row.seconds for row in self._rows)
        yield f"\n{len(self._rows)} rows; the longest took {longest:.2f} s.\n"


# Of this process.
REPORT = Report()
