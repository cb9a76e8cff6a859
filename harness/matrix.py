"""Runs one suite in every cell of a matrix, and sums up: `python -m harness.matrix -- tests/e2e`.

A cell is a HAProxy version, a backend, a kind of MongoDB and a place. Each has a JUnit file, and
all of them together a table with the reasons of what was skipped, in the directory of reports. Ends
with 1 if any cell failed, or shows nothing: if it wasn't run, or all of it was skipped.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from harness import reports, versions
from harness.choice import BACKEND, BACKENDS, HAPROXY, MONGODB, MONGODBS, PLACES, WHERE
from harness.errors import UnavailableError
from harness.reports import Report

# The versions that the product is for.
SUPPORTED = ("2.8", "3.0", "3.2", "3.4")
_SUITE = ("tests/e2e", "tests/stateful/test_agreement.py")
# Those are run in the other cells; what is the file backend's alone is skipped by itself.
_CHOICE = {"file": ("not dataplane_backend",), "dataplane": ()}
# By which tests with several cases have all of them.
_LONG = "HARNESS_LONG"
_HEADINGS = ("HAProxy", "backend", "MongoDB", "where", "passed", "skipped", "failed", "seconds", "")


class Cell(NamedTuple):
    """One way to make a stack."""

    haproxy: str
    backend: str
    mongodb: str
    where: str

    @property
    def name(self) -> str:
        """For file names."""
        return "-".join(self)

    @property
    def environ(self) -> dict[str, str]:
        """The variables that choose it."""
        return dict(zip((HAPROXY, BACKEND, MONGODB, WHERE), self, strict=True))


class Outcome(NamedTuple):
    """What came of a cell; `reason` says why it wasn't run, failed as a whole, or shows nothing."""

    cell: Cell
    report: Report = Report()
    seconds: float = 0.0
    reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether something passed, and nothing failed."""
        return self.report.is_good and not self.reason


@click.command()
@click.option("--haproxy", multiple=True, default=SUPPORTED, show_default=True)
@click.option("--backend", multiple=True, type=click.Choice(BACKENDS), default=BACKENDS)
@click.option("--mongodb", multiple=True, type=click.Choice(MONGODBS), default=MONGODBS)
@click.option("--where", multiple=True, type=click.Choice(PLACES), default=PLACES[:1])
@click.option("--long/--no-long", default=True, help="Run what takes minutes, and all cases.")
@click.option("--reports", "into", type=click.Path(path_type=Path), default=Path(".reports"))
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def main(
    haproxy: Sequence[str],
    backend: Sequence[str],
    mongodb: Sequence[str],
    where: Sequence[str],
    long: bool,
    into: Path,
    pytest_arguments: Sequence[str],
) -> None:
    """Run pytest with these arguments in every cell; each option may be given more than once.

    Arguments come after `--`; without any it is the end-to-end suite, of which only the tests that
    have a mongod run for each kind of MongoDB but the first.
    """
    into.mkdir(parents=True, exist_ok=True)
    missing = _images(haproxy) if "containers" in where else {}
    outcomes = []
    for cell in map(Cell._make, itertools.product(haproxy, backend, mongodb, where)):
        click.echo(f"matrix: {', '.join(cell)}")
        report = into / f"matrix-{cell.name}.xml"
        if cell.where == "containers" and cell.haproxy in missing:
            outcomes.append(Outcome(cell, reason=missing[cell.haproxy]))
        else:
            first = cell.mongodb == mongodb[0]
            arguments = pytest_arguments or suite(cell, first=first, long=long)
            outcomes.append(_run(cell, report, arguments, long=long))
        (into / "matrix.md").write_text("".join(told(outcomes)))
    click.echo("".join(told(outcomes)))
    sys.exit(0 if all(each.is_good for each in outcomes) else 1)


def suite(cell: Cell, *, first: bool, long: bool = True) -> tuple[str, ...]:
    """All end-to-end tests of a cell; those with a mongod, unless it is of the first kind.

    If not `long`, without those that are marked so.
    """
    kind = () if first else ("mongodb",)
    length = () if long else ("not long",)
    choice = (*_CHOICE[cell.backend], *kind, *length)
    return (*_SUITE, "-m", " and ".join(choice))


def told(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The lines of a Markdown table, and of a list of why tests were skipped."""
    yield f"| {' | '.join(_HEADINGS)} |\n|{'---|' * len(_HEADINGS)}\n"
    for each in outcomes:
        report = each.report
        failed = report.failed + report.errors
        counts = (report.passed, report.skipped, failed, f"{each.seconds:.0f}")
        yield f"| {' | '.join([*each.cell, *map(str, counts), each.reason])} |\n"
    skips = list(reports.skips(each.report for each in outcomes))
    if skips:
        yield "\nSkipped, by reason:\n\n"
    for count, reason in skips:
        yield f"- {count}: {reason}\n"


def _images(haproxys: Sequence[str]) -> dict[str, str]:
    """Make the images that cells need, side by side; the versions that can't be had, and why."""
    from harness.containers.images import chosen_images, prepare  # noqa: PLC0415 - needs Docker

    return prepare(chosen_images(), haproxys)


def _run(cell: Cell, report: Path, arguments: Sequence[str], *, long: bool) -> Outcome:
    try:
        if cell.where == "native":
            versions.program(cell.haproxy)
    except UnavailableError as error:
        return Outcome(cell, reason=str(error))
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments],
        env={**os.environ, **cell.environ, _LONG: "1" if long else ""},
        check=False,
    )
    return counted(cell, report, done.returncode, time.monotonic() - begun)


def counted(cell: Cell, report: Path, code: int, seconds: float) -> Outcome:
    """The outcome that pytest's report and exit code tell of."""
    if not report.exists():
        return Outcome(cell, seconds=seconds, reason=f"pytest ended with {code}, without a report")
    found = reports.read(report)
    reason = ""
    if code != 0 and not found.complaints:
        reason = f"pytest ended with {code}"
    elif not found.passed:
        reason = "nothing passed"
    return Outcome(cell, found, seconds, reason)


if __name__ == "__main__":
    main()
