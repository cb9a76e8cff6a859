"""The table of a matrix: what each cell came to, and why it wasn't run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.matrix import Cell, Outcome, counted, suite, told
from harness.reports import Report

CELL = Cell("3.4", "file", "single", "native")
SKIPPED = '<testcase name="s"><skipped message="no mongod here"/></testcase>'


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.xml"


def test_a_row_has_counts_and_below_the_table_are_the_reasons_of_skips(report: Path) -> None:
    failure = '<testcase name="f"><failure message="no"/></testcase>'
    report.write_text(f'<testsuite><testcase name="p"/>{SKIPPED * 2}{failure}</testsuite>')
    outcome = counted(CELL, report, 1, 12.6)
    other = Outcome(CELL, Report(1, reasons=Counter({"no mongod here": 1, "too long": 4})))
    assert not outcome.is_good
    assert "".join(told([outcome, other])).splitlines()[2:] == [
        "| 3.4 | file | single | native | 1 | 2 | 1 | 13 |  |",
        "| 3.4 | file | single | native | 1 | 5 | 0 | 0 |  |",
        "",
        "Skipped, by reason:",
        "",
        "- 4: too long",
        "- 3: no mongod here",
    ]


def test_without_skips_there_is_only_the_table() -> None:
    assert "Skipped" not in "".join(told([Outcome(CELL, Report(passed=1))]))


def test_a_run_without_a_report_is_no_success(report: Path) -> None:
    outcome = counted(CELL, report, 4, 0.1)
    assert outcome.reason == "pytest ended with 4, without a report"
    assert not outcome.is_good


def test_an_exit_code_that_no_test_explains_is_named(report: Path) -> None:
    report.write_text('<testsuite><testcase name="p"/></testsuite>')
    assert counted(CELL, report, 5, 1).reason == "pytest ended with 5"
    assert counted(CELL, report, 0, 1).is_good


@pytest.mark.parametrize("tests", ["", SKIPPED])
def test_a_cell_of_which_nothing_passed_is_not_good(report: Path, tests: str) -> None:
    report.write_text(f"<testsuite>{tests}</testsuite>")
    outcome = counted(CELL, report, 0, 1)
    assert outcome.reason == "nothing passed"
    assert not outcome.is_good


def test_a_cell_says_how_to_make_its_stacks() -> None:
    assert CELL.environ == {
        "HARNESS_HAPROXY": "3.4",
        "HARNESS_BACKEND": "file",
        "HARNESS_MONGODB": "single",
        "HARNESS_WHERE": "native",
    }


def test_the_other_kind_of_mongodb_has_only_the_tests_that_have_one() -> None:
    (*paths, _, whole), (*same, _, part) = suite(CELL, first=True), suite(CELL, first=False)
    assert paths == same == ["tests/e2e", "tests/stateful/test_agreement.py"]
    assert part == f"{whole} and mongodb"


@pytest.mark.parametrize(
    ("backend", "long", "wanted"),
    [
        ("file", True, "not dataplane_backend"),
        ("file", False, "not dataplane_backend and not long"),
        ("dataplane", True, ""),
        ("dataplane", False, "not long"),
    ],
)
def test_a_backend_has_all_tests_but_the_others_own(backend: str, long: bool, wanted: str) -> None:
    assert suite(CELL._replace(backend=backend), first=True, long=long)[-1] == wanted
