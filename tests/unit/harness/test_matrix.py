"""The table of a matrix: what each cell came to, and why it wasn't run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.matrix import Cell, counted, suite, table

CELL = Cell("3.4", "file", "single", "native")
REPORT = """\
<testsuites><testsuite tests="10" failures="{failures}" errors="1" skipped="2"/></testsuites>
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.xml"


def test_what_passed_is_what_is_left(report: Path) -> None:
    report.write_text(REPORT.format(failures=1))
    outcome = counted(CELL, report, 1, 12.6)
    assert (outcome.passed, outcome.skipped, outcome.failed) == (6, 2, 2)
    assert not outcome.is_good
    assert "".join(table([outcome])).splitlines()[-1] == (
        "| 3.4 | file | single | native | 6 | 2 | 2 | 13 |  |"
    )


def test_a_run_without_a_report_is_no_success(report: Path) -> None:
    outcome = counted(CELL, report, 4, 0.1)
    assert outcome.reason == "pytest ended with 4, without a report"
    assert not outcome.is_good


def test_an_exit_code_that_no_test_explains_is_named(report: Path) -> None:
    report.write_text('<testsuite tests="3"/>')
    assert counted(CELL, report, 5, 1).reason == "pytest ended with 5"
    assert counted(CELL, report, 0, 1).is_good


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


def test_each_backend_has_the_tests_of_its_own() -> None:
    assert "not dataplane_backend" in suite(CELL, first=True)
    assert "not long" in suite(CELL._replace(backend="dataplane"), first=True)
